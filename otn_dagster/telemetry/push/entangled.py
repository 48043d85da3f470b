"""What was let into a push and hangs together with what was not: a list of fixes, and files or lists that speak of the same rows.

Belongs here: finding such pairs. Does not belong here: letting in (``revisions.py``), making a snapshot (``snapshot.py``).

A revision of a snapshot has the rows of what was let in, and of other late files as they were before. Of one row it cannot have both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.telemetry.fixing import applying
from otn_dagster.telemetry.fixing.corrections import corrected
from otn_dagster.telemetry.project_tables import table

PLACES = {"tags": ("tag_cache", "otn_animals"), "deployments": ("rcvr_locations", "moorings")}


@dataclass(frozen=True)
class Pair:
    """One that was let in, one that was not, and a row of which both speak."""

    let_in: str
    late: str
    name: str

    def __str__(self) -> str:
        return f"{self.let_in} and {self.late} speak both of {self.name}: let both in, or neither"


def pairs(connection: Connection, let_in: Sequence[str], late: Sequence[str]) -> list[Pair]:
    """Pairs of which one at least is a list of fixes; sheets alone are told apart row by row."""
    rows = connection.execute(
        "select submission_key, collectioncode, kind from platform.submissions where submission_key = any(%s)"
        " and kind = any(%s) and state in ('loaded', 'undone') order by submission_no",
        [[*let_in, *late], [*PLACES, "fix"]],
    ).fetchall()
    if not any(kind == "fix" for _, _, kind in rows):
        return []
    names = {key: _names(connection, key, code, kind) for key, code, kind in rows}
    of = {key: (code, kind) for key, code, kind in rows}
    return [
        Pair(one, other, min(both))
        for one in let_in
        for other in late
        if one in of and other in of and of[one][0] == of[other][0] and "fix" in (of[one][1], of[other][1])
        if (both := names[one] & names[other])
    ]


def _names(connection: Connection, key: str, code: str, kind: str) -> set[str]:
    """Animals and deployments of which a submission speaks, under every name that they have had."""
    if kind == "fix":
        images = connection.execute(
            "select before, after from platform.fixed_rows where submission_key = %s", [key]
        ).fetchall()
        columns = ("catalognumber", "relatedcatalogitem")
        return {image[c] for pair in images for image in pair if image for c in columns if image.get(c)}
    place, of = PLACES[kind]
    query = sql.SQL("select distinct catalognumber from {} where submission_key = %s").format(table(code, place))
    raw = [name for (name,) in connection.execute(query, [key])]
    fixes = applying.in_force(connection, code)
    fixed = [corrected(of, {"catalognumber": name, "basisofrecord": "RECEIVER"}, fixes) for name in raw]
    return {*raw, *(row["catalognumber"] for row in fixed if row)}
