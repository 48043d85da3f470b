"""Summaries into their schemas and into the push's folder.

Belongs here: replacing the tables of one schema. Does not belong here: their rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow.parquet as pq
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.files import replacing

ROWS_OF_A_GROUP = 122_880
Table = pl.DataFrame | Iterator[pl.DataFrame]  # whole, or part by part where it does not fit into memory


@dataclass(frozen=True)
class Written:
    """What was written: whether the schema was replaced, and of each table its rows and columns."""

    replaced: bool
    tables: dict[str, tuple[int, int]]


def write_schema(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Table],
    push_date: str,
    rehearsal: bool,
    folder: Path,
) -> Written:
    """Keep the tables as Parquet in ``summaries/<schema>/`` and, unless it is a rehearsal, replace those of the schema.

    All tables of a schema are replaced in the caller's one transaction: readers see the old rows until every new one is there. Safe to
    repeat. An earlier push never replaces a later one's tables.
    """
    target = folder / "summaries" / schema
    sizes = {name: _keep(rows, target / f"{name}.parquet") for name, rows in tables.items()}
    row = connection.execute("select push_date from platform.summaries where schema_name = %s", [schema]).fetchone()
    if rehearsal or (row and row[0].isoformat() > push_date):
        return Written(False, sizes)
    for name in tables:
        table = sql.Identifier(schema, name)
        connection.execute(sql.SQL("delete from {}").format(table))
        for part in _parts(target / f"{name}.parquet"):
            transfer.copy_in(connection, table, part)
    connection.execute(
        "insert into platform.summaries values (%s, %s, platform.now()) on conflict (schema_name)"
        " do update set push_date = excluded.push_date, written_at = excluded.written_at",
        [schema, push_date],
    )
    return Written(True, sizes)


def _keep(rows: Table, path: Path) -> tuple[int, int]:
    """Rows as a Parquet file; how many, and how many columns."""
    count, writer = 0, None
    with replacing(path) as aside:
        try:
            for part in [rows] if isinstance(rows, pl.DataFrame) else rows:
                table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
                writer = writer or pq.ParquetWriter(aside, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=ROWS_OF_A_GROUP)
                count += part.height
        finally:
            if writer is not None:
                writer.close()
    return count, len(pq.read_schema(path))


def _parts(path: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield cast(pl.DataFrame, pl.from_arrow(file.read_row_group(number)))
