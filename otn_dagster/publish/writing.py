"""Summaries into their schemas and into the push's folder.

Belongs here: replacing the tables of one schema. Does not belong here: their rows, nor how a large table is parted (``parts.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.files import replacing
from otn_dagster.publish import parts
from otn_dagster.publish.parts import Part

Table = pl.DataFrame | Sequence[Part]  # whole, or part by part where it is large


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

    folder: of the push, beside those of others. All tables of a schema are replaced in the caller's one transaction: readers see the old
    rows until every new one is there. Safe to repeat. An earlier push never replaces a later one's tables.
    """
    target = folder / "summaries" / schema
    sizes = {name: _keep(table, target, name) for name, table in tables.items()}
    row = connection.execute("select push_date from platform.summaries where schema_name = %s", [schema]).fetchone()
    if rehearsal or (row and row[0].isoformat() > push_date):
        return Written(False, sizes)
    for name, table in tables.items():
        if isinstance(table, pl.DataFrame):
            connection.execute(sql.SQL("delete from {}").format(sql.Identifier(schema, name)))
            transfer.copy_in(connection, sql.Identifier(schema, name), table)
        else:
            parts.replace(connection, schema, name, table, target / name)
    connection.execute(
        "insert into platform.summaries values (%s, %s, platform.now()) on conflict (schema_name)"
        " do update set push_date = excluded.push_date, written_at = excluded.written_at",
        [schema, push_date],
    )
    return Written(True, sizes)


def _keep(table: Table, folder: Path, name: str) -> tuple[int, int]:
    """A table as a Parquet file, or as a folder of them; how many rows, and how many columns."""
    if isinstance(table, pl.DataFrame):
        with replacing(folder / f"{name}.parquet") as aside:
            table.write_parquet(aside, compression="zstd")
        return table.height, table.width
    pushes = folder.parents[2]
    earlier = sorted(pushes.glob(f"*/{folder.relative_to(folder.parents[1])}/{name}"), reverse=True)
    return parts.keep(table, folder / name, earlier)
