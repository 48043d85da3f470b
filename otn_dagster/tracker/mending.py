"""Mending a push under way: what is let in after the cut-off, and a snapshot that is made again for it.

Belongs here: who may do it when, and what follows for items. Does not belong here: the rows (``telemetry/revisions.py``), freezing
(``telemetry/push/snapshot.py``).

Source: what verification finds is fixed, then the push goes on (OTN node manager training, "Data Push").
"""

import datetime as dt
from dataclasses import dataclass

from otn_dagster.config import Settings
from otn_dagster.database import PUSH_LOCKS, Connection, lock_for
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import revisions
from otn_dagster.telemetry.push import entangled, snapshot
from otn_dagster.tracker import flows, items, release


def admit(connection: Connection, submission_key: str, who: str, why: str) -> str:
    """Let one submission into the push under way; which push that is. Raises as ``revisions.admit``."""
    item = items.find(connection, flows.SUBMISSION, submission_key)
    signed_off = item is None or (item.state not in ("received", "loading") and not item.hold)
    push_date = revisions.admit(connection, submission_key, who, why, signed_off)
    if item and item.state in ("loading", "verified"):  # it was meant for the next push
        says = f"it was let into the push of {push_date}"
        items.describe(connection, item.item_id, flows.Blocker.NEXT_PUSH, says, dt.date.fromisoformat(push_date))
    return push_date


@dataclass(frozen=True)
class Mending:
    """How a push under way is mended: its snapshot's revision, those that were asked for, what was let in, and what of it is not in yet."""

    revision: int
    asked: list[revisions.Revision]
    admitted: list[revisions.Admission]
    missing: list[revisions.Admission]

    @property
    def is_asked(self) -> bool:
        """Whether a revision was asked for that is not made yet."""
        return self.revision <= len(self.asked)


def of(connection: Connection, settings: Settings, push_date: str) -> Mending | None:
    """How a real push that is frozen is mended; None for others."""
    try:
        frozen = snapshot.read(settings, push_date)
    except snapshot.NothingToPush:
        return None
    if frozen.rehearsal:
        return None
    return Mending(
        frozen.revision,
        revisions.of(connection, push_date),
        revisions.admissions(connection, push_date),
        release.let_in_and_not_in_it(connection, settings, push_date),
    )


def not_made(connection: Connection, settings: Settings) -> list[tuple[str, int]]:
    """(push date, revision) of snapshots that are to be made again and are not yet."""
    asked = revisions.unreleased(connection)
    return [(date, number) for date, number in asked if snapshot.read(settings, date).revision < number]


def revise(connection: Connection, settings: Settings, push_date: str, who: str, why: str) -> int:
    """Ask for the next revision of a real push that is not released; its number. Raises Unusable otherwise."""
    lock_for(connection, PUSH_LOCKS, push_date)
    if release.of(connection, push_date):
        raise Unusable(f"the push of {push_date} is released: what went out is mended by the next push")
    try:
        frozen = snapshot.read(settings, push_date)
    except snapshot.NothingToPush:
        frozen = None
    if frozen is None or frozen.rehearsal:
        raise Unusable(f"the push of {push_date} is not frozen: whatever is loaded by its cut-off is in it")
    let_in = [one.submission_key for one in revisions.admissions(connection, push_date)]
    if both := entangled.pairs(connection, let_in, revisions.late(connection, settings, push_date)):
        raise Unusable(str(both[0]))
    if frozen.revision <= len(revisions.of(connection, push_date)):
        # It was asked for already, and is made when the push runs again.
        return len(revisions.of(connection, push_date)) + 1
    return revisions.ask(connection, push_date, who, why)
