"""The log of pushes: what was accepted, as it came, in the order in which it became durable.

Belongs here: appending many pushes in one transaction, reading them back. Does not belong here: HTTP, gathering pushes
(``otn_dagster/web/api/writer.py``), tables.

The numbers are in the order of commits, because every writer holds one lock until it has committed: so a reader that goes on
from the last number that it saw misses nothing. (Without the lock numbers are given before commits, and such a reader was
measured to lose one row in eleven.)
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import zstandard
from psycopg.rows import class_row

from otn_dagster.database import LIVE_LOG_LOCK, Connection
from otn_dagster.live.records import Fault

ZSTD_LEVEL = 1
NOTHING_INLINE = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Push:
    """A push that was checked and is to be kept; its body as it came."""

    dataset: str
    author: str
    kid: str | None
    op: str
    records: int
    schema_version: int
    body_kind: str
    body_sha256: bytes
    body: bytes | None
    idempotency_key: str | None = None
    batch_id: str | None = None
    size: int = 0
    refused: int = 0
    faults: tuple[tuple[Fault, bytes | None], ...] = ()  # of the first refused records, each with its body once


@dataclass(frozen=True)
class Logged:
    """A push that is durable."""

    seq: int
    received_at: dt.datetime
    replayed: bool = False
    records: int = 0
    refused: int = 0


class NotLogged(Exception):
    """A push that was not kept, for a reason that its sender can understand."""


class KeyEnded(NotLogged):
    """Its key was revoked, disabled or expired meanwhile."""


class PushDisabled(NotLogged):
    """Its dataset was closed meanwhile."""


class OtherBody(NotLogged):
    """Its Idempotency-Key was used before, with another body."""


@dataclass(frozen=True)
class Entry:
    """A push of the log."""

    seq: int
    dataset: str
    author: str
    op: str
    records: int
    refused: int
    schema_version: int
    received_at: dt.datetime
    body_kind: str
    body: bytes | None
    batch_id: str | None


def packed(body: bytes) -> bytes:
    """A body as the log keeps it."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)


def unpacked(body: bytes) -> bytes:
    """A body as it came."""
    return zstandard.ZstdDecompressor().decompress(body)


def append(connection: Connection, pushes: Sequence[Push]) -> list[Logged | NotLogged]:
    """Keep pushes, in the caller's transaction; what became of each. They are durable once that has committed.

    Safe to repeat where pushes carry an Idempotency-Key: the same key with the same body is the same push. Keys and datasets
    are looked at under the lock, so nothing of a key is kept after its revocation has committed.
    """
    wait_for_log(connection)
    ended = _ended(connection, pushes)
    outcomes: list[Logged | NotLogged | None] = [ended.get(number) for number in range(len(pushes))]
    known = _known(connection, pushes)
    fresh: dict[tuple[str, str, str], int] = {}
    to_insert = []
    for number, push in enumerate(pushes):
        name = (push.dataset, push.author, push.idempotency_key) if push.idempotency_key is not None else None
        if name in known and not isinstance(outcomes[number], KeyEnded):
            outcomes[number] = _again(known[name], push.body_sha256)
        elif outcomes[number] is not None:
            continue
        elif name in fresh:
            continue  # twice in one group: answered below, from the first
        else:
            if name:
                fresh[name] = number
            to_insert.append(number)
    if to_insert:
        rows = _insert(connection, [pushes[number] for number in to_insert])
        for number, (seq, at) in zip(to_insert, rows, strict=True):
            outcomes[number] = Logged(seq, at, False, pushes[number].records, pushes[number].refused)
        _note(connection, [(pushes[n], outcomes[n]) for n in to_insert])  # type: ignore[misc]
    return [outcome or _as_first(pushes, fresh, outcomes, number) for number, outcome in enumerate(outcomes)]


def wait_for_log(connection: Connection) -> None:
    """Wait until no writer is under way, and keep writers out until this transaction ends: what it closes is closed at once."""
    connection.execute("select pg_advisory_xact_lock(%s)", [LIVE_LOG_LOCK])


def _again(known: tuple, body_sha256: bytes) -> Logged | NotLogged:
    seq, sha, at, records, refused = known
    return Logged(seq, at, True, records, refused) if sha == body_sha256 else OtherBody()


def kept_before(
    connection: Connection, dataset: str, author: str, key: str, body_sha256: bytes
) -> tuple[Logged, list[Fault]] | None:
    """The push that was kept under an Idempotency-Key with this body, if any: it stays kept, whatever changed since."""
    found = _named(connection, [(dataset, author, key)])
    again = _again(found[dataset, author, key], body_sha256) if found else None
    if not isinstance(again, Logged):
        return None
    rows = connection.execute(
        "select index, field, code, message from platform.live_refused where seq = %s and index is not null order by refused_no",
        [again.seq],
    )
    return again, [Fault(*row) for row in rows]


def _as_first(pushes: Sequence[Push], fresh: dict, outcomes: list, number: int) -> Logged | NotLogged:
    push = pushes[number]
    first = fresh[push.dataset, push.author, push.idempotency_key]
    if pushes[first].body_sha256 != push.body_sha256:
        return OtherBody()
    kept = outcomes[first]
    return Logged(kept.seq, kept.received_at, True, kept.records, kept.refused)


def _ended(connection: Connection, pushes: Sequence[Push]) -> dict[int, NotLogged]:
    rows = connection.execute(
        "select 'key', kid from platform.live_keys where kid = any(%s) and revoked_at is null and disabled_at is null"
        " and (expires_at is null or expires_at > clock_timestamp())"
        " union all select 'closed', dataset from platform.live_datasets where dataset = any(%s) and disabled_by is not null",
        [list({push.kid for push in pushes if push.kid}), list({push.dataset for push in pushes})],
    ).fetchall()
    live = {name for what, name in rows if what == "key"}
    closed = {name for what, name in rows if what == "closed"}
    found: dict[int, NotLogged] = {}
    for number, push in enumerate(pushes):
        if push.kid and push.kid not in live:
            found[number] = KeyEnded()
        elif push.dataset in closed:
            found[number] = PushDisabled()
    return found


def _known(connection: Connection, pushes: Sequence[Push]) -> dict[tuple[str, str, str] | None, tuple]:
    names = [(p.dataset, p.author, p.idempotency_key) for p in pushes if p.idempotency_key is not None]
    return _named(connection, names) if names else {}


def _named(connection: Connection, names: list[tuple[str, str, str]]) -> dict[tuple[str, str, str] | None, tuple]:
    rows = connection.execute(
        "select i.dataset, i.author, i.idempotency_key, i.seq, i.body_sha256, l.received_at, l.records, l.refused"
        " from platform.live_idempotency i join platform.live_log l using (seq)"
        " where (i.dataset, i.author, i.idempotency_key) in (select * from unnest(%s::text[], %s::text[], %s::text[]))",
        [list(column) for column in zip(*names, strict=True)],
    )
    return {(row[0], row[1], row[2]): row[3:] for row in rows}


def _insert(connection: Connection, pushes: Sequence[Push]) -> list[tuple[int, dt.datetime]]:
    rows = connection.execute(
        """insert into platform.live_log (dataset, author, kid, op, records, refused, schema_version, received_at, body_kind,
               body_sha256, body, batch_id)
           select dataset, author, kid, op, records, refused, version, clock_timestamp(), kind, sha, body, batch
           from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::text[], %s::bytea[],
               %s::bytea[], %s::uuid[]) with ordinality
               as incoming(dataset, author, kid, op, records, refused, version, kind, sha, body, batch, place)
           order by place returning seq, received_at""",
        [
            [p.dataset for p in pushes],
            [p.author for p in pushes],
            [p.kid for p in pushes],
            [p.op for p in pushes],
            [p.records for p in pushes],
            [p.refused for p in pushes],
            [p.schema_version for p in pushes],
            [p.body_kind for p in pushes],
            [p.body_sha256 for p in pushes],
            [None if p.body is None else packed(p.body) for p in pushes],
            [p.batch_id for p in pushes],
        ],
    ).fetchall()
    return sorted(rows)


def _note(connection: Connection, kept: list[tuple[Push, Logged]]) -> None:
    """Idempotency keys, usage and refused records of what was kept, in the same transaction."""
    named = [
        (p.dataset, p.author, p.idempotency_key, k.seq, p.body_sha256) for p, k in kept if p.idempotency_key is not None
    ]
    refused = [
        (p.dataset, p.author, kept_as.seq, fault.index, fault.field, fault.code, fault.message, body)
        for p, kept_as in kept
        for fault, body in p.faults
    ]
    usage: dict[str, Sequence[int]] = {}
    for push, _ in kept:
        if push.kid:
            requests, records, size = usage.get(push.kid, (0, 0, 0))
            usage[push.kid] = (requests + 1, records + push.records, size + push.size)
    if named:
        connection.execute(
            "insert into platform.live_idempotency select d, a, i, s, b, clock_timestamp() from"
            " unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bytea[]) as n(d, a, i, s, b)",
            [list(column) for column in zip(*named, strict=True)],
        )
    if usage:
        note_usage(connection, usage)
    if refused:
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into platform.live_refused (dataset, author, seq, index, field, code, message, body)"
                " values (%s, %s, %s, %s, %s, %s, %s, %s)",
                refused,
            )


def note_usage(connection: Connection, usage: Mapping[str, Sequence[int]]) -> None:
    """Count (requests, records, bytes) of keys to their day, in the transaction that keeps what they sent."""
    connection.execute(
        "insert into platform.live_usage select kid, (clock_timestamp() at time zone 'UTC')::date, r, n, b, clock_timestamp()"
        " from unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) as u(kid, r, n, b)"
        " on conflict (kid, day) do update set requests = live_usage.requests + excluded.requests,"
        " records = live_usage.records + excluded.records, bytes = live_usage.bytes + excluded.bytes,"
        " last_at = excluded.last_at",
        [list(usage), *[[sums[place] for sums in usage.values()] for place in range(3)]],
    )


def head(connection: Connection, dataset: str) -> int:
    """The number of a dataset's newest push, or 0."""
    row = connection.execute("select max(seq) from platform.live_log where dataset = %s", [dataset]).fetchone()
    return row[0] or 0 if row else 0


def versions_between(connection: Connection, dataset: str, after: int, until: int) -> list[int]:
    """The schema versions that pushes with ``after`` < seq <= ``until`` were checked with."""
    rows = connection.execute(
        "select distinct coalesce(c.schema_version, l.schema_version) from platform.live_log l"
        " left join platform.live_chunks c on c.batch_id = l.batch_id where l.dataset = %s and l.seq > %s and l.seq <= %s",
        [dataset, after, until],
    )
    return sorted(version for (version,) in rows)


def read(connection: Connection, dataset: str, after: int, until: int) -> Iterator[Entry]:
    """Pushes with ``after`` < seq <= ``until``, in order, a few at a time."""
    with connection.cursor(name="live_log_reader", row_factory=class_row(Entry)) as cursor:
        cursor.itersize = 50
        yield from cursor.execute(
            "select seq, dataset, author, op, records, refused, schema_version, received_at, body_kind, body, batch_id::text"
            " from platform.live_log where dataset = %s and seq > %s and seq <= %s order by seq",
            [dataset, after, until],
        )


def bodies(connection: Connection, entry: Entry) -> Iterator[tuple[int, str, bytes]]:
    """(schema version, kind, body) of each piece of a push."""
    if entry.batch_id is None:
        assert entry.body is not None
        yield entry.schema_version, entry.body_kind, unpacked(entry.body)
        return
    numbers = connection.execute(
        "select chunk_no from platform.live_chunks where batch_id = %s order by chunk_no", [entry.batch_id]
    ).fetchall()
    for (number,) in numbers:
        row = connection.execute(
            "select schema_version, body from platform.live_chunks where batch_id = %s and chunk_no = %s",
            [entry.batch_id, number],
        ).fetchone()
        assert row is not None
        yield row[0], "ndjson", unpacked(row[1])


@dataclass(frozen=True)
class Refusal:
    """A push of which nothing was kept; written down so that its sender and the silence check see it."""

    dataset: str
    author: str
    faults: tuple[Fault, ...] = ()
    code: str = ""
    message: str = ""
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))


def note_refusals(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Write down refused pushes: each fault, without the record. What is older than 30 days goes."""
    rows = []
    for refusal in refusals:
        faults = refusal.faults or (Fault(-1, None, refusal.code, refusal.message),)
        rows += [
            (
                refusal.dataset,
                refusal.author,
                refusal.at,
                f.index if f.index >= 0 else None,
                f.field,
                f.code,
                f.message[:2000],
            )
            for f in faults
        ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.live_refused (dataset, author, at, index, field, code, message) values (%s, %s, %s, %s, %s, %s, %s)",
            rows,
        )
    connection.execute(
        "delete from platform.live_refused where seq is null and at < clock_timestamp() - interval '30 days'"
    )


def note_misfits(connection: Connection, entry: Entry, faults: Sequence[Fault]) -> None:
    """Write down what of a kept push a run could not use. Safe to repeat: what is known of the push already is left."""
    connection.execute(
        "insert into platform.live_refused (dataset, author, seq, code, message) select %s, %s, %s, %s, %s"
        " where not exists (select 1 from platform.live_refused where seq = %s)",
        [entry.dataset, entry.author, entry.seq, faults[0].code, faults[0].message, entry.seq],
    )
