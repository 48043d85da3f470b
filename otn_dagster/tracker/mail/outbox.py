"""Mails as rows: written in the transaction of what they tell of, one for each event, subject, push and recipient.

Belongs here: the rows, their states, who was told of what. Does not belong here: sending (``sending.py``) and wording (``notices.py``).

States: waiting (for the release of its push) → pending → sending → sent; or back to pending after a certain failure, failed after a
certain refusal, uncertain where the sender died or lost the link after the message had gone out. Uncertain mails are never sent again by
themselves: mail has no idempotency, so "never twice" and "always once" cannot both hold; this keeps the first and shows the rest to a
person.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString, cast

from psycopg.rows import class_row, dict_row

from otn_dagster.database import Connection
from otn_dagster.explained import Unknown, Unusable

UNCOUNTED = (
    "failure",
    "silence",
    "reminder",
    "password",
)  # of a day's mails: they tell of trouble, or somebody waits for them
CODE = "(the code of this mail)"  # stands in what is kept for a code that is made when the mail goes out
SETTLED = ("sent", "given_up")  # it arrived, or somebody said that nobody needs it


@dataclass(frozen=True)
class Draft:
    """A mail to write: what happened to what, for whom, and its words."""

    event: str
    subject: str
    recipient: str
    title: str
    body_text: str
    body_html: str
    push_date: str | None = None
    recipient_name: str | None = None
    extracts: tuple[str, ...] = ()

    @property
    def dedupe_key(self) -> str:
        """What makes it the same mail."""
        return "|".join([self.event, self.subject, self.push_date or "", self.recipient.lower()])


@dataclass(frozen=True)
class Mail:
    """A row of the outbox."""

    mail_no: int
    event: str
    subject: str
    push_date: dt.date | None
    recipient: str
    recipient_name: str | None
    title: str
    body_text: str
    body_html: str
    message_id: str
    state: str
    attempts: int
    reason: str | None
    created_at: dt.datetime
    changed_at: dt.datetime


_COLUMNS = cast(LiteralString, ", ".join(Mail.__dataclass_fields__))


def write(connection: Connection, drafts: Iterable[Draft], mode: str, waits: bool = False) -> list[int]:
    """Write mails; numbers of those that were not there yet. Safe to repeat: one row for each event, subject, push and recipient. One that
    still waits takes the new words: its push was made again.

    waits: until their push is released.
    """
    written, state = [], "waiting" if waits else "off" if mode == "off" else "pending"
    for draft in drafts:
        digest = hashlib.sha256(draft.dedupe_key.encode()).hexdigest()[:32]
        row = connection.execute(
            "insert into platform.outbox (dedupe_key, event, subject, push_date, recipient, recipient_name, title, body_text, body_html,"
            " message_id, state) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (dedupe_key) do update"
            " set title = excluded.title, body_text = excluded.body_text, body_html = excluded.body_html where outbox.state = 'waiting'"
            " returning mail_no, xmax = 0",
            [
                draft.dedupe_key,
                draft.event,
                draft.subject,
                draft.push_date,
                draft.recipient,
                draft.recipient_name,
                " ".join(draft.title.split())[:200],
                draft.body_text,
                draft.body_html,
                f"<{digest}@otn-dagster>",
                state,
            ],
        ).fetchone()
        if row is None:
            continue
        mail_no, is_new = row
        connection.execute("delete from platform.outbox_extracts where mail_no = %s", [mail_no])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into platform.outbox_extracts values (%s, %s, %s)",
                [(mail_no, draft.push_date, name) for name in draft.extracts],
            )
        if is_new:
            written.append(mail_no)
            _log(connection, mail_no, state, f"written: {draft.event}")
    return written


def release(connection: Connection, push_date: str, who: str) -> int:
    """Mails of a push that waited may be sent; how many. Safe to repeat."""
    rows = connection.execute(
        "select mail_no from platform.outbox where push_date = %s and state = 'waiting' order by mail_no for update",
        [push_date],
    ).fetchall()
    for (mail_no,) in rows:
        set_state(connection, mail_no, "pending", f"{who} released the push")
    return len(rows)


def get(connection: Connection, mail_no: int) -> Mail:
    """One mail; raises KeyError."""
    with connection.cursor(row_factory=class_row(Mail)) as cursor:
        found = cursor.execute(f"select {_COLUMNS} from platform.outbox where mail_no = %s", [mail_no]).fetchone()  # noqa: S608
    if found is None:
        raise Unknown(f"there is no mail {mail_no}")
    return found


def newest(connection: Connection, state: str | None = None, limit: int = 500) -> list[Mail]:
    """Mails, the newest first."""
    with connection.cursor(row_factory=class_row(Mail)) as cursor:
        query = f"select {_COLUMNS} from platform.outbox where %s::text is null or state = %s order by mail_no desc limit %s"  # noqa: S608
        return cursor.execute(query, [state, state, limit]).fetchall()


def due(connection: Connection, mode: str, most_a_day: int) -> int:
    """How many mails may be sent now, or were left by a sender that died; where the day's number is reached, of those that are
    not counted.
    """
    full = mode in ("live", "allowlist") and sent_today(connection) >= most_a_day
    row = connection.execute(
        "select count(*) from platform.outbox where (state = 'sending' or (state = 'pending' and next_at <= clock_timestamp()))"
        " and (not %s or event = any(%s))",
        [full, list(UNCOUNTED)],
    ).fetchone()
    assert row is not None
    return row[0]


def sent_today(connection: Connection) -> int:
    """Mails that went out within a day, without those that are not counted."""
    row = connection.execute(
        "select count(*) from platform.outbox where state = 'sent' and changed_at > clock_timestamp() - interval '1 day'"
        " and event <> all(%s)",
        [list(UNCOUNTED)],
    ).fetchone()
    assert row is not None
    return row[0]


def set_state(connection: Connection, mail_no: int, state: str, what: str, pause: dt.timedelta | None = None) -> None:
    """A mail changes its state, with a line in its history."""
    connection.execute(
        "update platform.outbox set state = %s, reason = %s, changed_at = clock_timestamp(), attempts = attempts + (%s = 'sending')::int,"
        " next_at = clock_timestamp() + coalesce(%s, interval '0') where mail_no = %s",
        [state, what, state, pause, mail_no],
    )
    _log(connection, mail_no, state, what)


def history(connection: Connection, mail_no: int) -> list[tuple[dt.datetime, str, str]]:
    """(when, state, what) of a mail."""
    return connection.execute(
        "select at, state, what from platform.outbox_history where mail_no = %s order by line_no", [mail_no]
    ).fetchall()


class Decision(StrEnum):
    """What a person says of a mail: it arrived, it goes out again, nobody needs it."""

    DELIVERED = "delivered"
    AGAIN = "again"
    GIVE_UP = "give-up"


BECOMES = {Decision.DELIVERED: "sent", Decision.AGAIN: "pending", Decision.GIVE_UP: "given_up"}
DECIDED_FROM = {
    Decision.DELIVERED: ("uncertain",),
    Decision.AGAIN: ("uncertain", "failed", "simulated", "off", "given_up"),
    Decision.GIVE_UP: ("uncertain", "failed", "waiting", "pending", "simulated", "off"),
}


def decide(connection: Connection, mail_no: int, decision: str, by: str, why: str) -> str:
    """A person decides what becomes of a mail: it was ``delivered``, it goes out ``again``, or nobody needs it (``give-up``).

    Returns its state. Raises ValueError where that makes no sense. Safe to repeat.
    """
    row = connection.execute("select state from platform.outbox where mail_no = %s for update", [mail_no]).fetchone()
    if row is None:
        raise Unknown(f"there is no mail {mail_no}")
    if decision not in set(Decision):
        raise Unusable(f"{decision!r} is not a known decision; expected one of {', '.join(Decision)}")
    chosen = Decision(decision)
    if row[0] == BECOMES[chosen]:
        return row[0]
    if row[0] not in DECIDED_FROM[chosen]:
        raise Unusable(f"mail {mail_no} is {row[0]}: {chosen} can be said of {', '.join(DECIDED_FROM[chosen])} only")
    set_state(connection, mail_no, BECOMES[chosen], f"{chosen}, says {by}: {why}")
    connection.execute(
        "update platform.outbox set decided_by = %s, decided_why = %s where mail_no = %s", [by, why, mail_no]
    )
    return BECOMES[chosen]


@dataclass(frozen=True)
class Told:
    """Who was told of a project's part in a push: open while a mail may still change."""

    open: bool
    why: str
    evidence: dict[str, Any]


def told(connection: Connection, push_date: str, collectioncode: str) -> Told:
    """How the mails about a project's extracts stand. Nothing to tell, and nobody to tell, are answers, too."""
    asked = connection.execute("select 1 from platform.tracker_pushes where push_date = %s", [push_date]).fetchone()
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select distinct o.mail_no, o.state from platform.outbox_extracts e join platform.outbox o using (mail_no)"
            " join obis.detection_extracts_list l on l.push_date = e.push_date and l.detection_extract = e.detection_extract"
            " where e.push_date = %s and l.collectioncode = %s order by 1",
            [push_date, collectioncode],
        ).fetchall()
    if not asked:
        return Told(True, "nobody was told yet: the step notifications of the push has not run", {})
    by_state: dict[str, list[int]] = {}
    for row in rows:
        by_state.setdefault(row["state"], []).append(row["mail_no"])
    still = {state: numbers for state, numbers in by_state.items() if state not in SETTLED}
    if still:
        return Told(True, f"mails about {collectioncode}: {_why_open(still)}", by_state)
    return Told(False, "", by_state or {"nobody": "nothing to tell, or no person of the project has an address"})


_OPEN = {
    "waiting": "wait until the push is released",
    "simulated": "were only simulated and reached nobody (let them go, or waive them)",
    "off": "were switched off and reached nobody (let them go, or waive them)",
    "uncertain": "may or may not have arrived (somebody must say)",
    "failed": "could not be delivered (send them again, or waive them)",
}


def _why_open(still: dict[str, list[int]]) -> str:
    return "; ".join(
        f"{len(numbers)} {_OPEN.get(state, 'are on their way')}" for state, numbers in sorted(still.items())
    )


def waive(connection: Connection, push_date: str, by: str, why: str) -> int:
    """Somebody says that nobody needs the mails of a push that were not delivered; how many. Safe to repeat."""
    rows = connection.execute(
        "select mail_no from platform.outbox where push_date = %s and event = 'extracts' and state = any(%s) order by mail_no",
        [push_date, ["simulated", "off", "failed", "uncertain"]],
    ).fetchall()
    for (mail_no,) in rows:
        decide(connection, mail_no, Decision.GIVE_UP, by, why)
    return len(rows)


def give_up_waiting(connection: Connection, push_date: str, recipients: Sequence[str]) -> None:
    """Mails of a push that wait for its release, and whose people have nothing to be told any more. Safe to repeat."""
    rows = connection.execute(
        "select mail_no from platform.outbox where push_date = %s and event = 'extracts' and state = 'waiting' and recipient <> all(%s)",
        [push_date, list(recipients)],
    ).fetchall()
    for (mail_no,) in rows:
        set_state(connection, mail_no, "given_up", "a revision of the push has nothing to tell them")


def complete(connection: Connection, push_date: str) -> None:
    """Mark extracts of a released push by what the outbox did. Safe to repeat.

    notified: when the first mail that names it was delivered. completed: every mail that names it was delivered or given up by somebody,
    or nobody was there to tell. Simulated mails reached nobody: they mark nothing.
    """
    connection.execute(
        """with mails as (
               select e.detection_extract, min(o.changed_at) filter (where o.state = 'sent') as first_sent,
                   bool_and(o.state = any(%(settled)s)) as all_settled
               from platform.outbox_extracts e join platform.outbox o using (mail_no) where e.push_date = %(push)s group by 1)
           update obis.detection_extracts_list l set notified_at = coalesce(l.notified_at, m.first_sent),
               completed = coalesce(m.all_settled, true)
           from obis.detection_extracts_list k left join mails m using (detection_extract)
           where l.push_date = %(push)s and k.push_date = %(push)s and l.detection_extract = k.detection_extract
               and exists (select 1 from platform.tracker_pushes p where p.push_date = %(push)s)""",
        {"push": push_date, "settled": list(SETTLED)},
    )


def marks(connection: Connection, push_date: str) -> tuple[int, int]:
    """How many extracts of a push are (notified, completed)."""
    row = connection.execute(
        "select count(notified_at), count(*) filter (where completed) from obis.detection_extracts_list where push_date = %s",
        [push_date],
    ).fetchone()
    assert row is not None
    return row


def _log(connection: Connection, mail_no: int, state: str, what: str) -> None:
    connection.execute(
        "insert into platform.outbox_history (mail_no, state, what) values (%s, %s, %s)", [mail_no, state, what]
    )
