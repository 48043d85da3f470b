"""What the verification of a push found: projects by checks, and the rows.

Belongs here: the page. Does not belong here: the checks (``telemetry/push/verifying/``).
"""

from collections import Counter
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
    """GET the verification of a push: of all projects for analysts, of their nodes' for managers.

    Its rows name other projects' animals, receivers and files: it is not for people of projects, who are told by their reports.
    """
    date, person = push_date_of(visit), visit.must_sign_in()
    if not person.is_staff:
        raise Stop(403, "The verification of a push is for managers and analysts.")
    folder = push_folder(visit.service.settings, date)
    found = await visit.ask(lambda _: verification.read(folder))
    if not found:
        raise Stop(404, f"The push of {date} is not verified yet.")
    counts = await visit.ask(lambda _: verification.by_project(folder))

    def ask(connection: Connection) -> set[str]:
        return {code for code in counts if person.role == "analyst" or board.belongs_to(connection, person, code)}

    mine = await visit.ask(ask)
    of = {code: rows for code, rows in counts.items() if code in mine}
    return visit.page("verification", push_date=date, most_projects=MOST_PROJECTS, **of_projects(found, of))


def of_projects(found: list[dict[str, Any]], counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Checks with the rows of some projects, and how many each project has. counts: of these projects by check."""
    checks = []
    for one in found:
        rows = [row for row in one["rows"] if row["project"] in counts]
        count = sum(of.get(one["id"], 0) for of in counts.values())
        shown = _in_turn(rows)[:MOST_ROWS]
        checks.append({**one, "count": count, "more": count - len(shown), "rows": shown})
    ranked = sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return {"checks": checks, "failing": [one for one in checks if one["count"]], "projects": ranked}


def _in_turn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the first of every project first: one that has many hides no other."""
    seen: Counter[str] = Counter()
    turns = []
    for row in rows:
        turns.append(seen[row["project"]])
        seen[row["project"]] += 1
    return [row for _, row in sorted(zip(turns, rows, strict=True), key=lambda pair: pair[0])]


routes = [Route("/tracker/pushes/{push_date}/verification", show, methods=["GET"])]
