"""What the command line says of itself, without running anything."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from otn_dagster.cli.main import command
from otn_dagster.config import PROJECT_ROOT


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


ALL = dict(commands(command))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_every_word_that_it_takes_is_explained(path: tuple[str, ...]):
    said = ALL[path]
    assert said.help
    for parameter in said.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name}"


def test_the_help_names_every_group():
    shown = CliRunner().invoke(command, ["--help"]).output
    for name in ("check", "load", "push", "streams", "live", "keys", "tracker", "people", "outbox"):
        assert f" {name} " in shown


def test_help_waits_for_no_library_that_it_does_not_use():
    code = "import sys, otn_dagster.cli.main; assert not {'dagster', 'polars', 'zarr', 'ibis', 'httpx'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT_ROOT)
