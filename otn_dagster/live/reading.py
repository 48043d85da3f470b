"""Reading a live dataset: what holds now, or what held at an earlier moment, by time and page by page.

Belongs here: the question to PostgreSQL, and its answer as records, CSV, Parquet or a pandas frame. Does not belong here: HTTP,
who may read.

"As of" a moment means: of what had been received by then, through the schema of today's table.
"""

import base64
import csv
import datetime as dt
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import psycopg
from psycopg import sql

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.database import Connection
from otn_dagster.explained import Explained
from otn_dagster.live import records, registry
from otn_dagster.live.configuration import Dataset, load_live
from otn_dagster.live.schema import Schema
from otn_dagster.live.table import STORE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_AT_ONCE = 10_000
ABOUT = ["_record_id", "_received_at", "_author"]


class NotReadable(LookupError):
    """A dataset that is hidden, or has nothing yet."""


class BadQuestion(Explained, ValueError):
    """A question that cannot be answered; says which part."""


@dataclass(frozen=True)
class Question:
    """What to read: ``start`` <= time < ``end``, as of a moment, so many records after a cursor."""

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    as_of: dt.datetime | None = None
    limit: int | None = None
    cursor: str | None = None


class _Cursor(msgspec.Struct, array_like=True):
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    record_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    time: dt.datetime | None


@dataclass(frozen=True)
class Answer:
    """Columns and rows (as they come), the newest push that they show, and the newest that there is."""

    schema: Schema
    columns: list[str]
    rows: Iterator[tuple]
    seq: int
    head: int
    time_field: str | None

    def cursor_after(self, row: tuple) -> str:
        """What the next page is asked for with."""
        time = row[self.columns.index(self.time_field)] if self.time_field else None
        found = _Cursor(self.seq, row[self.columns.index("_record_id")].hex, time)
        return base64.urlsafe_b64encode(msgspec.json.encode(found)).decode()


def moment(text: str) -> dt.datetime:
    """A time in a question; raises BadQuestion."""
    try:
        return records.read_time(text)
    except ValueError as error:
        raise BadQuestion(str(error)) from None


def hold(connection: Connection, name: str) -> None:
    """Keep a dataset's table from being exchanged while it is read.

    The lock comes before anything that takes a snapshot: a table that was exchanged later than the snapshot would be empty in it.
    """
    try:
        connection.execute(sql.SQL("lock table {} in access share mode").format(sql.Identifier(STORE, name)))
    except psycopg.errors.UndefinedTable:
        raise NotReadable(f"{name} has no table yet; what is pushed is applied within some seconds") from None


def ask(connection: Connection, dataset: Dataset, question: Question) -> Answer:
    """Read, in the caller's transaction, of which this is the first question. Raises NotReadable, BadQuestion."""
    hold(connection, dataset.name)
    if registry.switches(connection, dataset).unpublished:
        raise NotReadable(f"{dataset.name} is not published")
    state = connection.execute(
        "select a.seq, a.schema_version, coalesce((select max(seq) from platform.live_log l where l.dataset = a.dataset), 0)"
        " from platform.live_applied a where a.dataset = %s and to_regclass(%s) is not null",
        [dataset.name, f'{STORE}."{dataset.name}"'],
    ).fetchone()
    if state is None:
        raise NotReadable(f"{dataset.name} has no table yet; what is pushed is applied within some seconds")
    applied, version, head = state
    schema = registry.versions(connection, dataset.name)[version]
    time_field = dataset.time if dataset.time in schema.fields else None
    if (question.start or question.end) and not time_field:
        raise BadQuestion(f"{dataset.name} has no field of time; omit start and end")
    after = _read_cursor(question.cursor)
    seq = after.seq if after else _seq_at(connection, dataset.name, question.as_of, applied)
    columns = [*schema.fields, *(["_extra"] if schema.unknown_fields == "keep" else []), *ABOUT]
    query = _query(dataset.name, columns, time_field, seq < applied, question, after)
    bound = {"seq": seq, "start": question.start, "end": question.end, "limit": question.limit}
    bound |= {"after_id": after.record_id, "after_time": after.time} if after else {}
    return Answer(schema, columns, _rows(connection, query, bound), seq, head, time_field)


def _read_cursor(text: str | None) -> _Cursor | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode()), type=_Cursor)
    except ValueError:
        raise BadQuestion("the cursor is not one that an answer gave") from None


def _seq_at(connection: Connection, name: str, as_of: dt.datetime | None, applied: int) -> int:
    if as_of is None:
        return applied
    row = connection.execute(
        "select coalesce(max(seq), 0) from platform.live_log where dataset = %s and received_at <= %s", [name, as_of]
    ).fetchone()
    assert row is not None
    return min(row[0], applied)


def _query(
    name: str, columns: list[str], time_field: str | None, earlier: bool, question: Question, after: _Cursor | None
) -> sql.Composed:
    table = sql.Identifier(STORE, name)
    versions = (
        sql.SQL(
            "(select distinct on (_record_id) * from {} where _seq <= %(seq)s order by _record_id, _seq desc) v"
        ).format(table)
        if earlier
        else sql.SQL("{} v").format(table)
    )
    wanted = [sql.SQL("not _deleted")] + ([] if earlier else [sql.SQL("_current")])
    order: list[sql.Composable] = [sql.SQL("_record_id")]
    if time_field:
        time = sql.Identifier(time_field)
        order = [time, *order]  # records without a time come last
        wanted += [sql.SQL("{} >= %(start)s").format(time)] if question.start else []
        wanted += [sql.SQL("{} < %(end)s").format(time)] if question.end else []
        if after and after.time is not None:
            wanted.append(
                sql.SQL("(({0}, _record_id) > (%(after_time)s, %(after_id)s::uuid) or {0} is null)").format(time)
            )
        elif after:
            wanted.append(sql.SQL("{} is null and _record_id > %(after_id)s::uuid").format(time))
    elif after:
        wanted.append(sql.SQL("_record_id > %(after_id)s::uuid"))
    return sql.SQL("select {} from {} where {} order by {} limit %(limit)s").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        versions,
        sql.SQL(" and ").join(wanted),
        sql.SQL(", ").join(order),
    )


def _rows(connection: Connection, query: sql.Composed, bound: dict[str, Any]) -> Iterator[tuple]:
    with connection.cursor(name="live_reading") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        yield from cursor.execute(query, bound)


def content_type(connection: Connection, name: str, schema: Schema, sha256: str) -> str | None:
    """What a file in a record of this dataset is, by its hash; None where no record that stands has it."""
    for field in schema.files:
        query = sql.SQL(
            "select {0}->>'content_type' from {1} where _current and not _deleted and {0}->>'sha256' = %s limit 1"
        ).format(sql.Identifier(field), sql.Identifier(STORE, name))
        if row := connection.execute(query, [sha256]).fetchone():
            return row[0]
    return None


def plain(value: Any) -> Any:
    """A cell as JSON says it: times in UTC with Z, ids as 32 hexadecimal digits."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return value.hex if hasattr(value, "hex") and not isinstance(value, float) else value


def as_csv(answer: Answer) -> Iterator[bytes]:
    """Rows as CSV with a header, in pieces; a missing value is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(answer.columns)
    for number, row in enumerate(answer.rows):
        writer.writerow([_csv_cell(value) for value in row])
        if number % ROWS_AT_ONCE == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else plain(value)


def arrow_schema(answer: Answer) -> "pa.Schema":
    """Types of the columns as Arrow names them; JSON is text."""
    import pyarrow as pa

    kinds = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
    }
    own = {"_received_at": pa.timestamp("us", tz="UTC")}
    fields = answer.schema.fields
    return pa.schema(
        [
            (name, kinds.get(fields[name].type, pa.string()) if name in fields else own.get(name, pa.string()))
            for name in answer.columns
        ]
    )


def as_batches(answer: Answer) -> Iterator["pa.RecordBatch"]:
    """Rows as Arrow record batches."""
    import itertools

    import pyarrow as pa

    schema, rows = arrow_schema(answer), iter(answer.rows)
    while part := list(itertools.islice(rows, ROWS_AT_ONCE)):
        columns = [
            pa.array([_arrow_cell(value) for value in column], field.type)
            for column, field in zip(zip(*part, strict=True), schema, strict=True)
        ]
        yield pa.record_batch(columns, schema=schema)


def _arrow_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return value.hex if hasattr(value, "hex") and not isinstance(value, float) else value


def frame(
    name: str,
    start: str | dt.datetime | None = None,
    end: str | dt.datetime | None = None,
    as_of: str | dt.datetime | None = None,
) -> "pd.DataFrame":
    """A live dataset as a pandas frame, in one call: ``start`` <= time < ``end``, as it was ``as_of`` a moment.

    Raises KeyError for a dataset that is not configured, NotReadable, BadQuestion.
    """
    import pyarrow as pa

    dataset = load_live().dataset(name)
    first, last, known = (moment(value) if isinstance(value, str) else value for value in (start, end, as_of))
    with database.connect(load_settings()) as connection:
        answer = ask(connection, dataset, Question(first, last, known))
        return pa.Table.from_batches(list(as_batches(answer)), arrow_schema(answer)).to_pandas()
