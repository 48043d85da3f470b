"""QARTOD flags of a stream, in a store of their own beside it: as many rows, the same times, one array a test.

Belongs here: which rows need new flags and merging them. Does not belong here: the tests (``qartod.py``).

Only what changed since the version that was last flagged is computed again, widened by how far the tests look. So flags are
the same whatever the pieces in which a stream arrived; a refresh, or other limits, flag it anew.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from otn_dagster.streams import arrays, timeaxis
from otn_dagster.streams.group import Group
from otn_dagster.streams.layout import TIME, Layout, Variable
from otn_dagster.streams.plan import Window
from otn_dagster.streams.qartod import Limits, check_limits, flags, halo
from otn_dagster.streams.store import Commit, StreamStore

SLICE_ROWS = 1 << 18
VALUES, MEANINGS = [1, 2, 3, 4, 9], "pass not_evaluated suspect fail missing"


@dataclass(frozen=True)
class Flagged:
    """What was flagged: rows that were computed, and how many of each flag the last of them have."""

    snapshot: str | None
    of_commit: str
    rows: int
    computed: int
    counts: dict[str, dict[str, int]]


class _Flags:
    """Flags of a range of rows of a stream, as rows to merge."""

    def __init__(self, data: Group, first: int, stop: int, limits: dict[str, Limits], sampling_seconds: float | None):
        self._data, self._first, self.count = data, first, stop - first
        self._limits, self._sampling = limits, sampling_seconds
        self.layout = layout_of_flags(limits)
        self._slice = lru_cache(maxsize=64)(self._compute)

    def times(self, start: int, stop: int) -> np.ndarray:
        """Times of rows [start, stop)."""
        return np.asarray(arrays.array_of(self._data, TIME)[self._first + start : self._first + stop])

    def values(self, variable: Variable, start: int, stop: int) -> np.ndarray:
        """Flags of rows [start, stop)."""
        name, test = variable.name.split("_qartod_", 1)
        out = np.empty(stop - start, np.uint8)
        low = start
        while low < stop:  # slices begin at multiples, so that all tests of a variable share one
            at = low // SLICE_ROWS * SLICE_ROWS
            high = min(at + SLICE_ROWS, stop)
            out[low - start : high - start] = self._slice(name, at)[test][low - at : high - at]
            low = high
        return out

    def _compute(self, name: str, start: int) -> dict[str, np.ndarray]:
        stop = min(start + SLICE_ROWS, self.count)
        around = halo(self._limits[name], self._sampling)
        low, high = widen(
            self._data, self._first + start, self._first + stop, around.back, around.ahead, around.seconds
        )
        array = arrays.array_of(self._data, name)
        values = np.asarray(array[low:high])
        if "_FillValue" in array.attrs and values.dtype.kind in "iu":
            values = np.where(values == array.attrs["_FillValue"], np.nan, values)
        computed = flags(
            values, np.asarray(arrays.array_of(self._data, TIME)[low:high]), self._limits[name], self._sampling
        )
        cut = slice(self._first + start - low, self._first + stop - low)
        return {test: found[cut] for test, found in computed.items()}


def widen(data: Group, first: int, stop: int, back: int, ahead: int, seconds: float) -> tuple[int, int]:
    """Rows [first, stop) and what tests look at around them."""
    rows = arrays.rows_of(data)
    low, high = max(0, first - back), min(rows, stop + ahead)
    if seconds and first:
        time = int(arrays.array_of(data, TIME)[first])
        low = min(low, max(0, arrays.seek(data, time - int(seconds * timeaxis.SECOND)) - 1))
    return low, high


def layout_of_flags(limits: dict[str, Limits]) -> Layout:
    """One array for each test of each variable, and one for the worst of them."""
    variables = {}
    for name, tests in limits.items():
        for test in [*tests, "aggregate"]:
            attributes = {"long_name": f"QARTOD {test.replace('_', ' ')} of {name}", "flag_values": VALUES, "flag_meanings": MEANINGS,
                          "standard_name": "aggregate_quality_flag" if test == "aggregate" else f"{test}_quality_flag"}  # fmt: skip
            variables[f"{name}_qartod_{test}"] = Variable(f"{name}_qartod_{test}", "|u1", attributes=attributes)
    return Layout(variables, attributes={"title": "QARTOD flags"})


def flag(
    store: StreamStore, target: StreamStore, limits: dict[str, Limits], sampling_seconds: float | None
) -> Flagged | None:
    """Bring the flags up to the newest version of a stream; None where no limits are configured for its variables.

    Safe to repeat and to kill: one commit, and what is flagged already is recognised. Raises BadLimits.
    """
    head = store.head()
    assert head is not None
    data = store.read(head.snapshot)
    limits = {name: tests for name, tests in sorted(limits.items()) if name in data and tests}
    for name, tests in limits.items():
        check_limits(name, tests, sampling_seconds)
    if not limits:
        return None
    digest = hashlib.sha256(json.dumps([limits, sampling_seconds], sort_keys=True).encode()).hexdigest()[:16]
    target.create()
    with target.writing() as session:
        before = target.head()
        if before and before.facts["of_commit"] == head.snapshot and before.facts["limits"] == digest:
            return Flagged(None, head.snapshot, before.rows, 0, before.facts["counts"])
        changed = (
            None
            if before is None or before.facts["limits"] != digest
            else _changed_since(store, before.facts["of_commit"])
        )
        group = Group.open(session.store, "a")
        if changed is None:
            for name in list(group.array_keys()):
                del group[name]
        base = target.read(session.snapshot_id) if changed is not None else None
        rows, window = _rows_to_flag(data, changed, limits, sampling_seconds)
        merge = arrays.plan_merge(base, rows, window)
        first_rows = arrays.prepare(group, base, rows, merge)
        for block in arrays.blocks(rows.layout, first_rows, merge):
            arrays.write_block(group, base, rows, merge, block)
        problems, spanned = arrays.write_times(group, base, rows, merge)
        if problems or merge.rows != arrays.rows_of(data):
            raise RuntimeError(f"flags of {merge.rows} rows for {arrays.rows_of(data)} rows of data: {problems}")
        group.attrs.update({**spanned, "of_commit": head.snapshot, "Conventions": "CF-1.11"})
        counts = _counts(group, limits, rows, merge)
        facts = {"rows": merge.rows, "of_commit": head.snapshot, "limits": digest, "counts": counts, "mode": "qc", "parts": [],
                 "first_changed_row": merge.first_changed, "changed_from": window[0], "changed_to": window[1]}  # fmt: skip
        return Flagged(
            target.commit(session, f"flags of {head.snapshot}", facts), head.snapshot, merge.rows, rows.count, counts
        )


def _rows_to_flag(
    data: Group, changed: Window | None, limits: dict[str, Limits], sampling: float | None
) -> tuple[_Flags, Window]:
    total, end_of_time = arrays.rows_of(data), int(np.iinfo(np.int64).max)
    first, stop = 0, total
    if changed is not None:
        first, stop = arrays.seek(data, changed[0]), arrays.seek(data, changed[1])
        around = [halo(tests, sampling) for tests in limits.values()]
        # What looks back is changed by what came before it: the roles of back and ahead are exchanged.
        back, ahead, seconds = max(h.ahead for h in around), max(h.back for h in around), max(h.seconds for h in around)
        first, stop = max(0, first - back), min(total, stop + ahead)
        if seconds and stop:
            last = int(arrays.array_of(data, TIME)[max(0, stop - 1)])
            stop = max(stop, min(total, arrays.seek(data, last + int(seconds * timeaxis.SECOND)) + 1))
    time = arrays.array_of(data, TIME)
    window = (
        -end_of_time if first == 0 else int(time[first]) if first < total else (changed or (0, 0))[0],
        end_of_time if stop >= total else int(time[stop]),
    )
    return _Flags(data, first, stop, limits, sampling), window


def _changed_since(store: StreamStore, commit: str) -> Window | None:
    """The span of time in which anything changed since a commit; None where everything may have."""
    spans: list[Commit] = []
    for newer in store.history():
        if newer.snapshot == commit:
            return (
                (min(c.facts["changed_from"] for c in spans), max(c.facts["changed_to"] for c in spans))
                if spans
                else (0, 0)
            )
        if newer.facts["mode"] == "refresh":
            return None
        spans.append(newer)
    return None


def _counts(group: Group, limits: dict[str, Limits], rows: _Flags, merge: arrays.Merge) -> dict[str, dict[str, int]]:
    """How many rows have each aggregate flag, among those that were computed."""
    out: dict[str, dict[str, int]] = {}
    for name in limits:
        counted: Counter[int] = Counter()
        array: Any = arrays.array_of(group, f"{name}_qartod_aggregate")
        for start in range(merge.first, merge.first + rows.count, SLICE_ROWS):
            values, numbers = np.unique(
                np.asarray(array[start : min(start + SLICE_ROWS, merge.first + rows.count)]), return_counts=True
            )
            counted.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        out[name] = {str(flag): int(rows_) for flag, rows_ in sorted(counted.items())}
    return out
