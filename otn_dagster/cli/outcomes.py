"""What a load or a push did, in words.

Belongs here: tables and colours. Does not belong here: running (``main.py``).
"""

from rich.console import Console
from rich.table import Table

from otn_dagster.orchestration.headless import LoadOutcome, PushOutcome
from otn_dagster.tracker.release import Release, Review


def show_load(console: Console, outcome: LoadOutcome) -> None:
    """Each file with its state and rows, then what was refused and found."""
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


def show_push(console: Console, outcome: PushOutcome) -> None:
    """Detections by outcome and the certificate, or why it stopped."""
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
    if outcome.waits_for_release:
        console.print(
            f"its mails wait: look at it with `otn-dagster release {outcome.push_date}`, and release it with --by and --why"
        )


def show_review(console: Console, push_date: str, looked: Review, released: Release | None) -> None:
    """What a person looks at before a push is released."""
    stands = (
        f"released by {released.released_by} on {released.released_at:%Y-%m-%d %H:%M} UTC: {released.why}"
        if released
        else "waits for its release"
    )
    console.print(f"[bold]push of {push_date}[/]: {stands}")
    console.print(
        f"{looked.extracts:,} extract(s) of {looked.projects:,} project(s): {looked.added:,} rows added, {looked.changed:,} changed,"
        f" {looked.withdrawn:,} withdrawn"
    )
    mails = ", ".join(f"{count} {state}" for state, count in looked.mails)
    console.print(f"mails to {looked.people} person(s): {mails or 'none'}; {looked.left_out} thing(s) left out")
    for one in looked.unusual:
        console.print(f"[yellow]unusual[/] {one.collectioncode}: {one.text}")
    for text in looked.warnings:
        console.print(f"[yellow]warning[/] {text}", markup=True)
    if not looked.unusual and not looked.warnings:
        console.print("nothing unusual was found")


def _coloured(state: str) -> str:
    return f"[{ {'loaded': 'green', 'superseded': 'dim'}.get(state, 'red') }]{state}[/]"
