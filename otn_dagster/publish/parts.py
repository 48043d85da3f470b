"""A large table of a summary, kept and replaced part by part: what did not change since an earlier push is neither made nor copied again.

Belongs here: parts as files, and in the database. Does not belong here: their rows, and when a schema may be replaced (``writing.py``).

A part's file is named by what its rows are made of, so that the file of an earlier push is the part wherever the name is the same. In the
database each part is a table that inherits from the one that readers ask: they see all parts as one table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.database import Connection
from otn_dagster.files import replacing
from otn_dagster.telemetry.push.snapshot import link_or_copy

ROWS_OF_A_GROUP = 122_880


@dataclass(frozen=True)
class Part:
    """Some rows of a table.

    name: the same from push to push (``bucket-007``). made_of: a digest of all that its rows are made of. rows: makes them.
    """

    name: str
    made_of: str
    rows: Callable[[], pl.DataFrame]

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}-{self.made_of[:32]}.parquet"


def keep(parts: Sequence[Part], folder: Path, earlier: Sequence[Path]) -> tuple[int, int]:
    """Every part as a file in ``folder``; how many rows, and how many columns.

    earlier: folders of the same table in other pushes; a file that is in one is linked, not made. Safe to repeat, to race and to kill:
    a file is there whole, and what its name says; others are removed.
    """
    for part in parts:
        target = folder / part.file
        if target.exists():
            continue
        made = next((place / part.file for place in earlier if (place / part.file).exists()), None)
        folder.mkdir(parents=True, exist_ok=True)
        if made is not None:
            link_or_copy(made, target)
        else:
            with replacing(target) as aside:
                part.rows().write_parquet(aside, compression="zstd", row_group_size=ROWS_OF_A_GROUP)
    wanted = {part.file for part in parts}
    for path in folder.glob("*.parquet"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    found = [pq.read_metadata(folder / part.file) for part in parts]
    return sum(one.num_rows for one in found), found[0].num_columns if found else 0


def replace(connection: Connection, schema: str, name: str, parts: Sequence[Part], folder: Path) -> None:
    """The parts of a table in the database, from their files: those that differ are replaced, those that are no more are emptied.

    In the caller's transaction: readers see the old rows of all parts until it ends.
    """
    whole = sql.Identifier(schema, name)
    connection.execute(sql.SQL("delete from only {}").format(whole))  # rows from before the table had parts
    there = dict(
        connection.execute(
            "select part, made_of from platform.summary_parts where schema_name = %s and table_name = %s",
            [schema, name],
        ).fetchall()
    )
    wanted = {part.name: part for part in parts}
    for part in sorted(there.keys() - wanted.keys()):
        connection.execute(sql.SQL("drop table {}").format(_table(schema, name, part)))
        connection.execute(
            "delete from platform.summary_parts where schema_name = %s and table_name = %s and part = %s",
            [schema, name, part],
        )
    for part in parts:
        if there.get(part.name) != part.made_of:
            _replace(connection, schema, name, part, folder)


def _replace(connection: Connection, schema: str, name: str, part: Part, folder: Path) -> None:
    table = _table(schema, name, part.name)
    connection.execute(
        sql.SQL("create table if not exists {} () inherits ({})").format(table, sql.Identifier(schema, name))
    )
    connection.execute(sql.SQL("delete from {}").format(table))
    with pq.ParquetFile(folder / part.file) as file:
        for number in range(file.num_row_groups):
            transfer.copy_in(connection, table, pl.DataFrame(file.read_row_group(number)))
    connection.execute(
        "insert into platform.summary_parts values (%s, %s, %s, %s) on conflict (schema_name, table_name, part)"
        " do update set made_of = excluded.made_of",
        [schema, name, part.name, part.made_of],
    )


def _table(schema: str, name: str, part: str) -> sql.Identifier:
    """Where the rows of a part stand: among the platform's own tables, so that nobody takes it for a summary."""
    return sql.Identifier("platform", f"{schema}_{name}_{part.replace('-', '_')}")
