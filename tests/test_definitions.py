"""What the UI shows: everything is described, owned, grouped; every check of the field is there under its id."""

import itertools
import subprocess
import tomllib
from typing import Any

import dagster as dg
import pytest
import yaml

from otn_dagster.config import PROJECT_ROOT
from otn_dagster.orchestration.build import build_defs
from otn_dagster.telemetry import kinds, submissions

FIELD_IDS = {
    *(f"P{n}" for n in range(1, 8)),
    *(f"T{n}" for n in range(1, 22)),
    *(f"R{n}" for n in range(1, 16)),
    *(f"D{n}" for n in range(1, 26)),
    *(f"E{n}" for n in range(1, 9)),
}


OF_ALL_STREAMS = {"stream_news", "annotations", "stream_metadata", "stream_catalog", "stream_retention"}
OF_EVERYTHING = {"dataset_status", "outbox_mails"}


@pytest.fixture(scope="module")
def graph() -> Any:
    return build_defs().resolve_asset_graph()


def test_every_asset_says_what_it_is(graph: Any):
    for node in graph.asset_nodes:
        assert node.description and len(node.description) > 20, node.key
        assert node.group_name in {"loading", "push", "summaries", "streams", "live", "tracker"}, node.key
        assert node.owners == ["team:otn-data"] and node.kinds, node.key
        assert node.is_partitioned or node.key.to_user_string() in OF_ALL_STREAMS | OF_EVERYTHING, node.key


def test_every_check_of_the_field_is_an_asset_check(graph: Any):
    ids = {key.name.split("_")[0] for key in graph.asset_check_keys}
    assert ids >= FIELD_IDS


def test_blocking_checks_are_those_where_the_notebooks_say_stop(graph: Any):
    blocking = {key.name.split("_")[0] for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
    assert {"D2", "D9", "D12", "E2", "E3"} <= blocking


@pytest.mark.parametrize(
    "chain",
    [
        ["raw_tags", "tag_cache", "otn_transmitters"],
        ["raw_deployments", "rcvr_locations", "moorings"],
        ["raw_detections", "detections", "otn_detections"],
        ["raw_events", "events", "time_drift_factors"],
        [
            "push_snapshot",
            "verified_schema",
            "matches",
            "detection_extracts_list",
            "detection_extracts",
            "push_certificate",
            "discovery",
        ],
    ],
)
def test_the_path_of_data_is_a_chain(graph: Any, chain: list[str]):
    for upstream, downstream in itertools.pairwise(chain):
        assert dg.AssetKey(upstream) in graph.get(dg.AssetKey(downstream)).parent_keys


def test_the_lineage_is_one_picture_from_a_file_to_an_extract(graph: Any):
    def ancestors(key: dg.AssetKey) -> set[str]:
        above = {parent for parent in graph.get(key).parent_keys}
        return {key.to_user_string() for key in above}.union(*(ancestors(parent) for parent in above))

    found = ancestors(dg.AssetKey("detection_extracts"))
    assert {
        "raw_project",
        "raw_tags",
        "raw_deployments",
        "raw_detections",
        "raw_events",
        "raw_vendor",
        "live_dataset",
    } <= found


def test_each_kind_of_file_is_said_once():
    assert list(submissions.KINDS) == [kind for kind in submissions.KINDS if kind in kinds.KINDS]
    assert set(kinds.KINDS) == set(submissions.KINDS)


def test_every_room_imports_only_what_is_below_it():
    """The contracts of ``pyproject.toml``: Dagster stays in its rooms, a file is read without a database, no arrow runs upwards."""
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_commands_find_the_same_location():
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    project = tomllib.loads((PROJECT_ROOT / "dg.toml").read_text())["project"]
    assert workspace["module_name"] == project["code_location_target_module"]
    assert workspace["location_name"] == project["code_location_name"]
    assert "dg" not in tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]
