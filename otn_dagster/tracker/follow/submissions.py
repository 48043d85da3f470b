"""What loading did with a submission, followed as moves and holds of its item.

Belongs here: which outcome of loading means which step, and its evidence. Does not belong here: loading (``telemetry/``), pushes
(``pushes.py``).

Everything here reads what loading wrote down and brings the item after it. It is called inside loading's own transactions and again
by a sensor, so a run that was killed between the two is caught up with.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from otn_dagster.checks import Outcome
from otn_dagster.database import Connection
from otn_dagster.telemetry import kinds, submissions
from otn_dagster.telemetry.checks import catalog
from otn_dagster.telemetry.checks.registry import FieldCheck
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import facts, flows, items
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.facts import Fact
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.items import Actor, Item, NotAllowed
from otn_dagster.tracker.mail import notices

LOADER = Actor("loading")
FOUND_AS = "found as"  # evidence of what was loaded, or refused, before there was a tracker


class OnHold(RuntimeError):
    """A submission that is not loaded because it is on hold, was rejected or withdrawn."""


def register(connection: Connection, submission: Submission, actor: Actor = LOADER) -> Item:
    """The item of a submission, received. Safe to repeat."""
    row = connection.execute(
        "select bytes, received_at from platform.submissions where submission_key = %s", [submission.submission_key]
    ).fetchone()
    assert row is not None
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
            "bytes": row[0],
            "received at": row[1],
            **({} if submission.state == "received" else {FOUND_AS: submission.state}),
        },
        node=submission.node,
        collectioncode=submission.collectioncode,
        owner=contact_of(connection, submission.collectioncode),
        push_date=next_push(connection, submission.node, row[1]),
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
    if item.state == "received" and not items.frozen_for(connection, submission.node):
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
    if item.state in flows.ENDED and item.state != "published":
        if step_done:
            raise OnHold(f"{item.title} became {item.state} meanwhile: the step is taken back")
        return item
    if item.owner is None and (owner := contact_of(connection, submission.collectioncode)):
        item = items.assign(connection, item.item_id, owner, actor)
    if submission.state == "superseded":
        by = submission.superseded_by or "a newer version"
        return items.move(connection, item.item_id, "superseded", actor, {"by": by})
    if item.state not in ("received", "loading"):
        return item
    if submission.state == "waiting" and step_done:
        return item
    if submission.state == "waiting":
        frozen = items.frozen_for(connection, submission.node)
        return _held(connection, settings, item, "push_freeze" if frozen else "waiting_metadata", submission, actor)
    if submission.state != "received" and item.state == "received" and not item.hold:
        item = _move(connection, item, "loading", actor, {"run": actor.run_id or "before the tracker"})
    if submission.state in ("held", "refused"):
        return _held(connection, settings, item, "needs_researcher", submission, actor)
    if submission.state == "loaded" and item.hold and not item.hold_by_person and item.hold != "quarantined":
        item = items.release(connection, item.item_id, actor, "it is loaded")
    if submission.state == "loaded":
        if item.state == "received":
            item = _move(connection, item, "loading", actor, {"run": actor.run_id or "before the tracker"})
        return _verify(connection, settings, item, submission, actor)
    return item


def _held(
    connection: Connection, settings: TrackerSettings, item: Item, what: str, submission: Submission, actor: Actor
) -> Item:
    """On hold, for the reason that loading gives; where the researcher is needed, the project's people are told."""
    why = submission.reason or flows.HOLDS[what]
    before, item = item, items.hold(connection, item.item_id, what, actor, why)
    if what == "needs_researcher" and item.version > before.version and not _found_as(connection, item):
        notices.needs_researcher(connection, settings, item)
    items.describe(connection, item.item_id, Blocker.ON_HOLD, item.hold_why)
    return item


def _verify(
    connection: Connection, settings: TrackerSettings, item: Item, submission: Submission, actor: Actor
) -> Item:
    """From loading to verified, where every check of the kind was seen since loading began and none that blocks failed."""
    if item.state != "loading":
        return item
    row = connection.execute(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows, waiting_rows, loaded_at from platform.submissions"
        " where submission_key = %s",
        [item.subject],
    ).fetchone()
    assert row is not None
    rows = dict(zip(("raw", "loaded", "duplicate", "refused", "waiting"), row[:5], strict=True))
    push_date = next_push(connection, submission.node, row[5])
    missing, failed = _checks(connection, item)
    seen = facts.of(connection, item.item_id)
    if not seen and _found_as(connection, item) in ("loaded", "superseded"):
        missing = []
    second = item.kind in settings.second_look and not items.signatures(connection, item, "verified")
    blocker, says = _blocked(item.kind, missing, failed, second)
    if blocker:
        items.describe(connection, item.item_id, blocker, says, push_date)
        return items.get(connection, item.item_id)
    names = [check.name for check in checks_of(item.kind)]
    evidence = {
        "rows": rows,
        "checks": "it was loaded and checked before there was a tracker"
        if not seen
        else {
            "passed": sum(seen[name].ok is True for name in names),
            "failed": [name for name in names if seen[name].ok is False],
            "not evaluated": [name for name in names if seen[name].ok is None],
        },
        "loaded at": row[5],
    }
    moved = _move(connection, item, "verified", actor, evidence, int(item.kind in settings.second_look))
    if moved.state == "verified":
        waits = f"it waits for the push of {push_date}" if push_date else "it waits for the next push"
        items.describe(connection, item.item_id, Blocker.NEXT_PUSH, waits, push_date)
    else:
        items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, moved.blocker, push_date)
    return moved


def _blocked(kind: str, missing: list[str], failed: list[str], second: bool) -> tuple[Blocker | None, str | None]:
    """What keeps a loaded submission from being verified, as a code and in words."""
    if missing:
        says = (
            f"{len(missing)} check(s) were not seen since loading began, the first: {missing[0]}; run load_{kind} again"
        )
        return Blocker.CHECKS_MISSING, says
    if failed:
        return Blocker.CHECKS_FAILED, f"blocking check(s) failed: {', '.join(failed)}"
    if second:
        return Blocker.SECOND_LOOK, "it waits for a second person's look"
    return None, None


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
        if _checks(connection, items.get(connection, item_id))[0]:
            found.append((submissions.get(connection, key), f"{key} checks since {since:%Y%m%dT%H%M%S%f}"))
    return found


def _checks(connection: Connection, item: Item) -> tuple[list[str], list[str]]:
    """(checks that were not seen since the item is loading, blocking ones that failed)."""
    seen = facts.of(connection, item.item_id)
    missing, failed = [], []
    for check in checks_of(item.kind):
        fact = seen.get(check.name)
        if fact is None or (fact.at and fact.at < item.state_since):
            missing.append(check.name)
        elif check.stops and fact.ok is False:
            failed.append(check.name)
    return missing, failed


def _move(connection: Connection, item: Item, to: str, actor: Actor, evidence: dict, people: int = 0) -> Item:
    """Move; where that is refused for now, say so on the item and leave it."""
    try:
        return items.move(connection, item.item_id, to, actor, evidence, people=people)
    except NotAllowed as refused:
        items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, str(refused))
        return items.get(connection, item.item_id)


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


def next_push(connection: Connection, node: str, at: dt.datetime | None) -> dt.date | None:
    """The first push whose cut-off comes after a moment."""
    row = connection.execute(
        "select min(push_date) from platform.push_cutoffs where node = %s and cutoff >= coalesce(%s, platform.now())"
        " and finished_at is null",
        [node, at],
    ).fetchone()
    return row[0] if row else None
