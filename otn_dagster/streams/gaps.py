"""What is missing: the source's own counts and deployments against what is stored, bin by bin.

Belongs here: the comparison and which windows are worth asking for again. Does not belong here: asking (``asking.py``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from otn_dagster.checks import Check, Outcome
from otn_dagster.database import Connection
from otn_dagster.streams import arrays, asking, timeaxis
from otn_dagster.streams.asking import Asked
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.plan import Window
from otn_dagster.streams.sources.base import Bin, Deployment

COLUMNS = {
    "kind": pl.String,
    "start": pl.Datetime("us", "UTC"),
    "end": pl.Datetime("us", "UTC"),
    "deployment": pl.Int32,
    "expected": pl.Int64,
    "observed": pl.Int64,
    "missing": pl.Int64,
}


NOTHING_MISSING = Check(name="nothing_missing", title="The store has what its source counts", warns=True)


@dataclass(frozen=True)
class Gaps:
    """One line for each bin and each deployment (columns as ``COLUMNS``), and the windows that lack rows."""

    table: pl.DataFrame
    windows: list[Window]

    @property
    def missing(self) -> int:
        """Rows that the source counts and the store lacks."""
        return int(self.table.filter(pl.col("kind") == "bin")["missing"].sum())


def find(group: Any, bins: list[Bin], deployments: list[Deployment], share: float) -> Gaps:
    """Compare a store with what its source counts; a bin lacks rows where it has less than ``share`` of them."""
    rows, lacking = [], []
    edges = np.asarray([[b.start // 1000 * 1000, b.end] for b in bins], np.int64).reshape(-1)
    counted = np.diff(arrays.seek_many(group, edges).reshape(-1, 2), axis=1).ravel().tolist()
    for b, observed in zip(bins, counted, strict=True):
        missing = max(0, b.count - observed)
        rows.append(("bin", b.start, b.end, None, b.count, observed, missing))
        if observed < int(b.count * share):
            lacking.append(b)
    last = arrays.array_of(group, "time").shape[0]
    for d in deployments:
        end = arrays.seek(group, d.end) if d.end is not None else last
        rows.append(("deployment", d.start, d.end, d.number, None, end - arrays.seek(group, d.start), None))
    table = pl.DataFrame([_row(*row) for row in rows], schema=COLUMNS, orient="row")
    return Gaps(table, _together(lacking, bins))


def outcome(gaps: Gaps, most: int = 50) -> Outcome[Check]:
    """The comparison as a check: what lacks rows, the first of it."""
    lacking = gaps.table.filter(pl.col("missing") > 0).head(most).to_dicts()
    return Outcome(NOTHING_MISSING, not gaps.windows, lacking, facts={"missing rows": gaps.missing})


def _row(kind: str, start: int, end: int | None, *rest: Any) -> tuple:
    return (kind, timeaxis.instant(start), None if end is None else timeaxis.instant(end), *rest)


def _together(lacking: list[Bin], bins: list[Bin]) -> list[Window]:
    """Windows over runs of neighbouring bins that lack rows."""
    order = {b.start: i for i, b in enumerate(sorted(bins, key=lambda b: b.start))}
    windows: list[list[int]] = []
    for b in sorted(lacking, key=lambda b: b.start):
        if windows and order[b.start] == windows[-1][2] + 1:
            windows[-1][1:] = [b.end, order[b.start]]
        else:
            windows.append([b.start // 1000 * 1000, b.end, order[b.start]])
    return [(start, end) for start, end, _ in windows]


def ask_again(harvester: Harvester, stream: Stream, gaps: Gaps) -> Asked | None:
    """Ask for the first window that lacks rows and was not asked for too often; None where there is none.

    One at a time, because a stream has one active request; the next comparison asks for the next. Safe to repeat.
    """
    for window in gaps.windows:
        with harvester.connect() as connection:
            tried = times_asked(connection, stream.key, window)
        if tried < stream.most_windows_asked_again:
            return asking.ask(harvester, stream.key, by="stream_gaps", window=window)
    return None


def times_asked(connection: Connection, key: str, window: Window) -> int:
    """How many requests of a stream had exactly this window."""
    row = connection.execute(
        "select count(*) from platform.stream_requests where stream = %s and window_start = %s and window_end = %s",
        [key, *window],
    ).fetchone()
    return row[0] if row else 0
