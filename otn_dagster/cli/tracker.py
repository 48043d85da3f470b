"""The command line of the tracker: ``otn-dagster tracker ...``, ``people ...`` and ``outbox ...``.

Belongs here: words and exit codes. Does not belong here: doing the work.
"""

from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from otn_dagster import database
from otn_dagster.cli.options import Who, Why, stop
from otn_dagster.config import BadConfiguration, load_settings
from otn_dagster.servers import server_of
from otn_dagster.tracker import acting, board, drift, export, google_sheets, people
from otn_dagster.tracker.configuration import TrackerSettings, load_tracker
from otn_dagster.tracker.items import NotAllowed
from otn_dagster.tracker.mail import outbox as mails
from otn_dagster.tracker.mail import sending

app = typer.Typer()
people_app = typer.Typer()
outbox_app = typer.Typer()
console = Console(highlight=False, soft_wrap=True, markup=False)
Address = Annotated[str, typer.Argument(help="The person's address.")]


def _tracker() -> TrackerSettings:
    try:
        return load_tracker()
    except BadConfiguration as error:
        raise stop(console, error) from None


@app.command("list")
def list_items(
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    push: Annotated[str | None, typer.Option(help="Only of this push.")] = None,
    collection: Annotated[str | None, typer.Option(help="Only of this collection.")] = None,
    held: Annotated[bool, typer.Option("--held", help="Only what is on hold.")] = False,
) -> None:
    """List datasets, longest in their state first."""
    settings = load_settings()
    wanted = board.Filter(state=state, push=push, collection=collection, hold="any" if held else None)
    with server_of(settings), database.connect(settings) as connection:
        rows = board.items(connection, board.ALL, wanted, 200)
    table = Table("item", "dataset", "collection", "state", "since (UTC)", "what blocks it", box=None)
    for row in rows:
        why = row["hold_why"] or row["blocker"] or ""
        table.add_row(
            str(row["item_id"]),
            row["title"],
            row["collectioncode"] or "",
            row["state"],
            f"{row['state_since']:%Y-%m-%d %H:%M}",
            why,
        )
    console.print(table if rows else "no datasets yet")


@app.command("export")
def export_items(path: Annotated[Path, typer.Argument(help="A file that ends with .xlsx or .csv.")]) -> None:
    """Write all datasets to a workbook or csv."""
    settings = load_settings()
    columns = board.COLUMNS.split(", ")
    with server_of(settings), database.connect(settings) as connection:
        rows = board.items(connection, board.ALL, board.Filter(), None)
    if path.suffix == ".xlsx":
        export.write_xlsx(path, columns, rows)
    elif path.suffix == ".csv":
        path.write_text(export.as_csv(columns, rows), encoding="utf-8", newline="")
    else:
        raise stop(console, f"{path.name}: expected a name that ends with .xlsx or .csv")
    console.print(f"{len(rows)} dataset(s) in {path}")


@app.command("google-sheet")
def update_google_sheet(
    spreadsheet: Annotated[str, typer.Argument(help="Its id, as in its address.")],
    tab: Annotated[str, typer.Option(help="A tab of its own; others are not touched.")] = "datasets",
) -> None:
    """Bring a tab of a Google spreadsheet up to date, row by row (needs the extra `google`)."""
    settings = load_settings()
    columns = board.COLUMNS.split(", ")
    with server_of(settings), database.connect(settings) as connection:
        rows = board.items(connection, board.ALL, board.Filter(), None)
    try:
        with google_sheets.authorised() as client:
            changed, added = google_sheets.update(client, spreadsheet, tab, columns, rows)
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        raise stop(console, error, 1) from None
    console.print(f"{changed} row(s) changed, {added} added")


@app.command("drift")
def show_drift() -> None:
    """Compare what is declared with files, tables and extracts as they are now; moves nothing."""
    settings = load_settings()
    with server_of(settings):
        found = drift.look(settings)
    for one in found:
        console.print(f"{one.item_id} {one.title} is {one.declared}, but: {one.observed}. {one.remedy}")
    if not found:
        console.print("no differences found")
    raise typer.Exit(1 if found else 0)


@app.command("act")
def act(
    item: Annotated[int, typer.Argument(help="The number that `tracker list` shows.")],
    action: Annotated[
        str, typer.Argument(help="hold, release, reject, reconsider, reopen, withdraw, sign, assign or answer")
    ],
    by: Who,
    why: Why,
    choice: Annotated[str, typer.Option(help="Which hold, whom to assign, accept or reject.")] = "",
) -> None:
    """Act on an item (the same actions as on its page)."""
    settings = load_settings()
    with server_of(settings):
        try:
            with database.connect(settings) as connection:
                done = acting.act(connection, _tracker(), item, action, by, why, choice)
        except (NotAllowed, KeyError) as error:
            raise stop(console, error.args[0]) from None
    console.print(f"{done.title} is {done.state}{f', {done.hold}' if done.hold else ''}")


@people_app.command("invite")
def invite(
    email: Address,
    by: Who,
    name: Annotated[str, typer.Option(help="The person's name.")] = "",
    role: Annotated[str, typer.Option(help="reader, manager (of --node) or analyst (of all)")] = "reader",
    node: Annotated[list[str] | None, typer.Option(help="A node that a manager acts for; may be given again.")] = None,
) -> None:
    """Make an account, or let somebody choose a new password: prints a code that works once, for a week."""
    settings = load_settings()
    unknown = sorted(set(node or []) - {one.code for one in settings.nodes})
    if unknown:
        raise stop(console, f"{unknown[0]} is not in config/nodes.yaml")
    with server_of(settings):
        try:
            with database.connect(settings) as connection:
                token = people.invite(connection, email, name or email, role, list(node or []), by)
        except ValueError as error:
            raise stop(console, error) from None
    console.print(
        f"Send this to {email}, by another way than mail if you can:\n{_tracker().web_url}/tracker/invitation   code: {token}"
    )


@people_app.command("list")
def list_people() -> None:
    """Everybody who may sign in."""
    settings = load_settings()
    table = Table("address", "name", "role", "nodes", "account", box=None)
    with server_of(settings), database.connect(settings) as connection:
        for email, name, role, nodes, stands in people.everybody(connection):
            table.add_row(email, name, role, ", ".join(nodes), stands)
    console.print(table)


@people_app.command("disable")
def disable(email: Address) -> None:
    """End an account and whatever it is signed in to, at once."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        if not people.disable(connection, email):
            raise stop(console, f"nobody has the address {email}")


@outbox_app.command("list")
def list_mails(state: Annotated[str | None, typer.Option(help="Only in this state, e.g. uncertain.")] = None) -> None:
    """Mails, the newest first."""
    settings = load_settings()
    table = Table("mail", "to", "state", "title", "reason", box=None)
    with server_of(settings), database.connect(settings) as connection:
        for mail in mails.newest(connection, state, 200):
            table.add_row(str(mail.mail_no), mail.recipient, mail.state, mail.title, mail.reason or "")
    console.print(table)
    console.print(f"mode: {_tracker().mail.mode}")


@outbox_app.command("send")
def send() -> None:
    """Send what is due, as the sensor does."""
    settings = load_settings()
    with server_of(settings):
        done = sending.send_due(settings, _tracker().mail, console.print)
    console.print(", ".join(f"{count} {state}" for state, count in done.items() if count) or "nothing is due")


@outbox_app.command("decide")
def decide(
    mail: Annotated[int, typer.Argument(help="The number that `outbox list` shows.")],
    decision: Annotated[str, typer.Argument(help="delivered, again or give-up")],
    by: Who,
    why: Why,
) -> None:
    """Decide what becomes of a mail that is uncertain, failed, or was only simulated."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        try:
            console.print(f"mail {mail} is {mails.decide(connection, mail, decision, by, why)}")
        except ValueError as error:
            raise stop(console, error) from None


@outbox_app.command("again")
def send_push_again(
    push_date: Annotated[str, typer.Argument(help="A push whose mails were simulated or switched off.")],
    by: Who,
    why: Why,
) -> None:
    """Let the mails of a push that were only simulated, or switched off, go out; each once, as ever."""
    settings = load_settings()
    with server_of(settings), database.connect(settings) as connection:
        chosen = [
            mail
            for mail in mails.newest(connection, None, 100_000)
            if str(mail.push_date) == push_date and mail.state in ("simulated", "off")
        ]
        for mail in chosen:
            mails.decide(connection, mail.mail_no, "again", by, why)
    console.print(f"{len(chosen)} mail(s) are pending; mode: {_tracker().mail.mode}")
