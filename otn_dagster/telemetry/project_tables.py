"""The tables of one project: a schema named after the collection code, every table inheriting from a parent.

Belongs here: which tables a project has and when they are made. Does not belong here: what is written to them.

Source: node manager training, "Database structure": a schema per project; upper tables inherit into ``obis``; year
tables are made when they are needed.
"""

from psycopg import sql

from otn_dagster.database import SCHEMA_LOCK, Connection

TABLES_BY_KIND = {
    "tags": [
        ("c_tag_meta", "platform.c_tag_meta", "submission_key, sheet, row_number"),
        ("tag_cache", "platform.tag_cache", "submission_key, sheet, row_number, part"),
        ("otn_animals", "obis.otn_animals", "catalognumber"),
        ("otn_transmitters", "obis.moorings", "catalognumber"),
    ],
    "deployments": [
        ("c_shortform", "platform.c_shortform", "submission_key, sheet, row_number"),
        ("stations", "platform.stations", "station_name"),
        ("rcvr_locations", "platform.rcvr_locations", "submission_key, sheet, row_number, part"),
        ("moorings", "obis.moorings", "basisofrecord, catalognumber"),
    ],
    "events": [
        ("events", "platform.events", "submission_key, row_number"),
    ],
    "detections": [],
    "vendor": [],
    "fix": [],
    "project": [],
}


def schema_of(collectioncode: str) -> str:
    """The PostgreSQL schema of a project: its collection code in lower case."""
    return collectioncode.lower()


def table(collectioncode: str, name: str) -> sql.Identifier:
    """A project's table, quoted for SQL."""
    return sql.Identifier(schema_of(collectioncode), name)


def ensure_project_tables(connection: Connection, collectioncode: str, kind: str) -> None:
    """Make the tables that a kind of file needs; repeating it changes nothing."""
    schema = sql.Identifier(schema_of(collectioncode))
    if not connection.execute("select to_regnamespace(%s)", [schema.as_string(connection)]).fetchone()[0]:  # type: ignore[index]
        connection.execute("select pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
        connection.execute(sql.SQL("create schema if not exists {}").format(schema))
    for name, parent, key in TABLES_BY_KIND[kind]:
        _ensure_child(connection, collectioncode, name, parent, key)


def ensure_year_table(connection: Connection, collectioncode: str, name: str, year: int) -> sql.Identifier:
    """The project's ``detections_YYYY`` or ``otn_detections_YYYY``, made if it is missing."""
    child = f"{name}_{year}"
    if name == "detections":
        key = "receiver_key, datetime, transmitter_key, sensor_value"
        _ensure_child(connection, collectioncode, child, "platform.detections", key, nulls_not_distinct=True)
    elif not _exists(connection, table(collectioncode, child)):
        connection.execute("select pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
        connection.execute(
            sql.SQL("create table if not exists {} () inherits (obis.otn_detections)").format(
                sql.Identifier("obis", child)
            )
        )
        _ensure_child(connection, collectioncode, child, f"obis.{child}", "det_key")
        index = sql.Identifier(f"{child}_receiver")
        connection.execute(
            sql.SQL("create index if not exists {} on {} (receiver_key)").format(index, table(collectioncode, child))
        )
    return table(collectioncode, child)


def year_tables(connection: Connection, collectioncode: str, name: str) -> dict[int, sql.Identifier]:
    """The year tables that exist, by year."""
    rows = connection.execute(
        "select table_name from information_schema.tables where table_schema = %s and table_name ~ %s order by 1",
        [schema_of(collectioncode), f"^{name}_[0-9]{{4}}$"],
    ).fetchall()
    return {int(child[-4:]): table(collectioncode, child) for (child,) in rows}


def _exists(connection: Connection, name: sql.Identifier) -> bool:
    row = connection.execute("select to_regclass(%s)", [name.as_string(connection)]).fetchone()
    return row is not None and row[0] is not None


def _ensure_child(
    connection: Connection,
    collectioncode: str,
    name: str,
    parent: str,
    key: str,
    nulls_not_distinct: bool = False,
) -> None:
    child = table(collectioncode, name)
    if _exists(connection, child):
        return
    # `if not exists` alone is not enough: two transactions that make the same table at once collide.
    connection.execute("select pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
    connection.execute(
        sql.SQL("create table if not exists {} () inherits ({})").format(child, sql.Identifier(*parent.split(".")))
    )
    columns = sql.SQL(", ").join(sql.Identifier(column.strip()) for column in key.split(","))
    nulls = sql.SQL("nulls not distinct" if nulls_not_distinct else "")
    connection.execute(
        sql.SQL("create unique index if not exists {} on {} ({}) {}").format(
            sql.Identifier(f"{name}_key"), child, columns, nulls
        )
    )
