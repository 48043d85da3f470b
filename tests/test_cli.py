"""The command line, as a person or a script calls it: real processes, real Dagster runs, exit codes, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from otn_dagster.config import PROJECT_ROOT
from tests.node import Node
from tests.telemetry.test_loading import BAD_FILES, fill, tag_sheet

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
    assert (folder / "reports" / "HFX-abacus.png").exists() and (folder / "reports" / "HFX-map.png").exists()
    again = call("push", "2027-02-18")[1]
    assert again["certificate"] == pushed["certificate"]


@pytest.mark.parametrize(("kind", "name"), [("detections", "old.csv"), ("tags", "empty.csv")])
def test_what_is_refused_makes_the_exit_code_one(node: Node, kind: str, name: str):
    fill(node)
    node.drop(f"OTN/HFX/{kind}", f"bad_{name}", BAD_FILES[kind][name])
    code, loaded = call("load")
    assert code == 1
    (bad,) = [file for file in loaded["files"] if file["state"] != "loaded"]
    assert bad["state"] == "refused" and f"bad_{name}" in bad["reason"]
    if name == "old.csv":
        assert [check["check"].split("_")[0] for check in bad["failed_checks"] if check["blocking"]] == ["D2"]


def test_a_refused_row_makes_the_exit_code_one_and_names_it(node: Node):
    fill(node)
    node.drop(
        "OTN/HFX/tags",
        "t2.csv",
        tag_sheet({"ANIMAL_ID": "B", "TAG_ID_CODE": "101", "UTC_RELEASE_DATE_TIME": "2031-01-01"}),
    )
    code, loaded = call("load")
    (file,) = [file for file in loaded["files"] if "t2.csv" in file["submission"]]
    assert code == 1 and file["refused"][0]["row"] == 2 and file["refused"][0]["column"] == "utc_release_date_time"


def test_a_date_that_is_no_push_date_is_a_wrong_call(node: Node):
    code, answer = call("push", "2027-02-17")
    assert code == 2 and "is no push date" in answer["output"]


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
