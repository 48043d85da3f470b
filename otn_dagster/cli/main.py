"""``otn-dagster``: a node started, filled and pushed; the groups of commands beside.

Belongs here: words, progress and exit codes. Does not belong here: doing the work.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from otn_dagster import database
from otn_dagster.cli import asking, deciding, setting_up
from otn_dagster.cli.check import check
from otn_dagster.cli.groups import Group, with_groups
from otn_dagster.cli.options import AsJson, console, explained, node, progress, stop
from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.telemetry import cutoffs

app = typer.Typer(no_args_is_help=True)
app.command()(check)
app.add_typer(setting_up.app)
app.add_typer(deciding.app)
app.add_typer(asking.app)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"otn-dagster {version('otn-dagster')}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """One ocean-data node that anybody can run."""
    # Every process that follows, wherever it works, means the same data root.
    if context.invoked_subcommand in ("init", "check"):
        return  # they need no node
    with explained():
        os.environ["OTN_DATA"] = str(load_settings().data)


@app.command()
def load(as_json: AsJson = False) -> None:
    """Load every file in incoming/ (what the sensor does)."""
    from otn_dagster.cli.outcomes import show_load
    from otn_dagster.orchestration import headless

    with node() as config, progress("loading") as show:
        outcome = headless.load(config, show)
    if as_json:
        print(json.dumps(headless.as_json(outcome), indent=1, default=str))
    else:
        show_load(console, outcome)
    raise typer.Exit(0 if outcome.good else 1)


@app.command()
def push(
    push_date: Annotated[str, typer.Argument(help="A push date, e.g. 2027-02-18.")],
    as_json: AsJson = False,
    issue_link: Annotated[str | None, typer.Option(help="Link of the issue that the extracts list names.")] = None,
) -> None:
    """Run the whole push of a date; before its cut-off it is a rehearsal."""
    from otn_dagster.cli.outcomes import show_push
    from otn_dagster.orchestration import headless
    from otn_dagster.orchestration.partitions import push_dates

    known = push_dates.get_partition_keys()
    if push_date not in known:
        ahead = next((f"The next one is {date}." for date in known if date > push_date), "None is announced after it.")
        raise stop(f"{push_date} is not a push date. {ahead} Announce others in config/pushes.yaml.")
    with node() as config, progress(f"push of {push_date}") as show:
        outcome = headless.push(config.settings, push_date, show, issue_link)
    if as_json:
        print(json.dumps(headless.as_json(outcome), indent=1, default=str))
    else:
        show_push(console, outcome)
    raise typer.Exit(0 if outcome.good else 1)


@app.command()
def release(
    push_date: Annotated[str, typer.Argument(help="A push that has its certificate.")],
    by: Annotated[
        str | None, typer.Option(help="Your name. Without it, it is only shown what would be released.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="What you looked at; the history keeps it.")] = None,
) -> None:
    """Look at a push before its mails go, and release it."""
    from otn_dagster.cli.outcomes import show_review
    from otn_dagster.tracker import release as releases

    with node() as config, database.connect(config.settings) as connection:
        looked = releases.review(connection, config.settings, push_date)
        if looked is None:
            raise stop(f"the push of {push_date} has no certificate yet")
        show_review(console, push_date, looked, releases.of(connection, push_date))
        if by and why:
            count = releases.release(connection, config.settings, push_date, by, why)
            console.print(f"released; {count} mail(s) may be sent. Mode: {config.tracker.mail.mode}")
        elif by or why:
            raise stop("a release needs --by and --why")


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    web_port: Annotated[int, typer.Option(help="Port of the web service that records are pushed to.")] = 3001,
) -> None:
    """Start the database, Dagster (UI and daemon) and the web service; stop them together with Ctrl-C."""
    from otn_dagster.servers import Dagster, WebService, end_with_signals

    end_with_signals()
    with node() as config:
        settings = config.settings
        with database.connect(settings) as connection:
            cutoffs.set_drill_clock(connection, None)  # of a demo that was killed
            cutoffs.announce(connection, settings)
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

    with node() as config:
        listening = run.listen(host, port)
        console.print(f"web service: [bold]http://{host}:{listening.getsockname()[1]}[/]   stop with Ctrl-C")
        run.serve(config.settings, listening)


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
    with node() as config:
        good = run_demo(config.settings, console, port, web_port, seed, stay_open=not headless)
    raise typer.Exit(0 if good else 1)


@app.command()
def legacy(
    push_date: Annotated[str, typer.Argument(help="A push date.")],
    collection: Annotated[str, typer.Argument(help="A collection code.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("legacy"),
) -> None:
    """Write a project's extracts in the lower-case layout of before 2025, for tools that need it."""
    from otn_dagster.telemetry.push.legacy_extracts import write_legacy

    written = list(write_legacy(load_settings(), push_date, collection, out))
    if not written:
        raise stop(f"the push of {push_date} wrote no extracts for {collection}; nothing was written to {out}")
    for path in written:
        console.print(str(path))


command = with_groups(
    app,
    [
        Group("streams", "otn_dagster.cli.streams", "app", "Ocean streams: requests, versions, views."),
        Group("live", "otn_dagster.cli.live", "app", "Live datasets: what is pushed and fetched, switches, recovery."),
        Group("keys", "otn_dagster.cli.live", "keys_app", "API keys for pushing and reading."),
        Group("tracker", "otn_dagster.cli.tracker", "app", "Where every dataset stands."),
        Group("people", "otn_dagster.cli.tracker", "people_app", "People who sign in to the tracker."),
        Group(
            "outbox",
            "otn_dagster.cli.tracker",
            "outbox_app",
            "Outgoing mail: list, send, and resolve uncertain deliveries.",
        ),
    ],
)
