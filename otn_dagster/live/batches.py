"""Records that come in pieces: chunks are kept as they come, and mean nothing before the whole is committed to the log.

Belongs here: opening, adding, and what would be removed. Does not belong here: reading files, HTTP.
"""

import hashlib
import uuid
from collections.abc import Sequence

import msgspec

from otn_dagster.database import Connection
from otn_dagster.live import log, records
from otn_dagster.live.files import FileField
from otn_dagster.live.records import Record
from otn_dagster.live.schema import Schema

MOST_OPEN = 5


class BatchProblem(ValueError):
    """A batch that does not exist, is closed, or has another chunk under this number."""

    def __init__(self, code: str, message: str):
        """A code for programs, a message for people."""
        self.code = code
        super().__init__(message)


def body_of(kept: Sequence[Record]) -> bytes:
    """Records as the log keeps them when they are not kept as they came: NDJSON of their values."""
    return msgspec.json.Encoder().encode_lines([_plain(record) for record in kept])


def _plain(record: Record) -> dict:
    values = {
        name: value.reference() if isinstance(value, FileField) else value
        for name, value in record.values.items()
        if value is not None
    }
    return {**values, **(record.extra or {})}


def open_batch(connection: Connection, dataset: str, author: str) -> str:
    """Open a batch; its id. An author has a few open at most; what was forgotten for a day goes."""
    forgotten = connection.execute(
        "select batch_id::text from platform.live_batches where dataset = %s and author = %s and closed_at is null"
        " and opened_at < clock_timestamp() - interval '1 day'",
        [dataset, author],
    ).fetchall()
    for (old,) in forgotten:
        give_up(connection, old)
    count = connection.execute(
        "select count(*) from platform.live_batches where dataset = %s and author = %s and closed_at is null",
        [dataset, author],
    ).fetchone()
    if count and count[0] >= MOST_OPEN:
        raise BatchProblem("quota", f"{MOST_OPEN} replacements are open; commit them or give them up")
    batch_id = str(uuid.uuid4())
    connection.execute(
        "insert into platform.live_batches (batch_id, dataset, author) values (%s, %s, %s)", [batch_id, dataset, author]
    )
    return batch_id


def find(connection: Connection, batch_id: str, dataset: str, author: str, closed_too: bool = False) -> None:
    """Lock a batch of this author, an open one unless told otherwise; raises BatchProblem."""
    try:
        name = str(uuid.UUID(batch_id))
    except ValueError:
        raise BatchProblem("not_found", "there is no such replacement") from None
    row = connection.execute(
        "select closed_at from platform.live_batches where batch_id = %s and dataset = %s and author = %s for update",
        [name, dataset, author],
    ).fetchone()
    if row is None:
        raise BatchProblem("not_found", "there is no such replacement")
    if row[0] is not None and not closed_too:
        raise BatchProblem("replacement_closed", "this replacement is committed or given up; open another")


def add(connection: Connection, batch_id: str, number: int, version: int, body: bytes, count: int) -> bool:
    """Keep a chunk; whether it is new. Safe to repeat with the same body; another body under its number is a BatchProblem."""
    sha = hashlib.sha256(body).digest()
    new = connection.execute(
        "insert into platform.live_chunks (batch_id, chunk_no, records, schema_version, body_sha256, body)"
        " values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
        [batch_id, number, count, version, sha, log.packed(body)],
    ).rowcount
    kept = connection.execute(
        "select body_sha256 from platform.live_chunks where batch_id = %s and chunk_no = %s", [batch_id, number]
    ).fetchone()
    if kept is None or bytes(kept[0]) != sha:
        raise BatchProblem("other_chunk", f"chunk {number} was sent before with another body; give the replacement up")
    return bool(new)


def close(connection: Connection, batch_id: str) -> None:
    """Take no more chunks. Safe to repeat."""
    connection.execute(
        "update platform.live_batches set closed_at = coalesce(closed_at, clock_timestamp()) where batch_id = %s",
        [batch_id],
    )


def chunks(connection: Connection, batch_id: str) -> tuple[list[int], int]:
    """(numbers of its chunks, records in them)."""
    rows = connection.execute(
        "select chunk_no, records from platform.live_chunks where batch_id = %s order by 1", [batch_id]
    ).fetchall()
    return [number for number, _ in rows], sum(count for _, count in rows)


def record_ids(connection: Connection, batch_id: str, schema: Schema) -> set[str]:
    """The ids of all records of a batch."""
    found: set[str] = set()
    for number in chunks(connection, batch_id)[0]:
        row = connection.execute(
            "select body from platform.live_chunks where batch_id = %s and chunk_no = %s", [batch_id, number]
        ).fetchone()
        assert row is not None
        items = records.items_of(log.unpacked(row[0]), "ndjson")
        found |= {record.record_id for record in records.parse(schema, items, stored=True).records}
    return found


def give_up(connection: Connection, batch_id: str) -> None:
    """Forget a batch that was never committed. Safe to repeat."""
    connection.execute("delete from platform.live_chunks where batch_id = %s", [batch_id])
    connection.execute("delete from platform.live_batches where batch_id = %s", [batch_id])
