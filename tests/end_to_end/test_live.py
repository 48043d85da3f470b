"""The real daemon and the real web service: what is pushed over HTTP is applied by the sensor, although a run is killed."""

import json
import os
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from otn_dagster.servers import Dagster, WebService
from tests.support.browser import free_port, wait_for
from tests.support.livenode import LiveNode, record

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def servers(live: LiveNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    live.configure(limits={"records": 100_000, "body_mb": 30})
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}}\n"
        "run_monitoring: {enabled: true, poll_interval_seconds: 2, start_timeout_seconds: 60}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with (
        WebService(free_port(), tmp_path / "web.log") as web,
        Dagster(free_port(), tmp_path / "dagster.log") as dagster,
    ):
        web.wait_until_ready()
        dagster.wait_until_ready()
        yield web


def call(web: WebService, token: str, path: str, body: Any = None) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{web.url}/v1/datasets/ctd/{path}", content, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_pushes_are_applied_although_a_run_is_killed(servers: WebService, live: LiveNode, tmp_path: Path):
    token = live.key()
    seq = call(servers, token, "records", [record(hour=h) for h in range(3)])["seq"]
    wait_for(lambda: call(servers, token, f"pushes/{seq}")["state"] == "applied", 120, "the first run")
    assert call(servers, token, f"pushes/{seq}")["run_id"]

    log = tmp_path / "dagster.log"
    started = lambda: re.findall(r"apply_live - \S+ - (\d+) - live_dataset - STEP_START", log.read_text())  # noqa: E731
    before = len(started())
    seq = call(servers, token, "records", [{**record(), "station_id": f"s{n}"} for n in range(60_000)])["seq"]
    wait_for(lambda: len(started()) > before, 120, "the second run")
    os.kill(int(started()[-1]), signal.SIGKILL)
    assert call(servers, token, f"pushes/{seq}")["state"] == "accepted"
    assert len(call(servers, token, "records")["records"]) == 3  # nothing half
    wait_for(lambda: call(servers, token, f"pushes/{seq}")["state"] == "applied", 180, "the run that went on")
    assert live.value("select count(*), count(distinct _record_id) from live_data.ctd") == 60_003
