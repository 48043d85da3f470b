"""The log onto the table: everything that was pushed since the table's watermark, in one transaction.

Belongs here: folding pushes into versions, the watermark, what a run reports. Does not belong here: the log and the table
themselves, rebuilding (``replay.py``).
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from otn_dagster.database import Connection
from otn_dagster.live import log, records, registry, schema
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.log import Entry
from otn_dagster.live.records import Parsed, Record
from otn_dagster.live.schema import Schema
from otn_dagster.live.table import Outcome, Table, Version

VERSIONS_AT_ONCE = 20_000
SchemaOf = Callable[[int, int], Schema]  # (number of the push, version that it was checked with) → schema


class NeedsReplay(RuntimeError):
    """A dataset's schema changed in a way that its table cannot follow in place; says what and how to go on."""

    def __init__(self, dataset: str, changes: list[str]):
        """What changed."""
        super().__init__(
            f"{dataset}: {'; '.join(changes)}. Pushes are still kept in the log. Look with `otn-dagster live replay {dataset}"
            f" --dry-run`, then rebuild the table with `otn-dagster live replay {dataset}`, or undo the change."
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
    done, applied_version = watermark(connection, dataset, version)
    known = registry.versions(connection, dataset.name)
    table = Table(connection, dataset.name, known[version])
    if applied_version != version:
        changed = schema.changes(known[applied_version], known[version])
        if changed and done == 0 and not _pushed_otherwise(connection, dataset.name, known, version):
            table.drop()  # it is empty, and nothing that comes needs its columns
        elif changed:
            raise NeedsReplay(dataset.name, changed)
    table.ensure(dataset.time)
    table.show(registry.switches(connection, dataset).unpublished is None)
    applied = Applied(dataset.name, done, max(done, log.head(connection, dataset.name)))
    fold(connection, table, applied, lambda _, checked_with: known[checked_with], run_id)
    connection.execute(
        "update platform.live_applied set seq = %s, schema_version = %s, at = clock_timestamp(), run_id = %s where dataset = %s",
        [applied.to_seq, version, run_id, dataset.name],
    )
    applied.rows = table.rows()
    return applied


def _pushed_otherwise(connection: Connection, name: str, known: dict[int, Schema], version: int) -> bool:
    """Whether anything in the log was checked with a schema that does not fit this version's table."""
    rows = connection.execute("select distinct schema_version from platform.live_log where dataset = %s", [name])
    return any(schema.changes(known[checked_with], known[version]) for (checked_with,) in rows)


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


def fold(connection: Connection, table: Table, applied: Applied, schema_of: SchemaOf, run_id: str | None) -> None:
    """Write the pushes after ``applied.from_seq`` up to ``applied.to_seq`` to a table, and count into ``applied``."""
    waiting: list[Version] = []
    entries: dict[int, Entry] = {}
    newest: dt.datetime | None = None

    def write(versions: list[Version], replace: bool = False) -> None:
        outcomes = table.write(versions, replace) if versions else {}
        for number, entry in entries.items():
            outcome = outcomes.get(number, Outcome())
            applied.outcome.add(outcome)
            _note_outcome(connection, entry, outcome, run_id)
        entries.clear()

    for entry in log.read(connection, table_dataset(table), applied.from_seq, applied.to_seq):
        newest = entry.received_at
        if entry.op == "replace":
            write(waiting)
            waiting = []
        entries[entry.seq] = entry
        versions = list(_versions(connection, entry, schema_of, applied))
        applied.pushes += 1
        applied.authors[entry.author] = applied.authors.get(entry.author, 0) + entry.records
        if entry.op == "replace":
            write(versions or [_emptied(entry)], replace=True)
        else:
            waiting += versions
            if len(waiting) >= VERSIONS_AT_ONCE:
                write(waiting)
                waiting = []
    write(waiting)
    if newest:
        applied.lag_seconds = round((dt.datetime.now(dt.UTC) - newest).total_seconds(), 2)


def table_dataset(table: Table) -> str:
    """The dataset that a table is of; a table that is being rebuilt has its name with an ending."""
    return table.name.split("~")[0]


def _versions(connection: Connection, entry: Entry, schema_of: SchemaOf, applied: Applied) -> Iterator[Version]:
    for checked_with, kind, body in log.bodies(connection, entry):
        parsed = parse_body(schema_of(entry.seq, checked_with), entry.op, kind, body)
        applied.records += len(parsed.records)
        applied.refused += len(parsed.refused)
        for record in parsed.records:
            yield Version(entry.seq, entry.received_at, entry.author, record, entry.op == "delete")


def parse_body(schema: Schema, op: str, kind: str, body: bytes) -> Parsed:
    """Records of a body of the log."""
    items = records.items_of(body, kind)
    return records.ids(schema, items) if op == "delete" else records.parse(schema, items, stored=True)


def _emptied(entry: Entry) -> Version:
    """What stands for a replacement without records: a deletion of a record that never was."""
    return Version(entry.seq, entry.received_at, entry.author, Record(0, "0" * 32, {}, None, ""), deleted=True)


def _note_outcome(connection: Connection, entry: Entry, outcome: Outcome, run_id: str | None) -> None:
    connection.execute(
        "insert into platform.live_outcomes values (%s, %s, clock_timestamp(), %s, %s, %s, %s, %s) on conflict (seq) do nothing",
        [
            entry.seq,
            run_id,
            outcome.inserted,
            outcome.updated,
            outcome.unchanged,
            outcome.deleted,
            entry.refused,
        ],
    )
