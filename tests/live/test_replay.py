"""Recovery: a table from its log through today's schema."""

import datetime as dt

import pytest

from otn_dagster.live.apply import NeedsReplay
from tests.support.livenode import LiveNode, record


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
    api.client.app.state.service.refresh()
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


def test_a_change_of_type_can_be_recovered_with_all_grants(api, live: LiveNode):
    api.push([{**record(), "depth": 3}])
    live.apply()
    with live.connect() as connection:
        connection.execute("create role live_reader_type")
        connection.execute("grant select on live_data.ctd to live_reader_type")
    fields = {"station_id": "text", "time": "time", "temperature": "number", "depth": "number", "ok": "boolean"}
    live.configure(fields=fields)
    assert live.replay(dry_run=False).swapped
    assert live.rows("select depth, pg_typeof(depth)::text from live_data.ctd") == [(3.0, "double precision")]
    try:
        assert live.value("select has_table_privilege('live_reader_type', 'live_data.ctd', 'select')")
    finally:
        with live.connect() as connection:
            connection.execute("drop owned by live_reader_type")
            connection.execute("drop role live_reader_type")


def test_a_new_field_leaves_views_that_others_built(api, live: LiveNode):
    api.push([record()])
    live.apply()
    with live.connect() as connection:
        connection.execute("create view live_data.mine as select temperature from live_data.ctd")
    fields = {"salinity": "number", "station_id": "text", "time": "time", "temperature": "number", "depth": "integer"}
    live.configure(fields={**fields, "ok": "boolean"})
    live.apply()
    assert (
        live.value("select salinity is null from live_data.ctd") and live.value("select * from live_data.mine") == 14.2
    )


def test_a_change_that_was_undone_needs_a_replay_where_something_came_between(api, live: LiveNode):
    api.push([record()])
    live.apply()
    live.configure(key=["station_id"])
    api.client.app.state.service.refresh()
    api.push([record(temperature=2.0)])
    live.configure()
    with pytest.raises(NeedsReplay, match="the key was"):
        live.apply()
    live.replay(dry_run=False)
    assert live.apply().rows == 1  # no key twice
    text = {"station_id": "text", "time": "time", "temperature": "text", "depth": "integer", "ok": "boolean"}
    live.configure(fields=text)
    api.client.app.state.service.refresh()
    api.push([{**record(hour=1), "temperature": "warm"}])
    live.configure()
    with pytest.raises(NeedsReplay, match="temperature was text and is number"):
        live.apply()
    found = live.replay(dry_run=False)
    assert (found.refused, found.rows_after) == (1, 1)
    assert live.apply().rows == 1


def test_a_field_that_comes_back_with_another_type_needs_a_replay(api, live: LiveNode):
    base = {"station_id": "text", "time": "time"}
    api.push([record()])
    live.apply()
    live.configure(fields=base)
    live.apply()
    live.configure(fields={**base, "temperature": "integer"})
    with pytest.raises(NeedsReplay, match="temperature is a column of double precision and the field is integer"):
        live.apply()


def test_what_was_deleted_by_its_id_stays_deleted_though_ids_changed(live: LiveNode):
    live.configure("bare", key=[], fields={"a": "text", "b": "integer"})
    with live.serve() as api:
        api.token = live.key("bare")
        api.push([{"a": "x", "b": 1}, {"a": "y", "b": 2}, {"a": "z", "b": 3}], "bare")
        live.apply("bare")
        shown = api.call("GET", "/v1/datasets/bare/records").json()["records"]
        gone = next(r["_record_id"] for r in shown if r["a"] == "x")
        api.call("DELETE", f"/v1/datasets/bare/records/{gone}")
        api.delete([{"a": "y", "b": 2}], "bare")
        live.configure("bare", key=[], fields={"a": "text", "b": "number", "c": "text"})
        live.replay("bare", dry_run=False)
        assert live.rows("select a from live_data.bare") == [("z",)]
        api.client.app.state.service.refresh()
        (left,) = api.call("GET", "/v1/datasets/bare/records").json()["records"]
        api.call("DELETE", f"/v1/datasets/bare/records/{left['_record_id']}")
        live.configure("bare", key=["a"], fields={"a": "text", "b": "number", "c": "text"})
        live.replay("bare", dry_run=False)
        assert live.rows("select a from live_data.bare") == []


def test_who_reads_while_a_table_is_exchanged_sees_one_of_the_two(api, live: LiveNode):
    import threading

    from otn_dagster.live import reading, replay

    api.push([record(hour=h) for h in range(5)])
    live.apply()
    counts: list[int] = []
    begun = threading.Event()

    def read() -> None:
        with live.connect() as connection:
            connection.rollback()
            connection.execute("set transaction isolation level repeatable read read only")
            begun.set()
            counts.append(len(list(reading.ask(connection, live.dataset(), reading.Question()).rows)))

    with live.connect() as connection:
        connection.execute("lock table live_store.ctd in access exclusive mode")
        reader = threading.Thread(target=read)
        reader.start()
        begun.wait(10)
        replay.replay(connection, live.dataset(), dry_run=False, by="t", why="t")
    reader.join(30)
    assert counts == [5]


@pytest.mark.parametrize(
    "name", ["place", "print_before", "a", "b", "t", "i", "seq", "index", "select", "time zone", "x.y", "A-b", "_"]
)
def test_legal_names_of_fields_work_and_others_are_refused_at_once(live: LiveNode, name: str):
    from otn_dagster.config import BadConfiguration

    if name == "_":
        for wrong in ("_x", "xmin", "ctid"):
            with pytest.raises(BadConfiguration, match=r"rename|a letter first"):
                live.configure("odd", key=["k"], fields={"k": "text", wrong: "number"})
        return
    live.configure("odd", key=["k"], fields={"k": "text", name: "number"})
    with live.serve() as api:
        api.token = live.key("odd")
        for value in (1.0, 2.0):
            api.push({"k": "x", name: value}, "odd")
            live.apply("odd")
        live.replay("odd", dry_run=False)
        assert api.read("odd") == [{"k": "x", name: 2.0}]
