"""The loading path, step by step, as the UI shows it: one function a step, one transaction each.

Belongs here: what each step reports. Does not belong here: how a step works (the modules beside), which steps a kind of file has
(``kinds.py``).

Every step is safe to repeat and to kill: it is one transaction, and what it writes is found again by its key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import missing_metadata, plots, readings, receiver_tables, submissions
from otn_dagster.telemetry.files import law
from otn_dagster.telemetry.files.exports import Export
from otn_dagster.telemetry.files.refusals import Finding, Severity, ranked
from otn_dagster.telemetry.files.tables import Found
from otn_dagster.telemetry.files.typed import Typed
from otn_dagster.telemetry.loading import deployments as load_deployments
from otn_dagster.telemetry.loading import detections as load_detections
from otn_dagster.telemetry.loading import events as load_events
from otn_dagster.telemetry.loading import fixes as load_fixes
from otn_dagster.telemetry.loading import project as load_project
from otn_dagster.telemetry.loading import promotion, staging
from otn_dagster.telemetry.loading import tags as load_tags
from otn_dagster.telemetry.loading import vendor as load_vendor
from otn_dagster.telemetry.submissions import Submission

PREVIEW_ROWS = 8


@dataclass(frozen=True)
class StepReport:
    """What a step did: rows, facts, a few rows to look at, the columns of its table, a picture."""

    rows: int
    facts: dict[str, Any] = field(default_factory=dict)
    preview: list[dict[str, Any]] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    picture: Callable[[], bytes] | None = None  # drawn when the step is reported


def raw_project(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Read the form."""
    form = load_project.load_raw(connection, settings, submission)
    facts = {
        "title": form.title,
        "contacts": len(form.contacts),
        "species": len(form.species),
        "unread lines": len(form.unread),
    }
    return StepReport(1, facts, [vars(contact) for contact in form.contacts])


def otn_resources(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Write the project, its people and its species."""
    load_project.load(connection, settings, submission)
    return _table_report(connection, 1, {}, "obis", "otn_resources", "submission_key", submission.submission_key)


def raw_tags(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep the tag sheet's rows as submitted."""
    found = staging.keep_raw(connection, settings, submission)
    return _own_table(connection, submission, found.rows, _found_facts(found), "c_tag_meta")


def tag_cache(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Type and judge the tag sheet's rows and name animals and transmitters."""
    typed = staging.keep_typed(connection, settings, submission)
    facts = {
        **_typed_facts(connection, submission, typed),
        "animals": len({tag["catalognumber"] for tag in typed.rows}),
        "transmitters": len({tag["transmitter"] for tag in typed.rows if tag["transmitter"]}),
    }
    return _own_table(connection, submission, len(typed.rows), facts, "tag_cache")


def otn_animals_and_transmitters(
    connection: Connection, settings: Settings, submission: Submission
) -> tuple[StepReport, StepReport]:
    """Merge animals and transmitters into the upper tables, together."""
    animals, transmitters = load_tags.load(connection, settings, submission)
    code = submission.collectioncode.lower()
    return (
        _table_report(connection, _rows_of(animals), _merge_facts(animals), code, "otn_animals"),
        _table_report(connection, _rows_of(transmitters), _merge_facts(transmitters), code, "otn_transmitters"),
    )


def raw_deployments(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep the deployment sheet's rows as submitted."""
    found = staging.keep_raw(connection, settings, submission)
    return _own_table(connection, submission, found.rows, _found_facts(found), "c_shortform")


def rcvr_locations(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Type and judge the deployment sheet's rows and name deployments."""
    typed = staging.keep_typed(connection, settings, submission)
    rows = typed.rows
    facts = {
        **_typed_facts(connection, submission, typed),
        "stations": len({row["station_name"] for row in rows}),
        "receivers": len({row["rcv_serial_no"] for row in rows if row["rcv_serial_no"]}),
        "not recovered": sum(row["recover_date"] is None for row in rows),
    }
    return _own_table(connection, submission, len(rows), facts, "rcvr_locations")


def moorings(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Merge stations, receivers, transmitters and downloads; promote the detections that waited for them."""
    difference, serials = load_deployments.load(connection, settings, submission)
    promoted = promotion.promote(connection, serials)
    facts = _merge_facts(difference) | {
        "detections promoted now": promoted.inserted,
        "detections taken back": promoted.removed,
    }
    return _table_report(connection, _rows_of(difference), facts, submission.collectioncode.lower(), "moorings")


def raw_detections(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep the export's rows as one Parquet file."""
    export = load_detections.load_raw(connection, settings, submission)
    facts = {
        "format": export.format,
        "receivers": len(export.receivers),
        "first": str(export.first),
        "last": str(export.last),
        **_export_facts(connection, submission, export),
    }
    return _export_report(export, facts)


def detections(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Accept the rows that are not loaded yet, each with its det_key."""
    loaded = load_detections.load(connection, settings, submission)
    counts = loaded.counts
    facts: dict[str, Any] = {
        "new or unchanged": counts.loaded,
        "duplicates": counts.duplicate,
        "refused": counts.refused,
    }
    facts |= {f"{year}": f"{new:,} new, {already:,} already loaded" for year, (already, new) in loaded.by_year.items()}
    if loaded.withdrawn:
        facts["withdrawn"] = loaded.withdrawn
    return _table_report(
        connection, counts.loaded, facts, "platform", "detections", "submission_no", submission.submission_no
    )


def otn_detections(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Correct times, assign receivers, promote; say which receivers have no metadata."""
    serials = load_events.receivers_of(settings, submission)
    # What the version before had of other receivers was withdrawn with it.
    replaced = submissions.get(connection, submission.supersedes) if submission.supersedes else None
    if replaced and replaced.state == "superseded" and replaced.parquet(settings).exists():
        serials = sorted({*serials, *load_events.receivers_of(settings, replaced)})
    promoted = promotion.promote(connection, serials)
    facts: dict[str, Any] = {
        "inserted": promoted.inserted,
        "taken back": promoted.removed,
        "without receiver": promoted.without_receiver,
        "moved to another year": promoted.moved_year,
    }
    keys = receiver_tables.keys_of(connection, serials)
    missing = missing_metadata.report(connection, submission.collectioncode, keys)
    if missing:
        facts["missing metadata (3b)"] = "\n".join(row["report"] for row in missing[:20])
    return _table_report(
        connection,
        promoted.promoted,
        facts,
        "obis",
        "otn_detections",
        "collectioncode",
        submission.collectioncode,
    )


def raw_events(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep the event export's rows as one Parquet file."""
    export = load_events.load_raw(connection, settings, submission)
    named = pl.scan_parquet(export.path).group_by("description").len().sort("len", descending=True).head(12).collect()
    facts = {"format": export.format, **dict(named.iter_rows()), **_export_facts(connection, submission, export)}
    return _export_report(export, facts)


def events(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Accept the events that are not loaded yet; uploads become DOWNLOAD rows of moorings."""
    counts = load_events.load(connection, settings, submission)
    downloads = load_events.load_downloads(connection, settings, submission)
    facts = {"duplicates": counts.duplicate, "refused": counts.refused, "downloads": downloads}
    return _own_table(connection, submission, counts.loaded, facts, "events")


def time_drift_factors(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Work out how the receivers' clocks drifted and correct their detections."""
    drifts = load_events.load_drift(connection, settings, submission)
    promoted = promotion.promote(connection, load_events.receivers_of(settings, submission))
    preview = [
        {
            "receiver": drift.receiver,
            "initialized": drift.segment.start,
            "offload": drift.segment.end,
            "offset at offload (s)": drift.segment.offset_end,
            "seconds per day": round(drift.segment.seconds_per_day, 3),
            "accepted": drift.accepted,
        }
        for drift in drifts
    ]
    facts = {
        "refused for a person": sum(not drift.accepted for drift in drifts),
        "detections moved": promoted.inserted,
    }
    picture = (lambda: plots.clock_drift(drifts, "clock drift")) if drifts else None
    return StepReport(len(drifts), facts, preview[:PREVIEW_ROWS], picture=picture)


def receiver_config(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep what the receivers were set to listen to."""
    rows = load_events.load_config(connection, settings, submission)
    return _table_report(
        connection, rows, {}, "platform", "receiver_config", "submission_key", submission.submission_key
    )


def raw_vendor(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Read a manufacturer's specification sheet."""
    typed = load_vendor.load_raw(connection, settings, submission)
    facts = _typed_facts(connection, submission, typed)
    return StepReport(len(typed.rows), facts, [dict(row) for row in typed.rows[:PREVIEW_ROWS]])


def c_vemco_tags(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Keep the specifications; tags whose life no sheet gave get it."""
    written, cured = load_vendor.load(connection, settings, submission)
    return _table_report(connection, written, {"tags whose end is known now": cured}, "vendor", "c_vemco_tags")


def raw_fixes(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Read a list of fixes."""
    typed = load_fixes.load_raw(connection, settings, submission)
    facts = _typed_facts(connection, submission, typed)
    return StepReport(len(typed.rows), facts, [dict(row) for row in typed.rows[:PREVIEW_ROWS]])


def fixed_rows(connection: Connection, settings: Settings, submission: Submission) -> StepReport:
    """Apply the list, once somebody has seen what it changes and accepted that."""
    counts, found, promoted = load_fixes.load(connection, settings, submission)
    facts: dict[str, Any] = {
        "applied": counts.loaded,
        "right already or repeated": counts.duplicate,
        "refused": counts.refused,
        "detections that change": found.detections,
        "animals": ", ".join(found.animals) or "none",
        "extracts": ", ".join(one["detection_extract"] for one in found.extracts) or "none",
        **({"promoted anew": promoted.inserted} if promoted else {}),
        **_law(connection, submission),
    }
    names = ("table", "row", "column", "was", "is")
    cells: list[dict[str, Any]] = [dict(zip(names, cell, strict=True)) for cell in found.cells[:PREVIEW_ROWS]]
    return StepReport(counts.loaded, facts, cells)


def _found_facts(found: Found) -> dict[str, Any]:
    return {
        "header in row": ", ".join(f"{table.header_row} of {table.sheet_name}" for table in found.tables),
        "rows of the file": found.container_rows,
        "not data": found.not_data or "nothing",
    }


def _typed_facts(connection: Connection, submission: Submission, typed: Typed) -> dict[str, Any]:
    return {
        "usable rows": typed.loaded,
        "repeated rows": typed.repeated,
        "refused rows": len(typed.refused),
        **_said(readings.findings_of(connection, submission.submission_key)),
        **_law(connection, submission),
    }


def _export_facts(connection: Connection, submission: Submission, export: Export) -> dict[str, Any]:
    facts = {"refused rows": export.refused_rows, "file": str(export.path)}
    return facts | _said(export.findings) | _law(connection, submission)


def _export_report(export: Export, facts: dict[str, Any]) -> StepReport:
    head = pl.scan_parquet(export.path).head(PREVIEW_ROWS).collect()
    columns = [(name, str(kind)) for name, kind in head.schema.items()]
    return StepReport(export.usable + export.refused_rows, facts, head.to_dicts(), columns)


def _law(connection: Connection, submission: Submission) -> dict[str, Any]:
    found = readings.law(connection, submission.submission_key)
    return {"law": law.sentence(found)} if found else {}


def _said(findings: list[Finding]) -> dict[str, Any]:
    """Findings as the UI shows them, the most important first; what is only noted stands on the submission's page."""
    told = [str(finding) for finding in ranked(findings) if finding.severity < Severity.NOTE]
    return {"findings": "\n".join(told[:30])} if told else {}


def _rows_of(difference: Any) -> int:
    return difference.inserted + difference.changed + difference.unchanged


def _merge_facts(difference: Any) -> dict[str, Any]:
    facts = {"new": difference.inserted, "changed": difference.changed, "unchanged": difference.unchanged}
    return facts | ({"removed": difference.removed} if difference.removed else {})


def _own_table(
    connection: Connection, submission: Submission, rows: int, facts: dict[str, Any], name: str
) -> StepReport:
    schema = submission.collectioncode.lower()
    return _table_report(connection, rows, facts, schema, name, "submission_key", submission.submission_key)


def _table_report(
    connection: Connection,
    rows: int,
    facts: dict[str, Any],
    schema: str,
    name: str,
    column: str | None = None,
    value: Any = None,
) -> StepReport:
    table = sql.Identifier(schema, name)
    where = sql.SQL(" where {} = %s").format(sql.Identifier(column)) if column else sql.SQL("")
    with connection.cursor(row_factory=dict_row) as cursor:
        query = sql.SQL("select * from {}{} limit {}").format(table, where, sql.Literal(PREVIEW_ROWS))
        preview = cursor.execute(query, [value] if column else None).fetchall()
    columns = connection.execute(
        "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s order by ordinal_position",
        [schema, name],
    ).fetchall()
    return StepReport(rows, {**facts, "table": f"{schema}.{name}"}, preview, columns)
