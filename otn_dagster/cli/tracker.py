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
from otn_dagster.cli.options import Who, Why, explained, node, stop
from otn_dagster.tracker import acting, board, drift, export, google_sheets, people
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import outbox as mails
from otn_dagster.tracker.mail import sending

app = typer.Typer()
people_app = typer.Typer()
outbox_app = typer.Typer()
console = Console(highlight=False, soft_wrap=True, markup=False)
Address = Annotated[str, typer.Argument(help="The person's address.")]


@app.command("list")
def list_items(
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    push: Annotated[str | None, typer.Option(help="Only of this push.")] = None,
    collection: Annotated[str | None, typer.Option(help="Only of this collection.")] = None,
    held: Annotated[bool, typer.Option("--held", help="Only what is on hold.")] = False,
) -> None:
    """List datasets, longest in their state first."""
    wanted = board.Filter(state=state, push=push, collection=collection, hold="any" if held else None)
    with node() as config, database.connect(config.settings) as connection:
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
    columns = board.COLUMNS.split(", ")
    with node() as config, database.connect(config.settings) as connection:
        rows = board.items(connection, board.ALL, board.Filter(), None)
    if path.suffix == ".xlsx":
        export.write_xlsx(path, columns, rows)
    elif path.suffix == ".csv":
        path.write_text(export.as_csv(columns, rows), encoding="utf-8", newline="")
    else:
        raise stop(f"{path.name}: expected a name that ends with .xlsx or .csv")
    console.print(f"{len(rows)} dataset(s) in {path}")


@app.command("google-sheet")
def update_google_sheet(
    spreadsheet: Annotated[str, typer.Argument(help="Its id, as in its address.")],
    tab: Annotated[str, typer.Option(help="A tab of its own; others are not touched.")] = "datasets",
) -> None:
    """Bring a tab of a Google spreadsheet up to date, row by row (needs the extra `google`)."""
    columns = board.COLUMNS.split(", ")
    with node() as config, database.connect(config.settings) as connection:
        rows = board.items(connection, board.ALL, board.Filter(), None)
    try:
        with explained(), google_sheets.authorised() as client:
            changed, added = google_sheets.update(client, spreadsheet, tab, columns, rows)
    except (OSError, httpx.HTTPError) as error:
        raise stop(error, 1) from None
    console.print(f"{changed} row(s) changed, {added} added")


@app.command("drift")
def show_drift() -> None:
    """Compare what is declared with files, tables and extracts as they are now; moves nothing."""
    with node() as config:
        found = drift.look(config.settings, config.streams, config.live)
    for one in found:
        console.print(f"{one.item_id} {one.title} is {one.declared}, but: {one.observed}. {one.remedy}")
    if not found:
        console.print("no differences found")
    raise typer.Exit(1 if found else 0)


@app.command("act")
def act(
    item: Annotated[int, typer.Argument(help="The number that `tracker list` shows.")],
    action: Annotated[acting.Action, typer.Argument(help="What to do.")],
    by: Who,
    why: Why,
    choice: Annotated[str, typer.Option(help="Which hold, whom to assign, accept or reject.")] = "",
) -> None:
    """Act on an item (the same actions as on its page)."""
    with node() as config, database.connect(config.settings) as connection:
        done = acting.act(connection, config.tracker, item, action, by, why, choice)
    console.print(f"{done.title} is {done.state}{f', {done.hold}' if done.hold else ''}")


@people_app.command("invite")
def invite(
    email: Address,
    by: Who,
    name: Annotated[str, typer.Option(help="The person's name.")] = "",
    role: Annotated[
        people.Role, typer.Option(help="A manager acts for --node, an analyst for all.")
    ] = people.Role.READER,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", help="A node that a manager acts for; may be given again.")
    ] = None,
) -> None:
    """Make an account, or let somebody choose a new password: prints a code that works once, for a week."""
    with node() as config, database.connect(config.settings) as connection:
        for code in nodes or []:
            config.settings.node(code)
        token = people.invite(connection, email, name or email, role, list(nodes or []), by)
    console.print(
        f"Send this to {email}, by another way than mail if you can:\n{config.tracker.web_url}/tracker/invitation   code: {token}"
    )


@people_app.command("list")
def list_people() -> None:
    """Everybody who may sign in."""
    table = Table("address", "name", "role", "nodes", "account", box=None)
    with node() as config, database.connect(config.settings) as connection:
        for email, name, role, nodes, stands in people.everybody(connection):
            table.add_row(email, name, role, ", ".join(nodes), stands)
    console.print(table)


@people_app.command("disable")
def disable(email: Address) -> None:
    """End an account and whatever it is signed in to, at once."""
    with node() as config, database.connect(config.settings) as connection:
        if not people.disable(connection, email):
            raise stop(f"nobody has the address {email}")


@outbox_app.command("list")
def list_mails(state: Annotated[str | None, typer.Option(help="Only in this state, e.g. uncertain.")] = None) -> None:
    """Mails, the newest first."""
    table = Table("mail", "to", "state", "title", "reason", box=None)
    with node() as config, database.connect(config.settings) as connection:
        for mail in mails.newest(connection, state, 200):
            table.add_row(str(mail.mail_no), mail.recipient, mail.state, mail.title, mail.reason or "")
    console.print(table)
    console.print(f"mode: {config.tracker.mail.mode}")


@outbox_app.command("send")
def send() -> None:
    """Send what is due, and complete the pushes whose mails have ended, as the sensor does."""
    with node() as config:
        done = sending.send_due(config.settings, config.tracker.mail, console.print)
        with database.connect(config.settings) as connection:
            for push_date, _ in completion.due(connection):
                completion.complete(connection, push_date, Actor("outbox send"))
    console.print(", ".join(f"{count} {state}" for state, count in done.items() if count) or "nothing is due")


@outbox_app.command("decide")
def decide(
    mail: Annotated[int, typer.Argument(help="The number that `outbox list` shows.")],
    decision: Annotated[mails.Decision, typer.Argument(help="What became of it, or what should.")],
    by: Who,
    why: Why,
) -> None:
    """Decide what becomes of a mail that is uncertain, failed, or was only simulated."""
    with node() as config, database.connect(config.settings) as connection:
        console.print(f"mail {mail} is {mails.decide(connection, mail, decision, by, why)}")


@outbox_app.command("waive")
def waive(
    push_date: Annotated[str, typer.Argument(help="A push whose mails were not delivered.")], by: Who, why: Why
) -> None:
    """Say that nobody needs the mails of a push that were not delivered: simulated, switched off, failed, uncertain."""
    with node() as config, database.connect(config.settings) as connection:
        count = mails.waive(connection, push_date, by, why)
        completion.complete(connection, push_date, Actor.person(by))
    console.print(f"{count} mail(s) are waived")


@outbox_app.command("again")
def send_push_again(
    push_date: Annotated[str, typer.Argument(help="A push whose mails were simulated or switched off.")],
    by: Who,
    why: Why,
) -> None:
    """Let the mails of a push that were only simulated, or switched off, go out; each once, as ever."""
    with node() as config, database.connect(config.settings) as connection:
        chosen = [
            mail
            for mail in mails.newest(connection, None, 100_000)
            if str(mail.push_date) == push_date and mail.state in ("simulated", "off")
        ]
        for mail in chosen:
            mails.decide(connection, mail.mail_no, "again", by, why)
    console.print(f"{len(chosen)} mail(s) are pending; mode: {config.tracker.mail.mode}")
