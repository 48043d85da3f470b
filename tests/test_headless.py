"""The push as Dagster runs it, in this process: what stops it, and that stopping is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otn_dagster.orchestration import headless
from tests.support.databases import dagster_in_memory
from tests.support.node import NEXT_PUSH, Node
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
