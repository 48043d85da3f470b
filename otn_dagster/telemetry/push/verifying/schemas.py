"""Checks S1 to S10 of a push: the live schemas of all projects, their tables, columns, rights, and how cells are written.

Source: node manager training, "Data Push": data analysts verify all schemas and data types, and all inherited tables; the formats are those
of the field's verification notebooks (extra spaces, blank strings, dates as text).
"""

import re

from psycopg import sql

from otn_dagster.telemetry.checks.registry import Rows, check
from otn_dagster.telemetry.project_tables import TABLES_BY_KIND
from otn_dagster.telemetry.push.verifying.evidence import VERIFIED, Evidence

TYPE_TABLES = {"tracker": ["tags"], "deployment": ["deployments"], "data": ["tags", "deployments"], None: []}
KNOWN = {name for tables in TABLES_BY_KIND.values() for name, _, _ in tables}
OF_YEARS = re.compile(r"(otn_)?detections_[0-9]{4}")


@check("S1", VERIFIED, "Every table that the project's type needs is there", "Load its metadata again.", stops=True)
def structure(evidence: Evidence) -> Rows:
    needed = [
        (code, name)
        for code, kind in evidence.types.items()
        for tables in TYPE_TABLES[kind]
        for name, _, _ in TABLES_BY_KIND[tables]
    ]
    years = evidence.rows(
        "select distinct collectioncode as project, part || '_' || year as name from platform.receiver_tables order by 1, 2"
    )
    needed += [(row["project"], row["name"]) for row in years]
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
    found = evidence.of_schemas(
        """select n.nspname as project, c.relname as table_without_parent from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = any(%s) and c.relkind in ('r', 'p') and not exists (select 1 from pg_inherits i where i.inhrelid = c.oid)
           order by 1, 2"""
    )
    return [row for row in found if _is_known(row["table_without_parent"])]


@check("S4", VERIFIED, "Nobody but the owner may write", "REVOKE the grant.", stops=True)
def permissions(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_name, coalesce(r.rolname, 'everybody') as may_write, a.privilege_type
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
           left join pg_roles r on r.oid = a.grantee
           where n.nspname = any(%s) and a.grantee <> c.relowner and a.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
           order by 1, 2, 3, 4"""
    )


@check("S5", VERIFIED, "Not everybody may read", "REVOKE the grant to PUBLIC.", warns=True)
def permissions_to_read(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_name, 'everybody' as may_read
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
           where n.nspname = any(%s) and a.grantee = 0 and a.privilege_type = 'SELECT' order by 1, 2"""
    )


@check(
    "S6",
    VERIFIED,
    "No table is there that nobody knows",
    "Move what was made by hand to a schema of its own.",
    warns=True,
)
def unexpected_tables(evidence: Evidence) -> Rows:
    there = evidence.of_schemas(
        """select n.nspname as project, c.relname as unexpected_table from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = any(%s) and c.relkind in ('r', 'p', 'v', 'm', 'f') order by 1, 2"""
    )
    return [row for row in there if not _is_known(row["unexpected_table"])]


@check(
    "S7", VERIFIED, "No column is there that its parent has not", "Drop the column that was made by hand.", warns=True
)
def unexpected_columns(evidence: Evidence) -> Rows:
    return evidence.of_schemas(
        """select n.nspname as project, c.relname as table_name, a.attname as unexpected_column
           from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           where n.nspname = any(%s) and not exists (select 1 from pg_attribute b where b.attrelid = i.inhparent
               and b.attname = a.attname and not b.attisdropped) order by 1, 2, 3"""
    )


UPPER = {
    ("obis", "otn_animals"): "catalognumber",
    ("obis", "moorings"): "catalognumber",
    ("platform", "stations"): "station_name",
}
BLANKS = " \t\r\n"


@check(
    "S8", VERIFIED, "No text is empty or has blanks around it", "Write NULL for nothing, and trim the text.", warns=True
)
def blanks(evidence: Evidence) -> Rows:
    found: Rows = []
    for place, name in UPPER.items():
        columns = _text_columns(evidence, *place)
        odd = sql.SQL("({0} = '' or {0} <> btrim({0}, {1}))")
        query = sql.SQL("select collectioncode as project, {} as row_name, {} from {} where {} order by 1, 2").format(
            sql.Identifier(name),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(*place),
            sql.SQL(" or ").join(odd.format(sql.Identifier(column), sql.Literal(BLANKS)) for column in columns),
        )
        found += [
            {
                "project": row["project"],
                "table": place[1],
                "row": row["row_name"],
                "column": column,
                "found": repr(text),
            }
            for row in evidence.rows(query)
            for column in columns
            if (text := row[column]) is not None and text != (text.strip(BLANKS) or None)
        ]
    return found


def _text_columns(evidence: Evidence, schema: str, name: str) -> list[str]:
    rows = evidence.connection.execute(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
        " and data_type in ('text', 'character varying') and is_generated = 'NEVER' order by ordinal_position",
        [schema, name],
    ).fetchall()
    return [column for (column,) in rows]


@check("S9", VERIFIED, "Dates and their parts agree", "Correct the date; its parts follow.", warns=True)
def dates(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select collectioncode as project, catalognumber, datecollected, yearcollected, monthcollected, daycollected, julianday
           from obis.otn_animals where (yearcollected, monthcollected, daycollected) is distinct from
               (to_char(datecollected, 'YYYY')::varchar, to_char(datecollected, 'MM')::varchar, to_char(datecollected, 'DD')::varchar)
             or julianday is distinct from extract(doy from datecollected)::int order by 1, 2"""
    )


@check(
    "S10",
    VERIFIED,
    "Everything that was somewhere has its position",
    "Give latitude and longitude, in decimal degrees.",
    warns=True,
)
def positions(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select collectioncode as project, catalognumber as name, latitude, longitude from obis.moorings
           where basisofrecord in ('STATION', 'RECEIVER') and (latitude is null or longitude is null or the_geom is null
               or abs(latitude) > 90 or abs(longitude) > 180)
           union all select collectioncode, station_name, latitude, longitude from platform.stations
           where abs(latitude) > 90 or abs(longitude) > 180 order by 1, 2"""
    )


def _is_known(name: str) -> bool:
    return name in KNOWN or OF_YEARS.fullmatch(name) is not None
