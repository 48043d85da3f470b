"""What a push did with submissions, followed as moves of their items: matched, extracted, published.

Belongs here: which part of a push is the evidence of which step. Does not belong here: the push itself (``telemetry/``), telling
people (``notices.py``).

A rehearsal moves nothing. Each function is safe to repeat and to kill: an item that was moved stays, the others follow.
"""

import datetime as dt
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, rules
from otn_dagster.telemetry.push import extracts_list
from otn_dagster.telemetry.push.certificate import CERTIFICATE
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import MANIFEST, Snapshot, push_folder
from otn_dagster.tracker import board, flows, items
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.items import Actor, Item, NotAllowed
from otn_dagster.tracker.mail import outbox

logger = logging.getLogger(__name__)
PUSHES = Actor("pushes")
MOST_LINKS = 10  # of one extract
SUMMARIES = ("discovery", "erddap", "geoserver")


def left_out(connection: Connection, snapshot: Snapshot) -> None:
    """What was verified and left out of a real push by somebody says so, and is meant for the next one. Safe to repeat."""
    if snapshot.rehearsal:
        return
    push_date = snapshot.manifest["push_date"]
    date, says = dt.date.fromisoformat(push_date), f"it was left out of the push of {push_date}"
    for one in snapshot.left_out:
        item = items.find(connection, flows.SUBMISSION, one["submission_key"]) if "submission_key" in one else None
        if item and item.state in ("matched", "extracted") and item.push_date == date:  # an earlier revision had it
            item = items.move(connection, item.item_id, "verified", PUSHES, {"reason": says}, note=says)
        if item and item.node and item.state == "verified":
            following = cutoffs.next_push(connection, item.node, None)
            blocker = (None, None) if item.hold else (Blocker.NEXT_PUSH, says)
            items.describe(connection, item.item_id, *blocker, following)


def links(
    connection: Connection, listed: pl.DataFrame, changed_by: pl.DataFrame, web_url: str, given: str | None = None
) -> dict[str, str]:
    """Of every extract the pages of the items that changed it, the newest first; or one link for all that are listed, where it is given.

    changed_by: as ``sources.of_extracts`` gives it.
    """
    if given:
        return dict.fromkeys(listed["detection_extract"], given)
    numbers = board.items_of(connection, changed_by["submission_key"].unique().to_list())
    found: dict[str, list[int]] = {}
    for extract, key in changed_by.iter_rows():
        if key in numbers:
            found.setdefault(extract, []).append(numbers[key])
    return {
        extract: " ".join(f"{web_url}/tracker/items/{number}" for number in sorted(items, reverse=True)[:MOST_LINKS])
        for extract, items in found.items()
    }


def matched(connection: Connection, snapshot: Snapshot, matches: Matches, actor: Actor) -> list[Item]:
    """Every verified submission that the snapshot holds was matched, or had nothing to match."""
    if snapshot.rehearsal:
        return []
    push_date = snapshot.manifest["push_date"]
    counted = pl.scan_parquet(matches.buckets).group_by("submission_no", "outcome").len("detections")
    outcomes: dict[int, dict[str, int]] = {}
    for number, outcome, count in counted.collect(engine="streaming").sort("outcome").iter_rows():
        outcomes.setdefault(number, {})[rules.REASONS[outcome]] = count
    manifest = hashlib.sha256((snapshot.folder / MANIFEST).read_bytes()).hexdigest()
    moved = []
    for row in snapshot.pushed().iter_rows(named=True):
        counts = outcomes.get(row["submission_no"], "none in this file")
        evidence = {"push": push_date, "snapshot": manifest, "detections": counts}
        if not _is_meant(connection, row["submission_key"], push_date, actor):
            continue
        moved += _move(connection, row["submission_key"], "verified", "matched", evidence, actor, push_date)
    return moved


def _is_meant(connection: Connection, subject: str, push_date: str, actor: Actor) -> bool:
    """Whether an item is one of this push. One that is meant for a later push was mended since this one was frozen; one that
    was matched for an earlier push, which was given up, is matched anew.
    """
    item = items.find(connection, flows.SUBMISSION, subject)
    if item is None or (item.push_date and item.push_date.isoformat() > push_date):
        return False
    if item.state == "matched" and item.push_date and item.push_date.isoformat() < push_date and not item.hold:
        reason = f"the push of {item.push_date} was given up"
        items.move(connection, item.item_id, "verified", actor, {"reason": reason}, note=reason)
    return True


def sweep(connection: Connection, settings: Settings) -> list[Item]:
    """Bring after what a push did while items were on hold, or its run was killed. Safe to repeat."""
    rows = connection.execute(
        "select distinct push_date::text, state from platform.tracker_items where flow = 'submission' and hold is null"
        " and state in ('matched', 'extracted') and push_date is not null order by 2 desc, 1"
    ).fetchall()
    moved = []
    for push_date, state in rows:
        folder = push_folder(settings, push_date)
        if state == "matched" and (folder / CERTIFICATE).exists():
            moved += extracted(connection, folder, push_date, PUSHES)
        moved += published(connection, push_date, PUSHES)
    return moved


def extracted(connection: Connection, folder: Path, push_date: str, actor: Actor) -> list[Item]:
    """Every extract of the push that names a matched submission's project was written and certified; none is an answer, too."""
    made = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))
    if made["rehearsal"]:
        return []
    listed = pl.read_parquet(folder / extracts_list.LIST_FILE).group_by("collectioncode").agg("detection_extract")
    names_of, moved = dict(listed.iter_rows()), []
    files_of = Counter(name.split("/")[1] for name in made["files"] if name.startswith("extracts/"))
    for item in _in_state(connection, push_date, "matched"):
        names, files = names_of.get(item.collectioncode, []), files_of[item.collectioncode or ""]
        if names and not files:
            items.describe(
                connection, item.item_id, Blocker.EXTRACTS, f"the certificate names no extract of {item.collectioncode}"
            )
            continue
        evidence = {
            "push": push_date,
            "certificate": made["sha256"],
            "extracts": {"count": len(names), "names": names, "files": files},
        }
        moved += _move(connection, item.subject, "matched", "extracted", evidence, actor, push_date)
    return moved


def published(connection: Connection, push_date: str, actor: Actor) -> list[Item]:
    """Summaries are those of the push, and every mail about it has ended as it will; what still waits blocks its project.

    Extracts are marked by what the outbox did in the same transaction: what is published has its marks.
    """
    released = connection.execute("select 1 from platform.push_releases where push_date = %s", [push_date]).fetchone()
    if released:
        outbox.complete(connection, push_date)
    written = connection.execute("select schema_name, push_date from platform.summaries").fetchall()
    stale = sorted(set(SUMMARIES) - {name for name, date in written if date.isoformat() >= push_date})
    moved, known = [], {}
    for item in _in_state(connection, push_date, "extracted"):
        if stale:
            says = f"summaries are not of this push yet: {', '.join(stale)}"
            items.describe(connection, item.item_id, Blocker.SUMMARIES, says)
            continue
        if not released:
            items.describe(connection, item.item_id, Blocker.MAILS, "the push waits for its release")
            continue
        code = item.collectioncode or ""
        told = known[code] = known.get(code) or outbox.told(connection, push_date, code)
        if told.open:
            items.describe(connection, item.item_id, Blocker.MAILS, told.why)
            continue
        evidence = {"push": push_date, "summaries": list(SUMMARIES), "mails": told.evidence}
        moved += _move(connection, item.subject, "extracted", "published", evidence, actor, push_date)
    return moved


def _in_state(connection: Connection, push_date: str, state: str) -> list[Item]:
    rows = connection.execute(
        "select item_id from platform.tracker_items where flow = 'submission' and push_date = %s and state = %s order by item_id",
        [push_date, state],
    ).fetchall()
    return [items.get(connection, item_id) for (item_id,) in rows]


def _move(
    connection: Connection,
    subject: str,
    before: str,
    to: str,
    evidence: Mapping[str, Any],
    actor: Actor,
    push_date: str,
) -> list[Item]:
    item = items.find(connection, flows.SUBMISSION, subject)
    if item is None or item.state != before:
        return []
    try:
        moved = items.move(connection, item.item_id, to, actor, evidence)
    except NotAllowed as refused:  # it is held: the push went on without it
        items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, str(refused))
        logger.warning("%s", refused)
        return []
    items.describe(connection, item.item_id, push_date=dt.date.fromisoformat(push_date))
    return [moved]
