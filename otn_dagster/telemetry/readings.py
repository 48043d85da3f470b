"""What is known of a submission beside its rows: what it was read as, against what it is judged, what was found.

Belongs here: ``platform.readings`` and ``platform.findings``, and nothing else writes to them. Does not belong here: reading a file
(``files/``).
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

from otn_dagster import decisions
from otn_dagster.database import Connection
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.files.positions import Box
from otn_dagster.telemetry.files.refusals import Code, Finding, Severity, ranked
from otn_dagster.telemetry.files.typed import Situation
from otn_dagster.telemetry.submissions import Submission


@dataclass(frozen=True)
class Reading:
    """One submission's reading. Law: container_rows = its data rows + the sum of ``not_data``."""

    format: str
    kept: dict[str, Any]
    situation: dict[str, Any]
    container_rows: int
    not_data: dict[str, int]
    columns: dict[str, list[str]]
    precision_us: int | None = None


def situation_of(connection: Connection, submission: Submission, box: Box | None) -> Situation:
    """What a submission is judged against, as it is now: to be frozen when its file is read."""
    received = connection.execute(
        "select received_at at time zone 'UTC' from platform.submissions where submission_key = %s",
        [submission.submission_key],
    ).fetchone()
    assert received is not None
    return Situation(
        submission.collectioncode, received[0], box, decisions.answers(connection, submission.submission_key)
    )


def keep(connection: Connection, submission: Submission, reading: Reading) -> None:
    """Write a reading, in place of an earlier one. Safe to repeat."""
    connection.execute(
        """insert into platform.readings (submission_key, format, kept, situation, container_rows, not_data, columns, precision_us)
           values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (submission_key) do update set format = excluded.format,
               kept = excluded.kept, situation = excluded.situation, container_rows = excluded.container_rows,
               not_data = excluded.not_data, columns = excluded.columns, precision_us = excluded.precision_us,
               read_at = platform.now()""",
        [
            submission.submission_key,
            reading.format,
            json.dumps(reading.kept),
            json.dumps(reading.situation),
            reading.container_rows,
            json.dumps(reading.not_data),
            json.dumps(reading.columns),
            reading.precision_us,
        ],
    )
    submissions.note_not_data(connection, submission.submission_key, sum(reading.not_data.values()))


def of(connection: Connection, submission_key: str) -> Reading | None:
    """The reading of a submission; None where it was not read."""
    row = connection.execute(
        "select format, kept, situation, container_rows, not_data, columns, precision_us from platform.readings where submission_key = %s",
        [submission_key],
    ).fetchone()
    return Reading(*row) if row else None


def frozen_situation(connection: Connection, submission: Submission, reading: Reading) -> Situation:
    """The situation that was frozen with a submission, with what people answered since."""
    said = reading.situation
    box = tuple(said["box"]) if said["box"] else None
    received = dt.datetime.fromisoformat(said["received_at"])
    return Situation(said["collectioncode"], received, box, decisions.answers(connection, submission.submission_key))  # type: ignore[arg-type]


def as_json(situation: Situation) -> dict[str, Any]:
    """A situation without its answers, which are kept as decisions."""
    return {
        "collectioncode": situation.collectioncode,
        "received_at": situation.received_at.isoformat(),
        "box": list(situation.box) if situation.box else None,
    }


def note_columns(connection: Connection, submission_key: str, columns: dict[str, list[str]]) -> None:
    """What became of a file's columns. Safe to repeat."""
    connection.execute(
        "update platform.readings set columns = %s where submission_key = %s", [json.dumps(columns), submission_key]
    )


def write_findings(connection: Connection, submission_key: str, step: str, findings: Iterable[Finding]) -> None:
    """The findings of one step, in place of its earlier ones. Safe to repeat."""
    connection.execute("delete from platform.findings where submission_key = %s and step = %s", [submission_key, step])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.findings values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    submission_key,
                    step,
                    i,
                    f.code,
                    int(f.severity),
                    f.column,
                    f.found,
                    f.expected,
                    f.remedy,
                    list(f.rows),
                    f.count,
                )
                for i, f in enumerate(ranked(findings))
            ],
        )


_FINDINGS: LiteralString = (
    "select code, severity, column_name, found, expected, remedy, first_rows, row_count from platform.findings"
)


def findings_of(connection: Connection, submission_key: str) -> list[Finding]:
    """All findings of a submission, the most important first."""
    rows = connection.execute(_FINDINGS + " where submission_key = %s", [submission_key]).fetchall()
    return ranked(
        Finding(Code(code), Severity(severity), column, found, expected, remedy, tuple(first), count)
        for code, severity, column, found, expected, remedy, first, count in rows
    )


def law(connection: Connection, submission_key: str) -> dict[str, Any] | None:
    """The law of a submission in figures: rows of the file and what became of them; None where it was not read."""
    row = connection.execute(
        "select r.container_rows, s.loaded_rows, s.duplicate_rows, s.refused_rows, s.waiting_rows, r.not_data, r.columns, r.format"
        " from platform.readings r join platform.submissions s using (submission_key) where submission_key = %s",
        [submission_key],
    ).fetchone()
    if row is None:
        return None
    names = ["rows of the file", "loaded", "repeated", "refused", "waiting", "not data", "columns", "format"]
    return dict(zip(names, row, strict=True))
