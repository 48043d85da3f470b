"""Options and answers that several commands share."""

from typing import Annotated

import typer
from rich.console import Console

Who = Annotated[str, typer.Option("--by", help="Your name; recorded with the decision.")]
Why = Annotated[str, typer.Option("--why", help="Reason; recorded with the decision.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def stop(console: Console, text: object, code: int = 2) -> typer.Exit:
    """What ends a call that cannot go on, after saying why: to be raised."""
    console.print(str(text), style="red", markup=False)
    return typer.Exit(code)
