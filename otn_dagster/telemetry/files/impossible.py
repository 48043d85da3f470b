"""Times that cannot be: the receiver's clock was not set.

Belongs here: D2 and E3, for detections and events alike. Does not belong here: times that cannot be read (``exports.py``).
"""

import datetime as dt
from pathlib import Path

import polars as pl

from otn_dagster.telemetry.files.cells import FIRST_PLAUSIBLE
from otn_dagster.telemetry.files.refusals import BadFile

MOST_SHOWN = 1_000


def impossible_times(parquet: Path, now: dt.datetime) -> tuple[int, pl.DataFrame]:
    """(how many rows are before 1980 or in the future, the first of them)."""
    bad = (pl.col("datetime") < FIRST_PLAUSIBLE) | (pl.col("datetime") > now + dt.timedelta(days=1))
    rows = pl.scan_parquet(parquet).filter(bad)
    return rows.select(pl.len()).collect().item(), rows.head(MOST_SHOWN).collect()


def stop_at_impossible_times(parquet: Path, now: dt.datetime) -> None:
    """Raise BadFile where any time cannot be; the whole file stops, because no time of that clock can be trusted."""
    count, bad = impossible_times(parquet, now)
    if count:
        first = bad.row(0, named=True)
        total = pl.scan_parquet(parquet).select(pl.len()).collect().item()
        raise BadFile(
            f"D2: {count:,} of {total:,} times are before 1980 or in the future; the first is {first['datetime']}",
            "The receiver's clock was not set. Correct it with the manufacturer's software and export again.",
            first["row_number"],
            "Date and Time (UTC)",
        )
