"""Rows of a sheet on their way: as submitted, and as typed and judged.

Belongs here: the raw and the intermediate tables of tag and deployment sheets (``c_tag_meta`` → ``tag_cache``, ``c_shortform`` →
``rcvr_locations``), written by one step and read by the next. Does not belong here: typing (``files/``), the upper tables.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import readings, submissions
from otn_dagster.telemetry.files import sheets, tables
from otn_dagster.telemetry.files.reading import guarded
from otn_dagster.telemetry.files.refusals import Code, Finding, Severity, finding
from otn_dagster.telemetry.files.sheets import SHEETS
from otn_dagster.telemetry.files.tables import Found, Row, Table
from otn_dagster.telemetry.files.typed import Situation, Typed
from otn_dagster.telemetry.fixing.corrections import Correction, corrected
from otn_dagster.telemetry.project_tables import ensure_project_tables, table
from otn_dagster.telemetry.readings import Reading
from otn_dagster.telemetry.submissions import Counts, Submission

MOST_NAMED = 50  # rows that a sheet has otherwise than fixes


@dataclass(frozen=True)
class Staged:
    """Where the rows of a kind of sheet stand: as submitted, and as typed."""

    raw: str
    typed: str


STAGED = {"tags": Staged("c_tag_meta", "tag_cache"), "deployments": Staged("c_shortform", "rcvr_locations")}


def keep_raw(connection: Connection, settings: Settings, submission: Submission) -> Found:
    """Read a sheet once; its rows go as they stand into the raw table of the project, with what is needed to type them again.

    Safe to repeat: replaces what this submission had there.
    """
    submissions.require_project(connection, submission)
    with guarded(submission.path(settings)):
        found = sheets.find(submission.path(settings), submission.kind)
    ensure_project_tables(connection, submission.collectioncode, submission.kind)
    situation = readings.situation_of(connection, submission, project_box(connection, submission.collectioncode))
    target = _emptied(connection, submission, STAGED[submission.kind].raw)
    statement = sql.SQL("copy {} (submission_key, sheet, row_number, cells) from stdin").format(target)
    with connection.cursor().copy(statement) as copy:
        for one in found.tables:
            for row in one.rows:
                copy.write_row((submission.submission_key, row.sheet, row.number, json.dumps(row.cells)))
    kept, name = tables.as_json(found), sheets.format_of(submission.kind, found)
    reading = Reading(name, kept, readings.as_json(situation), found.container_rows, found.not_data, {})
    readings.keep(connection, submission, reading)
    readings.write_findings(connection, submission.submission_key, "raw", found.findings)
    return found


def keep_typed(connection: Connection, settings: Settings, submission: Submission) -> Typed:
    """Type and judge the raw rows, once, into the intermediate table; refused rows and findings beside it.

    Safe to repeat: replaces what this submission had there. Raises Undecided where the sheet does not say which of two things it means.
    """
    raw, situation = _read_raw(connection, submission)
    with guarded(submission.path(settings)):
        typed = SHEETS[submission.kind].type(raw, situation)
    own = {"submission_key": submission.submission_key, "collectioncode": submission.collectioncode}
    full = [{**row, **own, "other": json.dumps(row["other"], default=str)} for row in typed.rows]
    copy_rows(connection, _emptied(connection, submission, STAGED[submission.kind].typed), full)
    readings.note_columns(connection, submission.submission_key, typed.columns)
    keep_outcome(connection, submission, "typed", typed, typed.findings)
    return typed


def keep_outcome(
    connection: Connection, submission: Submission, step: str, typed: Typed, findings: Iterable[Finding]
) -> None:
    """Refused rows, findings and counts of a typed sheet. Safe to repeat: replaces those of this submission."""
    submissions.keep_refusals(connection, submission.submission_key, typed.refused)
    readings.write_findings(connection, submission.submission_key, step, findings)
    refused = len(typed.refused)
    counts = Counts(typed.loaded + typed.repeated + refused, typed.loaded, typed.repeated, refused)
    submissions.note_counts(connection, submission.submission_key, counts)


def _read_raw(connection: Connection, submission: Submission) -> tuple[list[Table], Situation]:
    """The tables of a submission as its first step left them, and what they are judged against."""
    reading = readings.of(connection, submission.submission_key)
    if reading is None:
        raise LookupError(f"{submission.submission_key} was not read: run the first step of its chain")
    rows = connection.execute(
        sql.SQL("select sheet, row_number, cells from {} where submission_key = %s order by 1, 2").format(
            table(submission.collectioncode, STAGED[submission.kind].raw)
        ),
        [submission.submission_key],
    ).fetchall()
    found = tables.from_json(reading.kept, [Row(*row) for row in rows])
    return found, readings.frozen_situation(connection, submission, reading)


def _emptied(connection: Connection, submission: Submission, name: str) -> sql.Composable:
    """A table of the project, without the rows of this submission."""
    target = table(submission.collectioncode, name)
    connection.execute(sql.SQL("delete from {} where submission_key = %s").format(target), [submission.submission_key])
    return target


def read_typed(connection: Connection, submission: Submission) -> list[dict[str, Any]]:
    """Typed rows of a submission as the step before left them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        query = sql.SQL("select * from {} where submission_key = %s order by sheet, row_number, part")
        return cursor.execute(
            query.format(table(submission.collectioncode, STAGED[submission.kind].typed)), [submission.submission_key]
        ).fetchall()


def copy_rows(connection: Connection, target: sql.Composable, rows: Sequence[dict[str, Any]]) -> None:
    """Append rows to a table by COPY; all rows have the columns of the first."""
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("copy {} ({}) from stdin").format(target, sql.SQL(", ").join(map(sql.Identifier, columns)))
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row([row[column] for column in columns])


def fixed(
    connection: Connection,
    submission: Submission,
    name: str,
    rows: Iterable[dict[str, Any]],
    fixes: Sequence[Correction],
) -> list[dict[str, Any]]:
    """Rows for an upper table as fixes that stand set them right; what the sheet says otherwise is named. Safe to repeat."""
    found: list[dict[str, Any]] = []
    differing: dict[str, str] = {}
    for row in rows:
        right = corrected(name, row, fixes) if fixes else row
        if right is not None:
            found.append(right)
        if right != row:
            called = str(row.get("catalognumber", row.get("station_name")))
            columns = [column for column in row if right is not None and right[column] != row[column]]
            differing[called] = ", ".join(columns) or "the whole row, which is deleted"
    says = "what a list of fixes says, which stands until it is undone"
    remedy = "Nothing is to be done, unless the sheet is right: then undo the fix."
    findings = [
        finding(Code.FIXED, Severity.LOOK, columns, called, says, remedy)
        for called, columns in list(differing.items())[:MOST_NAMED]
    ]
    if len(differing) > MOST_NAMED:
        findings.append(
            finding(Code.FIXED, Severity.LOOK, None, f"{len(differing) - MOST_NAMED} more rows", says, remedy)
        )
    readings.write_findings(connection, submission.submission_key, f"fixed {name}", findings)
    return found


def note_project_type(connection: Connection, collectioncode: str, part: str) -> None:
    """A project is of type tracker, deployment, or data where it is both; what it submits says which."""
    connection.execute(
        "update obis.otn_resources set projecttype = case when projecttype is null or projecttype = %s then %s else 'data' end"
        " where collectioncode = %s and projecttype is distinct from 'data'",
        [part, part, collectioncode],
    )


def project_box(connection: Connection, collectioncode: str) -> tuple[float, float, float, float] | None:
    """Bounding box of a project's form, or None where it gives no coordinates."""
    row = connection.execute(
        "select westbl, eastbl, southbl, northbl from obis.otn_resources where collectioncode = %s", [collectioncode]
    ).fetchone()
    return None if row is None or row[0] is None else row


def keys_before(connection: Connection, query: sql.Composed, submission_key: str | None) -> set[tuple[Any, ...]]:
    """Keys that an earlier version of a file had loaded; none where there is no earlier version."""
    return set(connection.execute(query, [submission_key]).fetchall()) if submission_key else set()


def finish(connection: Connection, submission: Submission) -> None:
    """A sheet is loaded: earlier versions of it are superseded. Safe to repeat."""
    submissions.supersede_earlier(connection, submission)
    submissions.move(connection, submission.submission_key, "loaded")


def by_key(rows: Iterable[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    """Rows by one of their columns, the first of each key."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row[key], row)
    return found
