"""Groups of commands whose modules are imported when one of them is called.

Belongs here: that one idea. Does not belong here: commands. ``check`` needs no database and ``load`` no streams: a command waits only for
the libraries that it uses.
"""

from collections.abc import Iterable
from functools import cached_property
from importlib import import_module

import click
import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """The Typer app ``attribute`` of ``module``, known by its name and its help until it is called."""

    def __init__(self, name: str, module: str, attribute: str, help: str):
        """``help`` stands in the list of commands."""
        super().__init__(name=name, help=help, no_args_is_help=True)
        self._module, self._attribute = module, attribute

    @cached_property
    def _commands(self) -> click.Group:
        found = typer.main.get_command(getattr(import_module(self._module), self._attribute))
        assert isinstance(found, click.Group)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of its commands."""
        return self._commands.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of its commands."""
        return self._commands.get_command(ctx, cmd_name)


def with_groups(app: typer.Typer, groups: Iterable[Group]) -> click.Group:
    """The command of an app, with groups beside its own commands."""
    made = typer.main.get_command(app)
    assert isinstance(made, click.Group)
    for group in groups:
        made.add_command(group)
    return made
