"""The configuration of a node: read once, in one place, with the same explained errors for every file; and how the node stands."""

import ast
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from otn_dagster import doctor
from otn_dagster.cli.main import command
from otn_dagster.config import PROJECT_ROOT, BadConfiguration
from otn_dagster.node import NodeConfig
from tests.support.node import Node

READERS = {"load_settings", "load_tracker", "load_live", "load_streams"}
# Who may read configuration: the node's whole; the service at each of its looks; a notebook's one call; a demo that has just written it;
# the command line before it knows more than where the data are.
ALLOWED = {
    "node.py",
    "web/service.py",
    "web/served.py",
    "live/reading.py",
    "streams/reading.py",
    "demo/",
    "cli/main.py",
}


def test_configuration_is_read_in_one_place_and_handed_down():
    root = PROJECT_ROOT / "otn_dagster"
    for path in [
        *root.rglob("*.py"),
        *(PROJECT_ROOT / "assets").glob("*.py"),
        *(PROJECT_ROOT / "sensors").glob("*.py"),
    ]:
        name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        if any(name == one or (one.endswith("/") and name.startswith(one)) for one in ALLOWED):
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                assert called not in READERS, f"{path}:{call.lineno}"


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("nodes.yaml", "", "expected a mapping"),
        ("nodes.yaml", "nodes: []", "at least 1"),
        ("nodes.yaml", "nodes: [{code: OTN, name: O, time_zone: Atlantis}]", "America/Halifax"),
        (
            "nodes.yaml",
            "nodes: [{code: OTN, name: O, time_zone: UTC}, {code: OTN, name: P, time_zone: UTC}]",
            "more than once",
        ),
        ("nodes.yaml", "nodes: [{code: OTN, name: O, time_zone: UTC, publishstations: true}]", "publishstations"),
        ("pushes.yaml", "rule: {weekday: thursday, nth: 3, months: [2], first_year: 2022}\nanounced: []", "anounced"),
        (
            "pushes.yaml",
            "rule: {weekday: thursday, nth: 3, months: [2], first_year: 2022}\nannounced: [{date: soon, source: x}]",
            "soon",
        ),
        ("tracker.yaml", "second_look: [fish]", "is not a kind of file"),
        ("streams.yaml", "stores: x", "stores"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name_and_key(tmp_path: Path, file: str, text: str, says: str):
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder)
    (folder / file).write_text(text)
    config = NodeConfig(folder)
    with pytest.raises(BadConfiguration) as error:
        _ = config.settings, config.streams, config.tracker
    assert file in str(error.value) and says in str(error.value)


def test_a_data_root_that_reads_as_a_pattern_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTN_DATA", str(tmp_path / "data [old]"))
    with pytest.raises(BadConfiguration, match="OTN_DATA"):
        _ = NodeConfig().settings


def test_a_broken_file_is_one_sentence_and_exit_code_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder)
    (folder / "nodes.yaml").write_text("nodes: [{code: otn}]")
    monkeypatch.setenv("OTN_CONFIG", str(folder))
    result = CliRunner().invoke(command, ["held"])
    assert result.exit_code == 2 and "nodes.yaml" in result.output and "Traceback" not in result.output


def test_doctor_says_what_is_well_and_what_is_not(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder)
    # Where nobody listens, whatever else runs on this machine.
    (folder / "tracker.yaml").write_text("web_url: http://127.0.0.1:9\n")
    monkeypatch.setenv("OTN_CONFIG", str(folder))
    found = {outcome.check.name: outcome for outcome in doctor.look(node.config)}
    assert all(found[name].passed for name in ("packages", "configuration", "data_root", "database", "streams"))
    assert found["mail"].passed is None and "no mail is sent" in found["mail"].facts["found"]
    assert found["web"].passed is False and found["web"].check.warns
    result = CliRunner().invoke(command, ["doctor", "--json"])
    assert result.exit_code == 0 and {one["check"] for one in json.loads(result.output)} == set(found)
    monkeypatch.setenv("OTN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = CliRunner().invoke(command, ["doctor"])
    assert result.exit_code == 1 and "OTN_DATABASE_URL" in result.output
