"""Schemas, lookups and the parents of every project's tables."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

POINT_WITH_POSTGIS = "geometry(Point, 4326) generated always as (ST_SetSRID(ST_MakePoint({x}, {y}), 4326)) stored"
POINT_WITHOUT = "bytea generated always as (platform.point_ewkb({x}, {y})) stored"


def upgrade() -> None:
    """Make everything that loading writes to. PostGIS gives real geometries where the server has it."""
    connection = op.get_bind()
    postgis = connection.exec_driver_sql("select 1 from pg_available_extensions where name = 'postgis'").first()
    if postgis:
        connection.exec_driver_sql("create extension if not exists postgis")
    point = (POINT_WITH_POSTGIS if postgis else POINT_WITHOUT).format(x="longitude", y="latitude")
    sql = (Path(__file__).parent / "0001_loading.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql.replace("%POINT%", point).replace("%", "%%"))
