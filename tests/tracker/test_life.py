"""Loading and a push move submissions by themselves, each step with its evidence; drift is reported and moves nothing."""

from typing import Any

import pytest

from otn_dagster import headless
from otn_dagster.tracker import board, flows, items
from tests.node import PAST_PUSH, Node
from tests.telemetry.test_loading import fill


@pytest.fixture
def pushed(node: Node, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A small node, loaded before a cut-off and pushed after it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    (tmp_path / "dagster").mkdir()
    node.clock("2026-10-01T00:00:00")
    fill(node)
    assert headless.load(node.settings, settle_seconds=0.1).good
    node.clock("2026-10-17T00:00:00")
    outcome = headless.push(node.settings, PAST_PUSH)
    assert outcome.good, outcome.error
    return node


def steps(node: Node, item_id: int) -> list[tuple[str | None, str | None]]:
    with node.connect() as connection:
        return [(line.from_state, line.to_state) for line in items.history(connection, item_id) if line.what == "move"]


def test_a_submission_goes_from_received_to_published_with_evidence_at_each_step(pushed: Node):
    with pushed.connect() as connection:
        rows = board.items(connection, board.ALL, board.Filter(flow="submission"), limit=None)
    assert {row["state"] for row in rows} == {"published"} and len(rows) == 4
    for row in rows:
        with pushed.connect() as connection:
            lines = [line for line in items.history(connection, row["item_id"]) if line.what == "move"]
        assert [line.to_state for line in lines] == [
            "received",
            "loading",
            "verified",
            "matched",
            "extracted",
            "published",
        ]
        for line in lines:
            assert line.to_state
            rule = flows.step(flows.SUBMISSION, line.from_state, line.to_state)
            assert rule and all(line.evidence.get(name) not in (None, "", {}, []) for name in rule.needs), line
        loading, verified, matched = lines[1], lines[2], lines[3]
        assert loading.actor.startswith("load_") and loading.run_id
        assert verified.evidence["rows"]["raw"] == sum(
            verified.evidence["rows"][name] for name in ("loaded", "duplicate", "refused", "waiting")
        )
        assert not verified.evidence["checks"]["failed"] or row["kind"]
        assert matched.actor == "push_3_match" and matched.evidence["push"] == PAST_PUSH
    detections = next(row for row in rows if row["kind"] == "detections")
    with pushed.connect() as connection:
        line = next(line for line in items.history(connection, detections["item_id"]) if line.to_state == "matched")
    assert sum(line.evidence["detections"].values()) == pushed.value("select count(*) from platform.detections")
