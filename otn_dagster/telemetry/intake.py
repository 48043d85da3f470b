"""What comes in: files that lie still are received, and submissions whose time has come are started.

Belongs here: deciding what to load next, and noting why something was not loaded. Does not belong here: watching (the
sensor) and loading (``loading.py``).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, revisions, submissions
from otn_dagster.telemetry.files.reading import as_verdict, kinds_fed
from otn_dagster.telemetry.files.refusals import ANSWERS, BadFile, MissingProject, Topic, Undecided
from otn_dagster.telemetry.submissions import Counts, Submission

Sizes = dict[str, list[int]]
PASSING = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    MemoryError,
    OSError,
)  # of which a later try may know nothing


@dataclass(frozen=True)
class Intake:
    """What one look into ``incoming/`` found."""

    received: list[Submission] = field(default_factory=list)
    still_arriving: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sizes: Sizes = field(default_factory=dict)


def look(connection: Connection, settings: Settings, before: Sizes, wait_for_stillness: bool = True) -> Intake:
    """Receive every file whose size and time are what they were at the last look (``before``).

    A file that is still being copied changes between two looks and is left for the next one. Safe to repeat: a file
    that was received is known by its content.
    """
    settings.incoming.mkdir(parents=True, exist_ok=True)
    intake = Intake(problems=submissions.misplaced(settings))
    nodes = {node.code for node in settings.nodes}
    for node, code, kind, path in submissions.incoming_files(settings):
        if node not in nodes or kind not in submissions.KINDS or not submissions.COLLECTION_CODE.match(code):
            continue
        name, state = str(path.relative_to(settings.incoming)), _state(path)
        intake.sizes[name] = state
        known = before.get(name)
        if known == [*state, 1]:
            intake.sizes[name] = [*state, 1]
        elif wait_for_stillness and known != state:
            intake.still_arriving.append(name)
        else:
            for fed in kinds_fed(path, kind):
                submission, is_new = submissions.receive(connection, settings, node, code, fed, path)
                if is_new:
                    intake.received.append(submission)
            intake.sizes[name] = [*state, 1]
    return intake


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def ready(connection: Connection, stopped: Collection[str] = ()) -> list[tuple[Submission, str]]:
    """Submissions to start now, in loading order, each with a key that is the same for the same occasion.

    Those in ``stopped`` are left out, and nothing waits for them.

    Received ones, once the project form of their collection is through; waiting ones, once loading is unlocked or
    their project has come; held ones, once a person decided.
    """
    locked = {node for _, node in cutoffs.locked(connection)}
    projects = {code for (code,) in connection.execute("select collectioncode from obis.otn_resources")}
    candidates = [
        submission
        for submission in submissions.by_state(connection, ["received", "waiting", "held"])
        if submission.submission_key not in stopped
    ]
    forms_open = {s.collectioncode for s in candidates if s.kind == "project" and s.state == "received"}
    found = []
    for submission in candidates:
        if submission.state == "received":
            if submission.kind == "project" or submission.collectioncode not in forms_open:
                found.append((submission, submission.submission_key))
        elif submission.state == "waiting":
            open_now = submission.node not in locked or revisions.admitted(connection, submission.submission_key)
            if open_now and (submission.kind == "project" or submission.collectioncode in projects):
                found.append((submission, f"{submission.submission_key} after {_occasion(connection, submission)}"))
        elif not decisions.is_asked(connection, submission.submission_key):
            said = decisions.answers(connection, submission.submission_key)
            if said:
                found.append(
                    (submission, " ".join([submission.submission_key, *(f"{t}={a}" for t, a in said.items())]))
                )
    return found


def _occasion(connection: Connection, submission: Submission) -> str:
    """What ended the wait: the last push that finished on this node, somebody who let it in, or the project form that came."""
    row = connection.execute(
        "select (select max(push_date)::text from platform.push_cutoffs where node = %s and finished_at is not null),"
        " (select submission_key from obis.otn_resources where collectioncode = %s)",
        [submission.node, submission.collectioncode],
    ).fetchone()
    assert row is not None
    let_in = revisions.admitted(connection, submission.submission_key)
    return f"{row[0]} {row[1]}" + (f" let into {let_in}" if let_in else "")


def note_failure(connection: Connection, submission: Submission, error: Exception) -> str:
    """Set the state that an error means for a submission, with its reason; returns the state. Safe to repeat.

    Every exception is a verdict: what is neither a refusal nor a question is our fault, and the file is refused with a reference. What
    passes by itself (the database is away, the disk is full) is written down, and the step is tried again.
    """
    if isinstance(error, cutoffs.LoadingLocked) and submission.state == "loaded":
        return submission.state  # run again during a push: what is loaded stays so
    if isinstance(error, MissingProject | cutoffs.LoadingLocked):
        state = "waiting"
    elif isinstance(error, decisions.HeldForPerson | Undecided):
        subject = error.subject if isinstance(error, decisions.HeldForPerson) else submission.submission_key
        anew = isinstance(error, decisions.HeldForPerson) and error.anew
        ask = decisions.ask_anew if anew else decisions.ask
        ask(connection, error.topic, subject, error.details, ANSWERS[Topic(error.topic)])
        rejected = decisions.answer(connection, error.topic, subject) == "reject"
        state = "refused" if rejected else "held"
    elif isinstance(error, PASSING):
        what = (str(error).splitlines() or [""])[0][:200]
        reason = f"{submission.file_name}: loading was interrupted ({type(error).__name__}: {what}) and is tried again"
        submissions.move(connection, submission.submission_key, submission.state, reason)
        return submission.state
    else:
        error = as_verdict(submission.file_name, error)
        state = "refused"
    submissions.move(connection, submission.submission_key, state, f"{submission.file_name}: {error}")
    if isinstance(error, BadFile) and error.rows is not None:
        submissions.note_counts(
            connection, submission.submission_key, Counts(raw=error.rows, loaded=0, refused=error.rows)
        )
    return state


def note_given_up(connection: Connection, submission: Submission, first_step: str) -> None:
    """Refuse a submission whose runs were lost so often that it is not tried again. Safe to repeat."""
    if submission.state in ("received", "waiting", "held"):
        reason = (
            f"{submission.file_name}: every run that was to load it was lost, and it is not tried again by itself. When the machine is"
            f" well again, materialize the partition {submission.submission_key} of {first_step} and of the steps after it in Dagster."
        )
        submissions.move(connection, submission.submission_key, "refused", reason)
