"""Migrations: from nothing, from the version before, repeated and raced."""

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from otn_dagster import database
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.telemetry.project_tables import ensure_project_tables
from tests.support.databases import new_database


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables where table_schema in"
            " ('platform', 'obis', 'vendor', 'discovery', 'erddap', 'geoserver')"
        ).fetchall()
    return {name for (name,) in rows}


def test_from_empty_and_repeated(server: EmbeddedServer):
    url = new_database(server, "template1")
    database.migrate(url)
    first = tables(url)
    database.migrate(url)
    assert tables(url) == first and {"obis.moorings", "discovery.detection_pre_summary"} <= first


def test_from_the_version_before_keeps_projects_and_their_tables(server: EmbeddedServer):
    url = new_database(server, "template1")
    database.migrate(url, "0005")
    assert "platform.findings" not in tables(url)
    with psycopg.connect(url) as connection:  # a project as it was made then
        connection.execute("create schema hfx")
        connection.execute("create table hfx.moorings () inherits (obis.moorings)")
        connection.execute("create table hfx.c_shortform () inherits (platform.c_shortform)")
        connection.execute("create unique index c_shortform_key on hfx.c_shortform (submission_key, row_number)")
        connection.execute(
            "insert into hfx.moorings (basisofrecord, collectioncode, catalognumber, datelastmodified)"
            " values ('STATION', 'HFX', 'HFX001', now())"
        )
        connection.execute("insert into hfx.c_shortform values ('a', 2, '{}')")
    database.migrate(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("select catalognumber from obis.moorings").fetchall() == [("HFX001",)]
        connection.execute(
            "insert into hfx.c_shortform (submission_key, sheet, row_number, cells) values ('a', 1, 2, '{}')"
        )
        assert connection.execute("select count(*) from platform.c_shortform").fetchone() == (2,)
    assert "platform.findings" in tables(url)


def test_what_sentences_said_is_said_by_codes_after_the_migration(server: EmbeddedServer):
    url = new_database(server, "template1")
    database.migrate(url, "0006")
    with psycopg.connect(url) as connection:
        for key in ("a", "b"):
            connection.execute(
                "insert into platform.submissions (submission_key, node, collectioncode, kind, file_name, sha256, bytes, stored_path, state,"
                " reason) values (%s, 'OTN', 'HFX', 'tags', 't.csv', %s, 1, %s, 'superseded', 'by b')",
                [key, key, key],
            )
        connection.execute(
            "insert into platform.stream_requests (stream, mode, asked_by, window_start, window_end, state)"
            " values ('CE02', 'append', 'Ada', 0, 10, 'requested')"
        )
        connection.execute(
            "insert into platform.stream_request_parts (request_no, part_no, window_start, window_end, state, reason) values"
            " (1, 1, 0, 5, 'failed', 'not complete after 48 hours: '), (1, 2, 5, 10, 'failed', 'no such stream')"
        )
        for what in ("accepted by Bob: it is late: yes", "asked for"):
            connection.execute(
                "insert into platform.stream_request_history (request_no, state, what) values (1, 'requested', %s)",
                [what],
            )
        connection.execute("set session_replication_role = replica")  # items without their history
        for number, blocker in enumerate(
            ("it waits for the push of 2026-10-15", "it waits for a second person's look", "x", None)
        ):
            connection.execute(
                "insert into platform.tracker_items (flow, subject, title, kind, state, blocker) values"
                " ('submission', %s, 't', 'tags', 'loading', %s)",
                [str(number), blocker],
            )
    database.migrate(url)
    with psycopg.connect(url) as connection:
        said = connection.execute("select accepted_by, why from platform.stream_request_history order by 1 nulls last")
        assert said.fetchall() == [("Bob", "it is late: yes"), (None, None)]
        causes = connection.execute("select cause from platform.stream_request_parts order by part_no").fetchall()
        assert causes == [("expired",), ("failed",)]
        by = connection.execute("select superseded_by, reason from platform.submissions where submission_key = 'a'")
        assert by.fetchone() == ("b", "superseded by b")
        codes = connection.execute("select blocker_code from platform.tracker_items order by subject").fetchall()
        assert codes == [("next_push",), ("second_look",), ("other",), (None,)]
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("update platform.stream_request_history set what = ''")


def test_processes_that_migrate_at_once_do_it_once(server: EmbeddedServer):
    url = new_database(server, "template1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: database.migrate(url), range(4)))
    assert "obis.otn_animals" in tables(url)


def test_a_column_added_to_a_parent_appears_in_every_project(server: EmbeddedServer):
    url = new_database(server)
    with psycopg.connect(url) as connection:
        ensure_project_tables(connection, "HFX", "deployments")
        connection.execute("alter table obis.moorings add column colour text")
        connection.execute("select colour from hfx.moorings")


def test_positions_become_geometry_with_or_without_postgis(server: EmbeddedServer):
    with psycopg.connect(new_database(server)) as connection:
        connection.execute(
            "insert into obis.moorings (basisofrecord, collectioncode, catalognumber, longitude, latitude, datelastmodified)"
            " values ('STATION', 'HFX', 'HFX001', -63.5, 44.25, now())"
        )
        (geometry,) = connection.execute("select the_geom from obis.moorings").fetchone()  # type: ignore[misc]
    # Big-endian EWKB of a point in SRID 4326, as any PostGIS reads it.
    assert bytes(geometry).hex() == "0020000001000010e6" + "c04fc00000000000" + "4046200000000000"


def test_with_postgis_positions_are_geometries():
    """On a server that has PostGIS: set OTN_TEST_POSTGIS_URL to an empty database there."""
    url = os.environ.get("OTN_TEST_POSTGIS_URL")
    if not url:
        pytest.skip("OTN_TEST_POSTGIS_URL names no server with PostGIS")
    database.migrate(url)
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into obis.moorings (basisofrecord, collectioncode, catalognumber, longitude, latitude, datelastmodified)"
            " values ('STATION', 'HFX', 'HFX001', -63.5, 44.25, now())"
        )
        assert connection.execute("select st_astext(the_geom), st_srid(the_geom) from obis.moorings").fetchone() == (
            "POINT(-63.5 44.25)",
            4326,
        )
        connection.rollback()
