"""A node is made and looked at: ``init`` and ``doctor``.

Belongs here: words and exit codes. Does not belong here: looking (``otn_dagster/doctor.py``).
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from otn_dagster.checks import Verdict
from otn_dagster.cli.options import AsJson, console, explained
from otn_dagster.config import shipped

app = typer.Typer()
COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.NOT_EVALUATED: "dim"}
OF_A_NODE = ("config", "dagster.yaml", "workspace.yaml")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the node is to be; made if it is not there.")] = Path(),
) -> None:
    """Make the folder of a node: a configuration with comments, and what Dagster needs. What is there is kept."""
    written, kept = [], []
    for source in (path for name in OF_A_NODE for path in _files(shipped() / name)):
        target = folder / source.relative_to(shipped())
        (kept if target.exists() else written).append(target)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for path in written:
        console.print(f"written {path}", markup=False)
    for path in kept:
        console.print(f"kept    {path}", style="dim", markup=False)
    console.print(
        "Edit config/nodes.yaml, then: otn-dagster doctor, otn-dagster up (or otn-dagster demo to look around)."
    )


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is configured, reachable, writable and up to date. Exits with 1 where something is not."""
    from otn_dagster import doctor as looking
    from otn_dagster.node import NodeConfig
    from otn_dagster.servers import server_of

    with explained():
        config = NodeConfig()
        with server_of(config.settings):
            found = looking.look(config)
    if as_json:
        print(json.dumps([{"check": o.check.name, "verdict": o.verdict, **o.facts} for o in found], indent=1))
    else:
        table = Table("", "", "", box=None, show_header=False, padding=(0, 2, 0, 0))
        for outcome in found:
            colour = "yellow" if outcome.check.warns and outcome.passed is False else COLOURS[outcome.verdict]
            word = {Verdict.PASSED: "ok", Verdict.FAILED: "no", Verdict.NOT_EVALUATED: "-"}[outcome.verdict]
            hint = f" {outcome.check.hint}" if outcome.passed is False else ""
            table.add_row(
                f"[{colour}]{word}[/]", outcome.check.title, f"{outcome.facts['found']}{hint}".replace("[", "\\[")
            )
        console.print(table)
    raise typer.Exit(1 if any(o.passed is False and not o.check.warns for o in found) else 0)
