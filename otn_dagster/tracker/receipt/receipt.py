"""Files as they come in: received, registered, compared with what came before; and which of them may be loaded now.

Belongs here: what happens between a folder and a loading run. Does not belong here: loading (``telemetry/``).
"""

import logging
import time

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, intake
from otn_dagster.telemetry.intake import Intake, Sizes
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import items
from otn_dagster.tracker.configuration import Quarantine
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.receipt import duplicates

SECONDS_A_LOOK = 20.0
logger = logging.getLogger(__name__)


def look(
    settings: Settings,
    quarantine: Quarantine,
    before: Sizes,
    wait_for_stillness: bool = True,
    seconds: float = SECONDS_A_LOOK,
) -> Intake:
    """Receive what lies still in ``incoming/``, then compare files with earlier ones for so many seconds.

    Safe to repeat and to kill: a file is received once, and one that was not compared yet is compared by the next look.
    """
    with database.connect(settings) as connection:
        found = intake.look(connection, settings, before, wait_for_stillness)
        for submission in found.received:
            follow_submissions.register(connection, submission, duplicates.RECEIPT)
    found.problems.extend(compare(settings, quarantine, seconds))
    return found


def compare(settings: Settings, quarantine: Quarantine, seconds: float) -> list[str]:
    """Compare received files that were not compared yet, each in a transaction of its own; what went wrong.

    A file that cannot be compared is loaded all the same, and never keeps others waiting.
    """
    end, problems = time.monotonic() + seconds, []
    with database.connect(settings) as connection:
        waiting = [item.item_id for item in duplicates.waiting(connection)]
    for item_id in waiting:
        if time.monotonic() > end:
            break
        try:
            with database.connect(settings) as connection:
                duplicates.look(connection, settings, quarantine, items.get(connection, item_id, lock=True))
        except Exception as error:
            logger.exception("item %s could not be compared", item_id)
            with database.connect(settings) as connection:
                item = items.get(connection, item_id, lock=True)
                duplicates.keep_unread(connection, item)
            problems.append(f"{item.title}: could not be compared with earlier files ({type(error).__name__}: {error})")
    return problems


def ready(connection: Connection) -> list[tuple[Submission, str]]:
    """Submissions to start now, each with its occasion: those that loading is ready for, and that nothing in the tracker stops;
    and those that are loaded, but whose run died before its last check.
    """
    stopped = {
        subject
        for (subject,) in connection.execute(
            "select subject from platform.tracker_items left join platform.tracker_prints p using (item_id) where flow = 'submission'"
            " and (hold_by_person or hold = 'quarantined' or state in ('rejected', 'withdrawn', 'superseded')"
            " or (state = 'received' and p.item_id is null))"
        ).fetchall()
    }
    released = dict(
        connection.execute(
            "select i.subject, max(h.version)::text from platform.tracker_items i join platform.tracker_history h using (item_id)"
            " where i.flow = 'submission' and (h.what = 'release' and h.actor_kind = 'person' or h.to_state = 'received' and h.version > 1)"
            " and i.state in ('received', 'loading') group by 1"
        ).fetchall()
    )
    found = []
    for submission, occasion in intake.ready(connection, stopped):
        key = submission.submission_key
        found.append((submission, f"{occasion} released {released[key]}" if key in released else occasion))
    locked = {node for _, node in cutoffs.locked(connection)}
    found += [one for one in follow_submissions.unchecked(connection) if one[0].node not in locked]
    return found
