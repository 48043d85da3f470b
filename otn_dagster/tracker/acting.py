"""What a person does to a dataset: hold, release, reject, sign, reopen, withdraw, reconsider, assign, answer a question.

Belongs here: an action as one transaction of the tracker and of what it stands for. Does not belong here: who may act
(``people.Person.acts_for``), forms (``web/tracker_actions.py``), words of the command line.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql

from otn_dagster import decisions
from otn_dagster.database import Connection
from otn_dagster.streams import requests
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.tracker import fixing, flows, items
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.follow import streams as follow_streams
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.items import Actor, Item, NotAllowed
from otn_dagster.tracker.mail import notices
from otn_dagster.tracker.receipt import duplicates

SHORTEST_REASON, SECONDS_FOR_A_LOCK = 3, 3


class Action(StrEnum):
    """What a person may do with an item."""

    HOLD = "hold"
    RELEASE = "release"
    REJECT = "reject"
    RECONSIDER = "reconsider"
    REOPEN = "reopen"
    WITHDRAW = "withdraw"
    SIGN = "sign"
    ASSIGN = "assign"
    ANSWER = "answer"


def act(
    connection: Connection,
    settings: TrackerSettings,
    item_id: int,
    action: str,
    person: str,
    reason: str,
    choice: str = "",
    expected_version: int | None = None,
) -> Item:
    """Do it; the item as it is then. Raises NotAllowed. Safe to repeat: what is so already stays so.

    ``choice``: which hold, whom to assign, or the answer to the question (accept, reject).
    """
    if action not in set(Action):
        raise NotAllowed(f"there is no action {action!r}, expected one of {', '.join(Action)}")
    if len(reason.strip()) < SHORTEST_REASON and action != Action.ASSIGN:
        raise NotAllowed("please give a reason; it is recorded in the history")
    _lock_as_loading_does(connection, item_id)
    item = items.get(connection, item_id, lock=True)
    if expected_version is not None and expected_version != item.version:
        raise NotAllowed(f"{item.title} changed since you looked at it: reload the page and look again")
    return _ACTIONS[Action(action)](connection, settings, item, Actor.person(person), reason.strip(), choice)


def _lock_as_loading_does(connection: Connection, item_id: int) -> None:
    """A step of loading locks the submission, then its item: so does a person's action, or both would wait for each other."""
    connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(f"{SECONDS_FOR_A_LOCK}s")))
    try:
        connection.execute(
            "select 1 from platform.submissions s join platform.tracker_items i on i.subject = s.submission_key"
            " where i.item_id = %s and i.flow = 'submission' for no key update of s",
            [item_id],
        )
        items.get(connection, item_id, lock=True)
    except psycopg.errors.LockNotAvailable:
        raise NotAllowed("it is being loaded or compared right now: try again in a minute") from None


Act = Callable[[Connection, TrackerSettings, Item, Actor, str, str], Item]


def _hold(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    held = items.hold(connection, item.item_id, choice, actor, reason)
    if choice == "needs_researcher" and item.flow == flows.SUBMISSION:
        notices.needs_researcher(connection, settings, held)
    return held


def _release(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    by_run = item.hold and not item.hold_by_person
    if by_run and item.flow == flows.STREAM and requests.get(connection, int(item.subject)).held:
        requests.accept(connection, int(item.subject), actor.name, reason)
        return follow_streams.follow(connection, int(item.subject), actor)
    if (
        by_run
        and item.flow == flows.SUBMISSION
        and submissions.get(connection, item.subject).state in ("refused", "held")
    ):
        raise NotAllowed("loading refused or holds it: answer its question, reject it, or wait for a corrected version")
    decisions.settle(connection, duplicates.QUARANTINE, item.subject, decisions.ACCEPT, actor.name, reason)
    return items.release(connection, item.item_id, actor, reason)


def _reject(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    submission = submissions.get(connection, item.subject)
    if item.kind == "fix" and submission.state == "loaded":
        raise NotAllowed("it is applied: withdraw it, which takes it back")
    moved = items.move(connection, item.item_id, "rejected", actor, {"reason": reason}, note=reason)
    if submission.state in ("received", "waiting", "held"):
        submissions.move(connection, item.subject, "refused", f"rejected by {actor.name}: {reason}")
    for asked in decisions.open_questions(connection):
        if asked.subject == item.subject:
            decisions.settle(connection, asked.topic, asked.subject, decisions.REJECT, actor.name, reason)
    return moved


def _reconsider(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    moved = items.move(connection, item.item_id, "received", actor, {"reason": reason}, note=reason)
    if moved.hold:
        moved = items.release(connection, item.item_id, actor, reason)
    for topic in (Topic.REMOVAL, Topic.FIX):
        decisions.ask_again(connection, topic, item.subject)
    if submissions.get(connection, item.subject).state == "refused":
        submissions.move(connection, item.subject, "received")
    return moved


def _reopen(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    if item.kind == "fix":
        raise NotAllowed("a list of fixes is not loaded again: withdraw it, which takes it back, and send another")
    moved = items.move(
        connection,
        item.item_id,
        "loading",
        actor,
        {"reason": reason, "affected": _affected(connection, item)},
        note=reason,
    )
    if moved.state == "loading":
        items.describe(
            connection, item.item_id, Blocker.REOPENED, f"it was reopened; run load_{item.kind} again when it is mended"
        )
    return moved


def _affected(connection: Connection, item: Item) -> Mapping[str, Any]:
    """Extracts that were made with it."""
    rows = connection.execute(
        "select push_date::text, detection_extract from obis.detection_extracts_list where collectioncode = %s order by 1, 2",
        [item.collectioncode],
    ).fetchall()
    return {"extracts": [f"{date} {name}" for date, name in rows] or "none was made yet"}


def _withdraw(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    if item.kind == "fix":
        fixing.may_be_undone(connection, item.subject)
    moved = items.move(connection, item.item_id, "withdrawn", actor, {"reason": reason}, note=reason)
    if moved.state == "withdrawn" and moved.kind == "fix":
        fixing.undo(connection, moved.subject, actor.name, reason)
    return moved


def _sign(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    waiting = follow_submissions.follow(connection, settings, item.subject)
    if waiting.blocker_code != Blocker.SECOND_LOOK:
        raise NotAllowed(f"{item.title} is not ready to be looked at: {waiting.blocker or waiting.state}")
    items.sign(connection, item.item_id, "verified", actor, reason)
    return follow_submissions.follow(connection, settings, item.subject)


def _assign(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    if not notices.ADDRESS.fullmatch(choice) or len(choice) > 254:
        raise NotAllowed(f"{choice[:60]!r} is not an address")
    return items.assign(connection, item.item_id, choice.lower(), actor)


def _answer(
    connection: Connection, settings: TrackerSettings, item: Item, actor: Actor, reason: str, choice: str
) -> Item:
    """What follows from an answer at once; a step of loading that asked runs again, and finds it."""
    mine = [asked for asked in decisions.open_questions(connection) if asked.subject == item.subject]
    if not mine:
        raise NotAllowed(f"nothing is asked about {item.title} any more")
    asked = mine[0]
    if choice not in asked.answers:
        raise NotAllowed(f"unknown decision {choice!r}; expected one of {', '.join(asked.answers)}")
    if asked.topic == duplicates.QUARANTINE:
        go_on = _release if choice == decisions.ACCEPT else _reject
        return go_on(connection, settings, item, actor, reason, "")
    if asked.topic == requests.QUESTION:
        requests.decide(connection, int(asked.subject), choice, actor.name, reason)
        return follow_streams.follow(connection, int(asked.subject), actor)
    if not fixing.may_be_applied(connection, asked, choice, actor.name, reason):
        says = f"{actor.name} asks for it: {reason}; another person looks at what it would change, and applies it"
        return items.note(connection, item.item_id, actor, says, {"question": asked.number, "answer": choice})
    try:
        decisions.decide(connection, asked.number, choice, actor.name, reason)
    except ValueError as error:
        raise NotAllowed(str(error)) from None
    return items.note(
        connection,
        item.item_id,
        actor,
        f"question {asked.number}: {choice}: {reason}",
        {"question": asked.number, "answer": choice},
    )


_ACTIONS: dict[Action, Act] = {
    Action.HOLD: _hold,
    Action.RELEASE: _release,
    Action.REJECT: _reject,
    Action.RECONSIDER: _reconsider,
    Action.REOPEN: _reopen,
    Action.WITHDRAW: _withdraw,
    Action.SIGN: _sign,
    Action.ASSIGN: _assign,
    Action.ANSWER: _answer,
}
