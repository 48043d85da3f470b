"""Recovery: a table from its log through today's schema."""

import datetime as dt

import pytest

from otn_dagster.live.apply import NeedsReplay
from tests.livenode import LiveNode, record


def at(live: LiveNode, seq: int) -> dt.datetime:
    return live.value("select received_at from platform.live_log where seq = %s", seq)


@pytest.fixture
def api(live: LiveNode):
    live.configure()
    with live.serve() as api:
        api.token = live.key()
        yield api


def test_a_dry_run_shows_the_difference_and_changes_nothing(api, live: LiveNode):
    api.push([{**record(), "depth": 3}, {**record(hour=1), "depth": 4}])
    live.apply()
    fields = {"station_id": "text", "time": "time", "temperature": "text", "depth": "integer", "ok": "boolean"}
    live.configure(fields=fields)
    with pytest.raises(NeedsReplay, match=r"temperature was number and is text.*replay ctd --dry-run"):
        live.apply()
    before = live.rows("select * from live_data.ctd order by 1, 2")
    found = live.replay(dry_run=True)
    assert (found.rows_before, found.rows_after, found.removed, found.refused, found.swapped) == (2, 0, 2, 2, False)
    assert found.refusals[0] == {
        "seq": 1,
        "index": 0,
        "field": "temperature",
        "code": "type",
        "message": "expected text, got a number 14.2",
    }
    assert [e["after"] for e in found.examples] == [None, None]
    assert live.rows("select * from live_data.ctd order by 1, 2") == before
    live.configure()  # undone
    live.apply()


def test_a_new_key_makes_other_records(api, live: LiveNode):
    api.push([record(hour=h) for h in range(3)])
    api.delete([record(hour=1)])
    live.apply()
    live.configure(key=["station_id"])
    with pytest.raises(NeedsReplay, match="the key was"):
        live.apply()
    found = live.replay(dry_run=False)
    assert found.swapped and found.rows_after == 0  # the delete names the station, and came last
    api.client.app.state.service._look(False)
    api.push([record(hour=5)])
    live.apply()
    assert api.read() == [record(hour=5)]
    assert live.value("select count(*) from platform.live_actions where action = 'replay'") == 1


def test_what_was_deleted_does_not_come_back(api, live: LiveNode):
    api.push([record(hour=h) for h in range(4)])
    api.delete([record(hour=1)])
    live.apply()
    for _ in range(3):
        found = live.replay(dry_run=False)
        assert (found.added, found.removed, found.changed) == (0, 0, 0)
    live.replay(since=at(live, 1), until=at(live, 1), dry_run=False)  # only the insert again
    assert len(api.read()) == 3


def test_records_that_were_refused_then_are_taken_where_the_schema_was_mended(api, live: LiveNode):
    api.push([record(), {**record(hour=1), "salinity": 31.5}], params={"mode": "partial"})
    live.apply()
    assert len(api.read()) == 1
    live.configure(fields={"station_id": "text", "time": "time", "temperature": "number", "salinity": "number"})
    assert live.apply().rows == 1  # a field more needs no replay
    found = live.replay(dry_run=False)
    assert (found.added, found.changed, found.removed) == (1, 0, 0)
    assert live.value("select salinity from live_data.ctd where salinity is not null") == 31.5


def test_only_a_range_goes_through_today_s_schema(api, live: LiveNode):
    for hour in range(3):
        api.push([record(hour=hour), {**record(hour=hour + 10), "salinity": 1.0}], params={"mode": "partial"})
    live.apply()
    live.configure(fields={"station_id": "text", "time": "time", "temperature": "number", "salinity": "number"})
    found = live.replay(since=at(live, 2), until=at(live, 2), dry_run=False)
    assert (found.added, found.removed) == (1, 0)
    hours = [t.hour for (t,) in live.rows("select time from live_data.ctd order by 1")]
    assert hours == [0, 1, 2, 11]
    live.configure(fields={"station_id": "text", "time": "time", "temperature": "integer"})
    with pytest.raises(NeedsReplay, match="a range alone cannot be replayed"):
        live.replay(since=at(live, 2), dry_run=True)


def test_readers_keep_their_grants_and_the_view_its_place(api, live: LiveNode):
    api.push([record()])
    live.apply()
    with live.connect() as connection:
        connection.execute("create role live_reader_test")
        connection.execute("grant select on live_data.ctd to live_reader_test")
    try:
        live.replay(dry_run=False)
        assert live.value("select has_table_privilege('live_reader_test', 'live_data.ctd', 'select')")
        assert live.rows("select tablename from pg_tables where schemaname = 'live_store'") == [("ctd",)]
    finally:
        with live.connect() as connection:
            connection.execute("drop owned by live_reader_test")
            connection.execute("drop role live_reader_test")


def test_a_replay_brings_what_was_not_applied_yet_too(api, live: LiveNode):
    api.push([record()])
    assert live.replay(dry_run=False).added == 1
    assert live.apply().pushes == 0 and len(api.read()) == 1


def test_the_log_cannot_be_changed(api, live: LiveNode):
    import psycopg

    api.push([record()])
    for statement in ("delete from platform.live_log", "update platform.live_log set records = 0"):
        with pytest.raises(psycopg.errors.RaiseException, match="only grows"), live.connect() as connection:
            connection.execute(statement)
