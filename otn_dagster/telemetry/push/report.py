"""The push report: for each project what is new since the last push and why, and what needs its attention.

Belongs here: a project's report as text. Does not belong here: its pictures (``pictures.py``), finding changes (``extracts_list.py``),
finding what needs attention (``attention.py``).
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.files.refusals import Severity
from otn_dagster.telemetry.push import attention
from otn_dagster.telemetry.push.attention import Attention
from otn_dagster.telemetry.push.extracts import Context
from otn_dagster.telemetry.push.extracts_list import CHANGES_FILE, TYPES
from otn_dagster.telemetry.push.pictures import REPORTS, STATIONS_FILE

MOST_ROWS = 50


@dataclass(frozen=True)
class Report:
    """One project's report."""

    text: str
    changes: pl.DataFrame  # year, extract_type, change, why, detections


def write_reports(
    context: Context, listed: pl.DataFrame, folder: Path, projects: Sequence[str]
) -> Iterator[tuple[str, Report]]:
    """``reports/<COLLECTION>.md`` of some projects, one after another, and what their pictures are drawn from.

    listed: the list of the push. Safe to repeat and to kill: a pure function of the push; each file is whole or absent. What the projects
    share is read once: a report costs its own rows.
    """
    every = pl.read_parquet(folder / CHANGES_FILE)
    changes = every.partition_by("collectioncode", as_dict=True)
    none = every.clear()
    extracts = listed.partition_by("collectioncode", as_dict=True)
    said = attention.read(folder)
    with files.replacing(folder / REPORTS / STATIONS_FILE) as aside:
        _stations(context).write_parquet(aside)
    for code in projects:
        table = why(changes.get((code,), none))
        mine = extracts.get((code,), listed.clear())
        text = _text(context, code, mine, table, said.of(code) if said else None)
        for old in (folder / REPORTS).glob(f"{code}-*.png"):  # drawn for what stood here before
            old.unlink()
        files.write(folder / REPORTS / f"{code}.md", text)
        yield code, Report(text, table)


def _stations(context: Context) -> pl.DataFrame:
    """Where each project's stations are and what they heard."""
    heard = context.deployments.join(context.heard, on="deployment_key", how="left")
    return (
        heard.group_by("collectioncode", "station")
        .agg(pl.col("longitude").mean(), pl.col("latitude").mean(), pl.col("detections").fill_null(0).sum())
        .sort("collectioncode", "station")
    )


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


def _text(
    context: Context, collectioncode: str, extracts: pl.DataFrame, table: pl.DataFrame, said: Attention | None
) -> str:
    date = context.snapshot.manifest["push_date"]
    title = f"# {collectioncode}: push of {date}" + (" (rehearsal)" if context.snapshot.rehearsal else "")
    lines = [title, ""]
    if said and said.warnings[collectioncode]:
        lines += [
            "**Please look at this first:**",
            "",
            *(f"- {sentence}" for sentence in said.warnings[collectioncode]),
            "",
        ]
    lines += ["## What is new", ""]
    if extracts.is_empty():
        lines += ["Nothing changed since the last push.", ""]
    else:
        rows = [
            (f"{TYPES[row['extract_type']]} {row['year']}", row["added"], row["changed"], row["withdrawn"])
            for row in extracts.iter_rows(named=True)
        ]
        lines += _table(["extract", "added", "changed", "withdrawn"], rows)
        lines += _table(["year", "extract", "change", "why", "detections"], list(table.iter_rows()))
    if said:
        lines += [*_of_tags(said, collectioncode), *_of_receivers(said, collectioncode), *_of_sheets(said)]
    return "\n".join(lines) + "\n"


def _of_tags(said: Attention, code: str) -> list[str]:
    """What the project's tags need."""
    lines = []
    if said.shared.height:
        rows = said.shared.select("transmitter", "other", "detections").rows()
        lines += ["## Your tags that another project reports, too", ""]
        lines += [
            "Until you agree whose record is right, their detections match nobody. The other project is told the same.",
            "",
        ]
        lines += _table(["transmitter", "also reported by", "detections that match nobody"], rows)
    if said.windows.height:
        rows = said.windows.select("catalognumber", "transmitter", "window_code", "matches").rows()
        lines += ["## Your tags whose end is not known", ""]
        lines += [
            "Their matches are delivered and marked. Send their tag life or harvest date, or ask your node manager to set their end.",
            "",
        ]
        lines += _table(
            ["animal", "transmitter", "why", "matches"], [(a, t, str(w).replace("_", " "), m) for a, t, w, m in rows]
        )
    return lines


def _of_receivers(said: Attention, code: str) -> list[str]:
    """What the project's receivers heard that is nobody's, and what they lack."""
    lines = []
    unmatched = said.outcomes.filter(pl.col("outcome").is_in(rules.UNQUALIFIED)).sort("detections", descending=True)
    if unmatched.height:
        rows = [
            (
                row["transmitter"],
                rules.REASONS[row["outcome"]].split("_")[0],
                *attention.WHAT_TO_DO[row["outcome"]],
                row["detections"],
            )
            for row in unmatched.iter_rows(named=True)
        ]
        lines += ["## Detections of your receivers that match no animal", ""]
        lines += _table(["transmitter", "reason", "why", "what to do", "detections"], rows)
    if said.no_receiver.height:
        rows = [
            (serial, n, _day(first), _day(last))
            for serial, n, first, last in said.no_receiver.drop("collectioncode").rows()
        ]
        lines += ["## Receivers that heard something while no deployment says where they were", ""]
        lines += ["Their detections are in no extract. Send the deployments.", ""]
        lines += _table(["receiver", "detections", "first", "last"], rows)
    if said.near_misses.height:
        rows = said.near_misses.select("transmitter", "collectioncode", "detections", "known", "trackercode").rows()
        lines += ["## Transmitters of nobody that look like a known tag", ""]
        lines += [
            "The digits are the same, the code space or the zeros before them are not: is one of the two mistyped?",
            "",
        ]
        lines += _table(["heard", "by", "detections", "known tag", "of"], rows)
    return lines


def _of_sheets(said: Attention) -> list[str]:
    """What was found in the project's files, without what is only noted."""
    found = said.findings.filter(pl.col("severity") < int(Severity.NOTE))
    if found.is_empty():
        return []
    rows = [
        (
            r["file_name"],
            r["first_rows"],
            r["row_count"],
            (r["column_name"] or "").upper(),
            r["found"] or "",
            r["expected"],
            r["remedy"],
        )
        for r in found.sort("severity", "row_count", descending=[False, True]).iter_rows(named=True)
    ]
    return [
        "## What was found in your files",
        "",
        *_table(["file", "rows", "how many", "column", "found", "expected", "what to do"], rows),
    ]


def _table(header: list[str], rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """A table of Markdown, cut after ``MOST_ROWS`` with a line that says so."""
    if not rows:
        return []
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join("---:" if isinstance(cell, int) else "---" for cell in rows[0]) + "|",
    ]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append(f"\nand {len(rows) - MOST_ROWS:,} more.")
    return [*lines, ""]


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not 1900 <= value <= 2200 else str(value)
    return text.replace("|", "/").replace("\n", " ").replace("<", "&lt;")


def _day(ms: int) -> str:
    return str(dt.datetime.fromtimestamp(ms / 1000, dt.UTC).date())
