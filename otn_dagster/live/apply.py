"""The log onto the table: everything that was pushed since the table's watermark, in one transaction.

Belongs here: folding pushes into versions, the watermark, what a run reports. Does not belong here: the log and the table
themselves, rebuilding (``replay.py``).
"""

import dataclasses
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from otn_dagster.database import Connection
from otn_dagster.explained import Explained
from otn_dagster.live import log, records, registry, schema
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.log import Entry
from otn_dagster.live.records import Fault, Parsed, Record
from otn_dagster.live.schema import Schema
from otn_dagster.live.table import Outcome, Table, Version

VERSIONS_AT_ONCE = 20_000


class NeedsReplay(Explained, RuntimeError):
    """A dataset's schema changed in a way that its table cannot follow in place; says what and how to go on."""

    def __init__(self, dataset: str, changes: list[str]):
        """What changed."""
        super().__init__(
            f"{dataset}: {'; '.join(changes)}. Pushes are still kept in the log. Look with `otn-dagster live replay {dataset}"
            f" --dry-run`, then rebuild the table with `otn-dagster live replay {dataset} --by YOU --why REASON`, or undo the change."
        )


@dataclass
class Applied:
    """What one application did."""

    dataset: str
    from_seq: int
    to_seq: int
    pushes: int = 0
    records: int = 0
    refused: int = 0
    rows: int = 0
    lag_seconds: float = 0
    authors: dict[str, int] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)


def behind(connection: Connection) -> dict[str, tuple[int, int]]:
    """Datasets whose log is ahead of what is applied: (applied, newest) numbers."""
    rows = connection.execute(
        "select d.dataset, coalesce(a.seq, 0), l.head from platform.live_datasets d"
        " cross join lateral (select max(seq) as head from platform.live_log l where l.dataset = d.dataset) l"
        " left join platform.live_applied a on a.dataset = d.dataset where l.head > coalesce(a.seq, 0)"
    )
    return {name: (done, head) for name, done, head in rows}


def apply(connection: Connection, dataset: Dataset, run_id: str | None = None) -> Applied:
    """Bring a dataset's table up to the log. Raises NeedsReplay.

    Safe to repeat, to kill and to race: it starts from the watermark, whose row it locks, and moves it in the same
    transaction as the rows.
    """
    version = registry.register(connection, dataset)
    done, _ = watermark(connection, dataset, version)
    known = registry.versions(connection, dataset.name)
    head = max(done, log.head(connection, dataset.name))
    table = Table(connection, dataset.name, known[version])
    if misfits := _misfits(connection, table, known, version, done, head):
        raise NeedsReplay(dataset.name, misfits)
    table.ensure(dataset.time)
    table.show(registry.switches(connection, dataset).unpublished is None)
    applied = Applied(dataset.name, done, head)
    fold(connection, table, dataset, applied, Schemas(known, lambda _: None), run_id)
    move_watermark(connection, dataset.name, applied.to_seq, version, run_id)
    applied.rows = table.rows()
    return applied


def _misfits(
    connection: Connection, table: Table, known: dict[int, Schema], version: int, done: int, head: int
) -> list[str]:
    """Why a table, or a push that waits, does not fit today's schema; a table without any version of a record is made anew."""
    found = table.misfits()
    if found and table.is_empty():
        table.drop()
        found = []
    for checked_with in log.versions_between(connection, table.name, done, head):
        found += schema.changes(known[checked_with], known[version])
    row = connection.execute(
        "select schema_version from platform.live_applied where dataset = %s", [table.name]
    ).fetchone()
    if row and done:
        found += schema.changes(known[row[0]], known[version])
    return list(dict.fromkeys(found))


def watermark(connection: Connection, dataset: Dataset, version: int) -> tuple[int, int]:
    """(number of the newest push that is applied, version of the table's schema); locked until the transaction ends."""
    connection.execute(
        "insert into platform.live_applied (dataset, seq, schema_version, at) values (%s, 0, %s, clock_timestamp())"
        " on conflict do nothing",
        [dataset.name, version],
    )
    row = connection.execute(
        "select seq, schema_version from platform.live_applied where dataset = %s for update", [dataset.name]
    ).fetchone()
    assert row is not None
    return row


def move_watermark(connection: Connection, name: str, seq: int, version: int, run_id: str | None) -> None:
    """Say how far a table is; in the transaction that brought it there."""
    connection.execute(
        "update platform.live_applied set seq = %s, schema_version = %s, at = clock_timestamp(), run_id = %s where dataset = %s",
        [seq, version, run_id, name],
    )


class Schemas:
    """Through which schema each push is read, and what its records were called under others."""

    def __init__(self, known: dict[int, Schema], instead: Callable[[int], Schema | None], names: bool = False):
        """``instead`` gives the schema for a push, or None for the one it was checked with; ``names`` follows record ids."""
        self.known, self._instead = known, instead
        self._others = list({one.digest(): one for one in known.values()}.values()) if names else []
        self._now_called: dict[str, str] = {}

    def parse(self, entry: Entry, checked_with: int, kind: str, body: bytes) -> Parsed:
        """Records of a body; deletes by id follow the record to the id that it has now."""
        wanted = self._instead(entry.seq) or self.known[checked_with]
        parsed = parse_body(wanted, entry.op, kind, body)
        if entry.op == "delete":
            return self._renamed(parsed)
        for other in self._others:
            if other.digest() != wanted.digest():
                self._follow(parsed, parse_body(other, entry.op, kind, body))
        return parsed

    def _follow(self, now: Parsed, then: Parsed) -> None:
        by_place = {record.index: record.record_id for record in then.records}
        for record in now.records:
            before = by_place.get(record.index, record.record_id)
            if before != record.record_id:
                self._now_called[before] = record.record_id

    def _renamed(self, parsed: Parsed) -> Parsed:
        found = [
            record
            if record.values
            else dataclasses.replace(record, record_id=self._now_called.get(record.record_id, record.record_id))
            for record in parsed.records
        ]
        return Parsed(parsed.received, found, parsed.faults)


def fold(
    connection: Connection, table: Table, dataset: Dataset, applied: Applied, schemas: Schemas, run_id: str | None
) -> None:
    """Write the pushes after ``applied.from_seq`` up to ``applied.to_seq`` to a table, and count into ``applied``."""
    waiting: list[Version] = []
    refused: dict[int, int] = {}
    heard: dict[tuple[str, str], dt.datetime] = {}
    newest: dt.datetime | None = None

    def write(versions: list[Version], replace: bool = False) -> None:
        outcomes = table.write(versions, replace) if versions else {}
        for number, count in refused.items():
            outcome = outcomes.get(number, Outcome())
            applied.outcome.add(outcome)
            _note_outcome(connection, number, outcome, count, run_id)
        refused.clear()

    for entry in log.read(connection, dataset.name, applied.from_seq, applied.to_seq):
        newest = entry.received_at
        if entry.op == "replace":
            write(waiting)
            waiting = []
        versions, refused[entry.seq] = _versions(connection, entry, schemas)
        _hear(dataset, versions, heard)
        applied.pushes += 1
        applied.records += len(versions)
        applied.refused += refused[entry.seq]
        applied.authors[entry.author] = applied.authors.get(entry.author, 0) + entry.records
        if entry.op == "replace":
            write(versions or [_emptied(entry)], replace=True)
        else:
            waiting += versions
            if len(waiting) >= VERSIONS_AT_ONCE:
                write(waiting)
                waiting = []
    write(waiting)
    _note_heard(connection, dataset.name, heard)
    if newest:
        applied.lag_seconds = round((dt.datetime.now(dt.UTC) - newest).total_seconds(), 2)


def _versions(connection: Connection, entry: Entry, schemas: Schemas) -> tuple[list[Version], int]:
    """Versions of a push, and how many of its records are not among them; what was not known to be bad is written down."""
    found: list[Version] = []
    faults: list[Fault] = []
    refused = 0
    for checked_with, kind, body in log.bodies(connection, entry):
        parsed = schemas.parse(entry, checked_with, kind, body)
        refused += max(len(parsed.refused), parsed.received - len(parsed.records))
        faults += parsed.faults[:1]
        found += [
            Version(entry.seq, entry.received_at, entry.author, record, entry.op == "delete")
            for record in parsed.records
        ]
    if faults and refused > entry.refused:
        log.note_misfits(connection, entry, faults)
    return found, refused


def _hear(dataset: Dataset, versions: list[Version], heard: dict[tuple[str, str], dt.datetime]) -> None:
    """Remember of whom something came, whether or not it says anything new."""
    for name in [*dataset.silence.per, *dataset.silence.expected] if dataset.silence else []:
        for version in versions:
            value = version.record.values.get(name)
            if value is not None and not version.deleted:
                heard[name, str(value)] = version.received_at


def _note_heard(connection: Connection, name: str, heard: dict[tuple[str, str], dt.datetime]) -> None:
    if heard:
        connection.execute(
            "insert into platform.live_heard select %s, f, v, at from unnest(%s::text[], %s::text[], %s::timestamptz[]) as h(f, v, at)"
            " on conflict (dataset, field, value) do update set at = greatest(live_heard.at, excluded.at)",
            [name, [f for f, _ in heard], [v for _, v in heard], list(heard.values())],
        )


def parse_body(wanted: Schema, op: str, kind: str, body: bytes) -> Parsed:
    """Records of a body of the log. One that cannot be read is one fault: it must not stop what comes after it."""
    try:
        items = records.items_of(body, kind)
    except records.Malformed as error:
        return Parsed(1, [], [Fault(0, None, "malformed_json", str(error))])
    return records.ids(wanted, items) if op == "delete" else records.parse(wanted, items, stored=True)


def _emptied(entry: Entry) -> Version:
    """What stands for a replacement without records: a deletion of a record that never was."""
    return Version(entry.seq, entry.received_at, entry.author, Record(0, "0" * 32, {}, None, ""), deleted=True)


def _note_outcome(connection: Connection, seq: int, outcome: Outcome, refused: int, run_id: str | None) -> None:
    connection.execute(
        "insert into platform.live_outcomes values (%s, %s, clock_timestamp(), %s, %s, %s, %s, %s) on conflict (seq) do nothing",
        [seq, run_id, outcome.inserted, outcome.updated, outcome.unchanged, outcome.deleted, refused],
    )
