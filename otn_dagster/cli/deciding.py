"""What waits for a person, and what people set right: ``held``, ``decide``, ``unmatch``, ``tag-end``, ``test-tag``, ``unlock``, and what
a push leaves out: ``exclude``, ``include``, ``left-out``; how a push is mended: ``admit``, ``revise``.

Belongs here: words and exit codes. Does not belong here: what a decision means (``telemetry/decisions.py``, ``telemetry/overrides.py``).
"""

import datetime as dt
from typing import Annotated

import typer

from otn_dagster import database, decisions
from otn_dagster.cli.options import Who, Why, console, node, stop
from otn_dagster.telemetry import cutoffs, overrides
from otn_dagster.telemetry.push.left_out import Scope

app = typer.Typer()


@app.command()
def held() -> None:
    """List decisions that are waiting, with the changes they would make."""
    with node() as config, database.connect(config.settings) as connection:
        waiting = decisions.open_questions(connection)
    for asked in waiting:
        about = f"{asked.topic.replace('_', ' ')}: {asked.subject} (answer {', '.join(asked.answers)})"
        console.print(f"[bold]{asked.number}[/] {about}")
        for line in asked.details if isinstance(asked.details, list) else [asked.details]:
            console.print(f"    {line}", markup=False)
    if not waiting:
        console.print("no decision is waiting")


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
    from otn_dagster.tracker import questions

    with node() as config, database.connect(config.settings) as connection:
        asked = questions.decide(connection, config.tracker, number, decision, by, why)
    console.print(f"{asked.topic.replace('_', ' ')} of {asked.subject}: {decision}", markup=False)


@app.command()
def unmatch(
    detection: Annotated[str, typer.Argument(help="unqDetecID of an improbable match.")], by: Who, why: Why
) -> None:
    """Take a detection from its animal, in every push from now on."""
    with node() as config, database.connect(config.settings) as connection:
        overrides.unmatch(connection, detection, by, why)


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
    with node() as config, database.connect(config.settings) as connection:
        overrides.end_tag(connection, transmitter, end, by, why)


@app.command("test-tag")
def declare_test_tag(
    transmitter: Annotated[str, typer.Argument(help="A transmitter nobody reported, e.g. A69-1601-7.")],
    by: Who,
    why: Why,
) -> None:
    """Declare that a transmitter is somebody's test tag; its detections stay unqualified, with that reason."""
    with node() as config, database.connect(config.settings) as connection:
        overrides.declare_test_tag(connection, transmitter, by, why)


PushDate = Annotated[str, typer.Argument(help="A push date, e.g. 2027-02-18.")]
What = Annotated[
    Scope,
    typer.Argument(help="All that is new of a project, changes of a tracker's animals and tags, or one submission."),
]
Subject = Annotated[str, typer.Argument(help="Collection code; of a submission its key, as the board shows it.")]


@app.command()
def exclude(push_date: PushDate, what: What, subject: Subject, by: Who, why: Why) -> None:
    """Leave something out of a push: it stays as the last push had it, and the report and the mails say so."""
    from otn_dagster.telemetry.push import exclusions

    with node() as config, database.connect(config.settings) as connection:
        exclusions.add(connection, config.settings, _date(push_date), what, subject, by, why)
    console.print(f"{what} {subject} is left out of the push of {push_date}", markup=False)


@app.command()
def include(push_date: PushDate, what: What, subject: Subject, by: Who, why: Why) -> None:
    """Take in again what was left out of a push."""
    from otn_dagster.telemetry.push import exclusions

    with node() as config, database.connect(config.settings) as connection:
        exclusions.end(connection, config.settings, _date(push_date), what, subject, by, why)
    console.print(f"{what} {subject} is in the push of {push_date} again", markup=False)


@app.command()
def admit(
    submission: Annotated[str, typer.Argument(help="The submission's key, as the board shows it.")], by: Who, why: Why
) -> None:
    """Let one file into the push under way after its cut-off: a correction that it needs. Then ask for a `revise`."""
    from otn_dagster.tracker import mending

    with node() as config, database.connect(config.settings) as connection:
        push_date = mending.admit(connection, submission, by, why)
    console.print(f"{submission} is let into the push of {push_date}", markup=False)


@app.command()
def revise(push_date: PushDate, by: Who, why: Why) -> None:
    """Ask that the snapshot of a push be made again, of what is loaded now; then run `push` again. Not after its release."""
    from otn_dagster.tracker import mending

    with node() as config, database.connect(config.settings) as connection:
        number = mending.revise(connection, config.settings, _date(push_date), by, why)
    console.print(f"revision {number} of the push of {push_date} is made when the push runs again", markup=False)


@app.command("left-out")
def left_out(push_date: PushDate) -> None:
    """What a push leaves out as things stand now, and why: what is on hold, not verified, or left out by somebody."""
    from otn_dagster.telemetry.push import exclusions
    from otn_dagster.tracker import gate

    with node() as config, database.connect(config.settings) as connection:
        there = exclusions.in_last_push(config.settings, _date(push_date))
        found = [one for one in gate.of_push(push_date)(connection) if one.subject not in there]
    for one in found:
        console.print(f"{one.scope} {one.subject}: {one.why}", markup=False)
    if not found:
        console.print("nothing is left out")


def _date(text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise stop(f"{text!r} is not a date; write it like 2027-02-18") from None


@app.command()
def unlock(push_date: Annotated[str, typer.Argument(help="The push that will not be run.")], by: Who, why: Why) -> None:
    """Open loading again without running a push."""
    with node() as config, database.connect(config.settings) as connection:
        nodes = cutoffs.finish(connection, push_date, f"not pushed; {by}: {why}")
    console.print(f"{nodes} node(s) unlocked" if nodes else f"no node is locked for the push of {push_date}")
