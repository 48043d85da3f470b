"""
Which detection extracts a push must write: only what new, changed or withdrawn matches touch.

Belongs here: the difference between two pushes' matches and the list ``CODE,YEAR,type`` that follows from it. Does not
belong here: writing extracts (``extracts.py``).

Letters: t (tracker, matched to the project's animals) is the field's own; q (qualified), u (unqualified) and s (sentinel)
are this platform's, because no source names them.
"""

from pathlib import Path

import ibis
import ibis.expr.types as ir
import polars as pl

from otn_dagster.database import Connection
from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.push_core import Matches

TYPES = {"t": "tracker", "q": "qualified", "u": "unqualified", "s": "sentinel"}
CHANGES_FILE, LIST_FILE = "extract_changes.parquet", "extracts_list.parquet"
WHAT_READERS_SEE = ["time_ms", "deployment_key", "tag_key", "modified_day", "reason"]


def extract_rows(matches: ir.Table) -> ir.Table:
    """Each detection once for every extract it stands in: collectioncode (of the extract), year, extract_type."""
    array_type = ibis.cases((matches.reason == rules.MATCHED, "q"), (matches.reason == rules.SENTINEL, "s"), else_="u")
    columns = ["det_key", "transmitter_key", "year", *WHAT_READERS_SEE]
    for_array = matches.filter(~matches.reason.isin([rules.NO_RECEIVER, rules.MATCHED_OWN]))
    for_array = for_array.select(*columns, collectioncode=for_array.collectioncode, extract_type=array_type)
    for_tracker = matches.filter(matches.reason.isin([rules.MATCHED, rules.MATCHED_OWN]))
    for_tracker = for_tracker.select(*columns, collectioncode=for_tracker.trackercode, extract_type=ibis.literal("t"))
    return ibis.union(for_array, for_tracker)


def changes_between(new: ir.Table, old: ir.Table) -> ir.Table:
    """Rows of extracts that were added, withdrawn or changed, with the reason before and after."""
    key = ["det_key", "collectioncode", "year", "extract_type"]
    before = old.rename({f"old_{name}": name for name in old.columns})
    joined = new.outer_join(before, [new[name] == before[f"old_{name}"] for name in key])
    different = ibis.or_(*[~joined[name].identical_to(joined[f"old_{name}"]) for name in WHAT_READERS_SEE])
    change = ibis.cases(
        (joined.old_det_key.isnull(), "added"),
        (joined.det_key.isnull(), "withdrawn"),
        (different, "changed"),
        else_="same",
    )
    named = joined.select(
        *[joined[name].coalesce(joined[f"old_{name}"]).name(name) for name in [*key, "transmitter_key"]],
        reason_before=joined.old_reason,
        reason_after=joined.reason,
        change=change,
    )
    return named.filter(named.change != "same")


def write_list(matches: Matches, before: Matches | None, folder: Path) -> pl.DataFrame:
    """
    Write the changes and the list into a push's folder; returns the list.

    Columns: detection_extract, collectioncode, year, extract_type, added, changed, withdrawn. Safe to repeat: a pure
    function of the two pushes' matches.
    """
    changes = pl.concat([_changes(*pair) for pair in _pairs(matches, before)])
    changes = changes.sort("collectioncode", "year", "extract_type", "det_key")
    _write(changes, folder / CHANGES_FILE)
    counts = [(pl.col("change") == kind).sum().alias(kind) for kind in ("added", "changed", "withdrawn")]
    extracts = changes.group_by("collectioncode", "year", "extract_type").agg(counts)
    extracts = extracts.sort("collectioncode", "year", "extract_type").select(
        pl.format("{},{},{}", "collectioncode", "year", "extract_type").alias("detection_extract"), pl.all()
    )
    _write(extracts, folder / LIST_FILE)
    return extracts


def record_list(connection: Connection, extracts: pl.DataFrame, push_date: str, git_issue_link: str | None) -> None:
    """The list into ``obis.detection_extracts_list``. Safe to repeat: replaces the rows of this push in one transaction."""
    connection.execute("delete from obis.detection_extracts_list where push_date = %s", [push_date])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into obis.detection_extracts_list (detection_extract, collectioncode, year, extract_type, added, changed,"
            " withdrawn, push_date, git_issue_link) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [(*row, push_date, git_issue_link) for row in extracts.iter_rows()],
        )


def _pairs(matches: Matches, before: Matches | None) -> list[tuple[list[Path], list[Path]]]:
    """Bucket files to compare: each with its own of the push before, skipping those that are the same file."""
    if before is None or before.manifest["buckets"] != matches.manifest["buckets"]:
        return [(matches.buckets, before.buckets if before else [])]
    pairs = [([new], [old]) for new, old in zip(matches.buckets, before.buckets, strict=True)]
    different = [
        (new, old)
        for new, old in pairs
        if matches.manifest["files"][new[0].name]["sha256"] != before.manifest["files"][old[0].name]["sha256"]
    ]
    return different or [([], [])]


def _changes(new: list[Path], old: list[Path]) -> pl.DataFrame:
    backend = engine.duckdb(memory_limit="1500MB")
    schema = ibis.schema(
        {
            "det_key": "int64",
            "receiver_key": "int32",
            "transmitter_key": "int32",
            "time_ms": "int64",
            "deployment_key": "int32",
            "collectioncode": "string",
            "reason": "string",
            "tag_key": "int32",
            "trackercode": "string",
            "modified_day": "int32",
            "year": "int16",
        }
    )
    tables = []
    for name, paths in (("new_matches", new), ("old_matches", old)):
        if paths:
            tables.append(extract_rows(backend.read_parquet([str(path) for path in paths], table_name=name)))
        else:
            tables.append(extract_rows(backend.create_table(name, schema=schema)))
    changes = changes_between(*tables).to_polars()
    backend.disconnect()
    return changes.cast({"year": pl.Int32})


def _write(frame: pl.DataFrame, path: Path) -> None:
    staging = path.with_name(f".{path.name}")
    frame.write_parquet(staging, compression="zstd")
    staging.rename(path)
