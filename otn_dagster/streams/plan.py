"""Which rows of an answer's files become the rows of its window, and in which order.

Belongs here: sorting, exact repeats, conflicting rows, rows without a time or outside the window. Does not belong here:
what is already stored (``arrays.py``) and reading files (``netcdf.py``).

Rule: rows are sorted by time. Of rows at the same instant one stays: that of the last file by deployment and name, and in
it the last row. The others are exact repeats where all values agree, conflicts where one differs; conflicts are reported
with both values. Where files are in order and do not overlap, as they nearly always are, no row is held in memory.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from otn_dagster.streams import netcdf, timeaxis
from otn_dagster.streams.layout import Layout, Variable, union
from otn_dagster.streams.netcdf import AnswerFile

SCAN_ROWS = 1 << 18
MOST_CONFLICTS_KEPT = 1000
# When a row passed through the source's machinery is no part of what was measured.
BOOKKEEPING = {"ingestion_timestamp", "driver_timestamp"}
Window = tuple[int, int]


class Rows(Protocol):
    """Rows in strict order of time, read block by block."""

    @property
    def layout(self) -> Layout:
        """What they hold."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def times(self, start: int, stop: int) -> np.ndarray:
        """Times of rows [start, stop), microseconds since 1900."""
        ...

    def values(self, variable: Variable, start: int, stop: int) -> np.ndarray:
        """Values of rows [start, stop), as the variable's type."""
        ...


@dataclass(frozen=True)
class Plan:
    """Rows of one answer. ``source`` and ``row`` say where each comes from; None where whole files follow each other."""

    files: tuple[AnswerFile, ...]
    window: Window
    layout: Layout
    count: int
    starts: tuple[int, ...] = ()
    source: np.ndarray | None = None
    row: np.ndarray | None = None
    without_time: list[dict[str, Any]] = field(default_factory=list)
    outside: int = 0
    repeats: int = 0
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    conflicting_rows: int = 0

    def times(self, start: int, stop: int) -> np.ndarray:
        """Times of rows [start, stop)."""
        out = np.empty(stop - start, np.int64)
        for file, where, rows in self._pieces(start, stop):
            if isinstance(rows, slice):
                out[where] = netcdf.read_times(file, rows.start, rows.stop)
            else:
                low = int(rows.min())
                out[where] = netcdf.read_times(file, low, int(rows.max()) + 1)[rows - low]
        return out

    def values(self, variable: Variable, start: int, stop: int) -> np.ndarray:
        """Values of rows [start, stop)."""
        pieces = list(self._pieces(start, stop))
        if len(pieces) == 1 and isinstance(pieces[0][2], slice):
            file, _, rows = pieces[0]
            return netcdf.read_values(file, variable, rows.start, rows.stop)
        out = np.empty((stop - start, *variable.shape), variable.dtype)
        for file, where, rows in pieces:
            if isinstance(rows, slice):
                out[where] = netcdf.read_values(file, variable, rows.start, rows.stop)
            else:
                low = int(rows.min())
                out[where] = netcdf.read_values(file, variable, low, int(rows.max()) + 1)[rows - low]
        return out

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[AnswerFile, Any, Any]]:
        """(file, where in the block, which of its rows)."""
        if self.source is None or self.row is None:
            for number, file in enumerate(self.files):
                first = self.starts[number]
                low, high = max(start, first), min(stop, first + file.rows)
                if low < high:
                    yield file, slice(low - start, high - start), slice(low - first, high - first)
            return
        source, row = self.source[start:stop], self.row[start:stop]
        for number in np.unique(source):
            where = np.flatnonzero(source == number)
            yield self.files[number], where, row[where]


def make_plan(files: Sequence[AnswerFile], window: Window, layout: Layout | None = None) -> Plan:
    """The plan for an answer whose window is half-open [start, end), in microseconds since 1900."""
    layout = layout or union(file.layout for file in files)
    ordered = _in_order(files, window)
    if ordered is not None:
        starts = np.concatenate([[0], np.cumsum([file.rows for file in ordered])]).astype(int)
        return Plan(tuple(ordered), window, layout, int(starts[-1]), tuple(starts[:-1].tolist()))
    return _sorted_plan(sorted(files, key=lambda file: (file.deployment or 0, file.name)), window, layout)


def _in_order(files: Sequence[AnswerFile], window: Window) -> list[AnswerFile] | None:
    """The files by time where each is strictly increasing, in the window, and none overlaps another; else None."""
    spans = []
    for file in files:
        last = None
        for start in range(0, file.rows, SCAN_ROWS):
            times = netcdf.read_times(file, start, min(start + SCAN_ROWS, file.rows))
            before = [] if last is None else [last]
            if (np.diff(np.concatenate([before, times]).astype(np.int64)) <= 0).any():
                return None
            first = times[0] if last is None else first  # noqa: F821 - bound in the first round
            last = times[-1]
        if last is not None:
            spans.append((int(first), int(last), file))
    spans.sort(key=lambda span: span[0])
    touching = any(a[1] >= b[0] for a, b in itertools.pairwise(spans))
    if touching or (spans and (spans[0][0] < window[0] or spans[-1][1] >= window[1])):
        return None
    return [file for *_, file in spans]


def _sorted_plan(files: list[AnswerFile], window: Window, layout: Layout) -> Plan:
    times = np.concatenate([netcdf.read_times(file) for file in files] or [np.empty(0, np.int64)])
    source = np.repeat(np.arange(len(files), dtype=np.int16), [file.rows for file in files])
    row = np.concatenate([np.arange(file.rows, dtype=np.int32) for file in files] or [np.empty(0, np.int32)])
    lost = np.flatnonzero(times == timeaxis.MISSING)
    inside = (times >= window[0]) & (times < window[1])
    outside = int((~inside).sum()) - len(lost)
    kept = np.flatnonzero(inside)
    order = kept[np.argsort(times[kept], kind="stable")]
    ordered_times = times[order]
    last_of_instant = np.append(ordered_times[1:] != ordered_times[:-1], True)[: len(order)]
    winners = order[last_of_instant]
    losers = order[~last_of_instant]
    without_time = [{"file": files[source[i]].name, "row": int(row[i])} for i in lost[:MOST_CONFLICTS_KEPT]]
    without_time += [{"file": "...", "row": len(lost) - MOST_CONFLICTS_KEPT}] if len(lost) > MOST_CONFLICTS_KEPT else []
    plan = Plan(tuple(files), window, layout, len(winners), (), source[winners], row[winners], without_time, outside)
    if not len(losers):
        return plan
    twins = np.cumsum(last_of_instant)[~last_of_instant]  # winners before a loser = the place of its own winner
    rejected = Plan(plan.files, window, layout, len(losers), (), source[losers], row[losers])
    conflicts, rows_in_conflict = _compare(plan, rejected, twins, times[losers])
    return Plan(
        plan.files, window, layout, plan.count, (), plan.source, plan.row, without_time, outside,
        len(losers) - rows_in_conflict, conflicts, rows_in_conflict,
    )  # fmt: skip


def _compare(plan: Plan, rejected: Plan, twins: np.ndarray, times: np.ndarray) -> tuple[list[dict[str, Any]], int]:
    """(conflicts with both values, how many rejected rows differ from the one that stays)."""
    assert plan.source is not None and plan.row is not None and rejected.source is not None
    winners = Plan(plan.files, plan.window, plan.layout, len(twins), (), plan.source[twins], plan.row[twins])
    differs = np.zeros(len(twins), bool)
    conflicts: list[dict[str, Any]] = []
    for name, variable in plan.layout.variables.items():
        if name in BOOKKEEPING:
            continue
        for start in range(0, len(twins), SCAN_ROWS):
            stop = min(start + SCAN_ROWS, len(twins))
            kept, dropped = winners.values(variable, start, stop), rejected.values(variable, start, stop)
            unequal = ~rows_equal(kept, dropped)
            differs[start:stop] |= unequal
            for i in np.flatnonzero(unequal)[: MOST_CONFLICTS_KEPT - len(conflicts)]:
                conflicts.append(
                    {
                        "time": timeaxis.text(int(times[start + i])),
                        "variable": name,
                        "kept": _show(kept[i]),
                        "dropped": _show(dropped[i]),
                        "dropped_file": plan.files[rejected.source[start + i]].name,
                    }
                )
    return conflicts, int(differs.sum())


def rows_equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which rows are equal; NaN equals NaN."""
    same = one == other
    if one.dtype.kind == "f":
        same |= np.isnan(one) & np.isnan(other)
    return same.reshape(len(one), -1).all(axis=1) if same.ndim > 1 else same


def _show(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
