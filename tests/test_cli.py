"""The command line, as a person or a script calls it: real processes, real Dagster runs, exit codes, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from otn_dagster.config import PROJECT_ROOT
from otn_dagster.telemetry.push import pictures
from tests.support.node import Node
from tests.support.sheets import BAD_FILES, fill, tag_sheet

pytestmark = pytest.mark.end_to_end


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster home of its own."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


def call(*arguments: str) -> tuple[int, dict]:
    command = [sys.executable, "-m", "otn_dagster.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip().startswith("{") else {
        "output": done.stdout + done.stderr
    }


def test_load_and_push(node: Node):
    fill(node)
    code, loaded = call("load")
    assert code == 0 and loaded["good"], loaded
    assert {file["state"] for file in loaded["files"]} == {"loaded"}
    assert call("load") == (0, {"files": [], "problems": [], "good": True})
    code, pushed = call("push", "2027-02-18")
    assert code == 0 and pushed["rehearsal"] is True and pushed["counts"] == {"matched_own": 3}
    assert list(pushed["steps"].values()) == ["done"] * 8
    folder = Path(pushed["folder"])
    assert (folder / "extracts" / "HFX" / "hfx_matched_detections_2024.zip").exists()
    assert (folder / "reports" / "HFX.md").read_text().startswith("# HFX: push of 2027-02-18")
    assert pictures.there(folder, "HFX") == ["abacus", "map"]
    for kind in pictures.KINDS:
        drawn = pictures.picture(folder, "HFX", kind)
        assert drawn is not None and drawn.read_bytes().startswith(b"\x89PNG")
    assert pictures.there(folder, "ELSE") == [] and pictures.picture(folder, "ELSE", "abacus") is None


def test_what_is_refused_makes_the_exit_code_one_and_is_named(node: Node):
    fill(node)
    old, empty = BAD_FILES["detections"]["old.csv"], BAD_FILES["tags"]["empty.csv"]
    late = tag_sheet({"ANIMAL_ID": "B", "TAG_ID_CODE": "101", "UTC_RELEASE_DATE_TIME": "2031-01-01"})
    node.drop("OTN/HFX/detections", "old.csv", old)
    node.drop("OTN/HFX/tags", "empty.csv", empty)
    node.drop("OTN/HFX/tags", "late.csv", late)
    code, loaded = call("load")
    assert code == 1
    files = {file["submission"].split("/")[-1].split("@")[0]: file for file in loaded["files"]}
    assert {name for name, file in files.items() if file["state"] == "refused"} == {"old.csv", "empty.csv"}
    assert "old.csv" in files["old.csv"]["reason"] and "empty.csv" in files["empty.csv"]["reason"]
    stopped = [check["check"].split("_")[0] for check in files["old.csv"]["failed_checks"] if check["blocking"]]
    assert stopped == ["D2"]
    (refused,) = files["late.csv"]["refused"]
    assert (refused["row"], refused["column"]) == (2, "utc_release_date_time")


def test_a_date_that_is_no_push_date_is_a_wrong_call(node: Node):
    code, answer = call("push", "2027-02-17")
    assert code == 2 and "is not a push date" in answer["output"]


def test_a_push_of_nothing_says_so(node: Node):
    code, pushed = call("push", "2027-02-18")
    assert code == 1 and "nothing is loaded" in pushed["error"]


def test_dagster_keeps_its_own_storage_in_postgresql(node: Node, home: Path, monkeypatch: pytest.MonkeyPatch):
    """By the one setting that dagster.yaml documents."""
    url = os.environ["OTN_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database dagster_storage")
    storage = url.replace("postgresql://", "postgresql+psycopg2://")
    storage = storage.replace(storage.split("@/")[1].split("?")[0], "dagster_storage", 1)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", storage)
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nstorage: {postgres: {postgres_url: {env: DAGSTER_POSTGRES_URL}}}\n"
    )
    node.drop_form("HFX")
    assert call("load")[0] == 0
    with psycopg.connect(url.replace(url.split("@/")[1].split("?")[0], "dagster_storage", 1)) as connection:
        runs = connection.execute("select status, pipeline_name from runs").fetchall()
        assert runs == [("SUCCESS", "load_project")]
        connection.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop database dagster_storage with (force)")
