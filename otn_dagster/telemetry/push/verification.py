"""Verification of a push: the live schema of each project, and the snapshot's data across all nodes.

Belongs here: the analysts' checks before matching (structure, types, inheritance, permissions; double reporting, codes,
the same tag on two projects). Does not belong here: checks of one submission (``checks/``).

Source: node manager training, "Data Push": data analysts verify all schemas and data types, and all inherited tables.
"""

from dataclasses import dataclass, field
from typing import Any

import polars as pl
from psycopg.rows import dict_row

from otn_dagster.database import Connection
from otn_dagster.telemetry.project_tables import TABLES_BY_KIND, schema_of
from otn_dagster.telemetry.push.snapshot import Snapshot

TYPE_TABLES = {"tracker": ["tags"], "deployment": ["deployments"], "data": ["tags", "deployments"], None: []}


@dataclass(frozen=True)
class Verdict:
    """One check of a push's verification."""

    check_id: str
    name: str
    title: str
    hint: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    blocking: bool = False
    warning: bool = False


# Ids S1 to S4 judge the live schema; the others are those of the checks that they repeat across nodes.
CATALOG = {
    "S1": (
        "structure",
        "Every table that the project's type needs is there",
        "Load its metadata again.",
        True,
        False,
    ),
    "S2": (
        "types",
        "Columns have the types of their parents",
        "Undo the change that was made by hand.",
        True,
        False,
    ),
    "S3": (
        "inheritance",
        "Every table inherits from its parent",
        "ALTER TABLE ... INHERIT its parent.",
        True,
        False,
    ),
    "S4": ("permissions", "Nobody but the owner may write", "REVOKE the grant.", True, False),
    "P7": (
        "code_unique",
        "The project's code is unique across nodes",
        "One of the two projects must change its code.",
        True,
        False,
    ),
    "T9": (
        "tag_on_two_projects",
        "No tag is live on two projects",
        "Double reporting: ask both projects.",
        False,
        True,
    ),
    "T15": (
        "tag_live_twice",
        "No tag is live twice on this project",
        "Give HARVEST_DATE of the first use.",
        False,
        True,
    ),
    "R15": (
        "receiver_on_two_projects",
        "No receiver is in two projects at once",
        "Ask both projects.",
        False,
        True,
    ),
    "D25": (
        "double_reporting",
        "No detection was sent by two projects",
        "Ask both; it is counted once.",
        False,
        True,
    ),
}


def verify(connection: Connection, snapshot: Snapshot, collectioncode: str) -> list[Verdict]:
    """All verdicts on one project, in the order of CATALOG."""
    found = {
        "S1": _structure(connection, snapshot, collectioncode),
        "S2": _types(connection, collectioncode),
        "S3": _inheritance(connection, collectioncode),
        "S4": _permissions(connection, collectioncode),
        "P7": _code_unique(snapshot, collectioncode),
        "T9": _overlapping_tags(snapshot, collectioncode, same_project=False),
        "T15": _overlapping_tags(snapshot, collectioncode, same_project=True),
        "R15": _overlapping_receivers(snapshot, collectioncode),
        "D25": _double_reporting(snapshot, collectioncode),
    }
    return [
        Verdict(check_id, name, title, hint, found[check_id], blocking, warning)
        for check_id, (name, title, hint, blocking, warning) in CATALOG.items()
    ]


def _rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()  # type: ignore[arg-type]


def _structure(connection: Connection, snapshot: Snapshot, code: str) -> list[dict[str, Any]]:
    project = snapshot.table("projects").filter(pl.col("collectioncode") == code)
    kinds = TYPE_TABLES[project["projecttype"].to_list()[0]] if project.height else []
    needed = [name for kind in kinds for name, _, _ in TABLES_BY_KIND[kind]]
    return _rows(
        connection,
        "select name as missing_table from unnest(%s::text[]) name where not exists"
        " (select 1 from pg_tables where schemaname = %s and tablename = name)",
        needed,
        schema_of(code),
    )


def _types(connection: Connection, code: str) -> list[dict[str, Any]]:
    return _rows(
        connection,
        """select c.relname as table_name, a.attname as column_name, format_type(a.atttypid, a.atttypmod) as type,
               format_type(b.atttypid, b.atttypmod) as type_of_parent
           from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute b on b.attrelid = i.inhparent and b.attnum > 0 and not b.attisdropped
           left join pg_attribute a on a.attrelid = c.oid and a.attname = b.attname and not a.attisdropped
           where n.nspname = %s and (a.attname is null or a.atttypid <> b.atttypid or (b.attnotnull and not a.attnotnull))
           order by 1, 2""",
        schema_of(code),
    )


def _inheritance(connection: Connection, code: str) -> list[dict[str, Any]]:
    return _rows(
        connection,
        "select tablename as table_without_parent from pg_tables t where schemaname = %s and not exists (select 1 from pg_inherits i"
        " where i.inhrelid = (quote_ident(schemaname) || '.' || quote_ident(tablename))::regclass) order by 1",
        schema_of(code),
    )


def _permissions(connection: Connection, code: str) -> list[dict[str, Any]]:
    return _rows(
        connection,
        """select c.relname as table_name, coalesce(r.rolname, 'everybody') as may_write, a.privilege_type
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
           left join pg_roles r on r.oid = a.grantee
           where n.nspname = %s and a.grantee <> c.relowner and a.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
           order by 1, 2, 3""",
        schema_of(code),
    )


def _code_unique(snapshot: Snapshot, code: str) -> list[dict[str, Any]]:
    nodes = (
        snapshot.table("submissions")
        .filter(pl.col("collectioncode") == code, pl.col("state") == "loaded")["node"]
        .unique()
    )
    return [{"node": node} for node in nodes.sort()] if len(nodes) > 1 else []


def _overlapping_tags(snapshot: Snapshot, code: str, same_project: bool) -> list[dict[str, Any]]:
    columns = ["transmitter", "trackercode", "catalognumber", "release_ms", "end_ms"]
    tags = snapshot.table("tags").select(columns)
    other = tags.rename({name: f"other_{name}" for name in columns[1:]})
    both = tags.filter(pl.col("trackercode") == code).join(other, on="transmitter")
    same = pl.col("other_trackercode") == code
    overlap = (pl.col("release_ms") <= pl.col("other_end_ms").fill_null(2**62)) & (
        pl.col("other_release_ms") <= pl.col("end_ms").fill_null(2**62)
    )
    which = same & (pl.col("catalognumber") < pl.col("other_catalognumber")) if same_project else ~same
    return _dated(both.filter(overlap, which).sort(both.columns))


def _overlapping_receivers(snapshot: Snapshot, code: str) -> list[dict[str, Any]]:
    columns = ["rcv_serial_no", "collectioncode", "rcvrcatnumber", "start_ms", "recovered_ms"]
    deployments = snapshot.table("deployments").select(columns)
    other = deployments.rename({name: f"other_{name}" for name in columns[1:]})
    both = deployments.filter(pl.col("collectioncode") == code).join(other, on="rcv_serial_no")
    overlap = (pl.col("start_ms") <= pl.col("other_recovered_ms").fill_null(2**62)) & (
        pl.col("other_start_ms") <= pl.col("recovered_ms").fill_null(2**62)
    )
    return _dated(both.filter(overlap, pl.col("other_collectioncode") != code).sort(both.columns))


def _double_reporting(snapshot: Snapshot, code: str) -> list[dict[str, Any]]:
    mine = [path for name, path in snapshot.detections.items() if name.rsplit("-", 1)[0] == code]
    others = [path for name, path in snapshot.detections.items() if name.rsplit("-", 1)[0] != code]
    if not mine or not others:
        return []
    same = ["receiver_key", "transmitter_key", "device_ms", "sensor_value"]
    theirs = pl.scan_parquet(others).select(*same, other_submission=pl.col("submission_no"))
    twice = (
        pl.scan_parquet(mine)
        .join(theirs, on=same, nulls_equal=True)
        .group_by("receiver_key", "other_submission")
        .len("detections")
    )
    files = snapshot.table("submissions").select(other_submission="submission_no", also_in="submission_key")
    named = twice.collect().join(files, on="other_submission").join(snapshot.table("receivers"), on="receiver_key")
    return named.select("rcv_serial_no", "also_in", "detections").sort("rcv_serial_no", "also_in").to_dicts()


def _dated(frame: pl.DataFrame) -> list[dict[str, Any]]:
    times = [name for name in frame.columns if name.endswith("_ms")]
    return frame.with_columns(pl.from_epoch(name, time_unit="ms") for name in times).to_dicts()
