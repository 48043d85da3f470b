"""The push report: for each project what is new since the last push, and why.

Belongs here: a project's report as text and pictures. Does not belong here: finding changes (``extracts_list.py``).
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from otn_dagster.telemetry import plots
from otn_dagster.telemetry.extracts import Context, extract_frames
from otn_dagster.telemetry.extracts_list import CHANGES_FILE, TYPES


@dataclass(frozen=True)
class Report:
    """One project's report."""

    text: str
    changes: pl.DataFrame  # extract, change, why, detections
    abacus: bytes | None
    map: bytes | None


def report(context: Context, extracts: pl.DataFrame, collectioncode: str, folder: Path) -> Report:
    """Write ``reports/<COLLECTION>.md`` with its pictures, and return it. Safe to repeat: a pure function of the push."""
    changes = pl.read_parquet(folder / CHANGES_FILE).filter(pl.col("collectioncode") == collectioncode)
    table = why(changes)
    tracker_years = extracts.filter(pl.col("extract_type") == "t")["year"].to_list()
    abacus = _abacus(context, collectioncode, tracker_years)
    chart = _map(context, collectioncode)
    text = _text(context, collectioncode, extracts, table)
    target = folder / "reports"
    target.mkdir(exist_ok=True)
    for suffix, picture in (("abacus", abacus), ("map", chart)):
        if picture:
            (target / f"{collectioncode}-{suffix}.png").write_bytes(picture)
    (target / f"{collectioncode}.md").write_text(text, encoding="utf-8")
    return Report(text, table, abacus, chart)


def why(changes: pl.DataFrame) -> pl.DataFrame:
    """Changes of extracts counted by year, extract_type, change and the reason in words."""
    reason = (
        pl.when(pl.col("change") == "withdrawn", pl.col("reason_before") == pl.col("reason_after"))
        .then(pl.lit("it belongs to another project or year now"))
        .when(pl.col("change") == "withdrawn", pl.col("reason_after").is_null())
        .then(pl.lit("it was withdrawn, or stands in another extract now"))
        .when(pl.col("change") == "changed", pl.col("reason_before") != pl.col("reason_after"))
        .then(pl.format("{} became {}", "reason_before", "reason_after"))
        .when(pl.col("change") == "changed")
        .then(pl.lit("its time, place or tag metadata changed"))
        .otherwise(pl.lit("a detection, its tag or its receiver came in"))
    )
    counted = (
        changes.with_columns(why=reason)
        .group_by("year", "extract_type", "change", "why")
        .agg(pl.col("detections").sum())
    )
    return counted.sort("year", "extract_type", "change", "why").with_columns(pl.col("extract_type").replace(TYPES))


def _abacus(context: Context, collectioncode: str, years: list[int]) -> bytes | None:
    if not years:
        return None
    frames = extract_frames(context, collectioncode, "t", years)
    every = pl.concat(frames.values(), how="vertical_relaxed").filter(pl.col("receiver") != "release")
    return plots.abacus(every, f"{collectioncode}: days on which its animals were heard") if every.height else None


def _map(context: Context, collectioncode: str) -> bytes | None:
    mine = context.deployments.filter(pl.col("collectioncode") == collectioncode)
    if not mine.height:
        return None
    counted = pl.scan_parquet(context.matches.buckets).group_by("deployment_key").len("detections")
    heard = counted.drop_nulls("deployment_key").collect()
    stations = (
        mine.join(heard, on="deployment_key", how="left")
        .group_by("station")
        .agg(pl.col("longitude").mean(), pl.col("latitude").mean(), pl.col("detections").fill_null(0).sum())
    )
    return plots.receiver_map(stations.sort("station"), f"{collectioncode}: receivers and what they heard")


def _text(context: Context, collectioncode: str, extracts: pl.DataFrame, table: pl.DataFrame) -> str:
    date = context.snapshot.manifest["push_date"]
    title = f"# {collectioncode}: push of {date}" + (" (rehearsal)" if context.snapshot.rehearsal else "")
    lines = [title, "", "| extract | added | changed | withdrawn |", "|---|---:|---:|---:|"]
    for row in extracts.iter_rows(named=True):
        what = f"{TYPES[row['extract_type']]} {row['year']}"
        lines.append(f"| {what} | {row['added']:,} | {row['changed']:,} | {row['withdrawn']:,} |")
    lines += ["", "| year | extract | change | why | detections |", "|---|---|---|---|---:|"]
    lines += [f"| {y} | {t} | {c} | {w} | {n:,} |" for y, t, c, w, n in table.iter_rows()]
    return "\n".join(lines) + "\n"
