"""The same question at two push dates, as a page: an extract, an animal, a detection.

Belongs here: who may ask, and the page. Does not belong here: comparing (``telemetry/push/two_dates.py``), causes (``because.py``).

People of a project ask about what is theirs, of pushes that are released: they see of each push what it gave them, other projects' animals
unnamed, and of other projects' files only the kind.
"""

from dataclasses import replace
from typing import Any

import polars as pl
from psycopg import Connection
from starlette.routing import Route

from otn_dagster.explained import Unknown, Unusable
from otn_dagster.telemetry.push import because, snapshot, two_dates
from otn_dagster.telemetry.push.because import SAYS, Because
from otn_dagster.telemetry.push.two_dates import Answer, Subject, Why
from otn_dagster.tracker import board, release
from otn_dagster.web.site.visits import Answer as Response
from otn_dagster.web.site.visits import Stop, Visit, page

MOST_ROWS, MOST_LISTED = 200, 200_000
COLUMNS = list(two_dates.COLUMNS)


@page
async def show(visit: Visit) -> Response:
    """GET what two pushes say; without a question the form to ask."""
    person = visit.must_sign_in()
    settings = visit.service.settings
    dates = await visit.ask(lambda connection: _dates(visit, connection))
    earlier, later = (visit.parameter(name) or "" for name in ("earlier", "later"))
    asked = {name: (visit.parameter(name) or "").strip() for name in ("extract", "animal", "detection")}
    if not any(asked.values()):
        return visit.page("compare", dates=dates, asked=asked, earlier=earlier, later=later, answer=None)
    if not earlier:  # a link from an extract names its push alone
        earlier = next((date for date in dates if date < later), "")
    try:
        subject = Subject(**{name: text or None for name, text in asked.items()})
        if earlier not in dates or later not in dates:
            raise Unknown("Choose two pushes that are released.")

        def ask(connection: Connection) -> dict[str, Any]:
            if not subject.detection and not board.belongs_to(connection, person, subject.project):
                raise Unknown(f"There is no project {subject.project[:20]!r}, or it is not yours.")
            answer, project = two_dates.compare(settings, earlier, later, subject), subject.project
            if subject.detection and person.role != "analyst":
                # Whose it is, is said by the pushes, not by the name that somebody types.
                mine = [code for code in answer.projects if board.belongs_to(connection, person, code)]
                if not mine:
                    raise Unknown(f"{subject.detection} is in no extract of yours.")
                project = mine[0]
                answer = two_dates.compare(settings, earlier, later, subject, project)
            return _told(visit, connection, answer, None if person.role == "analyst" else project)

        told = await visit.ask(ask)
    except (Unknown, Unusable) as reason:
        raise Stop(404 if isinstance(reason, Unknown) else 400, str(reason)) from None
    if visit.form:
        if told["total"] > MOST_LISTED:
            raise Stop(
                413,
                f"{told['total']:,} rows are more than a page hands out: take them with `otn-dagster compare --into`.",
            )
        rows = told["frame"].with_columns(pl.col("why").list.join(" ")).to_dicts()
        return visit.listing(f"compare-{subject.project}", COLUMNS, rows, visit.form)
    return visit.page("compare", dates=dates, asked=asked, earlier=earlier, later=later, most=MOST_ROWS, **told)


def _dates(visit: Visit, connection: Connection) -> list[str]:
    """Real pushes that were matched and that the reader may know of, the newest first."""
    settings = visit.service.settings
    there = sorted(
        (path.parent.parent.name for path in settings.pushes_folder.glob("*/matches/manifest.json")), reverse=True
    )
    real = [date for date in there if not snapshot.read(settings, date).rehearsal]
    return [date for date in real if visit.reader.is_staff or release.is_out(connection, settings, date)]


def _told(visit: Visit, connection: Connection, answer: Answer, project: str | None) -> dict[str, Any]:
    """What a page shows: everything, or what people of a project may read."""
    frame = answer.frame if project is None else two_dates.for_people_of(answer, project)
    causes = because.causes(connection, answer)
    if project is not None:
        mine = {one.subject for one in causes if board.belongs_to(connection, visit.person, _project_of(one) or "")}
        causes = [one if one.subject in mine else _unnamed(one) for one in causes]
    numbers = board.items_of(connection, [one.subject for one in causes])
    return {
        "answer": answer,
        "causes": causes,
        "numbers": numbers,
        "total": frame.height,
        "frame": frame,
        "rows": frame.head(MOST_ROWS).to_dicts(),
    }


def _project_of(one: Because) -> str | None:
    parts = one.subject.split("/")
    return parts[1] if len(parts) > 2 else None


def _unnamed(one: Because) -> Because:
    """A cause without names of files and people that are another project's."""
    whose = _project_of(one)
    says = SAYS[Why(one.why)] + (f": a file of {whose}" if whose else "")
    return replace(one, subject="", says=says)


routes = [Route("/tracker/compare", show, methods=["GET"])]
