"""Who applies a list of fixes, and who takes it back.

Belongs here: the second person, what an analyst may do while loading is locked. Does not belong here: what a fix changes
(``telemetry/fixing/``), the steps that apply it (``telemetry/loading/fixes.py``).

Source: fixes of a database are asked for by one person and made by another (OTN node manager training, "Database Fix Notebooks").
"""

from otn_dagster.database import Connection
from otn_dagster.decisions import ACCEPT, Question
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import cutoffs, revisions, submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.loading import fixes
from otn_dagster.tracker import mending, people
from otn_dagster.tracker.items import NotAllowed


def may_be_applied(connection: Connection, asked: Question, answer: str, by: str, why: str) -> bool:
    """Whether an answer to a list of fixes is the last word: false where it is the first of two people's. Safe to repeat.

    Who sent it asked for it; where nobody is known to have sent it, the first who accepts it did. While loading is locked an analyst's
    word lets it into the push under way; another's is taken, and the list waits for the push to end. Raises NotAllowed for the same person.
    """
    if asked.topic != Topic.FIX or answer != ACCEPT:
        return True
    submission = submissions.get(connection, asked.subject)
    asker = submissions.submitter(connection, submission)
    if asker is None:
        submissions.note_submitter(connection, submission, by)
        return False
    if asker.lower() == by.lower():
        raise NotAllowed(f"{by} asked for it; another person looks at what it would change, and applies it")
    role = people.role_of(connection, by)
    if role in (None, people.Role.ANALYST):  # who is at the command line has no account
        try:
            cutoffs.refuse_where_locked(connection, submission.node, submission.submission_key)
        except cutoffs.LoadingLocked:
            if revisions.admitted(connection, submission.submission_key) is None:
                mending.admit(connection, submission.submission_key, by, why)
    return True


def may_be_undone(connection: Connection, submission_key: str) -> None:
    """Raise NotAllowed where a push that has it waits for its release: it would go out with what was taken back."""
    push = connection.execute(
        "select coalesce((select push_date from platform.tracker_items where flow = 'submission' and subject = %(key)s"
        " and state in ('matched', 'extracted')), (select max(push_date) from platform.push_admissions a where submission_key = %(key)s"
        " and not exists (select 1 from platform.push_releases r where r.push_date = a.push_date)))",
        {"key": submission_key},
    ).fetchone()
    if push and push[0]:
        raise NotAllowed(
            f"the push of {push[0]} has it and is not released: undo it after that, or send a fix that says what is right and let it in"
        )


def undo(connection: Connection, submission_key: str, by: str, why: str) -> None:
    """Take a list of fixes back. Safe to repeat. Raises NotAllowed where that cannot be now."""
    may_be_undone(connection, submission_key)
    try:
        fixes.undo(connection, submissions.get(connection, submission_key), by, why)
    except (cutoffs.LoadingLocked, Unusable) as reason:
        raise NotAllowed(str(reason)) from None
