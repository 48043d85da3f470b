"""The table of a dataset: every version of every record, and the view of what holds now.

Belongs here: making the table, writing versions to it, judging what each did. Does not belong here: where records come from
(``apply.py``, ``replay.py``), reading (``reading.py``).

A version is the record as one push left it, or a tombstone. Versions are written in the order of the log, one for each record
and push that changed something; the newest is marked current. So the table as of any push is a plain question.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from otn_dagster.database import Connection
from otn_dagster.live import files
from otn_dagster.live.records import Record
from otn_dagster.live.schema import TYPES, Schema

STORE, VIEWS = "live_store", "live_data"
PLAIN_NAMES = {"timestamp with time zone": "timestamptz"}
OWN = {
    "_record_id": "uuid not null",
    "_seq": "bigint not null",
    "_deleted": "boolean not null",
    "_current": "boolean not null",
    "_received_at": "timestamptz not null",
    "_author": "text not null",
    "_fingerprint": "uuid",
    "_extra": "jsonb",
}


@dataclass(frozen=True, slots=True)
class Version:
    """A record as one push left it; ``record`` without values is a tombstone."""

    seq: int
    received_at: dt.datetime
    author: str
    record: Record
    deleted: bool = False


@dataclass
class Outcome:
    """What became of records."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    absent: int = 0

    def add(self, other: "Outcome") -> None:
        """Add another's counts."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


class Table:
    """The versions of one dataset in one PostgreSQL table, within the caller's transaction.

    Everything it writes is safe to repeat only as a whole: its callers move a watermark in the same transaction.
    """

    def __init__(self, connection: Connection, name: str, schema: Schema):
        """``name`` is the dataset's, or that of a table that is being rebuilt beside it."""
        self.connection, self.name, self.schema = connection, name, schema
        self.table = sql.Identifier(STORE, name)

    def exists(self) -> bool:
        """Whether it was made."""
        row = self.connection.execute(
            "select 1 from pg_tables where schemaname = %s and tablename = %s", [STORE, self.name]
        ).fetchone()
        return row is not None

    def drop(self) -> None:
        """Take table and view away."""
        self.show(False)
        self._run("drop table if exists {}", self.table)

    def ensure(self, time_field: str | None) -> None:
        """Make it, or add the columns that it lacks. Columns of fields that were left out stay."""
        kinds = {**OWN, **{name: TYPES[field.type] for name, field in self.schema.fields.items()}}
        if not self.exists():
            columns = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), _kind(k)) for n, k in kinds.items())
            self._run("create table {} ({}, primary key (_record_id, _seq))", self.table, columns)
            self._run("create unique index on {} (_record_id) where _current", self.table)
            self._run("create index on {} (_seq)", self.table)
        present = self._columns()
        for name, kind in kinds.items():
            if name not in present:
                self._run("alter table {} add column {} {}", self.table, sql.Identifier(name), _kind(kind))
        if time_field and not self._has_index(time_field):
            self._run("create index on {} ({}, _record_id) where _current", self.table, sql.Identifier(time_field))

    def _columns(self, where: str = STORE) -> list[str]:
        rows = self.connection.execute(
            "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
            " order by ordinal_position",
            [where, self.name],
        )
        return [name for (name,) in rows]

    def _has_index(self, field: str) -> bool:
        rows = self.connection.execute(
            "select indexdef from pg_indexes where schemaname = %s and tablename = %s", [STORE, self.name]
        )
        return any(f"({field}, _record_id)" in text or f'("{field}", _record_id)' in text for (text,) in rows)

    def misfits(self) -> list[str]:
        """Columns that have another type than today's schema wants."""
        rows = self.connection.execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a"
            " where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped",
            [f'{STORE}."{self.name}"'],
        )
        present = {name: PLAIN_NAMES.get(kind, kind) for name, kind in rows}
        return [
            f"{name} is a column of {present[name]} and the field is {field.type}"
            for name, field in self.schema.fields.items()
            if name in present and present[name] != TYPES[field.type]
        ]

    def is_empty(self) -> bool:
        """Whether there is no version of any record."""
        query = sql.SQL("select not exists (select 1 from {})").format(self.table)
        return self.connection.execute(query).fetchone()[0]  # type: ignore[index]

    def show(self, published: bool, anew: bool = False) -> None:
        """Make the view that people read, or take it away; the table stays as it is.

        A view that fits is left alone, so that no reader waits; ``anew`` lets it read the table that has this name now. What was
        granted on it stays: new fields come last, and where a field went or changed its type the grants are given again.
        """
        present = self._columns(VIEWS)
        names = [*self.schema.fields, "_extra", "_record_id", "_author", "_received_at", "_seq"]
        names = [name for name in present if name in names] + [name for name in names if name not in present]
        view = sql.Identifier(VIEWS, self.name)
        if not published:
            self._run("drop view if exists {}", view)
        elif anew or names != present:
            grants = self._grants() if present and (anew or names[: len(present)] != present) else None
            if grants is not None:
                self._run("drop view {}", view)
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            query = "create or replace view {} as select {} from {} where _current and not _deleted"
            self._run(query, view, columns, self.table)
            for right, role in grants or []:
                self._run("grant {} on {} to {}", sql.SQL(right), view, sql.SQL(role))

    def _grants(self) -> list[tuple[LiteralString, LiteralString]]:
        """(right, role) of everything that was granted on the view, both as PostgreSQL writes them."""
        rows = self.connection.execute(
            "select g.privilege_type, case when g.grantee = 0 then 'public' else g.grantee::regrole::text end"
            " from pg_class c, aclexplode(c.relacl) g where c.oid = to_regclass(%s) and g.grantee <> c.relowner",
            [f'{VIEWS}."{self.name}"'],
        )
        return rows.fetchall()

    def write(self, versions: Iterable[Version], replace: bool = False) -> dict[int, Outcome]:
        """Write versions, in the order of the log; what they did, by push.

        With ``replace`` they are all of one push, and every current record that is not among them is deleted by it.
        """
        newest = {(version.seq, version.record.record_id): version for version in versions}
        self._stage(list(newest.values()), replace)
        self._judge()
        rows = self.connection.execute("select _seq, verdict, count(*) from judged group by 1, 2").fetchall()
        outcomes: dict[int, Outcome] = {seq: Outcome() for seq, _, _ in rows}
        for seq, verdict, count in rows:
            setattr(outcomes[seq], verdict, count)
        self._keep()
        self.connection.execute("drop table incoming, judged")
        return outcomes

    def _stage(self, versions: Sequence[Version], replace: bool) -> None:
        names = list(self.schema.fields)
        self._run("create temporary table incoming (like {}) on commit drop", self.table)
        columns = sql.SQL(", ").join(map(sql.Identifier, [*OWN, *names]))
        with self.connection.cursor().copy(sql.SQL("copy incoming ({}) from stdin").format(columns)) as copy:
            for version in versions:
                copy.write_row(_row(version, names))
        if replace:
            missing = (
                "insert into incoming (_record_id, _seq, _deleted, _current, _received_at, _author)"
                " select t._record_id, %s, true, false, %s, %s from {} t where t._current and not t._deleted"
                " and not exists (select 1 from incoming i where i._record_id = t._record_id)"
            )
            one = versions[0]
            self.connection.execute(sql.SQL(missing).format(self.table), [one.seq, one.received_at, one.author])  # type: ignore[arg-type]

    def _judge(self) -> None:
        self._run(
            """create temporary table judged on commit drop as
               with ordered as (
                   select _record_id, _seq, _deleted, _fingerprint, row_number() over w as place,
                       lag(_fingerprint) over w as print_before, lag(_deleted) over w as deleted_before
                   from incoming window w as (partition by _record_id order by _seq)),
               compared as (
                   select o._record_id, o._seq, o._deleted, o._fingerprint,
                       case when o.place > 1 then o.print_before else t._fingerprint end as print_before,
                       not coalesce(case when o.place > 1 then o.deleted_before else t._deleted end, true) as there_before
                   from ordered o left join (select _record_id, _deleted, _fingerprint from {} where _current) t using (_record_id))
               select _record_id, _seq, case
                   when _deleted and there_before then 'deleted'
                   when _deleted then 'absent'
                   when there_before and print_before = _fingerprint then 'unchanged'
                   when there_before then 'updated'
                   else 'inserted' end as verdict
               from compared""",
            self.table,
        )

    def _keep(self) -> None:
        self.connection.execute("delete from judged where verdict not in ('inserted', 'updated', 'deleted')")
        self._run(
            "update {} t set _current = false from (select distinct _record_id from judged) j"
            " where t._record_id = j._record_id and t._current",
            self.table,
        )
        names = [name for name in [*OWN, *self.schema.fields] if name != "_current"]
        self._run(
            "insert into {} ({}, _current) select {}, i._seq = j.newest from incoming i join"
            " (select _record_id, _seq, max(_seq) over (partition by _record_id) as newest from judged) j"
            " using (_record_id, _seq)",
            self.table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(
                sql.SQL("i.{}").format(sql.Identifier(n)) if n not in ("_record_id", "_seq") else sql.Identifier(n)
                for n in names
            ),
        )

    def _run(self, statement: str, *parts: sql.Composable) -> None:
        self.connection.execute(sql.SQL(statement).format(*parts))  # type: ignore[arg-type]

    def rows(self) -> int:
        """How many records it has now."""
        query = sql.SQL("select count(*) from {} where _current and not _deleted").format(self.table)
        return self.connection.execute(query).fetchone()[0]  # type: ignore[index]


def _kind(text: str) -> sql.SQL:
    return sql.SQL(text)  # type: ignore[arg-type] - constants of OWN and TYPES


def _row(version: Version, names: list[str]) -> list[Any]:
    record = version.record
    values = [None] * len(names) if version.deleted else [_cell(record.values.get(name)) for name in names]
    own = [
        record.record_id,
        version.seq,
        version.deleted,
        False,
        version.received_at,
        version.author,
        None if version.deleted else record.fingerprint,
        None if record.extra is None else Jsonb(record.extra),
    ]
    return own + values


def _cell(value: Any) -> Any:
    if isinstance(value, files.FileField):
        return Jsonb(value.reference())
    return Jsonb(value) if isinstance(value, list | dict) else value
