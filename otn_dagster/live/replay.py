"""Recovery: a table made anew from the log, compared with the one that is there, and put in its place in one transaction.

Belongs here: rebuilding and comparing. Does not belong here: the fold itself (``apply.py``).

Pushes of the range go through today's schema, pushes outside of it through the schema that they were checked with then. Deletes
are in the log like everything else, so a replay cannot bring back what was deleted.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.live import log, registry, schema
from otn_dagster.live.apply import Applied, NeedsReplay, Schemas, fold, move_watermark, parse_body, watermark
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.table import OWN, STORE, Table

MOST_SHOWN = 20


@dataclass
class Difference:
    """What a replay changes, with some of the records, and what today's schema refuses."""

    dataset: str
    pushes: int
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    refused: int
    swapped: bool
    examples: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)


class _OnlyLooked(Exception):
    pass


def replay(
    connection: Connection,
    dataset: Dataset,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    dry_run: bool = True,
    by: str = "",
    why: str = "",
) -> Difference:
    """Rebuild a dataset's table from the log, in the caller's transaction; a dry run leaves everything as it is.

    Safe to repeat and to kill: nothing is seen before the transaction commits, and the same log makes the same table. Raises
    NeedsReplay where only a range is asked for and the schema changed so that the rest does not fit it.
    """
    found: list[Difference] = []
    try:
        with connection.transaction():
            found.append(_rebuild(connection, dataset, since, until))
            if dry_run:
                raise _OnlyLooked
            _swap(connection, dataset)
    except _OnlyLooked:
        return found[0]
    found[0].swapped = True
    facts = {"added": found[0].added, "removed": found[0].removed, "changed": found[0].changed}
    registry.note(connection, dataset.name, "replay", by, why, {**facts, "since": str(since), "until": str(until)})
    return found[0]


def _rebuild(
    connection: Connection, dataset: Dataset, since: dt.datetime | None, until: dt.datetime | None
) -> Difference:
    version = registry.register(connection, dataset)
    watermark(connection, dataset, version)
    known = registry.versions(connection, dataset.name)
    now = known[version]
    head = log.head(connection, dataset.name)
    lower, upper = _range(connection, dataset.name, since, until, head)
    if (since or until) and (misfits := _misfits(known, now)):
        raise NeedsReplay(dataset.name, misfits)
    before, after = Table(connection, dataset.name, now), Table(connection, f"{dataset.name}~new", now)
    connection.execute(sql.SQL("drop table if exists {}").format(after.table))
    if not before.exists():
        before.ensure(dataset.time)
    after.ensure(dataset.time)
    applied = Applied(dataset.name, 0, head)
    schemas = Schemas(
        known, lambda seq: now if lower < seq <= upper else None, names=_any_delete(connection, dataset.name)
    )
    fold(connection, after, dataset, applied, schemas, None)
    move_watermark(connection, dataset.name, head, version, None)
    return _compare(connection, before, after, applied, _refusals(connection, dataset, now, lower, upper))


def _any_delete(connection: Connection, name: str) -> bool:
    query = "select exists (select 1 from platform.live_log where dataset = %s and op = 'delete')"
    return connection.execute(query, [name]).fetchone()[0]  # type: ignore[index]


def _range(
    connection: Connection, name: str, since: dt.datetime | None, until: dt.datetime | None, head: int
) -> tuple[int, int]:
    if since is None and until is None:
        return 0, head
    row = connection.execute(
        "select coalesce(max(seq) filter (where received_at < %s), 0), coalesce(max(seq) filter (where received_at <= %s), 0)"
        " from platform.live_log where dataset = %s and seq <= %s",
        [since or "-infinity", until or "infinity", name, head],
    ).fetchone()
    assert row is not None
    return row


def _misfits(known: dict[int, schema.Schema], now: schema.Schema) -> list[str]:
    found = [change for one in known.values() for change in schema.changes(one, now)]
    return [*dict.fromkeys(found), "a range alone cannot be replayed; replay the whole"] if found else []


def _refusals(
    connection: Connection, dataset: Dataset, now: schema.Schema, lower: int, upper: int
) -> list[dict[str, Any]]:
    """The first records of the range that today's schema refuses."""
    found: list[dict[str, Any]] = []
    for entry in log.read(connection, dataset.name, lower, upper):
        for _, kind, body in log.bodies(connection, entry):
            for fault in parse_body(now, entry.op, kind, body).faults:
                found.append(
                    {
                        "seq": entry.seq,
                        "index": fault.index,
                        "field": fault.field,
                        "code": fault.code,
                        "message": fault.message,
                    }
                )
                if len(found) >= MOST_SHOWN:
                    return found
    return found


def _compare(
    connection: Connection, before: Table, after: Table, applied: Applied, refusals: list[dict[str, Any]]
) -> Difference:
    joined = sql.SQL(
        "from (select * from {} where _current and not _deleted) _b"
        " full join (select * from {} where _current and not _deleted) _a using (_record_id)"
    ).format(before.table, after.table)
    row = connection.execute(
        sql.SQL(
            "select count(*) filter (where _b._seq is null), count(*) filter (where _a._seq is null),"
            " count(*) filter (where _a._fingerprint <> _b._fingerprint) {}"
        ).format(joined)
    ).fetchone()
    assert row is not None
    shown = connection.execute(
        sql.SQL(
            "select _record_id::text, to_jsonb(_b), to_jsonb(_a) {} where _a._fingerprint is distinct from _b._fingerprint"
            " order by _record_id limit %s"
        ).format(joined),
        [MOST_SHOWN],
    ).fetchall()
    examples = [{"record_id": i.replace("-", ""), "before": _values(b), "after": _values(a)} for i, b, a in shown]
    added, removed, changed = row
    return Difference(
        dataset=applied.dataset,
        pushes=applied.pushes,
        rows_before=before.rows(),
        rows_after=after.rows(),
        added=added,
        removed=removed,
        changed=changed,
        refused=applied.refused,
        swapped=False,
        examples=examples,
        refusals=refusals,
    )


def _values(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return row and {name: value for name, value in row.items() if name not in OWN}


def _swap(connection: Connection, dataset: Dataset) -> None:
    fresh = Table(connection, f"{dataset.name}~new", dataset.schema_)
    now = Table(connection, dataset.name, dataset.schema_)
    for table, name in ((now, f"{dataset.name}~old"), (fresh, dataset.name)):
        connection.execute(sql.SQL("alter table {} rename to {}").format(table.table, sql.Identifier(name)))
    now.show(registry.switches(connection, dataset).unpublished is None, anew=True)
    connection.execute(sql.SQL("drop table {}").format(sql.Identifier(STORE, f"{dataset.name}~old")))
    # Receiver-days are looked at again: a replay may have given or taken records of pushes that were submitted long ago.
    connection.execute("update platform.live_submissions set seq = 0 where dataset = %s", [dataset.name])
