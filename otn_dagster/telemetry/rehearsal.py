"""What a file would change against what is loaded: its whole chain run in one transaction that is rolled back.

Belongs here: the rehearsal and its outcome in figures. Does not belong here: the verdict on the file itself (``files/preview.py``).
"""

from dataclasses import dataclass, field
from pathlib import Path

from otn_dagster import database, decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import kinds, submissions
from otn_dagster.telemetry.files.refusals import BadFile, Topic, Undecided
from otn_dagster.telemetry.submissions import Submission

MOST_CHANGES = 200
_WAITS = {
    Topic.REMOVAL: "It would remove information that is loaded, and so wait until a person accepts that:",
    Topic.FIX: "It would wait until a second person has seen what follows from it, and applies it:",
}


@dataclass(frozen=True)
class Outcome:
    """What would happen: rows, changed cells (table, row, column, old, new), or why it would not."""

    loaded: int = 0
    repeated: int = 0
    refused: int = 0
    changes: list[tuple[str, str, str, str | None, str | None]] = field(default_factory=list)
    changed: int = 0
    stops: str | None = None
    details: list[str] = field(default_factory=list)


class _RolledBack(Exception):
    """Ends the transaction of a rehearsal."""


def rehearse(settings: Settings, path: Path, node: str, collectioncode: str, kind: str) -> Outcome:
    """Load a file and take it back. Safe to repeat: nothing of it stays; det_keys that a sequence gave are not given again."""
    outcome = Outcome()
    try:
        with database.connect(settings) as connection:
            connection.execute("set local lock_timeout = '5s'")
            connection.execute("set local statement_timeout = '60s'")
            submission = _registered(connection, settings, path, node, collectioncode, kind)
            for stage in kinds.KINDS[kind].stages:
                stage.load(connection, settings, submission)
            outcome = _outcome(connection, submission)
            raise _RolledBack
    except _RolledBack:
        return outcome
    except decisions.HeldForPerson as error:
        says = _WAITS[Topic(error.topic)]
        return Outcome(stops=says, details=[_removal(detail) for detail in error.details[:MOST_CHANGES]])
    except (BadFile, Undecided) as error:
        return Outcome(stops=str(error))
    except Exception as error:  # a lock, a push under way: the file is fine, only its rehearsal is not to be had now
        return Outcome(
            stops=f"What it would change cannot be said now ({(str(error).splitlines() or [type(error).__name__])[0][:200]})."
        )


def _removal(detail: object) -> str:
    """One removal in words: ``SHRK-Shrk02: length, now 2.32, would be empty``."""
    if isinstance(detail, tuple) and len(detail) == 3:
        key, column, old = detail
        return f"{key}: {column} is gone" if old == "present" else f"{key}: {column}, now {old}, would be empty"
    return str(detail)


def _registered(connection: Connection, settings: Settings, path: Path, node: str, code: str, kind: str) -> Submission:
    key = f"rehearsal/{path.parent.name}/{path.name}"
    submissions.register(connection, key, (node, code, kind), path.name, key, path.stat().st_size, str(path.resolve()))
    return submissions.get(connection, key)


def _outcome(connection: Connection, submission: Submission) -> Outcome:
    row = connection.execute(
        "select coalesce(loaded_rows, 0), coalesce(duplicate_rows, 0), coalesce(refused_rows, 0) from platform.submissions"
        " where submission_key = %s",
        [submission.submission_key],
    ).fetchone()
    assert row is not None
    changes = connection.execute(
        "select table_name, row_key, column_name, old_value, new_value from platform.row_changes where submission_key = %s order by 1, 2, 3",
        [submission.submission_key],
    ).fetchall()
    return Outcome(*row, changes=changes[:MOST_CHANGES], changed=len(changes))
