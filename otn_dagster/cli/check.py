"""``otn-dagster check FILE``: what a file is and what would become of it, without a node.

Belongs here: words and exit codes. Does not belong here: looking (``telemetry/files/preview.py``).
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from otn_dagster.telemetry.files import law
from otn_dagster.telemetry.files.refusals import ANSWERS, Severity
from otn_dagster.telemetry.submissions import KINDS

if TYPE_CHECKING:
    from otn_dagster.telemetry.files.preview import Preview

console = Console()
COLOURS = {Severity.ROWS_LOST: "red", Severity.DECIDE: "red", Severity.LOOK: "yellow", Severity.NOTE: "dim"}
Kind = StrEnum("Kind", KINDS)


def check(
    files: Annotated[list[Path], typer.Argument(help="Files to look at.", exists=True, dir_okay=False, readable=True)],
    kind: Annotated[
        Kind | None, typer.Option(help="Kind of the files; guessed from their content where it is not given.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Collection code of the project they belong to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Look at files before they are sent: their kind, what would be loaded, refused, asked, and every finding with its rows.

    Needs no node and changes nothing. Exits with 1 where a file would be refused, would wait for an answer, or would lose rows.
    """
    from otn_dagster.telemetry.files import preview  # half a second that --help does not pay

    looked = [(path, preview.look(path, kind, collection)) for path in files]
    if as_json:
        print(json.dumps([{"file": str(path), **preview.as_json(one)} for path, one in looked], indent=1, default=str))
    else:
        for path, one in looked:
            show(path, one)
    raise typer.Exit(0 if all(one.verdict == "ready" and not one.refused for _, one in looked) else 1)


def show(path: Path, one: "Preview") -> None:
    """A preview in words."""
    colour = {"ready": "green", "asks": "yellow"}.get(one.verdict, "red")
    console.print(f"[bold]{path.name}[/]: {one.format} ({one.kind}) [{colour}]{one.verdict}[/]", highlight=False)
    console.print(f"  {one.says}", highlight=False, markup=False)
    if counted := law.sentence(one.law):
        console.print(f"  {counted}", highlight=False, markup=False)
    for refusal in one.refused[:20]:
        console.print(f"  [red]refused[/] {_plain(str(refusal))}", highlight=False)
    if len(one.refused) > 20:
        console.print(f"  ... and {len(one.refused) - 20} more refused rows")
    if one.question:
        console.print(f"  A person will be asked, and may answer {', '.join(ANSWERS[one.question.topic])}:")
        for line in one.question.details[:10]:
            console.print(f"    {line}", highlight=False, markup=False)
    if one.findings:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("", "rows", "column", "found", "what it means, and what to do"):
            table.add_column(name, overflow="fold")
        for f in one.findings:
            rows = f"{f.count:,} ({', '.join(map(str, f.rows[:3]))}{', ...' if f.count > 3 else ''})" if f.rows else ""
            words = f"{f.expected}. {f.remedy}".strip()
            weight = f"[{COLOURS[f.severity]}]{f.severity.name.lower().replace('_', ' ')}[/]"
            table.add_row(weight, rows, (f.column or "").upper(), _plain(f.found or ""), _plain(words))
        console.print(table)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
