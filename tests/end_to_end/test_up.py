"""``otn-dagster up``: everything starts together, and a supervisor's stop takes everything along."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from otn_dagster.config import PROJECT_ROOT
from tests.support.browser import free_port, wait_for
from tests.support.livenode import LiveNode

pytestmark = pytest.mark.end_to_end


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_and_stops_as_one(live: LiveNode, tmp_path: Path, how: signal.Signals):
    port, web_port = free_port(), free_port()
    command = [sys.executable, "-m", "otn_dagster.cli", "up", "--port", str(port), "--web-port", str(web_port)]
    env = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=env, stdout=log, stderr=log, start_new_session=True)
    wait_for(lambda: answers(f"http://127.0.0.1:{web_port}/readyz"), 120, "the web service")
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/server_info"), 120, "the Dagster UI")
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(how)
    assert process.wait(60) in (0, 130)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
