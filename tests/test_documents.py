"""The documents: every link leads somewhere, every command that they name exists, the first page is short."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from otn_dagster.cli.main import command
from otn_dagster.config import PROJECT_ROOT

PAGES = sorted([*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md")])
COMMAND = re.compile(r"otn-dagster ((?:[a-z][a-z-]+ ?)+)")


def test_the_site_is_made_without_a_broken_link(tmp_path: Path):
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            str(PROJECT_ROOT / "docs"),
            str(tmp_path / "site"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "site" / "recipes" / "add-a-check.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_to_files_lead_to_files(page: Path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_commands_that_are_named_exist(page: Path):
    for words in COMMAND.findall(page.read_text(encoding="utf-8")):
        group: click.Command = command
        for word in words.split():
            if not isinstance(group, click.Group):
                break
            found = group.get_command(click.Context(group), word)
            assert found is not None or group is not command, f"otn-dagster {words}"
            if found is None:
                break
            group = found


def test_the_first_page_is_short():
    assert len((PROJECT_ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 75
