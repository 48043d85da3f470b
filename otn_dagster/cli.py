"""The command line: ``otn-dagster ...``.

Belongs here: words, progress and exit codes. Does not belong here: doing the work.

Exit codes: 0 good, 1 something was refused, held or failed, 2 the call itself was wrong.
"""

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from otn_dagster import cli_check, cli_live, cli_streams, cli_tracker, database, pushes
from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.servers import server_of
from otn_dagster.telemetry import decisions, overrides

app = typer.Typer(help="One ocean-data node that anybody can run.", no_args_is_help=True, add_completion=False)
console = Console()
app.add_typer(cli_streams.app, name="streams")
app.add_typer(cli_live.app, name="live")
app.add_typer(cli_live.keys_app, name="keys")
app.add_typer(cli_tracker.app, name="tracker")
app.add_typer(cli_tracker.people_app, name="people")
app.add_typer(cli_tracker.outbox_app, name="outbox")
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome for a machine.")]
Who = Annotated[str, typer.Option("--by", help="Who decides.")]
Why = Annotated[str, typer.Option("--why", help="Why.")]


app.command()(cli_check.check)


@app.callback()
def main() -> None:
    """One ocean-data node that anybody can run."""
    # Every process that follows, wherever it works, means the same data root.
    os.environ["OTN_DATA"] = str(load_settings().data)


@app.command()
def load(as_json: AsJson = False) -> None:
    """Load everything that lies in incoming/, as the sensor does."""
    from otn_dagster.orchestration import headless

    settings = load_settings()
    with server_of(settings), console.status("looking into incoming/") as status:
        outcome = headless.load(settings, lambda text: status.update(f"loading {text}"))
    if as_json:
        print(json.dumps(headless.as_json(outcome), indent=1, default=str))
    else:
        _show_load(outcome)
    raise typer.Exit(0 if outcome.good else 1)


@app.command()
def push(
    push_date: Annotated[str, typer.Argument(help="A push date, e.g. 2027-02-18.")],
    as_json: AsJson = False,
    issue_link: Annotated[str | None, typer.Option(help="Link of the issue that the extracts list names.")] = None,
) -> None:
    """Run the whole push of a date; before its cut-off it is a rehearsal."""
    from otn_dagster.orchestration import headless
    from otn_dagster.orchestration.partitions import push_dates

    settings = load_settings()
    known = push_dates.get_partition_keys()
    if push_date not in known:
        ahead = [date for date in known if date > push_date][:1] or known[-1:]
        console.print(
            f"[red]{push_date} is no push date.[/] The next one is {ahead[0]}; announce others in config/pushes.yaml."
        )
        raise typer.Exit(2)
    with server_of(settings), console.status(f"push of {push_date}") as status:
        outcome = headless.push(
            settings, push_date, lambda step: status.update(f"push of {push_date}: {step}"), issue_link
        )
    if as_json:
        print(json.dumps(headless.as_json(outcome), indent=1, default=str))
    else:
        _show_push(outcome)
    raise typer.Exit(0 if outcome.good else 1)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    web_port: Annotated[int, typer.Option(help="Port of the web service that records are pushed to.")] = 3001,
) -> None:
    """Start the database, Dagster (UI and daemon) and the web service; stop them together with Ctrl-C."""
    from otn_dagster.servers import Dagster, WebService, end_with_signals

    end_with_signals()
    settings = load_settings()
    with server_of(settings):
        with database.connect(settings) as connection:
            pushes.set_drill_clock(connection, None)  # of a demo that was killed
            pushes.announce(connection, settings)
        with WebService(web_port) as web, Dagster(port) as dagster:
            web.wait_until_ready()
            dagster.wait_until_ready()
            console.print(
                f"Dagster: [bold]{dagster.url}[/]   files go into {settings.incoming}   records to [bold]{web.url}[/]"
                "   stop with Ctrl-C"
            )
            dagster.wait()


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback belong behind a proxy with TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the web service.")] = 3001,
) -> None:
    """Start the web service alone: records are pushed to it and read from it. Ctrl-C finishes what is under way."""
    from otn_dagster.web import run

    settings = load_settings()
    with server_of(settings):
        listening = run.listen(host, port)
        console.print(f"web service: [bold]http://{host}:{listening.getsockname()[1]}[/]   stop with Ctrl-C")
        run.serve(settings, listening)


@app.command()
def down() -> None:
    """Stop the embedded database, where one was left running."""
    EmbeddedServer(load_settings().data).stop()


@app.command()
def demo(
    headless: Annotated[bool, typer.Option(help="Exit when all is made, without leaving the UI open.")] = False,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    web_port: Annotated[int, typer.Option(help="Port of the web service.")] = 3001,
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 7,
) -> None:
    """Fill a node with a small network, load it by the sensors, push it, and leave the UI open on the result."""
    from otn_dagster.demo.show import run_demo
    from otn_dagster.servers import end_with_signals

    end_with_signals()
    settings = load_settings()
    with server_of(settings):
        good = run_demo(settings, console, port, web_port, seed, stay_open=not headless)
    raise typer.Exit(0 if good else 1)


@app.command()
def held() -> None:
    """What waits for a person, with what would change."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        questions = decisions.open_questions(connection)
    for number, topic, subject, details in questions:
        console.print(
            f"[bold]{number}[/] {topic.replace('_', ' ')}: {subject} (answer {', '.join(decisions.allowed(topic))})"
        )
        for line in details if isinstance(details, list) else [details]:
            console.print(f"    {line}")
    if not questions:
        console.print("nothing waits for a person")


@app.command()
def decide(
    number: Annotated[int, typer.Argument(help="The number that `held` shows.")],
    decision: Annotated[
        str, typer.Argument(help="What `held` says may be answered: accept, reject, or what the question names.")
    ],
    by: Who,
    why: Why,
) -> None:
    """Decide what waits; the next `load` (or the sensor) goes on accordingly."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        try:
            topic, subject = decisions.decide(connection, number, decision, by, why)
        except (KeyError, ValueError) as error:
            console.print(f"[red]{error.args[0]}[/]")
            raise typer.Exit(2) from None
    console.print(f"{topic} of {subject}: {decision}. Run `otn-dagster load`, or let the sensor go on.")


@app.command()
def unmatch(
    detection: Annotated[str, typer.Argument(help="unqDetecID of an improbable match.")], by: Who, why: Why
) -> None:
    """Take a detection from its animal, in every push from now on."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        try:
            overrides.unmatch(connection, detection, by, why)
        except ValueError as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(2) from None


@app.command("tag-end")
def end_tag(
    transmitter: Annotated[
        str, typer.Argument(help="Catalognumber of the transmitter, e.g. NSBS-Hooker-A69-9002-6135.")
    ],
    end: Annotated[
        dt.datetime, typer.Argument(help="Until when it may be heard, UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
    ],
    by: Who,
    why: Why,
) -> None:
    """Set until when a tag may be heard, where its sheet does not say; it stands in every push from now on."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        try:
            overrides.end_tag(connection, transmitter, end, by, why)
        except ValueError as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(2) from None


@app.command("test-tag")
def declare_test_tag(
    transmitter: Annotated[str, typer.Argument(help="A transmitter nobody reported, e.g. A69-1601-7.")],
    by: Who,
    why: Why,
) -> None:
    """Declare that a transmitter is somebody's test tag; its detections stay unqualified, with that reason."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        overrides.declare_test_tag(connection, transmitter, by, why)


@app.command()
def unlock(push_date: Annotated[str, typer.Argument(help="The push that will not be run.")], by: Who, why: Why) -> None:
    """Open loading again without running a push."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        nodes = pushes.finish(connection, push_date, f"not pushed; {by}: {why}")
    console.print(f"{nodes} node(s) unlocked")


@app.command()
def legacy(
    push_date: Annotated[str, typer.Argument(help="A push date.")],
    collection: Annotated[str, typer.Argument(help="A collection code.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("legacy"),
) -> None:
    """Write a project's extracts in the lower-case layout of before 2025, for tools that need it."""
    from otn_dagster.telemetry.legacy_extracts import write_legacy

    for path in write_legacy(load_settings(), push_date, collection, out):
        console.print(str(path))


def _show_load(outcome) -> None:
    table = Table("file", "state", "rows", "loaded", "repeated", "refused", title=None, box=None)
    for file in outcome.files:
        rows = [
            f"{file.rows[name]:,}" if file.rows[name] is not None else ""
            for name in ("raw", "loaded", "duplicate", "refused")
        ]
        table.add_row(file.submission, _coloured(file.state), *rows)
    if outcome.files:
        console.print(table)
    for file in outcome.files:
        if file.reason and file.state != "superseded":
            console.print(f"[red]{file.state}[/] {file.reason}")
        for row in file.refused[:10]:
            where = f"row {row['row']}, column {row['column']}"
            console.print(
                f"  refused {file.submission} {where}: found {row['found']!r}, expected {row['expected']}. {row['remedy']}"
            )
        if len(file.refused) > 10:
            console.print(f"  ... and {len(file.refused) - 10} more refused rows of {file.submission}")
        for check in file.failed_checks:
            colour = "red" if check["severity"] == "ERROR" else "yellow"
            console.print(f"  [{colour}]{check['check']}[/] {check['title']}. {check['hint'] or ''}")
    for problem in outcome.problems:
        console.print(f"[red]{problem}[/]")
    if not outcome.files and not outcome.problems:
        console.print("nothing new in incoming/")


def _show_push(outcome) -> None:
    kind = "rehearsal (nothing is delivered)" if outcome.rehearsal else "push"
    for check in outcome.failed_checks:
        console.print(f"[yellow]{check['check']}[/] {check['title']}: {check['rows'][:2]}")
    if outcome.error:
        console.print(f"[red]{list(outcome.steps)[-1]} failed:[/] {outcome.error}")
        return
    table = Table("outcome", "detections", box=None)
    for reason, count in outcome.counts.items():
        table.add_row(reason, f"{count:,}")
    console.print(table)
    console.print(
        f"{kind} of {outcome.push_date}: {sum(name.endswith('.zip') for name in outcome.extracts)} extracts in {outcome.folder}/extracts"
    )
    console.print(f"certificate {outcome.certificate}")


def _coloured(state: str) -> str:
    return f"[{ {'loaded': 'green', 'superseded': 'dim'}.get(state, 'red') }]{state}[/]"


if __name__ == "__main__":
    sys.exit(app())
