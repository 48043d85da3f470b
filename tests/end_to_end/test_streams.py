"""The daemon alone carries a stream from a backfill to flags and a published view, and goes on where a run was killed."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr

from otn_dagster.demo.ocean import Quirks, value
from otn_dagster.demo.ooinet import Upstream
from otn_dagster.servers import Dagster
from tests.support.browser import ask, wait_for
from tests.support.harvest import CTD, Harvest, assert_is_truth, every, platform_config

pytestmark = pytest.mark.end_to_end
KEY = CTD.key


@pytest.fixture
def dagster(harvest: Harvest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dagster]:
    """The real webserver and daemon with one stream on a local OOINet."""
    platform_config(tmp_path, monkeypatch, harvest)
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(1, 200_000)})
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}}\n"
        "run_monitoring: {enabled: true, poll_interval_seconds: 2, start_timeout_seconds: 240}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Dagster(port, tmp_path / "dagster.log") as servers:
        servers.wait_until_ready()
        yield servers


def backfill(dagster: Dagster, refresh: bool) -> None:
    config = f"{{ops: {{stream_request: {{config: {{refresh: {str(refresh).lower()}}}}}}}}}"
    parameters = (
        f'{{partitionNames: ["{KEY}"], assetSelection: [{{path: ["stream_request"]}}], runConfigData: {config}}}'
    )
    query = f"mutation {{launchPartitionBackfill(backfillParams: {parameters}) {{__typename}}}}"
    assert ask(dagster.url, query)["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess"


def requests_of(harvest: Harvest) -> list[tuple[str, str]]:
    with harvest.harvester.connect() as connection:
        return connection.execute("select mode, state from platform.stream_requests order by request_no").fetchall()


def runs(dagster: Dagster) -> list[str]:
    query = '{runsOrError(filter: {pipelineName: "ingest_stream"}) {... on Runs {results {status}}}}'
    return [run["status"] for run in ask(dagster.url, query)["runsOrError"]["results"]]


def test_a_backfill_refreshes_a_stream_although_its_run_is_killed(
    dagster: Dagster, harvest: Harvest, tmp_path: Path
) -> None:
    names = '{assetNodes(assetKeys: [{path: ["stream_store"]}]) {partitionKeys}}'
    wait_for(lambda: ask(dagster.url, names)["assetNodes"][0]["partitionKeys"] == [KEY], 120, "the sensor's first tick")
    backfill(dagster, refresh=False)
    wait_for(lambda: requests_of(harvest) == [("refresh", "published")], 180, "the first harvest")
    wait_for(lambda: runs(dagster)[:1] == ["SUCCESS"], 120, "its run")

    harvest.server.streams[KEY].quirks[1] = Quirks(offset=1.0)
    log = tmp_path / "dagster.log"
    # The process of the second ingestion says its id where it starts the step.
    started = lambda: re.findall(r"ingest_stream - \S+ - (\d+) - stream_store - STEP_START", log.read_text())  # noqa: E731
    before = len(started())
    backfill(dagster, refresh=True)
    wait_for(lambda: len(started()) > before, 240, "the second ingestion")
    os.kill(int(started()[before]), signal.SIGKILL)
    wait_for(lambda: requests_of(harvest)[1:] == [("refresh", "published")], 400, "the refresh, in spite of the kill")
    assert_is_truth(harvest.group(KEY), every(1, 200_000), offset=1.0)
    wait_for(lambda: runs(dagster)[0] == "SUCCESS", 120, "the run that went on")
    view = harvest.settings.data / "streams" / "published" / KEY
    with xr.open_zarr(str(view)) as data:
        assert (data.sea_water_temperature[:100].values == value("sea_water_temperature", every(1, 100)) + 1).all()
