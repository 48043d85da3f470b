"""``otn-dagster streams ...`` as a person calls it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from otn_dagster.cli import deciding, streams
from otn_dagster.demo.ocean import Quirks
from otn_dagster.demo.ooinet import Upstream
from tests.support.harvest import CTD, MINUTE, START, Harvest, assert_is_truth, every, platform_config

KEY = CTD.key


@pytest.fixture
def run(harvest: Harvest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    platform_config(tmp_path, monkeypatch, harvest)
    harvest.server.streams[KEY] = Upstream(CTD, {1: every(60, 300)})
    monkeypatch.setattr(streams.console, "width", 200)

    def call(*arguments: str, code: int = 0) -> str:
        app = deciding.app if arguments[0] in ("held", "decide") else streams.app
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_a_stream_is_asked_for_accepted_listed_and_rolled_back(run, harvest: Harvest) -> None:
    assert "has no data yet" in run("history", KEY, code=1)
    assert "refresh in 1 window" in run("ask", KEY)
    assert "is requested already" in run("ask", KEY)
    assert "requested" in run("requests")
    harvest.go_on(1)
    assert "300" in run("list")
    upstream = harvest.server.streams[KEY]
    upstream.deployments[2] = every(60, 100, START + 300 * MINUTE)
    upstream.quirks[2] = Quirks(rename={"sea_water_density": "density"})
    run("ask", KEY)
    harvest.go_on(2)
    assert "held" in run("requests", KEY) and "renamed variable sea_water_density" in run("requests", KEY)
    assert "renamed variable sea_water_density" in run("held")
    assert "stream request of 2: accept" in run("decide", "1", "accept", "--by", "Ada", "--why", "firmware")
    harvest.go_on(2)
    assert len(harvest.times(KEY)) == 400
    assert len([line for line in run("history", KEY).splitlines() if " rows " in line]) == 2
    assert "stays under tag before-rollback-" in run("rollback", KEY, "--by", "Ada", "--why", "density was wrong")
    assert_is_truth(harvest.group(KEY), every(60, 300))
    assert "300 rows, first" in run("publish", KEY)
    with harvest.harvester.connect() as connection:
        assert connection.execute("select rolled_back_by, why from platform.stream_rollbacks").fetchall() == [
            ("Ada", "density was wrong")
        ]


def test_what_does_not_exist_is_said(run, harvest: Harvest) -> None:
    assert "is in no file of config/streams/" in run("history", "NO-SUCH-STREAM", code=2)
    assert "there is no request 99" in run("give-up", "99", "--by", "A", "--why", "b", code=2)
    assert "no open question number 99" in run("decide", "99", "accept", "--by", "A", "--why", "b", code=2)
    run("ask", KEY)
    assert "is given up" in run("give-up", "1", "--by", "A", "--why", "b")
    assert "given up by A: b" in run("requests", KEY)
    harvest.server.faults.maintenance = True
    assert "maintenance" in run("ask", KEY, code=2)
