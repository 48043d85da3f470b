"""Which rows are left out of a push: those of a submission, a tracker or a project that the last real push had not, or had otherwise.

Belongs here: finding them in the node database. Does not belong here: the words of it (``left_out.py``), what stands in their place
(``standing.py``), freezing (``snapshot.py``).

What is left out stays as the last real push had it: a correction that nobody signed withdraws nothing that was delivered before, and a new
sheet on hold brings nothing. What a file that stays in has, too, is that file's, and is not left out.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.fixing import applying
from otn_dagster.telemetry.fixing.corrections import corrected
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.push.left_out import LeftOut, Scope, Why

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
    """Which rows are left out, and what stands in their place.

    by_code: new submissions of detections by project, each with the ones that it replaces. also_of: of such a submission the rows that other
    files gave, too, which were not loaded from them. moved: how many rows more, or less, a submission has in the push than were loaded.
    """

    tables: dict[str, list[pl.DataFrame]] = field(default_factory=dict)  # keys by table
    by_code: dict[str, dict[int, list[int]]] = field(default_factory=dict)
    also_of: dict[int, pl.DataFrame] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the manifest
    counted: Counter[int] = field(default_factory=Counter)  # rows that were left out, by submission_no
    moved: Counter[int] = field(default_factory=Counter)
    replaced: set[int] = field(default_factory=set)  # submissions of the last push that stand again


Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class _File:
    """A submission that is loaded."""

    number: int
    key: str
    code: str
    kind: str
    name: str
    loaded_at: dt.datetime


@dataclass(frozen=True)
class _Around:
    """What is looked at to find the rows of a file: the files that stay in, the snapshot before, the tables as they are loaded."""

    connection: Connection
    settings: Settings
    staying: list[_File]
    pushed: set[int]
    before: Snapshot | None
    tables: Tables

    def knows(self, code: str) -> bool:
        """Whether the push before has a project."""
        return self.before is not None and code in self.before.table("projects")["collectioncode"]


def find(
    connection: Connection, settings: Settings, left: Sequence[LeftOut], before: Snapshot | None, tables: Tables
) -> Rows:
    """The rows of what is left out. What the last push had already, as it had it, is not left out any more.

    tables: of the snapshot, as they are loaded.
    """
    rows = Rows()
    if not left:
        return rows
    chosen, trackers, whole = ({one.subject: one for one in left if one.scope is scope} for scope in Scope)
    pushed = set(before.pushed()["submission_no"]) if before else set()
    loaded, follows = _files(connection)
    out, staying = [], []
    for file in loaded:
        one = chosen.get(file.key) or whole.get(file.code) or (trackers.get(file.code) if file.kind == "tags" else None)
        if one is None or file.number in pushed:
            staying.append(file)
        else:
            out.append((one, file))
    around = _Around(connection, settings, staying, pushed, before, tables)
    for one, file in out:
        earlier = _earlier(file.number, follows, pushed)
        rows.replaced |= set(earlier)
        if file.kind == "detections":
            rows.by_code.setdefault(file.code, {})[file.number] = earlier
            rows.also_of[file.number] = _also_given(around, file)
        else:
            rows.counted[file.number] = _of_sheet(rows, around, file, one, bool(earlier))
        rows.entries.append(_entry(around, one, file))
    for one in left:
        if one.scope is not Scope.SUBMISSION:
            for name in OF_A_TRACKER if one.scope is Scope.TRACKER else OF_A_PROJECT:
                _note(rows, name, pl.DataFrame({KEYS[name][0][0]: [one.subject]}))
            rows.entries.append(_said(one, one.subject))
    return rows


def _files(connection: Connection) -> tuple[list[_File], dict[int, int | None]]:
    """(what is loaded; of every submission the one that it supersedes)."""
    every = connection.execute(
        "select submission_no, submission_key, collectioncode, kind, file_name, loaded_at, supersedes, state from platform.submissions"
        " order by 1"
    ).fetchall()
    numbers = {row[1]: row[0] for row in every}
    return [_File(*row[:6]) for row in every if row[7] == "loaded"], {row[0]: numbers.get(row[6]) for row in every}


def _said(one: LeftOut, code: str) -> dict[str, Any]:
    return {"scope": one.scope, "subject": one.subject, "collectioncode": code, "code": one.code, "why": one.why}


def _entry(around: _Around, one: LeftOut, file: _File) -> dict[str, Any]:
    said = _said(one, file.code)
    if file.kind == "project" and one.code is not Why.LATE and not around.knows(file.code):
        said["why"] += " (its project is new: without its form nothing of it could be pushed, so that is in)"
    of_file = {"submission_no": file.number, "submission_key": file.key, "kind": file.kind, "file_name": file.name}
    return said | of_file


def _earlier(number: int, follows: dict[int, int | None], pushed: set[int]) -> list[int]:
    """The submission that this one replaced, or the one before it, as far back as one that was pushed."""
    at = follows.get(number)
    while at is not None and at not in pushed:
        at = follows.get(at)
    return [] if at is None else [at]


def _of_sheet(rows: Rows, around: _Around, file: _File, one: LeftOut, replaces: bool) -> int:
    """Note the keys of a file's rows, but for those that a file which stays in has, too; how many rows it has.

    replaces: it corrects one that was pushed, and may have removed rows of it.
    """
    if file.kind == "events":
        return _of_events(rows, around, file)
    if file.kind == "fix":
        return _of_fix(rows, around, file)
    if file.kind == "project":
        if one.code is Why.LATE or around.knows(file.code):
            for name in ("projects", "contacts"):
                _note(rows, name, pl.DataFrame({"collectioncode": [file.code]}))
        return 1
    if file.kind not in SHEETS:
        return 0
    since = (file.loaded_at, file.number)
    same = [f for f in around.staying if (f.code, f.kind) == (file.code, file.kind)]
    later = [f for f in same if (f.loaded_at, f.number) > since]  # what they have in common is as the later one says
    sheet, others = (
        _sheet(around, file.code, file.kind, [file.key]),
        _sheet(around, file.code, file.kind, [f.key for f in later]),
    )
    for name in ("animals", "tags") if file.kind == "tags" else ("deployments", "station_tags"):
        (project, own), _ = KEYS[name]
        if own != "transmitter":
            sheet, others = (_as_fixed(around, file, some) for some in (sheet, others))
        named = pl.lit(file.code).alias(project), pl.col("catalognumber" if own == "rcvrcatnumber" else own).alias(own)
        keys = sheet.select(named).join(others.select(named), on=[project, own], how="anti")
        if replaces and around.before:
            had = around.before.table(name).filter(pl.col(project) == file.code).select(project, own)
            keys = pl.concat([keys, had.join(around.tables[name], on=[project, own], how="anti")])
        _note(rows, name, keys.drop_nulls().unique())
    return sheet.height


def _sheet(around: _Around, code: str, kind: str, keys: list[str]) -> pl.DataFrame:
    query = sql.SQL("select catalognumber, transmitter from {} where submission_key = any(%s)").format(
        table(code, SHEETS[kind])
    )
    schema = {"catalognumber": pl.String, "transmitter": pl.String}
    return transfer.copy_out(around.connection, query, schema, [keys]) if keys else pl.DataFrame(schema=schema)


def _as_fixed(around: _Around, file: _File, sheet: pl.DataFrame) -> pl.DataFrame:
    """A sheet's names as fixes call them that stand."""
    of = "otn_animals" if file.kind == "tags" else "moorings"
    stubs = [{"catalognumber": name, "basisofrecord": "RECEIVER"} for name in sheet["catalognumber"]]
    fixes = applying.in_force(around.connection, file.code)
    named = [corrected(of, stub, fixes) if stub["catalognumber"] else None for stub in stubs]
    return sheet.with_columns(catalognumber=pl.Series([one and one["catalognumber"] for one in named], dtype=pl.String))


def _of_fix(rows: Rows, around: _Around, file: _File) -> int:
    """What a list of fixes changed, under its old name and its new one, where the push before has it; what is new is in as it is."""
    images = around.connection.execute(
        "select table_name, before, after from platform.fixed_rows where submission_key = %s", [file.key]
    ).fetchall()
    for place, *both in images:
        present = [image for image in both if image]
        for name, column in _of_image(place, present[0]):
            (project, own), _ = KEYS[name]
            keys = pl.DataFrame({project: file.code, own: sorted({image[column] for image in present})})
            if around.before and not around.before.table(name).join(keys, on=[project, own], how="semi").is_empty():
                _note(rows, name, keys)
    lines = around.connection.execute(
        "select count(*) from platform.fixes where submission_key = %s", [file.key]
    ).fetchone()
    return lines[0] if lines else 0


def _of_image(place: str, image: dict[str, Any]) -> list[tuple[str, str]]:
    """Tables of a snapshot in which a row of an upper table stands, each with the column by which it is found there."""
    if place == "otn_animals":
        return [("animals", "catalognumber"), ("tags", "catalognumber")]
    if place == "otn_transmitters":
        return [("tags", "relatedcatalogitem")]
    found = {"RECEIVER": [("deployments", "catalognumber")], "TRANSMITTER": [("station_tags", "fieldnumber")]}
    return found.get(image.get("basisofrecord", ""), []) if place == "moorings" else []


def _of_events(rows: Rows, around: _Around, file: _File) -> int:
    """The clocks of its receivers; where a new file that stays in speaks of a receiver, too, its clock is kept as it is."""
    new = [one.key for one in around.staying if one.kind == "events" and one.number not in around.pushed]
    query = "select submission_key, receiver_key from platform.events where submission_key = any(%s)"
    schema = {"submission_key": pl.String, "receiver_key": pl.Int32}
    found = transfer.copy_out(around.connection, query, schema, [[file.key, *new]])
    mine = found.filter(pl.col("submission_key") == file.key)
    others = found.filter(pl.col("submission_key") != file.key)
    _note(rows, "clock_segments", mine.select("receiver_key").unique().join(others, on="receiver_key", how="anti"))
    return mine.height


SAME = ["receiver_key", "transmitter_key", "second", "sensor_value"]


def _also_given(around: _Around, file: _File) -> pl.DataFrame:
    """Rows that files which stay in have, too, and that were not loaded from them because this file had given them: SAME, by."""
    givers = around.connection.execute(
        "select distinct submission_key from platform.repeated_rows where other_submission_no = %s", [file.number]
    ).fetchall()
    staying = {one.key: one.number for one in around.staying}
    receivers, transmitters = around.tables["receivers"], around.tables["transmitters"]
    schema = {
        "receiver_key": pl.Int32,
        "transmitter_key": pl.Int32,
        "second": pl.Int64,
        "sensor_value": pl.Float64,
        "by": pl.Int32,
    }
    found = [pl.DataFrame(schema=schema)]
    for (key,) in sorted(givers):
        if key in staying:
            path = submissions.get(around.connection, key).parquet(around.settings)
            given = pl.read_parquet(path, columns=["receiver", "transmitter", "datetime", "sensor_value"])
            named = given.with_columns(
                rcv_serial_no=pl.col("receiver").str.extract(r"([^-]*)$"), second=pl.col("datetime").dt.epoch("s")
            )
            keyed = named.join(receivers, on="rcv_serial_no").join(transmitters, on="transmitter")
            found.append(
                keyed.with_columns(by=pl.lit(staying[key])).select(pl.col(n).cast(kind) for n, kind in schema.items())
            )
    return pl.concat(found).unique(SAME, keep="first", maintain_order=True)


def _note(rows: Rows, name: str, keys: pl.DataFrame) -> None:
    rows.tables.setdefault(name, []).append(keys)
