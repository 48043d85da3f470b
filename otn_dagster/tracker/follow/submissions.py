"""What loading did with a submission, followed as moves and holds of its item.

Belongs here: finding the situation, and taking the steps that follow from it. Does not belong here: which steps those are
(``deciding.py``), loading (``telemetry/``), pushes (``pushes.py``).

Everything here reads what loading wrote down and brings the item after it. It is called inside loading's own transactions and again
by a sensor, so a run that was killed between the two is caught up with.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from otn_dagster import decisions
from otn_dagster.checks import Outcome
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, kinds, revisions, submissions
from otn_dagster.telemetry.checks import catalog
from otn_dagster.telemetry.checks.registry import FieldCheck
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import facts, flows, items
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.facts import Fact
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.follow import deciding
from otn_dagster.tracker.follow.deciding import Checked, Situation
from otn_dagster.tracker.items import Actor, Item, NotAllowed
from otn_dagster.tracker.mail import notices

LOADER = Actor("loading")
FOUND_AS = "found as"  # evidence of what was loaded, or refused, before there was a tracker


class OnHold(RuntimeError):
    """A submission that is not loaded because it is on hold, was rejected or withdrawn."""


def register(connection: Connection, submission: Submission, actor: Actor = LOADER) -> Item:
    """The item of a submission, received. Safe to repeat."""
    size, received_at = submissions.receipt(connection, submission.submission_key)
    item, _ = items.register(
        connection,
        flows.SUBMISSION,
        submission.submission_key,
        state="received",
        title=submission.file_name,
        kind=submission.kind,
        actor=actor,
        evidence={
            "file": submission.stored_path,
            "sha256": submission.sha256,
            "bytes": size,
            "received at": received_at,
            **({} if submission.state == "received" else {FOUND_AS: submission.state}),
        },
        node=submission.node,
        collectioncode=submission.collectioncode,
        owner=contact_of(connection, submission.collectioncode),
        push_date=cutoffs.next_push(connection, submission.node, received_at),
        sha256=submission.sha256,
    )
    return item


def begin(connection: Connection, submission: Submission, actor: Actor) -> None:
    """A run begins to load a submission: raises OnHold where it may not."""
    item = register(connection, submission)
    if item.state in ("rejected", "withdrawn", "superseded") or submission.state == "superseded":
        raise OnHold(
            f"{item.title} is {item.state}: it is not loaded. (What was rejected can be reconsidered in the tracker.)"
        )
    if item.hold and (item.hold_by_person or item.hold == "quarantined"):
        raise OnHold(
            f"{item.title} {flows.HOLDS[item.hold]}: {item.hold_why}. Release it in the tracker (item {item.item_id})."
        )
    if item.state == "received" and not items.frozen_for(connection, submission.node, submission.submission_key):
        if item.hold:
            items.release(connection, item.item_id, actor, "loading goes on")
        items.move(connection, item.item_id, "loading", actor, {"run": actor.run_id or actor.name})


def note_checks(
    connection: Connection, submission: Submission, results: Sequence[Outcome[FieldCheck[Any]]], actor: Actor
) -> None:
    """Keep what checks found as facts. Safe to repeat."""
    item = register(connection, submission)
    found = [
        Fact(r.check.name, {"title": r.check.title, "failing rows": len(r.rows), "why": r.why}, r.passed, actor.run_id)
        for r in results
    ]
    facts.write(connection, item.item_id, found)


def follow(
    connection: Connection,
    settings: TrackerSettings,
    submission_key: str,
    actor: Actor = LOADER,
    step_done: bool = False,
) -> Item:
    """Bring an item after its submission: moves, holds, what blocks it. Safe to repeat.

    step_done: a step of loading just succeeded, so a submission that still says that it waits is about to go on.
    """
    submission = submissions.get(connection, submission_key)
    item = items.get(connection, register(connection, submission).item_id, lock=True)
    situation = _situation(connection, settings, submission, item, actor, step_done)
    return _apply(connection, settings, item, deciding.decide(situation), actor)


def _situation(
    connection: Connection, settings: TrackerSettings, submission: Submission, item: Item, actor: Actor, step_done: bool
) -> Situation:
    found = Situation(
        title=item.title,
        kind=item.kind,
        loading=submission.state,
        reason=submission.reason,
        superseded_by=submission.superseded_by,
        state=item.state,
        hold=item.hold,
        hold_by_person=item.hold_by_person,
        owner=item.owner,
        contact=contact_of(connection, submission.collectioncode) if item.owner is None else None,
        run=actor.run_id or "before the tracker",
        frozen=submission.state in ("waiting", "held")
        and bool(items.frozen_for(connection, submission.node, submission.submission_key)),
        step_done=step_done,
    )
    if submission.state != "loaded" or item.state not in ("received", "loading"):
        return found
    rows, loaded_at = submissions.counts(connection, item.subject)
    return dataclasses.replace(
        found,
        second_look=item.kind in settings.second_look,
        signed=bool(items.signatures(connection, item, "verified")),
        checked=_checks(connection, item),
        evidence={"rows": rows, "loaded at": loaded_at},
        next_push=revisions.admitted(connection, item.subject)
        or cutoffs.next_push(connection, submission.node, loaded_at),
    )


def _apply(
    connection: Connection, settings: TrackerSettings, item: Item, steps: Sequence[deciding.Step], actor: Actor
) -> Item:
    """Take the steps, until one is refused; the item as it is then."""
    for step in steps:
        match step:
            case deciding.TakeBack(why):
                raise OnHold(why)
            case deciding.Assign(owner):
                item = items.assign(connection, item.item_id, owner, actor)
            case deciding.Release(why):
                item = items.release(connection, item.item_id, actor, why)
            case deciding.Hold(what, why):
                item = _hold(connection, settings, item, what, why, actor)
            case deciding.Describe(blocker, says, push_date):
                items.describe(connection, item.item_id, blocker, says, push_date)
            case deciding.Move(to, evidence, people, push_date):
                try:
                    item = items.move(connection, item.item_id, to, actor, evidence, people=people)
                    if to == "superseded":
                        decisions.withdraw(connection, item.subject, f"superseded by {evidence['by']}")
                except NotAllowed as refused:
                    items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, str(refused), push_date)
                    break
    return items.get(connection, item.item_id)


def _hold(connection: Connection, settings: TrackerSettings, item: Item, what: str, why: str, actor: Actor) -> Item:
    """On hold; where the researcher is needed, the project's people are told once."""
    before, item = item, items.hold(connection, item.item_id, what, actor, why)
    if what == "needs_researcher" and item.version > before.version and not _found_as(connection, item):
        notices.needs_researcher(connection, settings, item)
    items.describe(connection, item.item_id, Blocker.ON_HOLD, item.hold_why)
    return item


def _found_as(connection: Connection, item: Item) -> str | None:
    """In which state of loading it was found, where that was before there was a tracker."""
    row = connection.execute(
        "select evidence->>%s from platform.tracker_history where item_id = %s and version = 1",
        [FOUND_AS, item.item_id],
    ).fetchone()
    return row[0] if row else None


def unchecked(connection: Connection) -> list[tuple[Submission, str]]:
    """Loaded submissions whose run died before its last check, each with its occasion. (Not those that a person reopened.)"""
    rows = connection.execute(
        "select i.item_id, i.subject, i.state_since from platform.tracker_items i join platform.submissions s"
        " on s.submission_key = i.subject where i.flow = 'submission' and i.state = 'loading' and i.hold is null and s.state = 'loaded'"
        " and (select h.from_state from platform.tracker_history h where h.item_id = i.item_id and h.what = 'move'"
        "  order by h.version desc limit 1) = 'received' order by i.item_id limit 500"
    ).fetchall()
    found = []
    for item_id, key, since in rows:
        if _checks(connection, items.get(connection, item_id)).missing:
            found.append((submissions.get(connection, key), f"{key} checks since {since:%Y%m%dT%H%M%S%f}"))
    return found


def _checks(connection: Connection, item: Item) -> Checked:
    """How every check of the kind stands since the item is loading; one that is about to load has seen none."""
    seen = facts.of(connection, item.item_id)
    if not seen and _found_as(connection, item) in ("loaded", "superseded"):
        return Checked(counts="it was loaded and checked before there was a tracker")
    checks, missing = checks_of(item.kind), []
    for check in checks:
        fact = seen.get(check.name)
        if fact is None or (fact.at and (item.state == "received" or fact.at < item.state_since)):
            missing.append(check.name)
    if missing:
        return Checked(missing=tuple(missing))
    names = [check.name for check in checks]
    counts = {
        "passed": sum(seen[name].ok is True for name in names),
        "failed": [name for name in names if seen[name].ok is False],
        "not evaluated": [name for name in names if seen[name].ok is None],
    }
    return Checked(failed=tuple(c.name for c in checks if c.stops and seen[c.name].ok is False), counts=counts)


def checks_of(kind: str) -> list[FieldCheck[Any]]:
    """Every check that a submission of a kind must have seen."""
    return [check for stage in kinds.CHECKED[kind] for check in catalog.of_stage(stage)]


def behind(connection: Connection) -> list[str]:
    """Some submissions whose item is not where loading is; at random, so that those that cannot move hide no others."""
    rows = connection.execute(
        "select s.submission_key from platform.submissions s left join platform.tracker_items i"
        " on i.flow = 'submission' and i.subject = s.submission_key where i.item_id is null"
        " or (s.state = 'superseded' and i.state not in ('superseded', 'rejected', 'withdrawn'))"
        " or (s.state in ('waiting', 'held', 'refused') and i.state in ('received', 'loading') and i.hold is null)"
        " or (s.state = 'loaded' and i.state in ('received', 'loading')) order by random() limit 200"
    ).fetchall()
    return [key for (key,) in rows]


def contact_of(connection: Connection, collectioncode: str) -> str | None:
    """The address (or else the name) of who speaks for a project: its point of contact, or its first principal investigator."""
    row = connection.execute(
        "select coalesce(lower(email), name) from obis.contacts join obis.contacts_projects using (contact_pk) where collectioncode = %s"
        " order by point_of_contact desc, role <> 'Principal Investigator', contact_pk limit 1",
        [collectioncode],
    ).fetchone()
    return row[0] if row else None
