"""Verification of a push: the live schemas of all projects, and the snapshot's data across all nodes.

Belongs here: the analysts' checks before matching (structure, types, inheritance, permissions; double reporting, codes,
the same tag on two projects). Does not belong here: checks of one submission (``checks/``).

Each check looks at all projects at once: the catalogue is read once, and cost never grows with projects times anything.

Source: node manager training, "Data Push": data analysts verify all schemas and data types, and all inherited tables.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from psycopg.rows import dict_row

from otn_dagster import files
from otn_dagster.checks import Outcome
from otn_dagster.database import Connection
from otn_dagster.telemetry.checks import registry
from otn_dagster.telemetry.checks.registry import FieldCheck, Rows, check
from otn_dagster.telemetry.project_tables import TABLES_BY_KIND, schema_of
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot

TYPE_TABLES = {"tracker": ["tags"], "deployment": ["deployments"], "data": ["tags", "deployments"], None: []}


VERIFIED, VERIFICATION_FILE = "verified_schema", "verification.parquet"


@dataclass(frozen=True)
class Evidence:
    """What a verification may look at: the live schemas, and the snapshot across all nodes."""

    connection: Connection
    shared: Shared

    @property
    def snapshot(self) -> Snapshot:
        """What was frozen."""
        return self.shared.snapshot

    @cached_property
    def types(self) -> dict[str, str | None]:
        """Every project of the snapshot with its type."""
        return dict(self.snapshot.table("projects").select("collectioncode", "projecttype").iter_rows())

    def of_schemas(self, query: str) -> Rows:
        """Rows of a query on the catalogue that takes the projects' schemas, and gives the schema as ``project``."""
        codes = {schema_of(code): code for code in self.types}
        with self.connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query, [list(codes)]).fetchall()  # type: ignore[arg-type]
        return [row | {"project": codes[row["project"]]} for row in rows]


def verify(connection: Connection, shared: Shared) -> list[Outcome[FieldCheck[Evidence]]]:
    """Every check over all projects of a snapshot, each once; failing rows begin with their project."""
    return registry.run(Evidence(connection, shared), CHECKS)


def write(outcomes: Sequence[Outcome[FieldCheck[Evidence]]], snapshot: Snapshot, folder: Path) -> pl.DataFrame:
    """``verification.parquet``: failing rows of each project by check (collectioncode, and a column a check, by its id).

    Safe to repeat: written aside and renamed whole.
    """
    counts = {o.check.check_id: Counter(row["project"] for row in o.rows) for o in outcomes}
    codes = snapshot.table("projects")["collectioncode"].sort()
    table = pl.DataFrame({"collectioncode": codes}).with_columns(
        pl.Series(check_id, [found[code] for code in codes], pl.Int64) for check_id, found in counts.items()
    )
    with files.replacing(folder / VERIFICATION_FILE) as aside:
        table.write_parquet(aside)
    return table


def why_it_stops(outcomes: Iterable[Outcome[FieldCheck[Evidence]]]) -> str | None:
    """What keeps a push from going on, in words; None where nothing does."""
    stops = [f"{o.check.check_id} ({o.check.title}): {list(o.rows)[:2]}. {o.check.hint}" for o in outcomes if o.stops]
    return f"the push stops: {'; '.join(stops)}" if stops else None


# Ids S1 to S4 judge the live schema; the others are those of the checks that they repeat across nodes.


@check("S1", VERIFIED, "Every table that the project's type needs is there", "Load its metadata again.", stops=True)
def structure(evidence: Evidence) -> Rows:
    needed = [
        (code, name)
        for code, kind in evidence.types.items()
        for tables in TYPE_TABLES[kind]
        for name, _, _ in TABLES_BY_KIND[tables]
    ]
    there = evidence.of_schemas("select schemaname as project, tablename from pg_tables where schemaname = any(%s)")
    known = {(row["project"], row["tablename"]) for row in there}
    return [{"project": code, "missing_table": name} for code, name in needed if (code, name) not in known]


@check("S2", VERIFIED, "Columns have the types of their parents", "Undo the change that was made by hand.", stops=True)
def types(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_name, a.attname as column_name,
               format_type(a.atttypid, a.atttypmod) as type, format_type(b.atttypid, b.atttypmod) as type_of_parent
           from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute b on b.attrelid = i.inhparent and b.attnum > 0 and not b.attisdropped
           left join pg_attribute a on a.attrelid = c.oid and a.attname = b.attname and not a.attisdropped
           where n.nspname = any(%s) and (a.attname is null or a.atttypid <> b.atttypid or (b.attnotnull and not a.attnotnull))
           order by 1, 2, 3"""
    )


@check("S3", VERIFIED, "Every table inherits from its parent", "ALTER TABLE ... INHERIT its parent.", stops=True)
def inheritance(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_without_parent from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = any(%s) and c.relkind in ('r', 'p') and not exists (select 1 from pg_inherits i where i.inhrelid = c.oid)
           order by 1, 2"""
    )


@check("S4", VERIFIED, "Nobody but the owner may write", "REVOKE the grant.", stops=True)
def permissions(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_name, coalesce(r.rolname, 'everybody') as may_write, a.privilege_type
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
           left join pg_roles r on r.oid = a.grantee
           where n.nspname = any(%s) and a.grantee <> c.relowner and a.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
           order by 1, 2, 3, 4"""
    )


@check(
    "P7",
    VERIFIED,
    "The project's code is unique across nodes",
    "One of the two projects must change its code.",
    stops=True,
)
def code_unique(evidence: Evidence) -> Rows:
    nodes = evidence.snapshot.pushed().select(project="collectioncode", node="node").unique()
    return nodes.filter(pl.len().over("project") > 1).sort("project", "node").to_dicts()


@check("T9", VERIFIED, "No tag is live on two projects", "Double reporting: ask both projects.", warns=True)
def tag_on_two_projects(evidence: Evidence) -> Rows:
    tags = evidence.shared.tags
    return _of("trackercode", tags.filter(pl.col("other_trackercode") != pl.col("trackercode")))


@check("T15", VERIFIED, "No tag is live twice on this project", "Give HARVEST_DATE of the first use.", warns=True)
def tag_live_twice(evidence: Evidence) -> Rows:
    same = pl.col("other_trackercode") == pl.col("trackercode")
    once = pl.col("catalognumber") < pl.col("other_catalognumber")
    return _of("trackercode", evidence.shared.tags.filter(same & once))


@check("R15", VERIFIED, "No receiver is in two projects at once", "Ask both projects.", warns=True)
def receiver_on_two_projects(evidence: Evidence) -> Rows:
    return _of("collectioncode", evidence.shared.receivers)


@check("D25", VERIFIED, "No detection was sent by two projects", "Ask both; it is counted once.", warns=True)
def double_reporting(evidence: Evidence) -> Rows:
    return evidence.shared.detections.to_dicts()


def _of(column: str, frame: pl.DataFrame) -> Rows:
    """Rows with times as times; the column that names the project as ``project``, and first."""
    times = [name for name in frame.columns if name.endswith("_ms")]
    dated = frame.with_columns(pl.from_epoch(name, time_unit="ms") for name in times)
    return dated.select(pl.col(column).alias("project"), pl.exclude(column)).sort("project").to_dicts()


CHECKS = registry.checks_in(sys.modules[__name__])
