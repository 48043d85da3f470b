"""The command line of streams: ``otn-dagster streams ...``.

Belongs here: words and exit codes. Does not belong here: doing the work.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from otn_dagster import database
from otn_dagster.cli.options import Who, Why, node, stop
from otn_dagster.config import Settings
from otn_dagster.streams import asking, configuration, published, requests, timeaxis
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.ingest import APPEND, REFRESH
from otn_dagster.streams.overview import overview
from otn_dagster.streams.store import StreamStore

app = typer.Typer()
console = Console()
Key = Annotated[str, typer.Argument(help="<refdes>-<method>-<stream>, as `streams list` shows it.")]


@contextmanager
def _harvester() -> Iterator[tuple[Settings, Harvester]]:
    from otn_dagster.streams.spread import spread_of

    with node() as config:
        yield config.settings, Harvester(config.settings, config.streams, spread_for=spread_of)


def _store(harvester: Harvester, key: str) -> StreamStore:
    harvester.streams.stream(key)
    store = harvester.store(key)
    if not store.exists():
        raise stop(f"{key} has no data yet; ask for it with `otn-dagster streams ask {key}`", 1)
    return store


@app.command("list")
def list_streams() -> None:
    """All streams with their stores and views."""
    with _harvester() as (settings, harvester):
        table = Table("stream", "rows", "to", "versions", "view", box=None)
        for key in sorted(harvester.streams.streams):
            stands = overview(harvester.store(key))
            view = published.published(configuration.published_location(settings, harvester.streams, key))
            shown = (
                ""
                if view is None
                else "up to date"
                if stands and view.commit == stands.commit.snapshot
                else f"behind, of {view.at[:19]}"
            )
            table.add_row(
                key, *([f"{stands.rows:,}", stands.last[:19], str(stands.versions)] if stands else ["", "", ""]), shown
            )
    console.print(table)


@app.command()
def ask(
    key: Key,
    refresh: Annotated[bool, typer.Option(help="Ask for everything and replace the store in one step.")] = False,
    force: Annotated[bool, typer.Option(help="Cancel the request in progress and start a new one.")] = False,
) -> None:
    """Ask a stream's source; the sensor ingests when the answer is complete."""
    with _harvester() as (_, harvester):
        asked = asking.ask(harvester, key, REFRESH if refresh else APPEND, force, by="command line")
    console.print(asked.what)


@app.command("requests")
def show_requests(
    key: Annotated[str | None, typer.Argument(help="One stream; without it, all that are under way.")] = None,
) -> None:
    """Requests and what became of them."""
    with _harvester() as (_, harvester), harvester.connect() as connection:
        found = requests.newest(connection, key) if key else requests.active(connection)
        history = requests.history(connection, found[0].request_no) if key and found else []
    for request in found:
        words = requests.explain(request)
        console.print(
            f"[bold]{words['request']}[/] {words['mode']} {words['state']} {request.stream} {words['from']} to {words['to']}"
        )
        if words["reason"]:
            console.print(f"    {words['reason']}")
    for at, state, what in history:
        console.print(f"    {at:%Y-%m-%d %H:%M:%S} {state}: {what}")
    if not found:
        console.print("no request is under way" if key is None else f"{key} was never asked for")


@app.command("give-up")
def give_up(
    number: Annotated[int, typer.Argument(help="The number that `streams requests` shows.")], by: Who, why: Why
) -> None:
    """End a request that is under way; its stream can then be asked for again."""
    with _harvester() as (_, harvester), harvester.connect() as connection:
        requests.move(connection, number, "skipped", f"given up by {by}: {why}")
    console.print(f"request {number} is given up")


@app.command()
def history(key: Key) -> None:
    """Every version of a stream, newest first."""
    with _harvester() as (_, harvester):
        for commit in _store(harvester, key).history():
            span = f"{timeaxis.text(commit.facts['changed_from'])[:19]} to {timeaxis.text(commit.facts['changed_to'])[:19]}"
            console.print(
                f"{commit.snapshot}  {commit.at:%Y-%m-%d %H:%M:%S}  {commit.facts['mode']:8} {commit.rows:>12,} rows  {span}"
            )


@app.command()
def rollback(
    key: Key,
    by: Who,
    why: Why,
    to: Annotated[str | None, typer.Option(help="A version that `streams history` shows.")] = None,
    as_of: Annotated[str | None, typer.Option(help="What readers saw at this time (ISO 8601, UTC).")] = None,
) -> None:
    """Make an earlier version the newest again (default: the one before); the one that was stays under a tag."""
    with _harvester() as (_, harvester):
        store = _store(harvester, key)
        versions = [commit.snapshot for commit in store.history()]
        if not (to or as_of) and len(versions) < 2:
            raise stop(f"{key} has only one version")
        target = to or (store.commit_as_of(timeaxis.parse(as_of)).snapshot if as_of else versions[1])
        if target not in versions:
            raise stop(f"{target} is not a version of {key}; `otn-dagster streams history {key}` shows them")
        now = dt.datetime.now(dt.UTC)
        tag = store.roll_back(target, now)
        with database.connect(harvester.settings) as connection:
            requests.note_rollback(connection, key, target, tag, by, why)
    console.print(
        f"{key} is {target} again; what it was stays under tag {tag}" if tag else f"{key} is {target} already"
    )


@app.command()
def publish(
    key: Key,
    now: Annotated[bool, typer.Option("--now", help="Even if readers of an older version lose their chunks.")] = False,
) -> None:
    """Make the plain zarr view show the newest version."""
    with _harvester() as (settings, harvester):
        store = _store(harvester, key)
        view = configuration.published_location(settings, harvester.streams, key)
        grace = dt.timedelta(days=harvester.streams.retention.grace_days)
        try:
            done = published.publish(store, view, grace, override=now)
        except published.TooSoon as error:
            raise stop(f"{error}; --now does it anyway", 1) from None
    console.print(f"{view.url} shows {done.commit}: {done.rows:,} rows, {done.how}")
