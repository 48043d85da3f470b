"""The end of a push for its people: extracts are marked by what the outbox did, and their submissions are published.

Belongs here: when that is due, and doing it. Does not belong here: sending.
"""

from dataclasses import dataclass

from otn_dagster.database import Connection
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import outbox


@dataclass(frozen=True)
class Completed:
    """What completing a push did."""

    notified: int
    completed: int
    published: int
    waiting: int


def due(connection: Connection) -> list[tuple[str, str]]:
    """(push date, stamp) of pushes whose mails have ended anew since they were looked at; a stamp is the same for the same end."""
    rows = connection.execute(
        """select p.push_date::text, coalesce(max(o.changed_at), p.told_at)::text as stamp
           from platform.tracker_pushes p left join platform.outbox o on o.push_date = p.push_date and o.event = 'extracts'
           join platform.push_releases r on r.push_date = p.push_date
           where not exists (select 1 from platform.outbox w where w.push_date = p.push_date and w.event = 'extracts'
               and w.state in ('waiting', 'pending', 'sending'))
           group by p.push_date, p.told_at, p.completed_as_of
           having p.completed_as_of is null or p.completed_as_of < coalesce(max(o.changed_at), p.told_at)
           order by 1"""
    ).fetchall()
    return [(date, stamp) for date, stamp in rows]


def complete(connection: Connection, push_date: str, actor: Actor) -> Completed:
    """Mark extracts as notified and completed, publish what may be published. Safe to repeat: it reads how mails stand now."""
    stamp = connection.execute(
        "select coalesce((select max(changed_at) from platform.outbox where push_date = %s and event = 'extracts'), told_at)"
        " from platform.tracker_pushes where push_date = %s for update",
        [push_date, push_date],
    ).fetchone()
    published = len(follow_pushes.published(connection, push_date, actor))
    notified, completed = outbox.marks(connection, push_date)
    row = connection.execute(
        "select count(*) from platform.tracker_items where flow = 'submission' and push_date = %s and state = 'extracted'",
        [push_date],
    ).fetchone()
    assert row is not None
    if stamp:
        connection.execute(
            "update platform.tracker_pushes set completed_as_of = %s where push_date = %s", [stamp[0], push_date]
        )
    return Completed(notified, completed, published, row[0])
