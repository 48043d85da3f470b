"""What the verification of a push found: projects by checks, and the rows.

Belongs here: the page. Does not belong here: the checks (``telemetry/push/verifying/``).
"""

from typing import Any

from psycopg import Connection
from starlette.routing import Route

from otn_dagster.telemetry.push import verification
from otn_dagster.telemetry.push.snapshot import push_folder
from otn_dagster.tracker import board
from otn_dagster.web.site.pages import push_date_of
from otn_dagster.web.site.visits import Answer, Stop, Visit, page

MOST_PROJECTS, MOST_ROWS = 200, 50


@page
async def show(visit: Visit) -> Answer:
    """GET the verification of a push: of all projects for analysts, of their own for others."""
    date, person = push_date_of(visit), visit.must_sign_in()
    found = await visit.ask(lambda _: verification.read(push_folder(visit.service.settings, date)))
    if not found:
        raise Stop(404, f"The push of {date} is not verified yet.")
    codes = sorted({row["project"] for one in found for row in one["rows"]})

    def ask(connection: Connection) -> set[str]:
        return {code for code in codes if person.role == "analyst" or board.belongs_to(connection, person, code)}

    mine = await visit.ask(ask)
    return visit.page("verification", push_date=date, most_projects=MOST_PROJECTS, **of_projects(found, mine))


def of_projects(found: list[dict[str, Any]], codes: set[str]) -> dict[str, Any]:
    """Checks with the rows of some projects, and how many each project has of each check that found any."""
    checks = []
    counts: dict[str, dict[str, int]] = {}
    for one in found:
        rows = [row for row in one["rows"] if row["project"] in codes]
        for row in rows:
            of = counts.setdefault(row["project"], {})
            of[one["id"]] = of.get(one["id"], 0) + 1
        count = one["count"] if len(rows) == len(one["rows"]) else len(rows)
        checks.append({**one, "count": count, "more": count - MOST_ROWS, "rows": rows[:MOST_ROWS]})
    ranked = sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return {"checks": checks, "failing": [one for one in checks if one["count"]], "projects": ranked}


routes = [Route("/tracker/pushes/{push_date}/verification", show, methods=["GET"])]
