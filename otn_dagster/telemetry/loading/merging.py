"""Merging a corrected file into what is loaded: what is new, what changed, and what would be lost.

Belongs here: comparing rows by natural key and writing the difference. Does not belong here: which rows there are.

Source of the rule: node manager training, deployments R13: never accept a change that removes information (a value
becomes empty, a row disappears). Such a change waits for a person; see ``decisions.py``.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.database import Connection

Row = dict[str, Any]
WHOLE_ROW = "(the whole row)"  # in the place of a column, where a row is gone
Cell = tuple[str, str, str | None, str | None]  # key, column, old, new


@dataclass
class Difference:
    """How new rows differ from the table: counts, and each changed cell as (key, column, old, new)."""

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    cells: list[Cell] = field(default_factory=list)
    removals: list[tuple[str, str, str | None]] = field(default_factory=list)


def merge(
    connection: Connection,
    table: sql.Identifier,
    key: Sequence[str],
    rows: Iterable[Row],
    submission_key: str,
    absent: Iterable[tuple[Any, ...]] = (),
    removal_accepted: bool = False,
) -> Difference:
    """Insert new rows, update changed ones, remove the absent keys; leaves equal rows untouched.

    Where information would be lost and no person accepted that, nothing of it is written and ``removals`` says what it
    is: the caller must roll back. Safe to repeat: the second time all rows are unchanged.
    """
    difference = Difference()
    rows, absent = list(rows), list(absent)
    wanted = [tuple(row[name] for name in key) for row in rows] + absent
    existing = _existing(connection, table, key, wanted)
    fresh: list[Row] = []
    stamp = connection.execute("select platform.now()").fetchone()
    assert stamp is not None
    for row in rows:
        identity = tuple(row[name] for name in key)
        old = existing.get(identity)
        if old is None:
            fresh.append({**row, "datelastmodified": stamp[0]})
            existing[identity] = row
            difference.inserted += 1
            continue
        changed = {name: value for name, value in row.items() if _plain(value) != _plain(old[name])}
        if not changed:
            difference.unchanged += 1
            continue
        difference.changed += 1
        for name, value in changed.items():
            difference.cells.append((_text(identity), name, _shown(old[name]), _shown(value)))
            if value is None:
                difference.removals.append((_text(identity), name, _shown(old[name])))
        if removal_accepted or not difference.removals:
            _update(connection, table, key, identity, {**changed, "datelastmodified": stamp[0]})
    for identity in absent:
        if identity in existing:
            difference.removed += 1
            difference.removals.append((_text(identity), WHOLE_ROW, "present"))
            difference.cells.append((_text(identity), WHOLE_ROW, "present", None))
            if removal_accepted:
                _delete(connection, table, key, identity)
    if removal_accepted or not difference.removals:
        _insert(connection, table, fresh)
        note(connection, table, submission_key, difference.cells)
    return difference


def _existing(
    connection: Connection, table: sql.Identifier, key: Sequence[str], wanted: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Row]:
    """Rows of these keys: a file costs what it has, not what its project has."""
    places = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in key)
    columns = sql.SQL(", ").join(map(sql.Identifier, key))
    query = sql.SQL("select * from {} where ({}) in (select * from unnest({}))").format(table, columns, places)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = (
            cursor.execute(query, [list(values) for values in zip(*wanted, strict=True)]).fetchall() if wanted else []
        )
    return {tuple(row[name] for name in key): row for row in rows}


def _insert(connection: Connection, table: sql.Identifier, rows: Sequence[Row]) -> None:
    """New rows, those of the same columns together."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    for columns, some in groups.items():
        statement = sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(", ").join(map(sql.Identifier, columns)))
        with connection.cursor().copy(statement) as copy:
            for row in some:
                copy.write_row([row[column] for column in columns])


def _update(
    connection: Connection, table: sql.Identifier, key: Sequence[str], identity: tuple[Any, ...], row: Row
) -> None:
    connection.execute(
        sql.SQL("update {} set {} where {}").format(table, _equals(row, ", "), _equals(key, " and ")),
        [*row.values(), *identity],
    )


def _delete(connection: Connection, table: sql.Identifier, key: Sequence[str], identity: tuple[Any, ...]) -> None:
    connection.execute(sql.SQL("delete from {} where {}").format(table, _equals(key, " and ")), identity)


def _equals(names: Iterable[str], between: LiteralString) -> sql.Composed:
    return sql.SQL(between).join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in names)


def note(connection: Connection, table: sql.Identifier, submission_key: str, cells: Iterable[Cell]) -> None:
    """Write down which cells of a table a submission changed."""
    name = ".".join(table._obj)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.row_changes values (%s, %s, %s, %s, %s, %s)",
            [(submission_key, name, *cell) for cell in cells],
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    return value


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)


def _text(identity: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in identity)
