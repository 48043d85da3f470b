"""The command line of live datasets: ``otn-dagster live ...`` and ``otn-dagster keys ...``.

Belongs here: words and exit codes. Does not belong here: doing the work.
"""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from otn_dagster import database
from otn_dagster.cli.options import Who, Why, explained, node, stop
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.live import apply as applying
from otn_dagster.live import configuration, keys, registry, remote, silence
from otn_dagster.live import history as pushes
from otn_dagster.live import replay as recovery
from otn_dagster.live.configuration import Dataset

app = typer.Typer()
keys_app = typer.Typer()
console = Console(highlight=False, soft_wrap=True)
Name = Annotated[str, typer.Argument(help="A dataset of config/live/.")]


@contextmanager
def _dataset(name: str) -> Iterator[tuple[Settings, Connection, Dataset]]:
    with node() as config, database.connect(config.settings) as connection:
        dataset = config.live.dataset(name)
        registry.register(connection, dataset)
        yield config.settings, connection, dataset


@app.command("new")
def new_dataset(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, - and _.")],
    example: Annotated[str, typer.Option(help="One record as JSON; it names every field, its values are not kept.")],
    key: Annotated[
        str, typer.Option(help="The field, or fields with commas, that make a record the same record.")
    ] = "",
    title: Annotated[str, typer.Option(help="A title for people.")] = "",
) -> None:
    """Write config/live/NAME.yaml from an example record; edit it afterwards like code."""
    with explained():
        path = configuration.write_dataset(
            name, example, [part.strip() for part in key.split(",") if part.strip()], title
        )
    console.print(f"{path} written. Make a key: otn-dagster keys new {name} --author NAME --by YOU")


@app.command("list")
def list_datasets() -> None:
    """All live datasets: records, how far the table is behind the log, how they are switched."""
    table = Table("dataset", "kind", "pushes", "behind", "newest", "state", box=None)
    with node() as config, database.connect(config.settings) as connection:
        for name, dataset in config.live.datasets.items():
            registry.register(connection, dataset)
            table.add_row(name, dataset.kind, *_stands(connection, dataset))
    Console().print(table)
    for problem in config.live.problems.values():
        console.print(f"[red]{problem}[/]")
    raise typer.Exit(1 if config.live.problems else 0)


def _stands(connection: Connection, dataset: Dataset) -> list[str]:
    count, behind, newest = pushes.standing(connection, dataset.name)
    switched = registry.switches(connection, dataset)
    state = "; ".join(filter(None, (switched.disabled, switched.unpublished))) or "open"
    return [f"{count:,}", f"{behind:,}", f"{newest:%Y-%m-%d %H:%M:%S}" if newest else "", state]


@app.command("apply")
def apply_now(name: Name) -> None:
    """Apply what was pushed, as the sensor does."""
    with _dataset(name) as (settings, _, dataset):
        taken = remote.take_all(settings, dataset) if dataset.source else []
    for one in taken:
        console.print(one.what)
    with _dataset(name) as (_, connection, dataset):
        done = applying.apply(connection, dataset)
    console.print(f"pushes {done.from_seq + 1} to {done.to_seq}: {done.outcome}, {done.rows:,} records")


@app.command("fetch")
def fetch_now(name: Name) -> None:
    """Look at a remote source now, and fetch it if it changed."""
    with _dataset(name) as (_, _, dataset):
        if dataset.source is None:
            raise stop(f"{name} has no remote source; add `source` to config/live/{name}.yaml")
    with node() as config:
        found = remote.look(config.settings, dataset, seconds=3600)
    console.print(f"{found.outcome}: {found.what}")
    raise typer.Exit(1 if found.outcome == "failed" else 0)


def _switch(name: str, what: str, on: bool, by: str, why: str) -> None:
    with _dataset(name) as (_, connection, dataset):
        registry.switch(connection, name, what, on, by, why)
        now = registry.switches(connection, dataset)
    reason = now.disabled if what == "disabled" else now.unpublished
    console.print(f"{name}: {reason or 'open'}; the data stay as they are")


@app.command()
def disable(name: Name, by: Who, why: Why) -> None:
    """Refuse pushes to a dataset; what is there stays."""
    _switch(name, "disabled", True, by, why)


@app.command()
def enable(name: Name, by: Who, why: Why) -> None:
    """Accept pushes again."""
    _switch(name, "disabled", False, by, why)


@app.command()
def unpublish(name: Name, by: Who, why: Why) -> None:
    """Hide a dataset from readers; nothing is deleted, pushes go on."""
    _switch(name, "unpublished", True, by, why)


@app.command()
def publish(name: Name, by: Who, why: Why) -> None:
    """Show a dataset again."""
    _switch(name, "unpublished", False, by, why)


def _moment(text: str | None) -> dt.datetime | None:
    from otn_dagster.live.reading import moment

    with explained():
        return moment(text) if text else None


@app.command()
def replay(
    name: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    since: Annotated[str | None, typer.Option(help="Only what was received from this moment on.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what was received until this moment.")] = None,
    by: Who = "",
    why: Why = "",
) -> None:
    """Rebuild a table from the log through today's schema, and put it in the place of the old one."""
    if not dry_run and not (by and why):
        raise stop("a replay needs --by and --why; look first with --dry-run")
    with _dataset(name) as (_, connection, dataset):
        found = recovery.replay(connection, dataset, _moment(since), _moment(until), dry_run, by, why)
    console.print(
        f"{found.pushes:,} pushes: {found.rows_before:,} records become {found.rows_after:,};"
        f" {found.added:,} added, {found.removed:,} removed, {found.changed:,} changed, {found.refused:,} refused"
    )
    for example in found.examples:
        console.print(f"  {example['record_id']}\n    was {example['before']}\n    is  {example['after']}")
    for refusal in found.refusals:
        console.print(f"  refused: {json.dumps(refusal)}")
    console.print("the table was exchanged" if found.swapped else "nothing was changed (dry run)")


@app.command()
def alerts(all: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False) -> None:
    """Datasets that have gone silent, and refused pushes."""
    with node() as config, database.connect(config.settings) as connection:
        found = silence.alerts(connection, all)
    for _, kind, _, level, text, began, ended in found:
        state = f"ended {ended:%Y-%m-%d %H:%M}" if ended else level
        console.print(f"{began:%Y-%m-%d %H:%M} {kind} [{state}] {text}", markup=False)
    if not found:
        console.print("nothing is silent, nothing is refused")


@app.command()
def history(name: Name) -> None:
    """The newest pushes and looks at a remote source."""
    with _dataset(name) as (_, connection, _about):
        rows = pushes.newest(connection, name)
        looks = remote.history(connection, name)
    table = Table(
        "push", "received", "author", "op", "records", "refused", "inserted", "updated", "same", "deleted", box=None
    )
    for seq, at, *others in rows:
        table.add_row(str(seq), f"{at:%Y-%m-%d %H:%M:%S}", *["" if value is None else str(value) for value in others])
    Console().print(table)
    for at, outcome, what in looks:
        console.print(f"{at:%Y-%m-%d %H:%M:%S} looked: {outcome}, {what}")


@keys_app.command("new")
def new_key(
    name: Name,
    author: Annotated[str, typer.Option(help="Whose key it is: an instrument, a program, a person.")],
    by: Annotated[str, typer.Option("--by", help="Who makes it.")],
    may: Annotated[str, typer.Option(help="What it may do, with commas.")] = "push,read",
    days: Annotated[float | None, typer.Option(help="How many days it lives; without, until it is revoked.")] = None,
) -> None:
    """Make a key. It is shown once."""
    with _dataset(name) as (_, connection, _about):
        key, token = keys.make(connection, name, author, [right.strip() for right in may.split(",")], by, days)
    said = f"key {key.kid} of {author} for {name} may {', '.join(key.rights)}; it is shown once:"
    Console(stderr=True).print(said)  # so that KEY=$(...) holds the key alone
    print(token)


@keys_app.command("list")
def list_keys(name: Annotated[str | None, typer.Argument(help="Only those of this dataset.")] = None) -> None:
    """All keys; never their secrets."""
    table = Table("key", "dataset", "author", "may", "made", "by", "expires", "last used", "state", box=None)
    with node() as config, database.connect(config.settings) as connection:
        for key in keys.listed(connection, name):
            times = [f"{at:%Y-%m-%d %H:%M}" if at else "" for at in (key.created_at, key.expires_at, key.last_used_at)]
            table.add_row(
                key.kid, key.dataset, key.author, ",".join(key.rights), times[0], key.made_by, *times[1:], key.state
            )
    Console().print(table)


def _change_key(work, kid: str, said: str) -> None:
    with node() as config, database.connect(config.settings) as connection:
        work(connection, kid)
    console.print(f"{kid} {said}")


@keys_app.command("revoke")
def revoke_key(kid: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Revoke a key permanently."""
    _change_key(keys.revoke, kid, "is revoked")


@keys_app.command("disable")
def disable_key(kid: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Suspend a key."""
    _change_key(lambda connection, kid: keys.disable(connection, kid, True), kid, "is refused for now")


@keys_app.command("enable")
def enable_key(kid: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Reinstate a suspended key."""
    _change_key(lambda connection, kid: keys.disable(connection, kid, False), kid, "is taken again")
