"""Pictures of a project's report, drawn when somebody looks: an abacus of its animals, a map of its receivers.

Belongs here: what is drawn from which files of a push, and keeping it. Does not belong here: drawing (``telemetry/plots.py``), the report
as text (``report.py``).

Drawing costs a quarter of a CPU second a project, and most projects of most pushes are never looked at.
"""

from pathlib import Path

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry import plots
from otn_dagster.telemetry.push.extracts import file_stem

KINDS = ("abacus", "map")
REPORTS, STATIONS_FILE = "reports", "stations.parquet"


def there(folder: Path, collectioncode: str) -> list[str]:
    """Which pictures there are of a project in a push's folder."""
    found = ["abacus"] if _tracker_extracts(folder, collectioncode) else []
    return found + (["map"] if _stations(folder, collectioncode).height else [])


def picture(folder: Path, collectioncode: str, kind: str) -> Path | None:
    """A picture as PNG in ``reports/``, drawn where it is not there yet; None where there is nothing to draw.

    Safe to repeat, to race and to kill: a pure function of the push, written aside and renamed.
    """
    path = folder / REPORTS / f"{collectioncode}-{kind}.png"
    if not path.exists():
        drawn = {"abacus": _abacus, "map": _map}[kind](folder, collectioncode)
        return None if drawn is None else files.write(path, drawn)
    return path


def _tracker_extracts(folder: Path, collectioncode: str) -> list[Path]:
    stem = file_stem(collectioncode, "t", 0).removesuffix("0")
    return sorted((folder / "extracts" / collectioncode).glob(f"{stem}*.parquet"))


def _stations(folder: Path, collectioncode: str) -> pl.DataFrame:
    path = folder / REPORTS / STATIONS_FILE
    if not path.exists():
        return pl.DataFrame()
    return pl.scan_parquet(path).filter(pl.col("collectioncode") == collectioncode).collect()


def _abacus(folder: Path, collectioncode: str) -> bytes | None:
    """Drawn from the extracts as they were delivered."""
    paths = _tracker_extracts(folder, collectioncode)
    if not paths:
        return None
    days = (
        pl.scan_parquet(paths)
        .filter(pl.col("receiver") != "release")
        .select("catalogNumber", "detectedBy", day=pl.col("dateCollectedUTC").dt.date())
        .unique()
        .collect(engine="streaming")
    )
    return plots.abacus(days, f"{collectioncode}: days on which its animals were heard") if days.height else None


def _map(folder: Path, collectioncode: str) -> bytes | None:
    stations = _stations(folder, collectioncode)
    if stations.is_empty():
        return None
    return plots.receiver_map(stations.sort("station"), f"{collectioncode}: receivers and what they heard")
