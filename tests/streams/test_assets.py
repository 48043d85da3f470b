"""Streams in Dagster: ask, look, ingest, flag, publish, describe; by runs and the sensor, as the daemon starts them."""

import datetime as dt
import json
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from otn_dagster.demo.ocean import Quirks, write_file
from otn_dagster.demo.ooinet import Upstream
from otn_dagster.orchestration.build import build_defs
from otn_dagster.orchestration.resources import Streams
from otn_dagster.streams import reading, requests
from otn_dagster.streams.sources.folder import Folder
from sensors.streams import stream_answers
from tests.support.harvest import CTD, KEY, MINUTE, START, Harvest, assert_is_truth, every, platform_config


class Platform:
    """Dagster as the daemon drives it, on a local OOINet."""

    def __init__(self, instance: dg.DagsterInstance, harvest: Harvest):
        self.instance, self.harvest = instance, harvest
        self.repository = build_defs().get_repository_def()

    def run(
        self, job: str, key: str | None = None, config: dict | None = None, tags: dict | None = None
    ) -> dg.ExecuteInProcessResult:
        return self.repository.get_job(job).execute_in_process(
            instance=self.instance, partition_key=key, raise_on_error=False, run_config=config or {}, tags=tags
        )

    def tick(self) -> dg.SensorResult:
        self.harvest.let_time_pass()
        with dg.build_sensor_context(instance=self.instance, resources={"streams": Streams()}) as context:
            result = stream_answers(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions("streams", list(request.partition_keys))
        return result

    def answers(self, ticks: int = 5) -> list[dg.ExecuteInProcessResult]:
        """Tick, and run whatever the sensor starts."""
        runs = []
        for _ in range(ticks):
            for request in self.tick().run_requests or []:
                runs.append(self.run("ingest_stream", request.partition_key, tags=dict(request.tags)))
        return runs

    def metadata(self, asset: str, key: str | None = None) -> dict:
        event = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[key] if key else None), limit=1
        ).records[0]
        assert event.asset_materialization
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.fixture
def platform(harvest: Harvest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    platform_config(tmp_path, monkeypatch, harvest)
    with dg.DagsterInstance.local_temp() as instance:
        yield Platform(instance, harvest)


def test_a_stream_goes_from_news_to_flags_by_itself(platform: Platform, harvest: Harvest) -> None:
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(60, 600)})
    assert platform.run("look_for_news").success
    runs = platform.answers()
    assert [run.success for run in runs] == [True]
    store = platform.metadata("stream_store", KEY)
    assert store["dagster/row_count"] == 600 and store["availability"].startswith("![availability](data:image/png")
    assert platform.metadata("stream_zarr", KEY)["how"] == "first"
    assert platform.metadata("stream_qc", KEY)["rows computed"] == 600
    evaluated = {e.check_name: e.passed for e in runs[0].get_asset_check_evaluations()}
    assert (
        evaluated["equal_lengths"]
        and evaluated["time_increases"]
        and evaluated["announced_rows"]
        and evaluated["deployments"]
    )
    again = platform.run("look_for_news")
    assert again.success and "nothing new" in platform.metadata("stream_news")["news"]
    assert platform.tick().run_requests == []
    for job, key in (("describe_streams", None), ("find_gaps", KEY), ("collect_old_versions", None)):
        assert platform.run(job, key).success, job
    day = reading.open_stream(KEY, "2026-10-01T01:00", "2026-10-01T02:00")
    assert day.sizes["time"] == 60 and not bool(reading.bad_rows(KEY, day).any())
    assert json.loads((harvest.settings.data / "streams/described/catalog/stats.json").read_text())["rows"] == 600


def test_a_refresh_is_a_setting_of_the_run(platform: Platform, harvest: Harvest) -> None:
    upstream = Upstream(CTD, {1: every(60, 300)})
    harvest.server.streams[KEY] = upstream
    platform.tick()
    platform.run("ask_stream", KEY)
    platform.answers()
    upstream.quirks[1] = Quirks(offset=1.0)
    assert platform.run("ask_stream", KEY, {"ops": {"stream_request": {"config": {"refresh": True}}}}).success
    assert [run.success for run in platform.answers()] == [True]
    assert_is_truth(harvest.group(KEY), every(60, 300), offset=1.0)
    assert platform.metadata("stream_store", KEY)["mode"] == "refresh"


def test_a_backfill_over_asking_and_ingesting_succeeds_while_the_source_still_cooks(
    platform: Platform, harvest: Harvest
) -> None:
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(60, 300)})
    harvest.server.faults.looks_until_ready = 3
    platform.tick()
    both = dg.define_asset_job("both", dg.AssetSelection.assets("stream_request", "stream_store"))
    repository = dg.Definitions.merge(build_defs(), dg.Definitions(jobs=[both])).get_repository_def()
    run = repository.get_job("both").execute_in_process(instance=platform.instance, partition_key=KEY)
    assert run.success and not platform.instance.get_latest_materialization_event(dg.AssetKey("stream_store"))
    assert [one.success for one in platform.answers()] == [True]


def test_what_needs_a_person_fails_its_run_says_why_and_is_not_started_again(
    platform: Platform, harvest: Harvest
) -> None:
    upstream = Upstream(CTD, {1: every(60, 300)})
    harvest.server.streams[KEY] = upstream
    platform.tick()
    platform.run("ask_stream", KEY)
    platform.answers()
    upstream.deployments[2] = every(60, 100, START + 300 * MINUTE)
    upstream.quirks[2] = Quirks(rename={"sea_water_density": "density"})
    platform.run("ask_stream", KEY)
    runs = platform.answers()
    assert [run.success for run in runs] == [False]
    failure = next(event for event in runs[0].all_events if event.is_step_failure)
    assert "renamed variable sea_water_density" in str(failure.step_failure_data.user_failure_data)
    assert_is_truth(harvest.group(KEY), every(60, 300))
    with harvest.harvester.connect() as connection:
        requests.accept(connection, requests.active(connection)[0].request_no, "Ada", "firmware")
    assert [run.success for run in platform.answers()] == [True]
    assert len(harvest.times(KEY)) == 400


def test_a_run_that_was_killed_is_started_again_and_one_that_runs_is_not(platform: Platform, harvest: Harvest) -> None:
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(60, 300)})
    platform.tick()
    platform.run("ask_stream", KEY)
    first = platform.tick().run_requests
    assert first and len(first) == 1 and first[0].tags["otn/machine"] == "2vcpu_16gb"
    job = platform.repository.get_job("ingest_stream")
    run = platform.instance.create_run_for_job(job, tags=dict(first[0].tags), status=dg.DagsterRunStatus.STARTED)
    assert platform.tick().run_requests == []
    platform.instance.report_run_failed(run, "killed")
    with harvest.harvester.connect() as connection:
        requests.begin_ingestion(connection, requests.active(connection)[0].request_no, dt.timedelta(0))
    again = platform.tick().run_requests
    assert again and again[0].run_key != first[0].run_key
    assert platform.run("ingest_stream", KEY).success
    assert np.array_equal(harvest.times(KEY), every(60, 300))


def test_a_source_that_does_not_answer_is_shown_and_stops_nothing(platform: Platform, harvest: Harvest) -> None:
    harvest.server.faults.maintenance = True
    run = platform.run("look_for_news")
    assert run.success
    evaluated = {e.check_name: e for e in run.get_asset_check_evaluations()}
    assert not evaluated["sources_answer"].passed and "maintenance" in str(evaluated["sources_answer"].metadata["rows"])


def test_one_stream_whose_source_breaks_never_stops_the_others(
    platform: Platform, harvest: Harvest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = harvest.settings.data / "mooring"
    write_file(folder, CTD, 1, every(60, 50))
    (Path(os.environ["OTN_CONFIG"]) / "streams" / "broken.yaml").write_text(
        f"instrument: AAAA-BROKEN-01\nstream: {{method: m, name: first}}\nsource: {{kind: folder, url: '{folder}'}}\n"
    )
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(60, 300)})
    assert platform.run("look_for_news").success

    def breaks(*_: object) -> None:
        raise PermissionError("the bucket is closed")

    monkeypatch.setattr(Folder, "look", breaks)
    assert [run.success for run in platform.answers()] == [True]
    assert len(harvest.times(KEY)) == 300
    with harvest.harvester.connect() as connection:
        (broken,) = requests.active(connection)
    assert broken.stream == "AAAA-BROKEN-01-m-first" and "the bucket is closed" in (broken.reason or "")
    monkeypatch.setattr(Folder, "news", breaks)
    assert platform.run("look_for_news").success and "the bucket is closed" in platform.metadata("stream_news")["news"]
