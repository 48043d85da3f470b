"""The wheel as somebody has it who never saw the repository: installed in an empty folder, a node is made, loaded and looked at."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from otn_dagster.config import PROJECT_ROOT
from tests.support.sheets import tag_sheet

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel alone; what it needs comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    run = lambda *command: subprocess.run(command, check=True, cwd=PROJECT_ROOT, capture_output=True, text=True)  # noqa: E731
    run("uv", "build", "--wheel", "--quiet", "--out-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    run("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "packages"), str(wheel))
    return folder / "packages"


def call(installed: Path, where: Path, *arguments: str, code: int = 0) -> str:
    path = f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(PROJECT_ROOT)!r})]; sys.path.insert(0, {str(installed)!r})"
    program = f"{path}; from otn_dagster.cli.main import command; command()"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OTN_", "DAGSTER_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=where,
        env={**variables, "PYTHONPATH": str(installed), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_no_name_that_others_use_stands_among_all_modules(installed: Path):
    assert {p.name for p in installed.iterdir() if p.name[0] not in "_."} - {"bin"} == {
        "otn_dagster",
        next(p.name for p in installed.glob("otn_dagster-*.dist-info")),
    }


def test_a_node_is_made_loaded_and_looked_at_in_an_empty_folder(installed: Path, tmp_path: Path):
    assert "otn-dagster init" in call(installed, tmp_path, "doctor", code=2)
    assert "written" in call(installed, tmp_path, "init", "node")
    home = tmp_path / "node"
    assert "kept" in call(installed, home, "init") and (home / "config" / "nodes.yaml").read_text().startswith("#")
    from otn_dagster.demo.files import project_form
    from otn_dagster.demo.network import PROJECTS

    first = PROJECTS[0]
    for kind, name, content in (
        ("project", "form.txt", project_form(first)),
        ("tags", "tags.csv", tag_sheet({})),
    ):
        target = home / "data" / "incoming" / first.node / first.code / kind / name
        target.parent.mkdir(parents=True)
        target.write_bytes(content)
    try:
        assert "loaded" in call(installed, home, "load")
        said = call(installed, home, "doctor")
        assert "embedded" in said and "is not" not in said
    finally:
        call(installed, home, "down")


def test_what_is_shipped_beside_the_package_is_whole(installed: Path):
    beside = installed / "otn_dagster" / "beside"
    for name in ("assets", "sensors", "config"):
        here = {p.relative_to(PROJECT_ROOT) for p in (PROJECT_ROOT / name).rglob("*") if p.suffix in (".py", ".yaml")}
        assert here == {p.relative_to(beside) for p in (beside / name).rglob("*") if p.suffix in (".py", ".yaml")}
    assert not zipfile.is_zipfile(beside / "workspace.yaml")
