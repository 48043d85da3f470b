"""Silence is told once when it begins and once when it is over, for datasets, authors and stations."""

import datetime as dt
from typing import Any

import pytest

from otn_dagster.checks import Verdict
from otn_dagster.live import registry, silence
from otn_dagster.live.configuration import load_live
from tests.support.livenode import LiveNode, eventually, record

RULE: dict[str, Any] = {"warn_minutes": 5, "fail_minutes": 15, "per": ["author", "station_id"]}


class Watch:
    """A clock that tests turn."""

    def __init__(self, live: LiveNode):
        self.live, self.now = live, dt.datetime.now(dt.UTC)

    def after(self, minutes: float) -> list[tuple[str, str, str]]:
        """(event, kind, subject) of what is told after more minutes."""
        self.now += dt.timedelta(minutes=minutes)
        with self.live.connect() as connection:
            _, notices = silence.watch(connection, load_live(), self.now)
        return [(n.event, n.kind, n.subject) for n in notices]

    def levels(self) -> dict[str, str | None]:
        with self.live.connect() as connection:
            found = silence.findings(connection, self.live.dataset(), self.now)
        return {f.subject or f.kind: f.level for f in found}


@pytest.fixture
def watch(live: LiveNode) -> Watch:
    live.configure(silence=RULE)
    return Watch(live)


def test_a_dataset_that_never_started(watch: Watch):
    assert watch.after(1) == []
    assert watch.after(5) == [("begins", "silent", "")]
    assert watch.levels()["silent"] == "warn"
    assert watch.after(1) == []
    assert watch.after(10) == [] and watch.levels()["silent"] == "fail"
    assert "never anything since" in watch.live.value("select text from platform.live_alerts")


def test_each_author_and_each_station_by_itself_and_the_end_of_it(watch: Watch):
    live = watch.live
    with live.serve() as api:
        one, two = live.key(author="one"), live.key(author="two")
        live.key(author="never")
        api.push([record("a")], token=one)
        api.push([record("b")], token=two)
        live.apply()
        began = {(e, s) for e, _, s in watch.after(6)}
        assert began == {
            ("begins", s) for s in ("", "author=one", "author=two", "author=never", "station_id=a", "station_id=b")
        }
        with live.connect() as connection:  # a day later
            connection.execute("alter table platform.live_log disable trigger all")
            connection.execute("update platform.live_log set received_at = received_at - interval '1 day'")
            connection.execute("update platform.live_heard set at = at - interval '1 day'")
        watch.now = dt.datetime.now(dt.UTC)
        api.push([record("a", hour=1)], token=one)
        live.apply()
        ended = watch.after(0)
    # "never" began a moment ago by the clock that was turned back.
    assert {(e, s) for e, _, s in ended} == {("ends", s) for s in ("", "author=one", "station_id=a", "author=never")}
    assert watch.levels()["station_id=b"] == "fail" and watch.after(0) == []


def test_an_expected_station_that_never_came(live: LiveNode):
    live.configure(silence={**RULE, "per": [], "expected": {"station_id": ["a", "z"]}})
    watch = Watch(live)
    with live.serve() as api:
        api.push([record("a")], token=live.key())
    live.apply()
    watch.after(0)
    with live.connect() as connection:
        connection.execute("alter table platform.live_datasets disable trigger all")
        connection.execute("update platform.live_datasets set created_at = created_at - interval '1 hour'")
    watch.now = dt.datetime.now(dt.UTC)
    assert watch.after(0) == [("begins", "silent", "station_id=z")]


def test_what_comes_and_is_all_refused_is_another_alert(watch: Watch):
    live = watch.live
    with live.serve() as api:
        api.token = live.key()
        api.push([{"station_id": 1}])
        assert eventually(lambda: live.value("select count(*) from platform.live_refused"))
        begun = watch.after(6)
        assert ("begins", "all_refused", "") in begun and ("begins", "silent", "") in begun
        watch.now = dt.datetime.now(dt.UTC)
        api.push([record()])
        live.apply()
        assert ("ends", "all_refused", "") in watch.after(0)


def test_a_closed_dataset_is_not_silent(watch: Watch):
    assert watch.after(6) == [("begins", "silent", "")]
    with watch.live.connect() as connection:
        registry.switch(connection, "ctd", "disabled", True, "Naomi", "winter")
    assert watch.after(1) == [("ends", "silent", "")]
    assert watch.after(100) == []


def test_standings_are_what_the_checks_show(watch: Watch):
    watch.after(20)
    with watch.live.connect() as connection:
        active, refused = silence.outcomes(silence.watch(connection, load_live(), watch.now)[0])
    assert (active.check.name, active.passed, active.mild) == ("push_active", False, False)
    assert active.rows[0]["who"] == "the dataset"
    assert (refused.check.name, refused.passed) == ("not_all_refused", True)
    assert [(s.verdict, s.why) for s in silence.outcomes([])] == [(Verdict.NOT_EVALUATED, "no dataset is watched")] * 2


def test_a_station_that_says_the_same_again_is_not_silent(watch: Watch):
    live = watch.live
    with live.serve() as api:
        api.token = live.key()
        api.push([record("a")])
        live.apply()
        with live.connect() as connection:
            connection.execute("update platform.live_heard set at = at - interval '1 day'")
        watch.now = dt.datetime.now(dt.UTC)
        assert watch.levels()["station_id=a"] == "fail"
        api.push([record("a")])
        assert watch.levels()["station_id=a"] is None  # it waits in the log
        live.apply()
        assert watch.levels()["station_id=a"] is None


def test_one_dataset_that_cannot_be_looked_at_hides_no_other_and_ends_no_alert(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
):
    import psycopg

    watch.live.configure("other", silence=RULE)
    assert {n[0] for n in watch.after(6)} == {"begins"}
    real = silence.findings

    def broken(connection: Any, dataset: Any, now: Any) -> Any:
        if dataset.name == "ctd":
            raise psycopg.errors.UndefinedColumn("a field that the table has not")
        return real(connection, dataset, now)

    monkeypatch.setattr(silence, "findings", broken)
    with watch.live.connect() as connection:
        registry.switch(connection, "other", "disabled", True, "N", "x")
    assert watch.after(1) == [("ends", "silent", "")]  # other's; ctd's stays open
    (watch.live.folder / "live" / "ctd.yaml").write_text("key: [", encoding="utf-8")
    assert watch.after(1) == []
    assert watch.live.value("select count(*) from platform.live_alerts where ended_at is null") == 1


def test_pushes_that_are_too_large_count_as_refused(watch: Watch):
    live = watch.live
    live.configure(silence=RULE, limits={"body_mb": 0.001})
    with live.serve() as api:
        api.push(b"x" * 2000, token=live.key())
        assert eventually(lambda: live.value("select count(*) from platform.live_refused")) == 1
    assert ("begins", "all_refused", "") in watch.after(6)
