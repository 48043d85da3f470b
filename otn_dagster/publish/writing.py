"""Summaries into their schemas and into the push's folder.

Belongs here: replacing the tables of one schema. Does not belong here: their rows.
"""

from pathlib import Path

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.files import replacing


def write_schema(
    connection: Connection,
    schema: str,
    tables: dict[str, pl.DataFrame],
    push_date: str,
    rehearsal: bool,
    folder: Path,
) -> bool:
    """Keep the tables as Parquet in ``summaries/<schema>/`` and, unless it is a rehearsal, replace those of the schema.

    Returns whether the schema was replaced. All tables of a schema are replaced in the caller's one transaction: readers
    see the old rows until every new one is there. Safe to repeat. An earlier push never replaces a later one's tables.
    """
    target = folder / "summaries" / schema
    for name, frame in tables.items():
        with replacing(target / f"{name}.parquet") as aside:
            frame.write_parquet(aside, compression="zstd")
    row = connection.execute("select push_date from platform.summaries where schema_name = %s", [schema]).fetchone()
    if rehearsal or (row and row[0].isoformat() > push_date):
        return False
    for name, frame in tables.items():
        table = sql.Identifier(schema, name)
        connection.execute(sql.SQL("delete from {}").format(table))
        transfer.copy_in(connection, table, frame)
    connection.execute(
        "insert into platform.summaries values (%s, %s, platform.now()) on conflict (schema_name)"
        " do update set push_date = excluded.push_date, written_at = excluded.written_at",
        [schema, push_date],
    )
    return True
