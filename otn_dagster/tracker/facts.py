"""Observed facts: what checks, counts and files say of an item, apart from what was declared.

Belongs here: writing facts down and reading them. Does not belong here: concluding anything from them (``follow_*.py``, ``drift.py``).
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from otn_dagster.database import Connection


@dataclass(frozen=True)
class Fact:
    """One fact; ``ok`` is None where it was not evaluated."""

    name: str
    value: Any
    ok: bool | None
    run_id: str | None = None
    at: dt.datetime | None = None


def write(connection: Connection, item_id: int, facts: Iterable[Fact]) -> None:
    """Write facts down, each the newest of its name. Safe to repeat."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.tracker_facts (item_id, name, value, ok, run_id) values (%s, %s, %s, %s, %s)"
            " on conflict (item_id, name) do update set value = excluded.value, ok = excluded.ok, run_id = excluded.run_id,"
            " at = clock_timestamp()",
            [(item_id, f.name, json.dumps(f.value, default=str), f.ok, f.run_id) for f in facts],
        )


def of(connection: Connection, item_id: int) -> dict[str, Fact]:
    """The facts of an item, by name."""
    with connection.cursor(row_factory=class_row(Fact)) as cursor:
        found = cursor.execute(
            "select name, value, ok, run_id, at from platform.tracker_facts where item_id = %s order by name", [item_id]
        ).fetchall()
    return {fact.name: fact for fact in found}
