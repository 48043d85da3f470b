"""What is missing of a project: detections without a deployment, deployments without their files; and the mail that asks for it.

Belongs here: the page, its tables, its picture. Does not belong here: what is missing (``telemetry/missing_metadata.py``,
``missing_files.py``), the mail's words (``templates/mail/missing.*``).
"""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from psycopg import Connection
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.telemetry import missing_files, missing_metadata
from otn_dagster.telemetry.missing_files import Deployed
from otn_dagster.tracker import board
from otn_dagster.tracker.mail import notices
from otn_dagster.web.site.pages import project_of
from otn_dagster.web.site.visits import Answer, Stop, Visit, page, redirect

METADATA = ["receiver", "position", "detections", "transceiver", "animal", "test", "first", "last", "report"]
FILES = [
    "station",
    "receiver",
    "rcvrcatnumber",
    "deployed",
    "recovered",
    "state",
    "says",
    "detections",
    "events",
    "uploaded",
]
EVERY_YEAR = (0, 9999)
MOST_DRAWN, WIDTH, LEFT, ROW = 120, 860, 150, 14


async def _code(visit: Visit) -> str:
    """The project of the path, for its people and those who act for its node."""
    code, person = await project_of(visit), visit.must_sign_in()
    if not await visit.ask(lambda connection: board.belongs_to(connection, person, code)):
        raise Stop(404, "There is no such project, or it is not yours to see.")
    return code


@page
async def show(visit: Visit) -> Answer:
    """GET both reports; with ?list= one of them as csv, xlsx or json."""
    code, wanted = await _code(visit), visit.parameter("list")
    years = _years(visit)

    def ask(connection: Connection) -> tuple[list[dict[str, Any]], list[Deployed]]:
        metadata = missing_metadata.of_project(connection, code) if wanted != "files" else []
        deployed = missing_files.report(connection, code) if wanted != "metadata" else []
        return metadata, [one for one in deployed if years[0] <= one.start.year <= years[1]]

    metadata, deployed = await visit.ask(ask)
    if visit.form and wanted == "metadata":
        return visit.listing(f"{code.lower()}-missing-metadata", METADATA, metadata, visit.form)
    if visit.form and wanted == "files":
        return visit.listing(f"{code.lower()}-missing-files", FILES, [one.row() for one in deployed], visit.form)
    return visit.page(
        "missing",
        code=code,
        years=years if years != EVERY_YEAR else None,
        asked=asked if (asked := visit.parameter("asked") or "").isdigit() else None,
        metadata=metadata,
        threshold=missing_metadata.REPORT_THRESHOLD,
        due=[one.row() for one in deployed if one.state in missing_files.DUE],
        figures=missing_files.in_figures(deployed),
        says=missing_files.SAYS,
        chart=chart(deployed),
        acts=await visit.ask(lambda connection: _acts(visit, connection, code)),
    )


def _years(visit: Visit) -> tuple[int, int]:
    """Of which years deployments are shown: ?from= and ?to=."""
    first, last = (visit.parameter(name) or "" for name in ("from", "to"))
    return (
        int(first) if re.fullmatch("[0-9]{4}", first) else EVERY_YEAR[0],
        int(last) if re.fullmatch("[0-9]{4}", last) else EVERY_YEAR[1],
    )


def _acts(visit: Visit, connection: Connection, code: str) -> bool:
    return visit.person is not None and visit.person.acts_for(board.node_of(connection, code))


@page
async def ask_for_it(visit: Visit) -> Response:
    """POST that the project's people are asked for what is missing, by somebody who acts for its node."""
    code, settings, years = await _code(visit), visit.settings, _years(visit)
    await visit.form_fields()
    if not await visit.ask(lambda connection: _acts(visit, connection, code)):
        raise Stop(403, f"You do not act for the node of {code}.")

    def write(connection: Connection) -> int:
        metadata = [row for row in missing_metadata.of_project(connection, code) if row["above_threshold"]]
        found = missing_files.report(connection, code)
        due = [one.row() for one in found if one.state in missing_files.DUE and years[0] <= one.start.year <= years[1]]
        return len(notices.missing(connection, settings, code, metadata, due)) if metadata or due else -1

    written = await visit.ask(write)
    if written <= 0:
        raise Stop(
            409, "Nothing is missing." if written else "They were asked today, or nobody of the project has an address."
        )
    return redirect(f"/tracker/projects/{code}/missing?asked={written}")


def chart(deployed: Sequence[Deployed]) -> dict[str, Any] | None:
    """Deployments as bars over time (a Gantt picture): places in pixels. Those that somebody should act on first, where they are many."""
    shown = sorted(deployed, key=lambda one: one.state not in missing_files.DUE)[:MOST_DRAWN]
    shown.sort(key=lambda one: (one.station, one.start))
    if not shown:
        return None
    first = min(one.start for one in shown)
    last = max(one.end or one.start for one in shown) + dt.timedelta(days=30)
    seconds = max((last - first).total_seconds(), 1)

    def at(moment: dt.datetime) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * (moment - first).total_seconds() / seconds, 1)

    years = [dt.datetime(year, 1, 1) for year in range(first.year + 1, last.year + 1)]
    step = -(-len(years) // 12) or 1
    bars = [
        {
            "y": 20 + ROW * number,
            "x": at(one.start),
            "width": max(2.0, round(at(one.end or last) - at(one.start), 1)),
            "state": str(one.state),
            "name": f"{one.station} {one.receiver}",
            "says": f"{one.rcvrcatnumber}: {missing_files.SAYS[one.state]}",
        }
        for number, one in enumerate(shown)
    ]
    ticks = [{"x": at(moment), "year": moment.year} for moment in years[::step]]
    return {
        "bars": bars,
        "ticks": ticks,
        "height": 30 + ROW * len(bars),
        "width": WIDTH,
        "left": LEFT,
        "more": len(deployed) - len(shown),
    }


routes = [
    Route("/tracker/projects/{code}/missing", show, methods=["GET"]),
    Route("/tracker/projects/{code}/missing/ask", ask_for_it, methods=["POST"]),
]
