"""Verification of a push: the live schema of each project, and the snapshot's data across all nodes.

Belongs here: the analysts' checks before matching (structure, types, inheritance, permissions; double reporting, codes,
the same tag on two projects). Does not belong here: checks of one submission (``checks/``).

Source: node manager training, "Data Push": data analysts verify all schemas and data types, and all inherited tables.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from psycopg.rows import dict_row

from otn_dagster.checks import Outcome
from otn_dagster.database import Connection
from otn_dagster.telemetry.checks import registry
from otn_dagster.telemetry.checks.registry import FieldCheck, Rows, check
from otn_dagster.telemetry.project_tables import TABLES_BY_KIND, schema_of
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot

TYPE_TABLES = {"tracker": ["tags"], "deployment": ["deployments"], "data": ["tags", "deployments"], None: []}


VERIFIED = "verified_schema"


@dataclass(frozen=True)
class Evidence:
    """What the verification of a project may look at: its live schema, and the snapshot across all nodes."""

    connection: Connection
    shared: Shared
    code: str

    @property
    def snapshot(self) -> Snapshot:
        """What was frozen."""
        return self.shared.snapshot


def verify(connection: Connection, shared: Shared, collectioncode: str) -> list[Outcome[FieldCheck[Evidence]]]:
    """Every check of one project, by id; shared: one for all projects of the push."""
    return registry.run(Evidence(connection, shared, collectioncode), CHECKS)


def together(found: Mapping[str, Sequence[Outcome[FieldCheck[Evidence]]]]) -> list[Outcome[FieldCheck[Evidence]]]:
    """The outcomes of many projects as one for each check, every failing row with its project."""
    rows: dict[str, list[dict[str, Any]]] = {check.name: [] for check in CHECKS}
    for project, outcomes in found.items():
        for outcome in outcomes:
            rows[outcome.check.name] += [{"project": project, **row} for row in outcome.rows]
    return [Outcome(check, not rows[check.name], rows[check.name]) for check in CHECKS]


def why_it_stops(outcomes: Iterable[Outcome[FieldCheck[Evidence]]]) -> str | None:
    """What keeps a push from going on, in words; None where nothing does."""
    stops = [f"{o.check.check_id} ({o.check.title}): {list(o.rows)[:2]}. {o.check.hint}" for o in outcomes if o.stops]
    return f"the push stops: {'; '.join(stops)}" if stops else None


def _rows(connection: Connection, query: str, *parameters: Any) -> Rows:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()  # type: ignore[arg-type]


# Ids S1 to S4 judge the live schema; the others are those of the checks that they repeat across nodes.


@check("S1", VERIFIED, "Every table that the project's type needs is there", "Load its metadata again.", stops=True)
def structure(evidence: Evidence) -> Rows:
    project = evidence.snapshot.table("projects").filter(pl.col("collectioncode") == evidence.code)
    kinds = TYPE_TABLES[project["projecttype"].to_list()[0]] if project.height else []
    needed = [name for kind in kinds for name, _, _ in TABLES_BY_KIND[kind]]
    return _rows(
        evidence.connection,
        "select name as missing_table from unnest(%s::text[]) name where not exists"
        " (select 1 from pg_tables where schemaname = %s and tablename = name)",
        needed,
        schema_of(evidence.code),
    )


@check("S2", VERIFIED, "Columns have the types of their parents", "Undo the change that was made by hand.", stops=True)
def types(evidence: Evidence) -> Rows:
    return _rows(
        evidence.connection,
        """select c.relname as table_name, a.attname as column_name, format_type(a.atttypid, a.atttypmod) as type,
               format_type(b.atttypid, b.atttypmod) as type_of_parent
           from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute b on b.attrelid = i.inhparent and b.attnum > 0 and not b.attisdropped
           left join pg_attribute a on a.attrelid = c.oid and a.attname = b.attname and not a.attisdropped
           where n.nspname = %s and (a.attname is null or a.atttypid <> b.atttypid or (b.attnotnull and not a.attnotnull))
           order by 1, 2""",
        schema_of(evidence.code),
    )


@check("S3", VERIFIED, "Every table inherits from its parent", "ALTER TABLE ... INHERIT its parent.", stops=True)
def inheritance(evidence: Evidence) -> Rows:
    return _rows(
        evidence.connection,
        "select tablename as table_without_parent from pg_tables t where schemaname = %s and not exists (select 1 from pg_inherits i"
        " where i.inhrelid = (quote_ident(schemaname) || '.' || quote_ident(tablename))::regclass) order by 1",
        schema_of(evidence.code),
    )


@check("S4", VERIFIED, "Nobody but the owner may write", "REVOKE the grant.", stops=True)
def permissions(evidence: Evidence) -> Rows:
    return _rows(
        evidence.connection,
        """select c.relname as table_name, coalesce(r.rolname, 'everybody') as may_write, a.privilege_type
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
           left join pg_roles r on r.oid = a.grantee
           where n.nspname = %s and a.grantee <> c.relowner and a.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
           order by 1, 2, 3""",
        schema_of(evidence.code),
    )


@check(
    "P7",
    VERIFIED,
    "The project's code is unique across nodes",
    "One of the two projects must change its code.",
    stops=True,
)
def code_unique(evidence: Evidence) -> Rows:
    nodes = (
        evidence.snapshot.table("submissions")
        .filter(pl.col("collectioncode") == evidence.code, pl.col("state") == "loaded")["node"]
        .unique()
    )
    return [{"node": node} for node in nodes.sort()] if len(nodes) > 1 else []


@check("T9", VERIFIED, "No tag is live on two projects", "Double reporting: ask both projects.", warns=True)
def tag_on_two_projects(evidence: Evidence) -> Rows:
    mine = evidence.shared.tags.filter(pl.col("trackercode") == evidence.code)
    return _dated(mine.filter(pl.col("other_trackercode") != evidence.code))


@check("T15", VERIFIED, "No tag is live twice on this project", "Give HARVEST_DATE of the first use.", warns=True)
def tag_live_twice(evidence: Evidence) -> Rows:
    mine = evidence.shared.tags.filter(pl.col("trackercode") == evidence.code)
    same = (pl.col("other_trackercode") == evidence.code) & (pl.col("catalognumber") < pl.col("other_catalognumber"))
    return _dated(mine.filter(same))


@check("R15", VERIFIED, "No receiver is in two projects at once", "Ask both projects.", warns=True)
def receiver_on_two_projects(evidence: Evidence) -> Rows:
    return _dated(evidence.shared.receivers.filter(pl.col("collectioncode") == evidence.code))


@check("D25", VERIFIED, "No detection was sent by two projects", "Ask both; it is counted once.", warns=True)
def double_reporting(evidence: Evidence) -> Rows:
    return evidence.shared.detections.filter(pl.col("project") == evidence.code).drop("project").to_dicts()


def _dated(frame: pl.DataFrame) -> Rows:
    times = [name for name in frame.columns if name.endswith("_ms")]
    return frame.with_columns(pl.from_epoch(name, time_unit="ms") for name in times).to_dicts()


CHECKS = registry.checks_in(sys.modules[__name__])
