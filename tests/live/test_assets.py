"""Live datasets in Dagster: what the sensors start, what runs report, what the schedules note."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from otn_dagster.live import remote
from otn_dagster.orchestration.build import build_defs
from otn_dagster.orchestration.resources import Live
from sensors import live as automation
from tests.support.livenode import LiveNode, record
from tests.support.remote import TABLE, Remote, configure, csv_of


class Platform:
    """Dagster as the daemon drives it."""

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.repository = build_defs().get_repository_def()
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        resources = {"live": Live()}
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=resources) as context:
            result = automation.live_pushes(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions("live_datasets", list(request.partition_keys))
        self.cursor = result.cursor
        return result

    def run(self, key: str, job: str = "apply_live") -> dg.ExecuteInProcessResult:
        return self.repository.get_job(job).execute_in_process(
            instance=self.instance, partition_key=key, raise_on_error=False, tags={"otn/live_dataset": key}
        )

    def metadata(self, asset: str = "live_dataset") -> dict[str, Any]:
        events = self.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        assert events[0].asset_materialization
        return {name: value.value for name, value in events[0].asset_materialization.metadata.items()}


@pytest.fixture
def platform(live: LiveNode) -> Iterator[Platform]:
    live.configure()
    with dg.DagsterInstance.local_temp() as instance:
        yield Platform(instance)


@pytest.fixture
def api(platform: Platform, live: LiveNode):
    with live.serve() as api:
        api.token = live.key()
        yield api


def keys_of(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or []]


def test_what_is_pushed_is_applied_by_one_run(platform: Platform, api: Any, live: LiveNode):
    first = platform.tick()
    assert keys_of(first) == [] and platform.instance.get_dynamic_partitions("live_datasets") == ["ctd"]
    api.push([record(hour=h) for h in range(3)])
    seq = api.push([record(temperature=1.0), {"bad": 1}], params={"mode": "partial"}).json()["seq"]
    api.delete([record(hour=2)])
    assert keys_of(platform.tick()) == ["ctd"]
    assert keys_of(platform.tick()) == []  # the same again only after a pause
    run = platform.run("ctd")
    assert run.success
    told = platform.metadata()
    expected = {"from push": 0, "to push": 3, "pushes": 3, "inserted": 3, "updated": 1, "deleted": 1, "refused": 1}
    assert {name: told[name] for name in expected} == expected
    assert told["dagster/row_count"] == 2 and told["lag in seconds"] >= 0 and "| buoy-7 | 5 |" in told["authors"]
    assert told["arrivals"].startswith("![arrivals](data:image/png;base64,")
    state = api.call("GET", f"/v1/datasets/ctd/pushes/{seq}").json()
    assert (state["state"], state["run_id"], state["updated"], state["refused"]) == ("applied", run.run_id, 1, 1)
    assert keys_of(platform.tick()) == []
    api.push([record(hour=7)])
    assert keys_of(platform.tick()) == ["ctd"]


def test_never_two_runs_at_once(platform: Platform, api: Any):
    api.push([record()])
    assert keys_of(platform.tick()) == ["ctd"]
    job = platform.repository.get_job("apply_live")
    platform.instance.create_run_for_job(job, tags={"otn/live_dataset": "ctd"}, status=dg.DagsterRunStatus.STARTED)
    api.push([record(hour=1)])
    result = platform.tick()
    assert keys_of(result) == [] and "on its way" in str(result.skip_reason)


def test_a_schema_that_the_table_cannot_follow_fails_the_run_and_says_how_to_go_on(
    platform: Platform, api: Any, live: LiveNode
):
    api.push([record()])
    platform.tick()
    platform.run("ctd")
    live.configure(key=["station_id"])
    api.push([record()])
    run = platform.run("ctd")
    assert not run.success
    failure = run.failure_data_for_node("live_dataset")
    assert failure and failure.user_failure_data
    assert "otn-dagster live replay ctd" in str(failure.user_failure_data.description)
    live.replay(dry_run=False)
    assert platform.run("ctd").success


def test_a_schedule_fetches_what_changed_and_only_notes_what_did_not(
    platform: Platform, live: LiveNode, origin: Remote
):
    origin.content = csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv")
    (schedule,) = automation._fetch_schedules()
    assert (
        schedule.cron_schedule == ["0 8 * * MON", "30 14 * * WED"] and schedule.execution_timezone == "America/Halifax"
    )

    def look() -> str:
        with dg.build_schedule_context(instance=platform.instance, resources={"live": Live()}) as context:
            found = schedule(context)
        assert isinstance(found, dg.SkipReason)
        return str(found.skip_message)

    assert look().startswith("changed: fetched")
    assert keys_of(platform.tick()) == ["bottles"]
    assert platform.run("bottles").success
    assert platform.metadata()["fetched file"] == "3 records taken, 0 refused"
    assert live.value("select count(*) from live_data.bottles") == 3
    assert look() == "unchanged: the source says: not modified"
    assert keys_of(platform.tick()) == []
    (observed,) = platform.instance.fetch_observations(dg.AssetKey("live_dataset"), limit=10).records
    assert observed.partition_key == "bottles" and origin.sent == 1


def test_a_cron_line_that_dagster_refuses_stops_only_its_dataset(platform: Platform, live: LiveNode, origin: Remote):
    configure(live, f"{origin.url}/a.csv", "good")
    configure(live, f"{origin.url}/a.csv", "wrong", source={"schedules": ["99 8 * * *"]})
    assert [schedule.name for schedule in automation._fetch_schedules()] == ["fetch_good"]


def test_silence_is_shown_by_the_checks_when_it_begins_and_when_it_ends(platform: Platform, api: Any, live: LiveNode):
    live.configure(silence={"warn_minutes": 0.0001, "fail_minutes": 0.0002})
    said: list[str] = []

    def look() -> None:
        with dg.build_sensor_context(
            instance=platform.instance, cursor="reported", resources={"live": Live()}
        ) as context:
            said.append(str(automation.live_silence(context).skip_message))

    def shown() -> list[tuple[bool, str]]:
        key = dg.AssetCheckKey(dg.AssetKey("live_dataset"), "push_active")
        records = platform.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        evaluations = [r.event.dagster_event.asset_check_evaluation_data for r in records]  # type: ignore[union-attr]
        return [(e.passed, e.severity.value) for e in evaluations]

    look()
    look()
    assert shown() == [(False, "ERROR")]  # told once
    live.configure(silence={"warn_minutes": 60, "fail_minutes": 60})
    look()
    look()
    assert shown() == [(True, "WARN"), (False, "ERROR")]
    assert "never anything since" in said[0] and said[1] == "nothing began, nothing ended" and "is over" in said[2]


def test_a_run_takes_a_file_that_a_look_had_no_time_for(platform: Platform, live: LiveNode, origin: Remote):
    origin.content = csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv")
    remote.look(live.settings, live.dataset("bottles"), seconds=-1)
    assert keys_of(platform.tick()) == ["bottles"]
    assert platform.run("bottles").success and live.value("select count(*) from live_data.bottles") == 3
