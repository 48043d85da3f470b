"""Items and their moves: the only place where a declared state changes.

Belongs here: registering an item, moving it, holding and releasing it, signing, its history. Does not belong here: which moves
there are (``flows.py``) and when they are due (``follow_*.py``).

A move locks the item's row, and is refused unless the flow has it, its evidence is there, the item is not on hold, loading is not
frozen where that matters, and as many people agreed as the flow asks for. Every change of an item is a line of its history, in the
same transaction; lines never change, and the database itself refuses an item that says something else than its history.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, cast

from psycopg import sql
from psycopg.rows import class_row

from otn_dagster.database import Connection
from otn_dagster.explained import Explained, Unknown
from otn_dagster.tracker import flows


class NotAllowed(Explained, RuntimeError):
    """A move or a hold that is refused; the text says why and what would be needed."""


@dataclass(frozen=True)
class Actor:
    """Who does something: a signed-in person, a run of Dagster, or the platform itself (a sensor, the command line)."""

    name: str
    kind: str = "platform"
    run_id: str | None = None

    @classmethod
    def person(cls, email: str) -> "Actor":
        """A person."""
        return cls(email, "person")

    @classmethod
    def run(cls, job: str, run_id: str) -> "Actor":
        """A run."""
        return cls(job, "run", run_id)


@dataclass(frozen=True)
class Item:
    """One dataset on its way: a submission, a stream request, a live dataset."""

    item_id: int
    flow: str
    subject: str
    title: str
    node: str | None
    collectioncode: str | None
    kind: str
    state: str | None
    state_since: dt.datetime
    hold: str | None
    hold_since: dt.datetime | None
    hold_by: str | None
    hold_why: str | None
    hold_by_person: bool
    blocker: str | None
    blocker_code: str | None
    owner: str | None
    push_date: dt.date | None
    sha256: str | None
    version: int
    created_at: dt.datetime


@dataclass(frozen=True)
class Line:
    """A line of an item's history."""

    version: int
    at: dt.datetime
    what: str
    from_state: str | None
    to_state: str | None
    hold: str | None
    actor: str
    actor_kind: str
    run_id: str | None
    evidence: dict[str, Any]
    note: str | None


COLUMNS = cast(LiteralString, ", ".join(Item.__dataclass_fields__))
_LINE = cast(LiteralString, ", ".join(Line.__dataclass_fields__))


def register(
    connection: Connection,
    flow: str,
    subject: str,
    *,
    state: str,
    title: str,
    kind: str,
    actor: Actor,
    evidence: Mapping[str, Any],
    node: str | None = None,
    collectioncode: str | None = None,
    owner: str | None = None,
    push_date: dt.date | None = None,
    sha256: str | None = None,
) -> tuple[Item, bool]:
    """The item of a subject, made in its first state where it is not there; (item, whether it is new). Safe to repeat and to race."""
    found = find(connection, flow, subject)
    if found:
        return found, False
    _check(flows.step(flow, None, state), f"an item of {flow} does not begin as {state}", evidence)
    row = connection.execute(
        "insert into platform.tracker_items (flow, subject, title, node, collectioncode, kind, owner, push_date, sha256)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (flow, subject) do nothing returning item_id",
        [flow, subject, title, node, collectioncode, kind, owner, push_date, sha256],
    ).fetchone()
    if row:
        item = get(connection, row[0])
        return _changed(connection, item, "move", actor, evidence, None, to_state=state), True
    found = find(connection, flow, subject)  # another was quicker; its transaction has ended
    assert found is not None
    return found, False


def get(connection: Connection, item_id: int, lock: bool = False) -> Item:
    """One item, locked until the transaction ends if asked; raises KeyError."""
    query = f"select {COLUMNS} from platform.tracker_items where item_id = %s" + (" for no key update" if lock else "")  # noqa: S608
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        found = cursor.execute(query, [item_id]).fetchone()
    if found is None:
        raise Unknown(f"there is no item {item_id}")
    return found


def find(connection: Connection, flow: str, subject: str, lock: bool = False) -> Item | None:
    """The item of a subject."""
    row = connection.execute(
        "select item_id from platform.tracker_items where flow = %s and subject = %s", [flow, subject]
    ).fetchone()
    return get(connection, row[0], lock) if row else None


def history(connection: Connection, item_id: int) -> list[Line]:
    """Everything that ever happened to an item, in order."""
    with connection.cursor(row_factory=class_row(Line)) as cursor:
        query = f"select {_LINE} from platform.tracker_history where item_id = %s order by version"  # noqa: S608
        return cursor.execute(query, [item_id]).fetchall()


def move(
    connection: Connection,
    item_id: int,
    to: str,
    actor: Actor,
    evidence: Mapping[str, Any],
    *,
    note: str | None = None,
    expected_version: int | None = None,
    people: int | None = None,
) -> Item:
    """Move an item; the item as it is then. Raises NotAllowed.

    Safe to repeat: an item that is in the state already stays as it is, without another line. Where two people are needed, the
    first call signs and the second, by another person, moves. ``people`` asks for more people than the flow does.
    """
    item = get(connection, item_id, lock=True)
    if item.state == to:
        return item
    if expected_version is not None and expected_version != item.version:
        raise NotAllowed(f"{item.title} changed since you looked at it: reload the page and look again")
    rule = flows.step(item.flow, item.state, to)
    if rule is None:
        possible = ", ".join(flows.following(item.flow, item.state)) or "nothing else"
        raise NotAllowed(f"{item.title} is {item.state}, which becomes {possible}, not {to}")
    if item.hold and not rule.on_hold:
        raise NotAllowed(f"{item.title} {flows.HOLDS[item.hold]} ({item.hold_why}): release it first")
    if not rule.in_freeze and (push := frozen_for(connection, item.node, item.subject)):
        raise NotAllowed(f"{item.title} stays {item.state}: {item.node} is frozen for the push of {push}")
    _check(rule, "", evidence)
    needed = max(rule.people, people or 0)
    if needed and actor.kind != "person" and not signatures(connection, item, to):
        raise NotAllowed(f"{item.title} becomes {to} by a person only")
    signed = signatures(connection, item, to)
    if needed > 1 and actor.kind == "person" and not [person for person in signed if person != actor.name]:
        return _sign(connection, item, to, actor, note or str(evidence.get("reason") or ""))
    if signed:
        evidence = {**evidence, "signed by": signed}
    if item.hold and to in flows.ENDED:
        item = _changed(connection, item, "release", actor, {"held": item.hold, "why": f"it is {to}"}, f"it is {to}")
    return _changed(connection, item, "move", actor, evidence, note, to_state=to)


def sign(connection: Connection, item_id: int, to: str, actor: Actor, note: str) -> Item:
    """A person agrees to a step that a run takes afterwards (the second look). Safe to repeat: one signature each."""
    item = get(connection, item_id, lock=True)
    if actor.kind != "person":
        raise NotAllowed("only a person signs")
    if actor.name.lower() in _owners(connection, item):
        raise NotAllowed(f"{actor.name} owns or owned {item.title}; the second look is another person's")
    if flows.step(item.flow, item.state, to) is None:
        raise NotAllowed(f"{item.title} is {item.state}, which does not become {to}")
    return _sign(connection, item, to, actor, note)


def _owners(connection: Connection, item: Item) -> set[str]:
    """Who owns it, and who ever did: handing it to somebody else makes no second person."""
    rows = connection.execute(
        "select evidence->>'before' from platform.tracker_history where item_id = %s and what = 'assign'",
        [item.item_id],
    ).fetchall()
    return {owner.lower() for owner in [item.owner, *(before for (before,) in rows)] if owner}


def signatures(connection: Connection, item: Item, to: str) -> list[str]:
    """Who signed a step since the item is in its state."""
    rows = connection.execute(
        "select person from platform.tracker_signatures where item_id = %s and to_state = %s and since = %s order by at",
        [item.item_id, to, item.state_since],
    ).fetchall()
    return [person for (person,) in rows]


def hold(connection: Connection, item_id: int, what: str, actor: Actor, why: str) -> Item:
    """Put an item on hold, for a reason. Safe to repeat; raises NotAllowed.

    A run never replaces the hold of a person, except by a quarantine, which says what the person did not know.
    """
    item = get(connection, item_id, lock=True)
    if what not in flows.HOLDS:
        raise NotAllowed(f"there is no hold {what!r}, expected one of {', '.join(flows.HOLDS)}")
    if item.state in flows.ENDED:
        raise NotAllowed(f"{item.title} is {item.state}: nothing is left to hold")
    by_person = actor.kind == "person"
    if item.hold and not by_person and what != "quarantined" and (item.hold_by_person or item.hold == "quarantined"):
        return item
    if item.hold_by_person and not by_person:
        why = f"{why}; it was held before: {item.hold_why}"
    if item.hold == what and item.hold_why == why:
        return item
    return _changed(connection, item, "hold", actor, {"why": why}, why, hold=what)


def release(connection: Connection, item_id: int, actor: Actor, why: str) -> Item:
    """End a hold. Safe to repeat. What a person held, and a quarantine, is released by a person only; raises NotAllowed."""
    item = get(connection, item_id, lock=True)
    if not item.hold:
        return item
    if actor.kind != "person" and (item.hold_by_person or item.hold == "quarantined"):
        raise NotAllowed(f"{item.title} {flows.HOLDS[item.hold]}: a person releases it")
    return _changed(connection, item, "release", actor, {"held": item.hold, "why": why}, why)


def assign(connection: Connection, item_id: int, owner: str, actor: Actor) -> Item:
    """Name who cares for an item. Safe to repeat."""
    item = get(connection, item_id, lock=True)
    if item.owner == owner:
        return item
    connection.execute("update platform.tracker_items set owner = %s where item_id = %s", [owner, item_id])
    return _changed(connection, item, "assign", actor, {"owner": owner, "before": item.owner}, None)


def note(
    connection: Connection, item_id: int, actor: Actor, text: str, evidence: Mapping[str, Any] | None = None
) -> Item:
    """Write a line into an item's history that changes nothing else. Once only for the same text."""
    item = get(connection, item_id, lock=True)
    known = connection.execute(
        "select 1 from platform.tracker_history where item_id = %s and what = 'note' and note = %s", [item_id, text]
    ).fetchone()
    return item if known else _changed(connection, item, "note", actor, evidence or {}, text)


def describe(
    connection: Connection,
    item_id: int,
    blocker: flows.Blocker | None = None,
    says: str | None = None,
    push_date: dt.date | None = None,
) -> None:
    """Say what an item waits for, as a code and in words, and which push it is meant for. Without words nothing blocks it.

    Safe to repeat.
    """
    connection.execute(
        "update platform.tracker_items set blocker_code = %(code)s, blocker = %(says)s, push_date = coalesce(%(push)s, push_date)"
        " where item_id = %(item)s"
        " and (blocker_code, blocker, push_date) is distinct from (%(code)s, %(says)s, coalesce(%(push)s, push_date))",
        {"code": blocker if says else None, "says": says or None, "push": push_date, "item": item_id},
    )


def frozen_for(connection: Connection, node: str | None, subject: str = "") -> str | None:
    """The push for which a node's loading is frozen now; not for a subject that was let in."""
    row = connection.execute(
        "select push_date from platform.push_cutoffs c where node = %s and cutoff <= platform.now() and finished_at is null"
        " and not exists (select 1 from platform.push_admissions a where a.push_date = c.push_date and a.submission_key = %s)"
        " order by push_date limit 1",
        [node, subject],
    ).fetchone()
    return row[0].isoformat() if row else None


def _check(rule: flows.Step | None, otherwise: str, evidence: Mapping[str, Any]) -> None:
    if rule is None:
        raise NotAllowed(otherwise)
    missing = [name for name in rule.needs if evidence.get(name) in (None, "", [], {})]
    if missing:
        raise NotAllowed(f"the evidence {', '.join(missing)} is missing (needed: {', '.join(rule.needs)})")


def _sign(connection: Connection, item: Item, to: str, actor: Actor, why: str) -> Item:
    added = connection.execute(
        "insert into platform.tracker_signatures (item_id, to_state, since, person, note) values (%s, %s, %s, %s, %s) on conflict do nothing",
        [item.item_id, to, item.state_since, actor.name, why],
    ).rowcount
    return _changed(connection, item, "sign", actor, {"for": to}, why) if added else item


def _changed(
    connection: Connection,
    item: Item,
    what: str,
    actor: Actor,
    evidence: Mapping[str, Any],
    text: str | None,
    to_state: str | None = None,
    hold: str | None = None,
) -> Item:
    """The line of the history, and the item as it says."""
    connection.execute(
        "insert into platform.tracker_history (item_id, version, what, from_state, to_state, hold, actor, actor_kind, run_id, evidence, note)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            item.item_id,
            item.version + 1,
            what,
            item.state,
            to_state,
            hold,
            actor.name,
            actor.kind,
            actor.run_id,
            json.dumps(dict(evidence), default=str),
            text,
        ],
    )
    changes: dict[str, Any] = {"version": item.version + 1}
    if what == "move":
        changes |= {"state": to_state, "state_since": _clock(connection), "blocker": None, "blocker_code": None}
    if what in ("hold", "release"):
        held = what == "hold"
        changes |= {
            "hold": hold,
            "hold_since": _clock(connection) if held else None,
            "hold_by": actor.name if held else None,
            "hold_why": text if held else None,
            "hold_by_person": held and actor.kind == "person",
        }
    names = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in changes)
    connection.execute(
        sql.SQL("update platform.tracker_items set {} where item_id = %s").format(names),
        [*changes.values(), item.item_id],
    )
    return get(connection, item.item_id)


def _clock(connection: Connection) -> dt.datetime:
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    return row[0]
