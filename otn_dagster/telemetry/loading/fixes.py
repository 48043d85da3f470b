"""A list of fixes into the upper tables, once a second person has seen what it would change.

Belongs here: the two steps, and when the second one waits. Does not belong here: what a fix does (``fixing/``), who may apply it
(``tracker/fixing.py``).
"""

import datetime as dt
import json
from dataclasses import replace
from typing import Any

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import cutoffs, readings, submissions
from otn_dagster.telemetry.files import fixes, sheets, tables
from otn_dagster.telemetry.files.reading import guarded
from otn_dagster.telemetry.files.refusals import BadFile, Topic
from otn_dagster.telemetry.files.typed import Typed, refused_summary
from otn_dagster.telemetry.fixing import applying, consequences, resolving
from otn_dagster.telemetry.fixing.consequences import Consequences, Touched
from otn_dagster.telemetry.fixing.resolving import Resolved
from otn_dagster.telemetry.loading import promotion, staging
from otn_dagster.telemetry.loading.promotion import Promotion
from otn_dagster.telemetry.push import snapshot
from otn_dagster.telemetry.readings import Reading
from otn_dagster.telemetry.submissions import Counts, Submission

DATES = ("correct_start_date", "correct_end_date")
DONE = ("loaded", "undone")  # of a list of fixes that was applied


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> Typed:
    """Read and type the list once; its rows are kept with the reading. Safe to repeat: replaces this submission's.

    A list that was applied, or undone, is only read. One that nobody accepted yet gives way to the next of its name.
    """
    submissions.require_project(connection, submission)
    situation = readings.situation_of(connection, submission, None)
    with guarded(submission.path(settings)):
        found = sheets.find(submission.path(settings), submission.kind)
        typed = fixes.type_fixes(found.tables, situation)
    if submission.state in DONE:
        return typed
    submissions.supersede_earlier(connection, submission, loaded_too=False)
    kept = {
        **tables.as_json(found),
        "fixes": json.loads(json.dumps(typed.rows, default=_iso)),
        "repeated": typed.repeated,
    }
    name, judged = sheets.format_of(submission.kind, found), readings.as_json(situation)
    readings.keep(
        connection, submission, Reading(name, kept, judged, found.container_rows, found.not_data, typed.columns)
    )
    staging.keep_outcome(connection, submission, "raw", typed, [*found.findings, *typed.findings])
    return typed


def load(
    connection: Connection, settings: Settings, submission: Submission
) -> tuple[Counts, Consequences, Promotion | None]:
    """Apply a list of fixes, all its rows that can be applied together: (its rows, what changed, what was promoted anew).

    Safe to repeat: one transaction; a list that was applied is left alone. Raises HeldForPerson with what it would change until somebody
    accepted exactly that, BadFile where none of its rows can be applied or two things would be at one place, LoadingLocked during a push.
    """
    if submission.state in DONE:
        return _as_applied(connection, submission)
    # Nothing else loads meanwhile, and no other list is looked at: both would be blind to what the other is about to change.
    cutoffs.wait_for_loading(connection)
    rows = _rows(connection, submission)
    resolved = resolving.resolve(
        rows, submission.collectioncode, applying.rows_of(connection, submission.collectioncode)
    )
    counts = _counted(connection, submission, resolved)
    if not resolved.corrections and not resolved.already:
        first = resolved.refused[0] if resolved.refused else "every row was refused when it was read"
        raise BadFile(f"none of its rows can be applied; the first: {first}", "Correct the list.", rows=counts.raw)
    before = snapshot.tables_of(connection, settings)
    applying.apply(
        connection, submission.submission_key, submission.collectioncode, resolved.corrections, resolved.changes
    )
    touched = Touched.by(connection, submission.submission_key)
    after = snapshot.tables_of(connection, settings)
    if says := _overlap(touched, before, after):
        raise BadFile(
            f"after it {says}", "Correct the dates of the other one first, in the same list or in one before it."
        )
    found = consequences.of(connection, settings, submission.submission_key, touched, before, after)
    _wait_for_a_person(connection, submission, resolved, found)
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    connection.execute(
        "insert into platform.fix_consequences values (%s, %s)",
        [submission.submission_key, json.dumps(found.as_json())],
    )
    promoted = promotion.promote(connection, sorted(touched.serials))
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    return counts, found, promoted


def undo(connection: Connection, submission: Submission, who: str, why: str) -> None:
    """Take back a list of fixes: every row is as it was, and the detections follow. Safe to repeat.

    Raises Unusable where a row was changed since, or two things would be at one place, LoadingLocked during a push.
    """
    cutoffs.wait_for_loading(connection)
    cutoffs.refuse_where_locked(connection, submission.node, submission.submission_key)
    touched = Touched.by(connection, submission.submission_key)
    before = consequences.claims(connection, touched)
    applying.undo(connection, submission.submission_key, who, why)
    if says := _overlap(touched, before, consequences.claims(connection, touched)):
        raise Unusable(f"{submission.submission_key} cannot be undone: {says}; undo what came later first")
    promotion.promote(connection, sorted(touched.serials))
    submissions.move(connection, submission.submission_key, "undone", f"{submission.file_name}: undone by {who}: {why}")


def _rows(connection: Connection, submission: Submission) -> list[dict[str, Any]]:
    reading = readings.of(connection, submission.submission_key)
    if reading is None:
        raise LookupError(f"{submission.submission_key} was not read: run raw_fixes")
    dated = {name: dt.datetime.fromisoformat for name in DATES}
    return [
        {name: dated[name](value) if name in dated and value else value for name, value in row.items()}
        for row in reading.kept["fixes"]
    ]


def _counted(connection: Connection, submission: Submission, resolved: Resolved) -> Counts:
    """Rows by what became of them, with those that were refused when they were read."""
    counted, _ = submissions.counts(connection, submission.submission_key)
    early = submissions.refusals_of(connection, submission.submission_key)
    known = {(one.sheet, one.row_number) for one in resolved.refused}
    every = [*(one for one in early if (one.sheet, one.row_number) not in known), *resolved.refused]
    submissions.keep_refusals(connection, submission.submission_key, every)
    readings.write_findings(connection, submission.submission_key, "applied", refused_summary(resolved.refused))
    reading = readings.of(connection, submission.submission_key)
    repeated = (reading.kept["repeated"] if reading else 0) + resolved.already
    return Counts(counted["raw"] or 0, len(resolved.corrections), repeated, len(every))


def _overlap(touched: Touched, before: consequences.Tables, after: consequences.Tables) -> str | None:
    """What would be in two places at one time that is not so already, in words."""
    known = consequences.overlaps(touched, before)
    new = [names for pair, names in sorted(consequences.overlaps(touched, after).items()) if pair not in known]
    if not new:
        return None
    more = f" (and {len(new) - 1} more such pairs)" if len(new) > 1 else ""
    return f"{new[0][0]} and {new[0][1]} would be one thing in two places at one time{more}"


def _wait_for_a_person(connection: Connection, submission: Submission, resolved: Resolved, found: Consequences) -> None:
    """Raise HeldForPerson until somebody accepted just these consequences."""
    lines = [*(f"Not applied: {one}" for one in resolved.refused), *found.lines()]
    topic, key = Topic.FIX, submission.submission_key
    said = decisions.answer(connection, topic, key)
    if said != decisions.ACCEPT or decisions.details(connection, topic, key) != lines:
        # What was accepted is not what would happen now: it is shown anew.
        says = f"{found.detections:,} detection(s) would change; a second person looks at it and applies it"
        raise decisions.HeldForPerson(topic, key, lines, says, anew=said == decisions.ACCEPT)


def _as_applied(connection: Connection, submission: Submission) -> tuple[Counts, Consequences, Promotion | None]:
    counted, _ = submissions.counts(connection, submission.submission_key)
    row = connection.execute(
        "select consequences from platform.fix_consequences where submission_key = %s", [submission.submission_key]
    ).fetchone()
    assert row is not None
    counts = Counts(*(counted[name] or 0 for name in ("raw", "loaded", "duplicate", "refused", "waiting")))
    return counts, replace(Consequences(**row[0]), delivered=[]), None


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)
