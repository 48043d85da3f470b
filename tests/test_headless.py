"""The push as Dagster runs it, in this process: what stops it, and that stopping is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otn_dagster.orchestration import headless
from tests.support.databases import dagster_in_memory
from tests.support.node import NEXT_PUSH, Node, hashes
from tests.support.sheets import fill

pytestmark = pytest.mark.end_to_end


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with dagster_in_memory(monkeypatch):
        yield


def test_a_blocking_finding_stops_the_push_and_is_told(node: Node):
    fill(node)
    assert headless.load(node.config, settle_seconds=0.1).good
    with node.connect() as connection:
        connection.execute("grant insert on hfx.moorings to public")
    stopped = headless.push(node.settings, NEXT_PUSH)
    assert not stopped.good and list(stopped.steps) == ["push_1_freeze", "push_2_verify"]
    assert "S4" in str(stopped.error) and "REVOKE" in str(stopped.error)
    assert [check["check"] for check in stopped.failed_checks if check["blocking"]] == ["S4_permissions"]
    with node.connect() as connection:
        connection.execute("revoke insert on hfx.moorings from public")
    done = headless.push(node.settings, NEXT_PUSH)
    assert done.good and done.certificate
    assert sorted(p.name for p in Path(done.folder, "extracts").iterdir()) == ["HFX"]


def test_extracts_and_report_of_one_project_are_made_again_by_themselves(node: Node):
    """By naming it: the others stay as they are; a name that the push does not have is refused."""
    fill(node)
    node.drop_form("REEF")
    assert headless.load(node.config, settle_seconds=0.1).good
    done = headless.push(node.settings, NEXT_PUSH)
    assert done.good
    folder = Path(done.folder)
    before = hashes(folder / "extracts")
    for path in (folder / "extracts" / "HFX").iterdir():
        path.unlink()
    only = {"ops": {"detection_extracts": {"config": {"projects": ["HFX"]}}}}
    headless.run_job("push_4_extract", NEXT_PUSH, only)
    assert before and hashes(folder / "extracts") == before
    reports = {path.name: path.stat().st_mtime_ns for path in (folder / "reports").glob("*.md")}
    headless.run_job("push_6_report", NEXT_PUSH, {"ops": {"push_report": {"config": {"projects": ["HFX"]}}}})
    changed = {path.name for path in (folder / "reports").glob("*.md") if path.stat().st_mtime_ns != reports[path.name]}
    assert set(reports) == {"HFX.md", "REEF.md"} and changed == {"HFX.md"}
    with pytest.raises(RuntimeError, match="the push has no project NOWHERE"):
        headless.run_job("push_6_report", NEXT_PUSH, {"ops": {"push_report": {"config": {"projects": ["NOWHERE"]}}}})
