"""Verification of a push: the live schemas of all projects, and the snapshot's data across all nodes.

Belongs here: running the analysts' checks before matching, what of it stops a push, the table of projects and checks. Does not belong here:
the checks (``verifying/``), checks of one submission (``checks/``).

Source: node manager training, "Data Push": data analysts verify all schemas and data types, and all inherited tables.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster import files
from otn_dagster.checks import Outcome
from otn_dagster.config import BadConfiguration, Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry.checks import registry
from otn_dagster.telemetry.checks.registry import FieldCheck
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.verifying import animals, detections, receivers, schemas
from otn_dagster.telemetry.push.verifying.evidence import Evidence

VERIFICATION_FILE, FINDINGS_FILE = "verification.parquet", "verification.json"
MOST_ROWS_KEPT, MOST_OF_A_PROJECT = 10_000, 50  # of one check
CHECKS = [one for module in (schemas, receivers, animals, detections) for one in registry.checks_in(module)]


def verify(
    connection: Connection, settings: Settings, shared: Shared, looked_at: Mapping[str, Sequence[str]] | None = None
) -> list[Outcome[FieldCheck[Evidence]]]:
    """Every check over all projects of a snapshot, each once; failing rows begin with their project.

    Those that ``config/pushes.yaml`` names stop the push, too. looked_at: as ``Evidence`` takes it. Raises BadConfiguration for an id that
    is no check.
    """
    wanted = set(settings.pushes.stops)
    if unknown := sorted(wanted - {one.check_id for one in CHECKS}):
        known = ", ".join(one.check_id for one in CHECKS)
        raise BadConfiguration(f"config/pushes.yaml: stops: found {unknown[0]!r}, expected some of {known}")
    checks = [replace(one, stops=True, warns=False) if one.check_id in wanted else one for one in CHECKS]
    return registry.run(Evidence(connection, settings, shared, looked_at), checks)


def write(outcomes: Sequence[Outcome[FieldCheck[Evidence]]], snapshot: Snapshot, folder: Path) -> pl.DataFrame:
    """``verification.parquet``: failing rows of each project by check (collectioncode, and a column a check, by its id);
    ``verification.json``: the rows themselves.

    Safe to repeat: written aside and renamed whole.
    """
    counts = {o.check.check_id: Counter(row["project"] for row in o.rows) for o in outcomes}
    codes = snapshot.table("projects")["collectioncode"].sort()
    table = pl.DataFrame({"collectioncode": codes}).with_columns(
        pl.Series(check_id, [found[code] for code in codes], pl.Int64) for check_id, found in counts.items()
    )
    with files.replacing(folder / VERIFICATION_FILE) as aside:
        table.write_parquet(aside)
    files.write(folder / FINDINGS_FILE, json.dumps([_as_json(one) for one in outcomes], default=str))
    return table


def _as_json(outcome: Outcome[FieldCheck[Evidence]]) -> dict[str, Any]:
    check = outcome.check
    return {
        "id": check.check_id,
        "title": check.title,
        "hint": check.hint,
        "stops": check.stops,
        "verdict": outcome.verdict,
        "why": outcome.why,
        "count": len(outcome.rows),
        "rows": _some(outcome.rows),
    }


def _some(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first rows of every project: one that has many hides no other."""
    seen: Counter[str] = Counter()
    kept = []
    for row in rows:
        seen[row["project"]] += 1
        if seen[row["project"]] <= MOST_OF_A_PROJECT and len(kept) < MOST_ROWS_KEPT:
            kept.append(row)
    return kept


def read(folder: Path) -> list[dict[str, Any]]:
    """What a push's verification found, check by check: id, title, hint, stops, verdict, why, count, rows (the first of each project);
    nothing where it was not run.
    """
    path = folder / FINDINGS_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def by_project(folder: Path) -> dict[str, dict[str, int]]:
    """Of every project with findings how many rows each check found."""
    table = pl.read_parquet(folder / VERIFICATION_FILE)
    rows = {row.pop("collectioncode"): row for row in table.to_dicts()}
    return {code: {name: n for name, n in row.items() if n} for code, row in rows.items() if any(row.values())}


def why_it_stops(outcomes: Iterable[Outcome[FieldCheck[Evidence]]]) -> str | None:
    """What keeps a push from going on, in words; None where nothing does."""
    stops = [f"{o.check.check_id} ({o.check.title}): {list(o.rows)[:2]}. {o.check.hint}" for o in outcomes if o.stops]
    return f"the push stops: {'; '.join(stops)}" if stops else None
