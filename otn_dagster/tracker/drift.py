"""Declared against observed: what is said of an item, and what is there now.

Belongs here: comparing, and saying so. Does not belong here: moving anything; a person, or the next run, does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from otn_dagster import database
from otn_dagster.checks import Check, Outcome
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.live.configuration import LiveDatasets
from otn_dagster.streams import configuration
from otn_dagster.streams.configuration import StreamSettings
from otn_dagster.streams.store import StreamStore
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.push.extracts import file_stem
from otn_dagster.telemetry.push.extracts_list import TYPES
from otn_dagster.telemetry.push.snapshot import push_folder
from otn_dagster.tracker import facts, flows, items
from otn_dagster.tracker.facts import Fact
from otn_dagster.tracker.follow.submissions import checks_of
from otn_dagster.tracker.items import Item

ITEMS_AT_ONCE = 100
LOADED = ("verified", "matched", "extracted", "published")


AGREES = Check(
    name="declared_agrees_with_observed",
    title="Every dataset's recorded state agrees with its files, tables and extracts. This check changes nothing",
    warns=True,
)


@dataclass(frozen=True)
class Configured:
    """What is configured, against which items are looked at."""

    settings: Settings
    streams: StreamSettings
    live: LiveDatasets


@dataclass(frozen=True)
class Drift:
    """One disagreement: what was declared, what was observed, what to do."""

    item_id: int
    title: str
    declared: str
    observed: str
    remedy: str


def look(settings: Settings, streams: StreamSettings, live: LiveDatasets) -> list[Drift]:
    """Observe every item that can disagree, write the facts down, and list what disagrees. Moves nothing; safe to repeat.

    Of stream requests only the newest published one of each stream is looked at: what is older was written over.
    """
    with database.connect(settings) as connection:
        rows = connection.execute(
            "select item_id from platform.tracker_items where flow <> 'stream' union all"
            " select max(i.item_id) from platform.tracker_items i join platform.stream_requests r on r.request_no::text = i.subject"
            " where i.flow = 'stream' and i.state = 'published' group by r.stream order by 1"
        ).fetchall()
    known, found = Configured(settings, streams, live), []
    for first in range(0, len(rows), ITEMS_AT_ONCE):
        with database.connect(settings) as connection:
            for (item_id,) in rows[first : first + ITEMS_AT_ONCE]:
                found += _look_at(connection, known, items.get(connection, item_id))
    return found


def outcome(found: list[Drift]) -> Outcome[Check]:
    """What disagrees, as a check."""
    return Outcome(AGREES, not found, [vars(one) for one in found])


def _look_at(connection: Connection, known: Configured, item: Item) -> list[Drift]:
    observed = list(_observers[item.flow](connection, known, item))
    facts.write(connection, item.item_id, [fact for fact, _ in observed])
    return [
        Drift(item.item_id, item.title, item.state or "", str(fact.value), remedy)
        for fact, remedy in observed
        if fact.ok is False
    ]


Observed = Iterator[tuple[Fact, str]]


def _submission(connection: Connection, known: Configured, item: Item) -> Observed:
    submission = submissions.get(connection, item.subject)
    path = submission.path(known.settings)
    size = path.stat().st_size if path.is_file() else None
    kept = connection.execute(
        "select bytes from platform.submissions where submission_key = %s", [item.subject]
    ).fetchone()
    yield (
        Fact(
            "file is there",
            f"{size} bytes at {submission.stored_path}, {kept[0] if kept else None} received",
            bool(kept) and size == kept[0],
        ),
        "Bring the file back from the backup; it is never written again.",
    )
    if item.state in LOADED:
        loaded = submission.state in ("loaded", "superseded")
        yield (
            Fact("loading says so, too", f"loading says {submission.state}: {submission.reason or ''}", loaded),
            "Reopen the item, or load the file again.",
        )
        seen = facts.of(connection, item.item_id)
        bad = [c.name for c in checks_of(item.kind) if c.stops and (fact := seen.get(c.name)) and fact.ok is False]
        yield (
            Fact("blocking checks pass", ", ".join(bad) or "all pass", not bad),
            "Reopen the item and mend what the checks name.",
        )
    if item.state in ("withdrawn", "rejected"):
        rows = _rows_in_use(connection, item)
        yield (
            Fact("nothing of it is in use", f"{rows} row(s) of it are still in the node's tables", rows == 0),
            "The tracker takes no rows away: send a version of the file without these rows.",
        )
    if item.state in ("extracted", "published") and item.push_date:
        missing = _missing_extracts(connection, known, item)
        yield (
            Fact("extracts are there", f"missing: {', '.join(missing)}" if missing else "all there", not missing),
            "Materialize detection_extracts of this push again; it writes the same bytes.",
        )
    if item.hold and item.push_date and item.state not in flows.ENDED:
        done = connection.execute(
            "select 1 from platform.push_cutoffs where push_date = %s and node = %s and finished_at is not null",
            [item.push_date, item.node],
        ).fetchone()
        yield (
            Fact(
                "its push has not passed",
                f"{flows.HOLDS[item.hold]} since before the push of {item.push_date}",
                done is None,
            ),
            "Release it or reject it; its push went on without it.",
        )


def _rows_in_use(connection: Connection, item: Item) -> int:
    row = connection.execute(
        "select coalesce(loaded_rows, 0) from platform.submissions where submission_key = %s and state = 'loaded'",
        [item.subject],
    ).fetchone()
    return row[0] if row else 0


def _missing_extracts(connection: Connection, known: Configured, item: Item) -> list[str]:
    folder: Path = push_folder(known.settings, str(item.push_date)) / "extracts" / (item.collectioncode or "")
    rows = connection.execute(
        "select year, extract_type from obis.detection_extracts_list where push_date = %s and collectioncode = %s",
        [item.push_date, item.collectioncode],
    ).fetchall()
    return [
        f"{TYPES[letter]} {year}"
        for year, letter in rows
        if not _extract_file(folder, item.collectioncode or "", letter, year).exists()
    ]


def _extract_file(folder: Path, collectioncode: str, letter: str, year: int) -> Path:
    """Where an extract's zip is."""
    return folder / f"{file_stem(collectioncode, letter, year)}.zip"


def _stream(connection: Connection, known: Configured, item: Item) -> Observed:
    row = connection.execute(
        "select stream, state from platform.stream_requests where request_no = %s::bigint", [item.subject]
    ).fetchone()
    same = row is not None and row[1] == item.state
    fact = Fact("the request says so, too", f"the request is {row[1] if row else 'gone'}", same)
    yield fact, "The sensor tracker_follows brings it after."
    if item.state == "published" and row and row[0] in known.streams.streams:
        there = StreamStore(configuration.store_location(known.settings, known.streams, row[0])).exists()
        fact = Fact("the store is there", f"{row[0]}: {'there' if there else 'not found'}", there)
        yield fact, "Ask for the stream with refresh."


def _live(connection: Connection, known: Configured, item: Item) -> Observed:
    there = item.subject in known.live.datasets
    where = f"config/live/{item.subject}.yaml {'is there' if there else 'is not there'}"
    yield Fact("it is configured", where, there or item.state == "closed"), "Put the file back, or close the dataset."


_observers: dict[str, Callable[[Connection, Configured, Item], Observed]] = {
    flows.SUBMISSION: _submission,
    flows.STREAM: _stream,
    flows.LIVE: _live,
}
