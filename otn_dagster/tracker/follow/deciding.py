"""What loading's outcome means for a submission's item: a situation in, steps out.

Belongs here: the rule, as a pure function. Does not belong here: finding the situation and taking the steps (``submissions.py``).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otn_dagster.tracker import flows
from otn_dagster.tracker.flows import Blocker


@dataclass(frozen=True)
class Checked:
    """How the checks of a loaded submission stand since its loading began. ``counts`` is their evidence."""

    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # of those that stop
    counts: Any = None


@dataclass(frozen=True)
class Situation:
    """All that the rule looks at. ``loading`` and ``reason`` are what loading says, the others what the tracker knows.

    step_done: a step of loading just succeeded, so a submission that still says that it waits is about to go on.
    """

    title: str
    kind: str
    loading: str
    reason: str | None
    state: str | None
    run: str
    superseded_by: str | None = None
    hold: str | None = None
    hold_by_person: bool = False
    owner: str | None = None
    contact: str | None = None
    frozen: bool = False
    step_done: bool = False
    second_look: bool = False  # the node wants one for this kind
    signed: bool = False
    checked: Checked = Checked()
    evidence: Mapping[str, Any] = field(default_factory=dict)  # rows, loaded at
    next_push: dt.date | None = None


@dataclass(frozen=True)
class TakeBack:
    """What a step of loading just did must not stay."""

    why: str


@dataclass(frozen=True)
class Assign:
    """Somebody speaks for the item."""

    owner: str


@dataclass(frozen=True)
class Move:
    """A step of the flow. Where it is refused for now, the item says so and nothing further is done."""

    to: str
    evidence: Mapping[str, Any]
    people: int = 0
    push_date: dt.date | None = None


@dataclass(frozen=True)
class Hold:
    """The item waits, for the reason that loading gives."""

    what: str
    why: str


@dataclass(frozen=True)
class Release:
    """What held it is over."""

    why: str


@dataclass(frozen=True)
class Describe:
    """What it waits for without being on hold."""

    blocker: Blocker
    says: str
    push_date: dt.date | None


Step = TakeBack | Assign | Move | Hold | Release | Describe


def decide(now: Situation) -> list[Step]:
    """The steps that bring an item after its submission, in order; none where it is there already."""
    if now.state in flows.ENDED and now.state != "published":
        return [TakeBack(f"{now.title} became {now.state} meanwhile: the step is taken back")] if now.step_done else []
    steps: list[Step] = [Assign(now.contact)] if now.owner is None and now.contact else []
    if now.loading == "superseded":
        return [*steps, Move("superseded", {"by": now.superseded_by or "a newer version"})]
    if now.state not in ("received", "loading"):
        return steps
    if now.loading == "waiting":
        return steps if now.step_done else [*steps, _hold(now, "push_freeze" if now.frozen else "waiting_metadata")]
    if now.loading in ("held", "refused"):
        begun = [] if now.hold or now.frozen else _begun(now)
        of_fix = now.kind == "fix" and now.loading == "held"
        return [*steps, *begun, _hold(now, "second_person" if of_fix else "needs_researcher")]
    if now.loading == "loaded":
        released = now.hold and not now.hold_by_person and now.hold != "quarantined"
        return [*steps, *([Release("it is loaded")] if released else []), *_begun(now), *_verified(now)]
    return steps


def _begun(now: Situation) -> list[Step]:
    return [Move("loading", {"run": now.run})] if now.state == "received" else []


def _hold(now: Situation, what: str) -> Hold:
    return Hold(what, now.reason or flows.HOLDS[what])


def _verified(now: Situation) -> list[Step]:
    """From loading to verified, where every check of the kind was seen since loading began and none that stops failed."""
    if blocked := _blocked(now):
        return [blocked]
    waits = f"it waits for the push of {now.next_push}" if now.next_push else "it waits for the next push"
    evidence = {**now.evidence, "checks": now.checked.counts}
    return [
        Move("verified", evidence, int(now.second_look), now.next_push),
        Describe(Blocker.NEXT_PUSH, waits, now.next_push),
    ]


def _blocked(now: Situation) -> Describe | None:
    """What keeps a loaded submission from being verified, as a code and in words."""
    missing, failed = now.checked.missing, now.checked.failed
    if missing:
        says = f"{len(missing)} check(s) were not seen since loading began, the first: {missing[0]}; run load_{now.kind} again"
        return Describe(Blocker.CHECKS_MISSING, says, now.next_push)
    if failed:
        return Describe(Blocker.CHECKS_FAILED, f"blocking check(s) failed: {', '.join(failed)}", now.next_push)
    if now.second_look and not now.signed:
        return Describe(Blocker.SECOND_LOOK, "it waits for a second person's look", now.next_push)
    return None
