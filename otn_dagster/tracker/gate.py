"""The gate of a push: what is loaded and not signed off stays out.

Belongs here: the rule, from how items stand. Does not belong here: what people leave out by name (``telemetry/push/exclusions.py``), what
a push does without it (``telemetry/push/leaving_out.py``).

Source: OTN's checklists: a different person verifies; open, unverified metadata stops the push of it.
"""

from collections.abc import Sequence

from otn_dagster.database import Connection
from otn_dagster.telemetry.push import exclusions
from otn_dagster.telemetry.push.left_out import Gate, LeftOut, Scope, Why
from otn_dagster.tracker import flows

SIGNED_OFF = ("verified", "matched", "extracted", "published")


def of_push(push_date: str) -> Gate:
    """What stays out of a push: submissions that are on hold or not verified, and what people left out of it."""
    return lambda connection: [*_not_signed_off(connection), *exclusions.left_out(connection, push_date)]


def looked_at(connection: Connection, kinds: Sequence[str]) -> dict[str, list[str]] | None:
    """Who signed each loaded submission of these kinds, by its key; None where no kind is looked at twice."""
    if not kinds:
        return None
    rows = connection.execute(
        "select s.submission_key, coalesce(array_agg(distinct g.person) filter (where g.person is not null), '{}')"
        " from platform.submissions s join platform.tracker_items i on i.flow = 'submission' and i.subject = s.submission_key"
        " left join platform.tracker_signatures g on g.item_id = i.item_id and g.to_state = 'verified'"
        " where s.state = 'loaded' and s.kind = any(%s) group by 1 order by 1",
        [list(kinds)],
    ).fetchall()
    return dict(rows)


def _not_signed_off(connection: Connection) -> list[LeftOut]:
    rows = connection.execute(
        "select s.submission_key, i.state, i.hold, i.hold_why, i.blocker from platform.submissions s"
        " left join platform.tracker_items i on i.flow = 'submission' and i.subject = s.submission_key"
        " where s.state = 'loaded' and (i.item_id is null or i.hold is not null or i.state <> all(%s)) order by s.submission_no",
        [list(SIGNED_OFF)],
    ).fetchall()
    return [_left_out(*row) for row in rows]


def _left_out(key: str, state: str | None, hold: str | None, hold_why: str | None, blocker: str | None) -> LeftOut:
    if hold:
        return LeftOut(Scope.SUBMISSION, key, Why.ON_HOLD, f"it is on hold ({flows.HOLDS[hold]}): {hold_why}")
    what = f"it is {state}" if state not in (None, "received", "loading") else "it is not verified"
    return LeftOut(Scope.SUBMISSION, key, Why.NOT_VERIFIED, f"{what}: {blocker}" if blocker else what)
