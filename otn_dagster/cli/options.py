"""What commands share: options, the node that they act on, and how they say that something is wrong.

Belongs here: what at least two groups of commands use. Does not belong here: a command.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from otn_dagster.explained import Explained
from otn_dagster.servers import server_of

if TYPE_CHECKING:
    from otn_dagster.node import NodeConfig

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
def node() -> "Iterator[NodeConfig]":
    """The configuration of the node, its database server running meanwhile."""
    from otn_dagster.node import NodeConfig  # the libraries of every domain, for which --help does not wait

    with explained():
        config = NodeConfig()
        with server_of(config.settings):
            yield config


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on the terminal while something long is done: to be called with what begins now, its number, of how many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(what: str, number: int, of: int) -> None:
            bar.update(task, description=f"{title}: {what}", completed=number - 1, total=of)

        yield show
