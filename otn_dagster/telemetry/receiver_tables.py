"""In which year tables the detections of a receiver stand, so that a question about some receivers opens these tables and no others.

Belongs here: noting where rows went, and building what is read from. Does not belong here: what is asked.

``platform.detections`` and ``obis.otn_detections`` have a child for every project and year. Asking the parent opens and locks all of them:
with 100 projects of ten years each a small file took 1.5 CPU seconds of the database (0.25 so), with 1,000 the table of locks was full.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.telemetry import names
from otn_dagster.telemetry.project_tables import table

ACCEPTED, PROMOTED = "detections", "otn_detections"
PARENTS = {ACCEPTED: ("platform", "detections"), PROMOTED: ("obis", "otn_detections")}


def serials_in(parquet: Path) -> list[str]:
    """Serials of the receivers in a file's rows."""
    receivers = pl.scan_parquet(parquet).select(pl.col("receiver").unique()).collect()["receiver"]
    return sorted({names.receiver_serial(receiver) for receiver in receivers})


def keys_of(connection: Connection, serials: Sequence[str]) -> list[int]:
    """Keys of the receivers with these serials, in order; those that nobody has named yet have none."""
    query = "select receiver_key from platform.receiver_keys where rcv_serial_no = any(%s) order by 1"
    return [key for (key,) in connection.execute(query, [list(serials)])]


def note(connection: Connection, part: str, collectioncode: str, year: int, rows: sql.Composable) -> None:
    """Write down whose rows went into a year table. rows: a query of their receiver_key. Safe to repeat."""
    connection.execute(
        sql.SQL(
            "insert into platform.receiver_tables (receiver_key, part, collectioncode, year)"
            " select distinct receiver_key, {}, {}, {} from ({}) rows on conflict do nothing"
        ).format(sql.Literal(part), sql.Literal(collectioncode), sql.Literal(year), rows)
    )


def tables(
    connection: Connection, part: str, receiver_keys: Iterable[int], collectioncode: str | None = None
) -> list[sql.Identifier]:
    """The year tables in which rows of these receivers stand, of all projects or of one."""
    found = connection.execute(
        "select distinct collectioncode, year from platform.receiver_tables where part = %s and receiver_key = any(%s)"
        " and (%s::text is null or collectioncode = %s) order by 1, 2",
        [part, list(receiver_keys), collectioncode, collectioncode],
    ).fetchall()
    return [table(code, f"{part}_{year}") for code, year in found]


def rows(
    connection: Connection, part: str, receiver_keys: Sequence[int], collectioncode: str | None = None
) -> sql.Composed:
    """All rows of these receivers, of all projects or of one, as something to select from: ``(select ... union all select ...)``.

    By the parent's columns: a table that was made by hand may have others, or another order.
    """
    names = connection.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
        [".".join(PARENTS[part])],
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in names)
    of, keys = sql.SQL("select {} from {} where receiver_key = any({})"), sql.Literal(list(receiver_keys))
    found = tables(connection, part, receiver_keys, collectioncode)
    if not found:
        return sql.SQL("(select {} from only {} limit 0)").format(columns, sql.Identifier(*PARENTS[part]))
    return sql.SQL("({})").format(sql.SQL(" union all ").join(of.format(columns, one, keys) for one in found))


def gathered(
    connection: Connection, name: str, part: str, receiver_keys: Sequence[int], collectioncode: str | None = None
) -> sql.Identifier:
    """The same rows as a table of this transaction, with statistics, made where it is not there yet.

    Year tables that grew a moment ago have none, and a planner that believes in one row compares every row of a receiver with every other.
    """
    there = connection.execute("select to_regclass(%s)", [f"pg_temp.gathered_{name}"]).fetchone()
    table = sql.Identifier("pg_temp", f"gathered_{name}")
    if there and there[0] is None:
        wanted = rows(connection, part, receiver_keys, collectioncode)
        made = sql.SQL("create temp table {} on commit drop as select * from {} rows")
        connection.execute(made.format(sql.Identifier(f"gathered_{name}"), wanted))
        connection.execute(sql.SQL("analyze {}").format(table))
    return table
