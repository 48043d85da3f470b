"""The demo: buoys push, streams are harvested, then a network arrives in two waves, is loaded and pushed, once in rehearsal.

Belongs here: the order of events and what the terminal says. Does not belong here: the network (``network.py``) and
everything that the platform does with it.

The first wave arrives under a drill clock that stands before the last push's cut-off; then the clock passes the cut-off,
so that the push is a real one. The second wave arrives now, and the next push is rehearsed.
"""

import datetime as dt
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from otn_dagster import calendar, database
from otn_dagster.config import Settings
from otn_dagster.demo import live as live_demo
from otn_dagster.demo import streams as ocean_streams
from otn_dagster.demo.files import write_files
from otn_dagster.demo.network import Network, make_network
from otn_dagster.files import sha256_of
from otn_dagster.orchestration import headless
from otn_dagster.servers import Dagster, WebService
from otn_dagster.telemetry import cutoffs
from otn_dagster.tracker import acting, board, release
from otn_dagster.tracker.configuration import load_tracker
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import outbox, sending

SETTLED = {"loaded", "refused", "held", "waiting", "superseded"}
LONGEST_WAIT_SECONDS = 1500


def run_demo(settings: Settings, console: Console, port: int, web_port: int, seed: int, stay_open: bool) -> bool:
    """Run it all; True where every push kept its laws. Safe to repeat: what is loaded and pushed already stays as it is."""
    network = make_network(seed)
    with database.connect(settings) as connection:
        today = dt.datetime.now(dt.UTC)
        dates = calendar.push_dates(settings.pushes, today.date())
        last = max(d for d in dates if all(calendar.cutoff(d, n.time_zone) < today for n in settings.nodes))
        following = min(date for date in dates if date > last)
        already = (settings.pushes_folder / last / "certificate.json").exists()
        if not already:
            cutoffs.set_drill_clock(connection, calendar.cutoff(last, "UTC") - dt.timedelta(days=5))
            cutoffs.announce(connection, settings)
    log = settings.data / "dagster.log"
    console.print(
        f"[bold]otn_dagster demo[/]: {len(network.projects)} projects on 3 nodes, {len(network.heard):,} detections"
    )
    good = True
    with (
        ocean_streams.ooinet(today) as story,
        live_demo.datasets(settings),
        WebService(web_port, settings.data / "web.log") as web,
        Dagster(port, log) as dagster,
    ):
        console.print(f"starting Dagster at {dagster.url} (its log: {log}) and the web service at {web.url}")
        dagster.wait_until_ready()
        web.wait_until_ready()
        live_demo.run(settings, console, web.url)
        ocean_streams.run(settings, console, story)
        try:
            if not already:
                _load_by_sensors(settings, console, network, 1)
                with database.connect(settings) as connection:
                    cutoffs.set_drill_clock(connection, calendar.cutoff(last, "UTC") + dt.timedelta(days=1))
                good &= _push(settings, console, last)
        finally:
            with database.connect(settings) as connection:
                cutoffs.set_drill_clock(connection, None)
        _load_by_sensors(settings, console, network, 2)
        good &= _push(settings, console, following)
        with console.status("detections meet the ocean"):
            headless.run_job("join_ocean", last)
        _say_what_was_made(settings, console, last, following)
        console.print(
            f"\nThe tracker is at [bold]{web.url}/tracker[/]; sign in after "
            "[bold]otn-dagster people invite you@example.org --role analyst --by you[/]"
        )
        if stay_open:
            console.print(
                f"\nThe UI is open at [bold]{dagster.url}[/], the web service at [bold]{web.url}[/]; stop with Ctrl-C."
            )
            dagster.wait()
    return good


def _load_by_sensors(settings: Settings, console: Console, network: Network, wave: int) -> None:
    files = write_files(network, settings.incoming, wave)
    console.print(f"wave {wave}: {len(files)} files put into {settings.incoming}")
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"the sensors load wave {wave}", total=len(files))
        while time.monotonic() < end:
            _release_what_is_quarantined(settings, console)
            settled, received = _settled(settings, files)
            progress.update(task, completed=settled)
            if settled == len(files) and received == 0:
                return
            time.sleep(1)
    raise TimeoutError(f"the sensors did not load wave {wave} in time; see {settings.data / 'dagster.log'}")


def _release_what_is_quarantined(settings: Settings, console: Console) -> None:
    """What a node manager does after looking: the recoveries of a season do change a sheet by a lot."""
    with database.connect(settings) as connection:
        for item in board.items(connection, board.ALL, board.Filter(hold="quarantined"), None):
            why = "the season's recoveries came in, as expected"
            acting.act(connection, load_tracker(), item["item_id"], "release", "demo@example.org", why)
            console.print(f"  [yellow]quarantined[/] {item['title']}: {item['hold_why']}; looked at and released")


def _settled(settings: Settings, files: list) -> tuple[int, int]:
    """(files whose newest submission reached a state, submissions that are still under way)."""
    with database.connect(settings) as connection:
        rows = connection.execute(
            "select distinct on (node, collectioncode, kind, file_name) node || '/' || collectioncode || '/' || kind || '/' || file_name,"
            " state, sha256 from platform.submissions order by node, collectioncode, kind, file_name, submission_no desc"
        ).fetchall()
    states = {name: (state, digest) for name, state, digest in rows}
    settled = 0
    for path in files:
        state, digest = states.get(str(path.relative_to(settings.incoming)), ("", ""))
        settled += state in SETTLED and digest == sha256_of(path)
    return settled, sum(state == "received" for state, _ in states.values())


def _push(settings: Settings, console: Console, push_date: str) -> bool:
    with console.status(f"push of {push_date}") as status:
        outcome = headless.push(settings, push_date, lambda step, *_: status.update(f"push of {push_date}: {step}"))
    if not outcome.good:
        console.print(f"[red]the push of {push_date} failed:[/] {outcome.error}")
        return False
    kind = "rehearsed" if outcome.rehearsal else "pushed"
    zips = sum(name.endswith(".zip") for name in outcome.extracts)
    console.print(
        f"[green]{kind} {push_date}[/]: {sum(outcome.counts.values()):,} detections, {zips} extracts, every law kept"
    )
    if outcome.waits_for_release:
        _release(settings, console, push_date)
    return True


def _release(settings: Settings, console: Console, push_date: str) -> None:
    """What a person does after a push; its mails are only simulated here, and nobody needs them."""
    with database.connect(settings) as connection:
        count = release.release(connection, settings, push_date, "the demo", "every law was kept")
    sending.send_due(settings, load_tracker().mail)
    with database.connect(settings) as connection:
        outbox.waive(connection, push_date, "the demo", "its people are invented")
        done = completion.complete(connection, push_date, Actor("the demo"))
    console.print(f"[green]released[/]: {count} mail(s) simulated and waived, {done.published} submission(s) published")


def _say_what_was_made(settings: Settings, console: Console, *push_dates: str) -> None:
    with database.connect(settings) as connection:
        rows = connection.execute(
            "select state, kind, count(*), coalesce(sum(refused_rows), 0) from platform.submissions group by 1, 2 order by 1, 2"
        ).fetchall()
        reasons = connection.execute(
            "select state, reason from platform.submissions where state not in ('loaded', 'superseded') order by 1, submission_no"
        ).fetchall()
    table = Table("state", "kind", "files", "refused rows", title="what the sensors did", box=None)
    for state, kind, files, refused in rows:
        table.add_row(state, kind, str(files), str(refused) if refused else "")
    console.print(table)
    for state, reason in reasons:
        console.print(f"  [yellow]{state}[/] {reason}")
    for date in push_dates:
        console.print(f"push of {date}: {settings.pushes_folder / date}")
        console.print("  extracts/<COLLECTION>/, reports/<COLLECTION>.md, summaries/, certificate.json")
