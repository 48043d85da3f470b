"""Files that came before, whole, in part, in another dress or corrected; and new versions that take too much away.

Belongs here: comparing what came with what came before. Does not belong here: how a file is read for that (``prints.py``). Nothing is
ever deleted for being a duplicate.

Source: GBIF's ingestion, which pauses where identifiers change en masse: most such changes were mistakes of the publisher.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import flows, items
from otn_dagster.tracker.configuration import Quarantine
from otn_dagster.tracker.items import Actor, Item
from otn_dagster.tracker.receipt import prints
from otn_dagster.tracker.receipt.prints import Print

ALIKE = 0.95  # a file with so many of another's keys is a revision of it
LEAST_OVERLAP = 0.01
MOST_COMPARED, MOST_EXPLAINED, MOST_SHOWN, MOST_SECONDS = 200, 3, 50, 20.0
QUARANTINE = "quarantine"  # the topic of its question: accept releases the version, reject ends it
RECEIPT = Actor("receipt")


@dataclass(frozen=True)
class Comparison:
    """How a file stands to an earlier one. Counts are of keys, of rows in ``differing``."""

    verdict: str
    overlap_percent: float
    dropped: int = 0
    added: int = 0
    differing: int = 0
    difference: list[dict[str, Any]] = field(default_factory=list)


def classify(new: Print, old: Print, at_least: float = LEAST_OVERLAP) -> Comparison | None:
    """How two tables stand to each other; None where they share (almost) nothing.

    overlap: shared keys in percent of those of both together.
    """
    if np.array_equal(new.rows, old.rows):
        return Comparison("same_table", 100.0)
    new_keys, old_keys = np.unique(new.keys), np.unique(old.keys)
    shared = np.intersect1d(new_keys, old_keys, assume_unique=True).size
    rows_shared = np.intersect1d(new.rows, old.rows).size
    together = new_keys.size + old_keys.size - shared
    overlap = shared / together if together else 0.0
    dropped, added = old_keys.size - shared, new_keys.size - shared
    differing = max(0, shared - rows_shared)
    facts = int(dropped), int(added), int(differing)
    percent = round(100 * overlap, 1)
    if _all_in(new.rows, old.rows):
        return Comparison("subset", percent, *facts)
    if _all_in(old.rows, new.rows):
        return Comparison("superset", percent, *facts)
    if old_keys.size and shared / old_keys.size >= ALIKE:
        return Comparison("revision", percent, *facts)
    return Comparison("overlap", percent, *facts) if overlap >= at_least else None


def _all_in(some: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.isin(some, others).all())


def look(
    connection: Connection, settings: Settings, quarantine: Quarantine, item: Item
) -> list[tuple[int, Comparison]]:
    """Compare a received submission with those before it, keep what was found, and quarantine what takes too much away.

    Safe to repeat: an item that has its print was looked at.
    """
    if connection.execute("select 1 from platform.tracker_prints where item_id = %s", [item.item_id]).fetchone():
        return []
    submission = submissions.get(connection, item.subject)
    made = prints.of_file(submission.path(settings), submission.kind)
    _keep_print(connection, item, made)
    found = _same_bytes(connection, item)
    before = _version_before(connection, submission)
    if made is not None:
        found += _compared(connection, item, made, before, {other for other, _ in found})
        shown = sorted(found, key=lambda one: (one[0] != before, -one[1].overlap_percent))[:MOST_EXPLAINED]
        wanted = {other for other, _ in shown}
        found = [
            (other, _with_difference(connection, settings, submission, other, c) if other in wanted else c)
            for other, c in found
        ]
    _keep(connection, item, found)
    if made is not None and before is not None and submission.kind != "project":
        _quarantine(connection, quarantine, item, submission, made, items.get(connection, before))
    return found


def keep_unread(connection: Connection, item: Item) -> None:
    """Say that a file cannot be compared, so that it is not tried again. Safe to repeat."""
    _keep_print(connection, item, None)


def _version_before(connection: Connection, submission: Submission) -> int | None:
    """The item of the newest earlier version that was loaded, or is about to be: what was held or refused never counted."""
    loaded = submissions.loaded_before(connection, submission)
    key = loaded or submission.supersedes
    item = items.find(connection, flows.SUBMISSION, key) if key else None
    under_way = item is not None and (item.state in ("received", "loading") and item.hold is None)
    return item.item_id if item and (loaded or under_way) else None


def _compared(
    connection: Connection, item: Item, made: Print, before: int | None, known: set[int]
) -> list[tuple[int, Comparison]]:
    """Comparisons with earlier files, one at a time, for so many seconds at most; the version before comes first."""
    end, found = time.monotonic() + MOST_SECONDS, []
    others = [other for other in _candidates(connection, item, made) if other != before]
    for other in [before, *others] if before is not None else others:
        if other in known or (time.monotonic() > end and other != before):
            continue
        earlier = _print_of(connection, other)
        compared = classify(made, earlier, at_least=0.0 if other == before else LEAST_OVERLAP) if earlier else None
        if compared:
            found.append((other, compared))
    return found


def waiting(connection: Connection) -> list[Item]:
    """Received submissions that were not looked at yet, in the order in which they came."""
    rows = connection.execute(
        "select i.item_id from platform.tracker_items i left join platform.tracker_prints p using (item_id)"
        " where i.flow = 'submission' and i.state = 'received' and p.item_id is null order by i.item_id limit 500"
    ).fetchall()
    return [items.get(connection, item_id) for (item_id,) in rows]


def of(connection: Connection, item_id: int) -> list[dict[str, Any]]:
    """What an item duplicates, and what duplicates it, the most alike first."""
    rows = connection.execute(
        "select d.item_id = %(item)s as mine, d.verdict, d.overlap_percent::float8, d.dropped_keys, d.added_keys, d.differing_rows,"
        " d.difference, i.item_id, i.title, i.state, i.collectioncode from platform.tracker_duplicates d join platform.tracker_items i"
        " on i.item_id = case when d.item_id = %(item)s then d.other_id else d.item_id end"
        " where d.item_id = %(item)s or d.other_id = %(item)s order by d.overlap_percent desc, i.item_id",
        {"item": item_id},
    ).fetchall()
    names = [
        "mine",
        "verdict",
        "overlap_percent",
        "dropped",
        "added",
        "differing",
        "difference",
        "item_id",
        "title",
        "state",
        "collectioncode",
    ]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _same_bytes(connection: Connection, item: Item) -> list[tuple[int, Comparison]]:
    rows = connection.execute(
        "select item_id from platform.tracker_items where sha256 = %s and item_id < %s order by item_id limit %s",
        [item.sha256, item.item_id, MOST_COMPARED],
    ).fetchall()
    return [(item_id, Comparison("same_bytes", 100.0)) for (item_id,) in rows]


def _candidates(connection: Connection, item: Item, made: Print) -> list[int]:
    """Earlier files of the same kind and collection (the newest), and the same table anywhere."""
    rows = connection.execute(
        "select p.item_id from platform.tracker_prints p join platform.tracker_items i using (item_id)"
        " where i.item_id < %(item)s and i.kind = %(kind)s and p.table_hash is not null and"
        " ((i.node = %(node)s and i.collectioncode = %(code)s and (%(receivers)s::text[] is null"
        "  or p.about->'receivers' ?| %(receivers)s::text[])) or p.table_hash = %(table)s) order by i.item_id desc limit %(most)s",
        {
            "item": item.item_id,
            "kind": item.kind,
            "node": item.node,
            "code": item.collectioncode,
            "receivers": made.about.get("receivers"),
            "table": made.table_hash,
            "most": MOST_COMPARED,
        },
    ).fetchall()
    return [item_id for (item_id,) in rows]


def _print_of(connection: Connection, item_id: int) -> Print | None:
    row = connection.execute(
        "select rows, keys, about from platform.tracker_prints where item_id = %s and table_hash is not null", [item_id]
    ).fetchone()
    return Print(np.frombuffer(row[0], np.uint64), np.frombuffer(row[1], np.uint64), row[2]) if row else None


def _keep_print(connection: Connection, item: Item, made: Print | None) -> None:
    values = (
        [made.table_hash, made.rows.tobytes(), made.keys.tobytes(), made.rows.size, json.dumps(made.about)]
        if made
        else [None, b"", b"", 0, "{}"]
    )
    connection.execute(
        "insert into platform.tracker_prints (item_id, table_hash, rows, keys, row_count, about) values (%s, %s, %s, %s, %s, %s)"
        " on conflict (item_id) do update set table_hash = excluded.table_hash, rows = excluded.rows, keys = excluded.keys,"
        " row_count = excluded.row_count, about = excluded.about",
        [item.item_id, *values],
    )


def _keep(connection: Connection, item: Item, found: Sequence[tuple[int, Comparison]]) -> None:
    connection.execute("delete from platform.tracker_duplicates where item_id = %s", [item.item_id])
    for other, c in found:
        connection.execute(
            "insert into platform.tracker_duplicates (item_id, other_id, verdict, overlap_percent, dropped_keys, added_keys,"
            " differing_rows, difference) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                item.item_id,
                other,
                c.verdict,
                c.overlap_percent,
                c.dropped,
                c.added,
                c.differing,
                _jsonb(c.difference),
            ],
        )


def _quarantine(
    connection: Connection, rule: Quarantine, item: Item, submission: Submission, made: Print, before: Item
) -> None:
    """A new version of a file that drops too many keys or changes the count too much waits for a person."""
    row = connection.execute(
        "select keys, row_count from platform.tracker_prints where item_id = %s and table_hash is not null",
        [before.item_id],
    ).fetchone()
    if not row or not row[1]:
        return
    old_keys = np.unique(np.frombuffer(row[0], np.uint64))
    dropped = 100 * np.setdiff1d(old_keys, made.keys).size / max(1, old_keys.size)
    changed = 100 * abs(made.rows.size - row[1]) / row[1]
    why = []
    if dropped > rule.dropped_keys_percent:
        why.append(f"drops {dropped:.1f} % of the keys of {before.title} (more than {rule.dropped_keys_percent:g} %)")
    if changed > rule.changed_count_percent and not _is_of_modem(connection, submission):
        why.append(
            f"has {made.rows.size:,} rows instead of {row[1]:,} ({changed:.1f} %, more than {rule.changed_count_percent:g} %)"
        )
    if why:
        says = f"the new version {' and '.join(why)}"
        items.hold(connection, item.item_id, "quarantined", RECEIPT, says)
        decisions.ask(connection, QUARANTINE, item.subject, [says])


def _is_of_modem(connection: Connection, submission: Submission) -> bool:
    """Whether this platform wrote the file itself from what a receiver pushed: a day grows until all of it has come."""
    row = connection.execute(
        "select 1 from platform.live_submissions where sha256 = %s", [submission.sha256]
    ).fetchone()
    return row is not None


def _with_difference(
    connection: Connection, settings: Settings, submission: Submission, other_id: int, compared: Comparison
) -> Comparison:
    """The same comparison with the first rows that differ, cell by cell."""
    if compared.verdict in ("same_bytes", "same_table"):
        return compared
    other = submissions.get(connection, items.get(connection, other_id).subject)
    paths = submission.path(settings), other.path(settings)
    if not paths[1].exists():
        return compared
    if submission.kind in ("detections", "events"):
        new, old = (prints.rows_of_export(path, submission.kind) for path in paths)
        rows = _difference_of_exports(new, old)
    else:
        sheet, sheet_before = (prints.rows_of(path, submission.kind) for path in paths)
        rows = _difference_of_sheets(sheet, sheet_before, submission.kind)
    return Comparison(
        compared.verdict,
        compared.overlap_percent,
        compared.dropped,
        compared.added,
        compared.differing,
        rows[:MOST_SHOWN],
    )


def _difference_of_sheets(new: list[prints.Row], old: list[prints.Row], kind: str) -> list[dict[str, Any]]:
    before = {prints.key_of(row, kind): row for row in old}
    after = {prints.key_of(row, kind): row for row in new}
    found: list[dict[str, Any]] = []
    for key, row in after.items():
        if key in before:
            cells = {
                name: [before[key].get(name), row.get(name)]
                for name in sorted({*row, *before[key]})
                if before[key].get(name) != row.get(name)
            }
            if cells:
                found.append({"key": key, "what": "differs", "cells": cells})
    found += [{"key": key, "what": "dropped"} for key in before if key not in after]
    found += [{"key": key, "what": "added"} for key in after if key not in before]
    return found


def _difference_of_exports(new: pl.DataFrame, old: pl.DataFrame) -> list[dict[str, Any]]:
    dropped = old.join(new, on="key", how="anti")["key"].head(MOST_SHOWN)
    added = new.join(old, on="key", how="anti")["key"].head(MOST_SHOWN)
    differing = (
        new.join(old, on="key", suffix="_before")
        .filter(pl.col("line") != pl.col("line_before"))["key"]
        .head(MOST_SHOWN)
    )
    return [
        {"key": key, "what": what}
        for what, keys in (("differs", differing), ("dropped", dropped), ("added", added))
        for key in keys
    ]


def _jsonb(difference: list[dict[str, Any]]) -> str:
    """As PostgreSQL takes it: its jsonb has no NUL."""
    return json.dumps(difference).replace("\\u0000", "")
