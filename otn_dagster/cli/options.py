"""What commands share: options, the node that they act on, and how they say that something is wrong.

Belongs here: what at least two groups of commands use. Does not belong here: a command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from otn_dagster.explained import Explained
from otn_dagster.node import NodeConfig
from otn_dagster.servers import server_of

Who = Annotated[str, typer.Option("--by", help="Your name; recorded with the decision.")]
Why = Annotated[str, typer.Option("--why", help="Reason; recorded with the decision.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
console = Console(highlight=False, soft_wrap=True)


def stop(text: object, code: int = 2) -> typer.Exit:
    """What ends a call that cannot go on, after saying why: to be raised."""
    console.print(str(text), style="red", markup=False)
    return typer.Exit(code)


@contextmanager
def explained() -> Iterator[None]:
    """What goes wrong in a known way is one sentence and exit code 2, never a traceback."""
    try:
        yield
    except Explained as error:
        raise stop(error) from None


@contextmanager
def node() -> Iterator[NodeConfig]:
    """The configuration of the node, its database server running meanwhile."""
    with explained():
        config = NodeConfig()
        with server_of(config.settings):
            yield config
