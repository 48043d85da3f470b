"""What is left out of a push, and what stands in its place: it stays as the last real push had it, or absent where that had nothing.

Belongs here: which rows of a snapshot's tables and detections a submission, a tracker or a project has, and taking them back. Does not
belong here: the words of it (``left_out.py``), freezing (``snapshot.py``).

So a correction that nobody signed withdraws nothing that was delivered before, and a new sheet on hold brings nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.telemetry.push.left_out import LeftOut, Scope

if TYPE_CHECKING:
    from otn_dagster.telemetry.push.snapshot import Snapshot


SHEETS = {"tags": "tag_cache", "deployments": "rcvr_locations"}
# Tables of a snapshot, the columns by which a submission's rows are found in them, and the order in which they are kept.
KEYS = {
    "animals": (["collectioncode", "catalognumber"], ["animal_key"]),
    "tags": (["trackercode", "catalognumber"], ["tag_key"]),
    "deployments": (["collectioncode", "rcvrcatnumber"], ["receiver_key", "project_key", "deployment_key"]),
    "station_tags": (["collectioncode", "transmitter"], ["mooring_key"]),
    "clock_segments": (["receiver_key"], ["receiver_key", "start_ms"]),
    "projects": (["collectioncode"], ["project_key"]),
    "contacts": (["collectioncode"], ["collectioncode", "role", "name", "email"]),
}
OF_A_TRACKER = ("animals", "tags")
OF_A_PROJECT = ("animals", "tags", "deployments", "station_tags")


@dataclass
class Rows:
    """Which rows are left out. by_code: new submissions of detections by project, each with the ones that it replaces."""

    tables: dict[str, list[pl.DataFrame]] = field(default_factory=dict)  # keys by table
    by_code: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the manifest
    counted: Counter[int] = field(default_factory=Counter)  # rows that were left out, by submission_no
    replaced: set[int] = field(default_factory=set)  # submissions of the last push that stand again


Tables = dict[str, pl.DataFrame]


def find(connection: Connection, left: Sequence[LeftOut], before: Snapshot | None, tables: Tables) -> Rows:
    """The rows of what is left out. What the last push had already, as it had it, is not left out any more.

    tables: of the snapshot, as they are loaded.
    """
    rows = Rows()
    if not left:
        return rows
    chosen, trackers, whole = ({one.subject: one for one in left if one.scope is scope} for scope in Scope)
    pushed = set(before.pushed()["submission_no"]) if before else set()
    every = connection.execute(
        "select submission_no, submission_key, collectioncode, kind, file_name, supersedes, state from platform.submissions order by 1"
    ).fetchall()
    numbers = {key: number for number, key, *_ in every}
    follows = {number: numbers.get(earlier) for number, _, _, _, _, earlier, _ in every}
    for number, key, code, kind, name, _, state in every:
        one = chosen.get(key) or whole.get(code) or (trackers.get(code) if kind == "tags" else None)
        if one is None or state != "loaded" or number in pushed or (kind == "project" and not _knows(before, code)):
            continue  # without the row of its form a new project could not be pushed at all
        earlier = _earlier(number, follows, pushed)
        rows.replaced |= set(earlier)
        if kind == "detections":
            rows.by_code.setdefault(code, {})[number] = earlier
        else:
            replaced = before if earlier else None
            rows.counted[number] = _of_sheet(connection, rows, replaced, key, code, kind, tables)
        rows.entries.append(_entry(one, code, number, key, kind, name))
    for one in left:
        if one.scope is not Scope.SUBMISSION:
            _of_whole(rows, one)
            rows.entries.append(_entry(one, one.subject))
    return rows


def _entry(
    one: LeftOut, code: str, number: int | None = None, key: str = "", kind: str = "", name: str = ""
) -> dict[str, Any]:
    entry = {"scope": one.scope, "subject": one.subject, "collectioncode": code, "code": one.code, "why": one.why}
    return (
        entry
        if number is None
        else {**entry, "submission_no": number, "submission_key": key, "kind": kind, "file_name": name}
    )


def _earlier(number: int, follows: dict[int, int | None], pushed: set[int]) -> list[int]:
    """The submission that this one replaced, or the one before it, as far back as one that was pushed."""
    at = follows.get(number)
    while at is not None and at not in pushed:
        at = follows.get(at)
    return [] if at is None else [at]


def _knows(before: Snapshot | None, code: str) -> bool:
    return before is not None and code in before.table("projects")["collectioncode"]


def _of_sheet(
    connection: Connection, rows: Rows, replaced: Snapshot | None, key: str, code: str, kind: str, tables: Tables
) -> int:
    """Note the keys of a sheet's rows; how many rows it has.

    replaced: a snapshot that has what this sheet corrects, and perhaps rows that it removed.
    """
    if kind == "events":
        return _note(rows, "clock_segments", _receivers(connection, key))
    if kind == "project":
        return (
            sum(_note(rows, name, pl.DataFrame({"collectioncode": [code]})) for name in ("projects", "contacts")) // 2
        )
    if kind not in SHEETS:
        return 0
    sheet = transfer.copy_out(
        connection,
        f"select catalognumber, transmitter from platform.{SHEETS[kind]} where submission_key = %s",  # noqa: S608
        {"catalognumber": pl.String, "transmitter": pl.String},
        [key],
    )
    for name in ("animals", "tags") if kind == "tags" else ("deployments", "station_tags"):
        (project, own), _ = KEYS[name]
        keys = sheet.select(
            pl.lit(code).alias(project), pl.col("catalognumber" if own == "rcvrcatnumber" else own).alias(own)
        )
        if replaced:
            had = replaced.table(name).filter(pl.col(project) == code).select(project, own)
            keys = pl.concat([keys, had.join(tables[name], on=[project, own], how="anti")])
        _note(rows, name, keys.drop_nulls().unique())
    return sheet.height


def _receivers(connection: Connection, key: str) -> pl.DataFrame:
    query = "select distinct receiver_key from platform.events where submission_key = %s"
    return transfer.copy_out(connection, query, {"receiver_key": pl.Int32}, [key])


def _note(rows: Rows, name: str, keys: pl.DataFrame) -> int:
    rows.tables.setdefault(name, []).append(keys)
    return keys.height


def _of_whole(rows: Rows, one: LeftOut) -> None:
    for name in OF_A_TRACKER if one.scope is Scope.TRACKER else OF_A_PROJECT:
        _note(rows, name, pl.DataFrame({KEYS[name][0][0]: [one.subject]}))


def apply(frames: Tables, rows: Rows, before: Snapshot | None) -> Tables:
    """The tables of a snapshot without what is left out; in its place what the last push had."""
    done = dict(frames)
    for name, keys in rows.tables.items():
        now = frames[name]
        earlier = _with_columns(before.table(name), now) if before else now.clear()
        kept, back = now, []
        for some in keys:
            kept = kept.join(some, on=some.columns, how="anti")
            back.append(earlier.join(some, on=some.columns, how="semi"))
        done[name] = pl.concat([kept, *back]).unique().sort(KEYS[name][1])
    done["submissions"] = _submissions(frames["submissions"], rows, before)
    return done


def _with_columns(earlier: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """A table of an earlier snapshot with the columns that it has now; one that it had not yet is empty."""
    return earlier.select(
        (pl.col(name) if name in earlier.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in now.schema.items()
    )


def _submissions(now: pl.DataFrame, rows: Rows, before: Snapshot | None) -> pl.DataFrame:
    """Each with why it is left out (``left_out``, null where it is not); those of the last push that stand again as they stood there."""
    codes = {entry["submission_no"]: str(entry["code"]) for entry in rows.entries if "submission_no" in entry}
    mine = pl.col("submission_no").replace_strict(codes, default=None, return_dtype=pl.String)
    there = pl.col("left_out") if "left_out" in now.columns else pl.lit(None, pl.String)
    marked = now.with_columns(left_out=pl.coalesce(mine, there))
    if before is None or not rows.replaced:
        return marked
    again = _with_columns(before.pushed(), now).filter(pl.col("submission_no").is_in(rows.replaced))
    again = again.select(pl.exclude("left_out"))
    kept = marked.filter(~pl.col("submission_no").is_in(again["submission_no"].implode()))
    return pl.concat([kept, again.with_columns(left_out=pl.lit(None, pl.String))]).sort("submission_no")


def detections(found: pl.DataFrame, code: str, name: str, rows: Rows, before: Snapshot | None) -> pl.DataFrame:
    """The detections of a partition without those that are left out; in their place those of the last push that they replaced."""
    mine = rows.by_code.get(code, {})
    hit = found["submission_no"].is_in(list(mine))
    rows.counted.update(found.filter(hit)["submission_no"].to_list())
    kept = found.filter(~hit)
    replaced = [number for earlier in mine.values() for number in earlier]
    if before is None or not replaced or name not in before.detections:
        return kept
    again = pl.read_parquet(before.detections[name]).filter(pl.col("submission_no").is_in(replaced))
    again = again.join(kept, on="det_key", how="anti").select(kept.columns)
    return pl.concat([kept, again]).sort("receiver_key", "transmitter_key", "device_ms", "det_key")
