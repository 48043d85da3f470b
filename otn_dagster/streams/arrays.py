"""How rows become arrays: chunks and codecs, creating arrays, and the merge of a window into what is stored.

Belongs here: everything that is written into a stream's arrays. Does not belong here: sessions, commits and locks
(``store.py``), and whether the result may be committed (``gates.py``).

Time runs along axis 0 of every array. A merge is a concatenation, ``base[:first] + window + base[last:]``, of which only
the blocks that differ from the base are written; what follows a window that grew or shrank moves along. Nothing is read
or written but whole blocks of a few megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from otn_dagster.late import late
from otn_dagster.streams import timeaxis
from otn_dagster.streams.group import Group
from otn_dagster.streams.layout import TIME, Layout, Variable, widest
from otn_dagster.streams.plan import Rows, Window, rows_equal

if TYPE_CHECKING:
    import zarr
else:
    zarr = late("zarr")

# Measured: whole-day reads are cheapest at 2^18 rows; time is indexed by few large chunks; wide rows at about 4 MB.
CHUNK_ROWS, TIME_CHUNK_ROWS, WIDE_CHUNK_BYTES = 1 << 18, 1 << 22, 4 << 20
BLOCK_BYTES = 8 << 20
CHUNK_STARTS = "time_chunk_starts"
_TIME_ATTRIBUTES = {
    "units": timeaxis.UNITS,
    "calendar": "standard",
    "standard_name": "time",
    "long_name": "time of the measurement",
    "axis": "T",
}


@dataclass(frozen=True)
class Merge:
    """Where a window goes: rows [first, last) of the base are replaced by ``count`` rows, of which ``same`` lead unchanged."""

    base_rows: int
    first: int
    last: int
    count: int
    same: int

    @property
    def rows(self) -> int:
        """Rows after."""
        return self.base_rows + self.shift

    @property
    def shift(self) -> int:
        """By how many rows what follows moves."""
        return self.count - (self.last - self.first)

    @property
    def first_changed(self) -> int:
        """The first row that differs from the base."""
        return self.first + self.same

    @property
    def end_changed(self) -> int:
        """The row after the last that is written."""
        return self.rows if self.shift else self.first + self.count

    @property
    def unchanged(self) -> bool:
        """Whether base and result are the same."""
        return self.same == self.count == self.last - self.first


def chunk_rows(variable: Variable) -> int:
    """Rows of one chunk of a variable."""
    if variable.name == TIME:
        return TIME_CHUNK_ROWS
    return CHUNK_ROWS if not variable.shape else int(max(1, min(CHUNK_ROWS, WIDE_CHUNK_BYTES // variable.row_bytes)))


TIME_VARIABLE = Variable(TIME, "<i8", attributes=_TIME_ATTRIBUTES)


def create_array(group: Group, variable: Variable, rows: int) -> zarr.Array:
    """An array of this many rows, empty."""
    from zarr.codecs import BloscCodec

    shuffle = "noshuffle" if variable.itemsize == 1 else "bitshuffle"
    return group.create_array(
        variable.name,
        shape=(rows, *variable.shape),
        chunks=(chunk_rows(variable), *variable.shape),
        dtype=variable.dtype,
        fill_value=0 if variable.name == TIME else variable.fill,
        compressors=[BloscCodec(cname="zstd", clevel=3, shuffle=shuffle)],
        dimension_names=[TIME, *variable.dims],
        attributes=variable.attributes,
        config={"write_empty_chunks": True},
    )


def layout_of(group: Group) -> Layout:
    """What a store holds."""
    variables, coordinates = {}, {}
    for name, array in sorted(group.arrays()):
        dims = tuple(str(d) for d in array.metadata.dimension_names or ())  # type: ignore[union-attr]
        if dims[:1] == (TIME,) and name != TIME:
            variables[name] = Variable(name, array.dtype.str, dims[1:], array.shape[1:], dict(array.attrs))
        elif dims == (name,) and name != TIME:
            coordinates[name] = np.asarray(array[:], np.float64).tolist()
    return Layout(variables, coordinates, dict(group.attrs))


def create_coordinates(group: Group, layout: Layout) -> None:
    """The coordinates of dimensions other than time, which never change while a store lives."""
    for name, values in layout.coordinates.items():
        if name not in group:
            whole = all(v == int(v) for v in values)
            array = group.create_array(
                name, shape=(len(values),), chunks=(max(1, len(values)),), dtype="<i4" if whole else "<f8",
                dimension_names=[name], attributes={"long_name": name},
            )  # fmt: skip
            array[:] = np.asarray(values)


def names_along_time(group: Group) -> list[str]:
    """Names of all arrays whose first dimension is time."""
    return [
        name for name in sorted(group.array_keys()) if array_of(group, name).metadata.dimension_names[:1] == (TIME,)
    ]


def rows_of(group: Group | None) -> int:
    """How many rows a store has."""
    return 0 if group is None or TIME not in group else int(array_of(group, TIME).shape[0])


def array_of(group: Group, name: str) -> Any:
    """An array of a group."""
    return group[name]


def seek(group: Group, moment: int) -> int:
    """The first row at or after a moment (microseconds since 1900), reading at most one chunk of the time axis."""
    return int(seek_many(group, np.asarray([moment], np.int64))[0])


def seek_many(group: Group, moments: np.ndarray) -> np.ndarray:
    """The same for many moments, reading each chunk of the time axis at most once."""
    starts = np.asarray(group.attrs.get(CHUNK_STARTS, []), np.int64)
    chunks = np.searchsorted(starts, moments, side="left") - 1
    out = np.zeros(len(moments), np.int64)
    for chunk in np.unique(chunks[chunks >= 0]):
        low, mine = int(chunk) * TIME_CHUNK_ROWS, chunks == chunk
        times = np.asarray(array_of(group, TIME)[low : low + TIME_CHUNK_ROWS])
        out[mine] = low + np.searchsorted(times, moments[mine], side="left")
    return out


def plan_merge(base: Group | None, rows: Rows, window: Window) -> Merge:
    """Where the rows of a window go, and how many of them are there already."""
    total = rows_of(base)
    if base is None or not total:
        return Merge(0, 0, 0, rows.count, 0)
    first, last = seek(base, window[0]), seek(base, window[1])
    merge = Merge(total, first, last, rows.count, 0)
    stored = layout_of(base).variables
    if any(name not in stored or stored[name].dtype != v.dtype for name, v in rows.layout.variables.items()):
        return merge
    return Merge(total, first, last, rows.count, _same_rows(base, rows, first, min(last - first, rows.count)))


def _same_rows(base: Group, rows: Rows, first: int, most: int) -> int:
    """How many leading rows of a window are equal, in time and every variable, to those that are stored."""
    same = _equal_prefix(
        most, TIME_CHUNK_ROWS, lambda a, b: (array_of(base, TIME)[first + a : first + b], rows.times(a, b))
    )
    for name, variable in rows.layout.variables.items():
        if not same:
            break
        array = array_of(base, name)
        same = _equal_prefix(
            same,
            _block_rows(variable),
            lambda a, b, v=variable, s=array: (s[first + a : first + b], rows.values(v, a, b)),
        )
    return same


def _equal_prefix(most: int, step: int, pair: Callable[[int, int], tuple[Any, Any]]) -> int:
    for start in range(0, most, step):
        stored, came = pair(start, min(start + step, most))
        equal = rows_equal(np.asarray(stored), np.asarray(came))
        if not equal.all():
            return start + int(np.argmin(equal))
    return most


def prepare(target: Group, base: Group | None, rows: Rows, merge: Merge) -> dict[str, int]:
    """Make every array that is missing or too narrow, give all of them their length; the first row to write of each."""
    first_rows: dict[str, int] = {}
    for name, variable in rows.layout.variables.items():
        stored = None if base is None or name not in base else layout_of_array(base, name)
        if stored is None:
            create_array(target, variable, merge.rows)
            first_rows[name] = 0 if merge.base_rows else merge.first_changed
        elif stored.dtype != widest(stored, variable).dtype:
            del target[name]
            create_array(
                target,
                Variable(name, widest(stored, variable).dtype, variable.dims, variable.shape, stored.attributes),
                merge.rows,
            )
            first_rows[name] = 0
        else:
            if merge.shift:
                array_of(target, name).resize((merge.rows, *variable.shape))
            first_rows[name] = merge.first_changed
    create_coordinates(target, rows.layout)
    if TIME not in target:
        create_array(target, TIME_VARIABLE, merge.rows)
    elif merge.shift:
        array_of(target, TIME).resize((merge.rows,))
    return first_rows


def layout_of_array(group: Group, name: str) -> Variable:
    """One stored variable."""
    array = array_of(group, name)
    dims = tuple(str(d) for d in array.metadata.dimension_names or ())  # type: ignore[union-attr]
    return Variable(name, array.dtype.str, dims[1:], array.shape[1:], dict(array.attrs))


Block = tuple[str, int, int]


def blocks(layout: Layout, first_rows: dict[str, int], merge: Merge) -> Iterable[Block]:
    """Every (variable, start, stop) to write; no two of them touch the same chunk."""
    for name, variable in layout.variables.items():
        chunk, step = chunk_rows(variable), _block_rows(variable)
        start, stop = first_rows[name], merge.rows if first_rows[name] == 0 else merge.end_changed
        while start < stop:
            following = min(start // chunk * chunk + step, merge.rows)
            yield name, start, following
            start = following


def write_block(target: Group, base: Group | None, rows: Rows, merge: Merge, block: Block) -> None:
    """Write one block of one variable. Safe to repeat: it writes the same values to the same place of a session."""
    name, start, stop = block
    variable = rows.layout.variables[name]
    array = array_of(target, name)
    has = base is not None and name in base
    out = None
    for low, high, where, offset in _segments(merge, start, stop):
        if where == "window":
            values = rows.values(variable, low - offset, high - offset)
        elif has:
            assert base is not None
            values = _as_type(
                np.asarray(array_of(base, name)[low - offset : high - offset]), layout_of_array(base, name), variable
            )
        else:
            values = np.full((high - low, *variable.shape), variable.fill, variable.dtype)
        if (low, high) == (start, stop):
            out = values
        else:
            out = np.empty((stop - start, *variable.shape), array.dtype) if out is None else out
            out[low - start : high - start] = values
    assert out is not None
    array[start:stop] = out


def write_times(target: Group, base: Group | None, rows: Rows, merge: Merge) -> tuple[list[str], dict[str, Any]]:
    """Write the time axis; (what is wrong with its order, attributes of the whole that say what it spans)."""
    array = array_of(target, TIME)
    stored_starts = [] if base is None else list(base.attrs.get(CHUNK_STARTS, []))  # type: ignore[arg-type]
    first_chunk = merge.first_changed // TIME_CHUNK_ROWS
    starts = stored_starts[:first_chunk]
    problems: list[str] = []
    last = int(array[first_chunk * TIME_CHUNK_ROWS - 1]) if first_chunk else None
    for start in range(first_chunk * TIME_CHUNK_ROWS, merge.rows, TIME_CHUNK_ROWS):
        stop = min(start + TIME_CHUNK_ROWS, merge.rows)
        times = np.empty(stop - start, np.int64)
        for low, high, where, offset in _segments(merge, start, stop):
            if where == "window":
                for a in range(low, high, CHUNK_ROWS):
                    b = min(a + CHUNK_ROWS, high)
                    times[a - start : b - start] = rows.times(a - offset, b - offset)
            else:
                assert base is not None
                times[low - start : high - start] = array_of(base, TIME)[low - offset : high - offset]
        wrong = np.flatnonzero(np.diff(times) <= 0)
        if (last is not None and times[0] <= last) or len(wrong):
            at = start + (int(wrong[0]) + 1 if len(wrong) else 0)
            problems.append(f"time does not increase at row {at}: {timeaxis.text(times[at - start])}")
        if len(times) and times.min() == timeaxis.MISSING:
            problems.append(f"a row without time between rows {start} and {stop}")
        if start < merge.end_changed:
            array[start:stop] = times
        starts.append(int(times[0]))
        last = int(times[-1])
    span = (
        {"time_coverage_start": timeaxis.text(starts[0]), "time_coverage_end": timeaxis.text(last)}
        if last is not None
        else {}
    )
    return problems, {CHUNK_STARTS: starts, **span}


def _segments(merge: Merge, start: int, stop: int) -> Iterable[tuple[int, int, str, int]]:
    """(low, high, from where, what to subtract) of output rows [start, stop)."""
    window_end = merge.first + merge.count
    parts = [
        (0, merge.first, "base", 0),
        (merge.first, window_end, "window", merge.first),
        (window_end, merge.rows, "base", merge.shift),
    ]
    for low, high, where, offset in parts:
        low, high = max(low, start), min(high, stop)
        if low < high:
            yield low, high, where, offset


def _as_type(values: np.ndarray, stored: Variable, wanted: Variable) -> np.ndarray:
    if values.dtype.str == wanted.dtype:
        return values
    if values.dtype.kind in "iu" and np.dtype(wanted.dtype).kind == "f" and "_FillValue" in stored.attributes:
        return np.where(values == stored.attributes["_FillValue"], np.nan, values).astype(wanted.dtype)
    return values.astype(wanted.dtype)


def _block_rows(variable: Variable) -> int:
    chunk = chunk_rows(variable)
    return chunk * max(1, BLOCK_BYTES // (chunk * max(1, variable.row_bytes)))
