"""Which detection extracts a push must write: only what new, changed or withdrawn matches touch.

Belongs here: the difference between two pushes' matches and the list ``CODE,YEAR,type`` that follows from it. Does not
belong here: writing extracts (``extracts.py``).

Letters: t (tracker, matched to the project's animals) is the field's own; q (qualified), u (unqualified) and s (sentinel)
are this platform's, because no source names them.
"""

from __future__ import annotations

# Ibis columns have no types that a checker could know.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from otn_dagster import files
from otn_dagster.database import Connection
from otn_dagster.late import late
from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.push.matching import Matches, receivers_that_differ

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
else:
    ibis = late("ibis")

TYPES = {"t": "tracker", "q": "qualified", "u": "unqualified", "s": "sentinel"}
CHANGES_FILE, DETAILS_FILE, LIST_FILE = (
    "extract_changes.parquet",
    "withdrawn_and_changed.parquet",
    "extracts_list.parquet",
)
EXTRACT = ["project_key", "year", "extract_type"]
OUTCOMES = ["outcome_before", "outcome_after"]
WHAT_READERS_SEE = ["time_ms", "deployment_key", "tag_key", "modified_day", "outcome"]


def extract_rows(matches: ir.Table) -> ir.Table:
    """Each detection once for every extract it stands in: project_key (of the extract), year, extract_type."""
    matches = matches.mutate(year=matches.time_ms.as_timestamp("ms").year().cast("int16"))
    columns = ["det_key", "transmitter_key", "year", *WHAT_READERS_SEE]
    for_array = matches.filter(~matches.outcome.isin([rules.NO_RECEIVER, rules.MATCHED_OWN]))
    outcome = for_array.outcome
    array_type = ibis.cases((outcome == rules.MATCHED, "q"), (outcome == rules.SENTINEL, "s"), else_="u")
    for_array = for_array.select(*columns, project_key=for_array.project_key, extract_type=array_type)
    for_tracker = matches.filter(matches.outcome.isin([rules.MATCHED, rules.MATCHED_OWN]))
    for_tracker = for_tracker.select(*columns, project_key=for_tracker.tracker_key, extract_type=ibis.literal("t"))
    return ibis.union(for_array, for_tracker)


def changes_between(new: ir.Table, old: ir.Table) -> ir.Table:
    """Rows of extracts that were added, withdrawn or changed, with the outcome before and after."""
    key = ["det_key", "project_key", "year", "extract_type"]
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
        outcome_before=joined.old_outcome,
        outcome_after=joined.outcome,
        change=change,
    )
    return named.filter(named.change != "same")


def write_list(matches: Matches, before: Matches | None, projects: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Write the changes and the list into a push's folder; returns the list.

    projects: of the snapshot. Columns: detection_extract, collectioncode, year, extract_type, added, changed, withdrawn.
    Beside it stand the counts of changes by reason, and every detection that was withdrawn or changed, one by one. Safe to
    repeat: a pure function of the two pushes' matches.
    """
    pairs = [changes(new, old) for new, old in _pairs(matches, before)]
    counts = (
        pl.concat([counted for counted, _ in pairs])
        .group_by(*EXTRACT, *OUTCOMES, "change")
        .agg(pl.col("detections").sum())
    )
    counts = in_words(counts, projects).sort(
        "collectioncode", "year", "extract_type", "change", "reason_before", "reason_after"
    )
    details = in_words(pl.concat([detail for _, detail in pairs]), projects)
    _write(counts, folder / CHANGES_FILE)
    _write(details.sort("collectioncode", "year", "extract_type", "det_key"), folder / DETAILS_FILE)
    extracts = listed(counts)
    _write(extracts, folder / LIST_FILE)
    return extracts


def listed(counts: pl.DataFrame) -> pl.DataFrame:
    """The list, from counts of changes in words: an extract a row, with what was added, changed and withdrawn."""
    by_change = [
        pl.col("detections").filter(pl.col("change") == kind).sum().alias(kind)
        for kind in ("added", "changed", "withdrawn")
    ]
    extracts = counts.group_by("collectioncode", "year", "extract_type").agg(by_change)
    return extracts.sort("collectioncode", "year", "extract_type").select(
        pl.format("{},{},{}", "collectioncode", "year", "extract_type").alias("detection_extract"), pl.all()
    )


def record_list(connection: Connection, extracts: pl.DataFrame, push_date: str, links: Mapping[str, str]) -> None:
    """The list into ``obis.detection_extracts_list``, in one transaction. Safe to repeat: who was told stays written there.

    links: of an extract by its name, where one reads of what changed it (``git_issue_link``, as OTN's list has it).
    """
    connection.execute(
        "delete from obis.detection_extracts_list where push_date = %s and not detection_extract = any(%s)",
        [push_date, extracts["detection_extract"].to_list()],
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into obis.detection_extracts_list (detection_extract, collectioncode, year, extract_type, added, changed,"
            " withdrawn, push_date, git_issue_link) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (push_date, detection_extract) do update set added = excluded.added, changed = excluded.changed,"
            " withdrawn = excluded.withdrawn, git_issue_link = coalesce(excluded.git_issue_link, detection_extracts_list.git_issue_link)",
            [(*row, push_date, links.get(row[0])) for row in extracts.iter_rows()],
        )


def in_words(changes: pl.DataFrame, projects: pl.DataFrame) -> pl.DataFrame:
    """Changes with collectioncode and reasons instead of keys. projects: of a snapshot."""
    codes = dict(projects.select("project_key", "collectioncode").iter_rows())
    reasons = [
        pl.col(f"outcome_{side}")
        .replace_strict(rules.REASONS, default=None, return_dtype=pl.String)
        .alias(f"reason_{side}")
        for side in ("before", "after")
    ]
    code = pl.col("project_key").replace_strict(codes, return_dtype=pl.String).alias("collectioncode")
    return changes.select(code, pl.exclude("project_key", *OUTCOMES), *reasons).cast({"year": pl.Int32})


def _pairs(matches: Matches, before: Matches | None) -> list[tuple[list[Path], list[Path]]]:
    """Bucket files to compare: each with its own of the push before, skipping those that are the same file."""
    if before is None or before.manifest["width"] != matches.manifest["width"]:
        return [(matches.buckets, before.buckets if before else [])]
    known = {path.name: path for path in before.buckets}
    pairs = [([new], [known[new.name]] if new.name in known else []) for new in matches.buckets]
    different = [
        (new, old)
        for new, old in pairs
        if not old
        or matches.manifest["files"][new[0].name]["sha256"] != before.manifest["files"][old[0].name]["sha256"]
    ]
    return different or [([], [])]


def changes(new: list[Path], old: list[Path]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(counts of changes by extract and outcomes, the rows that were withdrawn or changed) between files of matches."""
    backend = engine.duckdb(memory_limit="1500MB")
    schema = ibis.schema(
        {
            "det_key": "int64",
            "receiver_key": "int32",
            "transmitter_key": "int32",
            "time_ms": "int64",
            "deployment_key": "int32",
            "project_key": "int16",
            "outcome": "int8",
            "tag_key": "int32",
            "tracker_key": "int16",
            "modified_day": "int32",
        }
    )
    # Only receivers whose rows differ are compared row by row.
    keys = pl.DataFrame(
        {"receiver_key": sorted(receivers_that_differ(new, old)) if old else []}, {"receiver_key": pl.Int32}
    )
    differing = engine.table(backend, "differing", keys)
    tables = []
    for name, paths in (("new_matches", new), ("old_matches", old)):
        if paths:
            rows = backend.read_parquet([str(path) for path in paths], table_name=name)
            tables.append(extract_rows(rows.semi_join(differing, "receiver_key") if old else rows))
        else:
            tables.append(extract_rows(backend.create_table(name, schema=schema)))
    if old:
        changes = backend.create_table("changes", changes_between(*tables))
    else:  # the first push: all is new, and there is nothing to compare
        no_outcome = ibis.null("int8")
        changes = tables[0].mutate(
            outcome_before=no_outcome, outcome_after=tables[0].outcome, change=ibis.literal("added")
        )
    counted = changes.group_by(*EXTRACT, *OUTCOMES, "change").aggregate(detections=changes.count()).to_polars()
    details = changes.filter(changes.change != "added")
    details = details.select("det_key", *EXTRACT, "transmitter_key", *OUTCOMES, "change").to_polars()
    backend.disconnect()
    return counted, details


def _write(frame: pl.DataFrame, path: Path) -> None:
    with files.replacing(path) as aside:
        frame.write_parquet(aside, compression="zstd")
