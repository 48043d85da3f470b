"""A person opens the real UI in a real browser, materializes a push from its asset page and sees it succeed."""

import json
import re
import shutil
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from otn_dagster.servers import Dagster
from tests.node import NEXT_PUSH, Node
from tests.telemetry.test_loading import fill

pytestmark = pytest.mark.end_to_end
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def dagster(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real webserver and daemon on a free port, with a home of their own, on a node with files waiting."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    fill(node)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Dagster(port, tmp_path / "dagster.log") as servers:
        servers.wait_until_ready()
        yield servers


def ask(address: str, query: str) -> dict:
    request = urllib.request.Request(
        f"{address}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=30))["data"]


def wait_for(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_sensor_loads_and_a_push_is_materialized_from_its_asset_page(node: Node, dagster: Dagster, tmp_path: Path):
    from playwright.sync_api import sync_playwright

    loaded = "select count(*) filter (where state = 'loaded') = 4 from platform.submissions"
    wait_for(lambda: node.value(loaded), 240, "loading by the sensor")
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.goto(f"{dagster.url}/assets/push_snapshot")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Select a partition").first.click()
        page.keyboard.type(NEXT_PUSH)
        page.get_by_text(NEXT_PUSH, exact=True).locator("visible=true").last.click()
        page.keyboard.press("Escape")
        page.screenshot(path=tmp_path / "dialog.png")
        dialog.get_by_role("button", name=re.compile("Launch")).last.click()
        runs = (
            "{runsOrError(limit: 20) {... on Runs {results {status jobName tags {key value} assetSelection {path}}}}}"
        )

        def succeeded() -> bool:
            results = ask(dagster.url, runs)["runsOrError"]["results"]
            mine = [run for run in results if run["assetSelection"] == [{"path": ["push_snapshot"]}]]
            assert not any(run["status"] == "FAILURE" for run in mine)
            return any(run["status"] == "SUCCESS" for run in mine)

        wait_for(succeeded, 120, "the push's first step")
        page.goto(f"{dagster.url}/assets/push_snapshot?partition={NEXT_PUSH}")
        page.get_by_text(NEXT_PUSH).first.wait_for()
        page.get_by_text("rehearsal").first.wait_for()
        browser.close()
    assert (node.settings.pushes_folder / NEXT_PUSH / "snapshot" / "manifest.json").exists()


def test_a_push_that_starts_by_itself_runs_to_its_end(node: Node, dagster: Dagster):
    """The daemon takes each step after the one before, to the certificate and the end of the lock."""
    wait_for(
        lambda: node.value("select count(*) filter (where state = 'loaded') = 4 from platform.submissions"),
        240,
        "loading",
    )
    tags = [
        {"key": "dagster/partition", "value": NEXT_PUSH},
        {"key": "otn/push", "value": "automatic"},
        {"key": "otn/push_date", "value": NEXT_PUSH},
    ]
    selector = 'repositoryName: "__repository__", repositoryLocationName: "otn_dagster", jobName: "push_1_freeze"'
    text = ", ".join(f'{{key: "{tag["key"]}", value: "{tag["value"]}"}}' for tag in tags)
    query = f"mutation {{launchRun(executionParams: {{selector: {{{selector}}}, executionMetadata: {{tags: [{text}]}}}}) {{__typename}}}}"
    assert ask(dagster.url, query)["launchRun"]["__typename"] == "LaunchRunSuccess"
    last = '{runsOrError(filter: {pipelineName: "push_7_unlock"}) {... on Runs {results {status}}}}'
    wait_for(
        lambda: [run["status"] for run in ask(dagster.url, last)["runsOrError"]["results"]] == ["SUCCESS"],
        300,
        "the push",
    )
    assert (node.settings.pushes_folder / NEXT_PUSH / "certificate.json").exists()
