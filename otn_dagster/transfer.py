"""Tables in and out of PostgreSQL in bulk, by COPY, inside the caller's transaction.

Belongs here: frames to tables and queries to frames. Does not belong here: what is transferred.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from psycopg import ClientCursor, sql

from otn_dagster.database import Connection


def copy_out(
    connection: Connection,
    query: str | sql.Composable,
    schema: Mapping[str, Any],
    parameters: Sequence[Any] = (),
) -> pl.DataFrame:
    """Result of a query with these columns and polars types. Booleans come as text ``t``/``f``: select them as integers."""
    statement = sql.SQL("copy ({}) to stdout (format csv)").format(
        query if isinstance(query, sql.Composable) else sql.SQL(query)  # type: ignore[arg-type]
    )
    buffer = io.BytesIO()
    bound = _quoted(connection, statement, parameters) if parameters else statement
    with connection.cursor().copy(bound) as copy:
        for block in copy:
            buffer.write(block)
    if buffer.tell() == 0:
        return pl.DataFrame(schema=dict(schema))
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=dict(schema))


def _quoted(connection: Connection, statement: sql.Composable, parameters: Sequence[Any]) -> sql.SQL:
    """A statement with its parameters quoted by the driver: COPY takes none."""
    text = ClientCursor(connection).mogrify(statement, parameters)  # type: ignore[arg-type]
    return sql.SQL(text)  # type: ignore[arg-type]


def copy_in(connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
    """Append all rows of a frame to a table, by column name."""
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(table, columns)
    with connection.cursor().copy(statement) as copy:
        for part in frame.iter_slices(100_000):
            copy.write(part.write_csv(include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S%.6f"))
