"""A person opens the real UI in a real browser, materializes a push from its asset page and sees it succeed."""

import re
import socket
from pathlib import Path

import pytest

from otn_dagster.orchestration.pushing import PUSH
from otn_dagster.servers import Dagster
from tests.support.browser import CHROMIUM, ask, wait_for
from tests.support.node import NEXT_PUSH, Node
from tests.support.sheets import fill

pytestmark = pytest.mark.end_to_end
FREEZE, UNLOCK = (next(step.job_name for step in PUSH if step.name == name) for name in ("freeze", "unlock"))


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


def test_the_sensor_loads_a_person_starts_a_push_and_it_runs_to_its_end(node: Node, dagster: Dagster, tmp_path: Path):
    """The snapshot from its asset page, where there is a browser; then the daemon takes each step after the one before."""
    loaded = "select count(*) filter (where state = 'loaded') = 4 from platform.submissions"
    wait_for(lambda: node.value(loaded), 240, "loading by the sensor")
    under_way = "{runsOrError(filter: {statuses: [QUEUED, STARTING, STARTED]}) {... on Runs {results {status}}}}"
    wait_for(lambda: not ask(dagster.url, under_way)["runsOrError"]["results"], 60, "the last of loading's checks")
    folder = node.settings.pushes_folder / NEXT_PUSH
    if CHROMIUM:
        materialize_snapshot(dagster, tmp_path)
        assert (folder / "snapshot" / "manifest.json").exists()
    launch_push(dagster)
    last = f'{{runsOrError(filter: {{pipelineName: "{UNLOCK}"}}) {{... on Runs {{results {{status}}}}}}}}'
    wait_for(
        lambda: [run["status"] for run in ask(dagster.url, last)["runsOrError"]["results"]] == ["SUCCESS"],
        300,
        "the push",
    )
    assert (folder / "certificate.json").exists()
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: the push ran, its asset page was not opened")


def materialize_snapshot(dagster: Dagster, tmp_path: Path) -> None:
    """What a person clicks to freeze a push, to the result on the asset's page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*arguments, "--disable-sync"])
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
        wait_for(lambda: is_frozen(dagster), 120, "the push's first step")
        page.goto(f"{dagster.url}/assets/push_snapshot?partition={NEXT_PUSH}")
        page.get_by_text(NEXT_PUSH).first.wait_for()
        page.get_by_text("rehearsal").first.wait_for()
        browser.close()


def is_frozen(dagster: Dagster) -> bool:
    runs = "{runsOrError(limit: 20) {... on Runs {results {status assetSelection {path}}}}}"
    results = ask(dagster.url, runs)["runsOrError"]["results"]
    mine = [run for run in results if run["assetSelection"] == [{"path": ["push_snapshot"]}]]
    assert not any(run["status"] == "FAILURE" for run in mine)
    return any(run["status"] == "SUCCESS" for run in mine)


def launch_push(dagster: Dagster) -> None:
    """The first step, as the schedule starts it at the cut-off."""
    tags = {"dagster/partition": NEXT_PUSH, "otn/push": "automatic", "otn/push_date": NEXT_PUSH}
    selector = f'repositoryName: "__repository__", repositoryLocationName: "otn_dagster", jobName: "{FREEZE}"'
    text = ", ".join(f'{{key: "{key}", value: "{value}"}}' for key, value in tags.items())
    query = f"mutation {{launchRun(executionParams: {{selector: {{{selector}}}, executionMetadata: {{tags: [{text}]}}}}) {{__typename}}}}"
    assert ask(dagster.url, query)["launchRun"]["__typename"] == "LaunchRunSuccess"
