"""netCDF files as sources serve them: their header, and their values block by block, never a whole file.

Belongs here: what a file holds and how its values become ours (types, fills, strings, time). Does not belong here: the
order of rows over files (``plan.py``) and the store (``arrays.py``).

Format as OOINet's stream_engine writes it: dimension ``obs``, ``time`` in float seconds since 1900, raw counts as integers
with a fill, products as floats, QARTOD flags as bytes and strings of digits, identifiers as strings. Files of other sources
may use ``time`` itself as the dimension.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from otn_dagster.files import sha256_of
from otn_dagster.streams import timeaxis
from otn_dagster.streams.layout import EXECUTED, TIME, Layout, Variable

ROW_DIMENSIONS = ("obs", "time", "row", "s.row")
_HDF5_ATTRIBUTES = set(
    [
        "CLASS",
        "NAME",
        "REFERENCE_LIST",
        "DIMENSION_LIST",
        "DIMENSION_LABELS",
        "_Netcdf4Dimid",
        "_Netcdf4Coordinates",
        "_NCProperties",
        "_nc3_strict",
    ]
)
_DEPLOYMENT = re.compile(r"deployment(\d{4})_")
_HASH_BLOCK = 1 << 22


class BadFile(ValueError):
    """A file that cannot be ingested: says which, what was found and what was expected."""


@dataclass(frozen=True)
class AnswerFile:
    """One file of an answer: where it lies here, what it is, and what it holds."""

    path: Path
    name: str
    sha256: str
    size: int
    rows: int
    time_units: str
    row_dimension: str
    layout: Layout

    @property
    def deployment(self) -> int | None:
        """The deployment that its name says."""
        found = _DEPLOYMENT.match(self.name)
        return int(found.group(1)) if found else None

    def describe(self) -> dict[str, Any]:
        """What the commit says of it."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256, "rows": self.rows}


def read_header(path: Path, padded: dict[str, int] | None = None) -> AnswerFile:
    """What a file holds, without its values. ``padded`` maps dimensions to the size they are padded to."""
    try:
        with h5py.File(path, "r") as file:
            return _header(path, file, padded or {})
    except OSError as error:
        raise BadFile(
            f"{path.name}: not a readable netCDF-4 file ({error}); expected what the source serves as application/netcdf"
        ) from error


def _header(path: Path, file: Any, padded: dict[str, int]) -> AnswerFile:
    if TIME not in file:
        raise BadFile(f"{path.name}: no variable 'time', found {sorted(file)[:8]}")
    time = file[TIME]
    rows_dim = _dims(time)[0]
    if rows_dim not in ROW_DIMENSIONS:
        raise BadFile(f"{path.name}: time runs along {rows_dim!r}, expected one of {ROW_DIMENSIONS}")
    variables, coordinates, not_kept = {}, {}, []
    for name in file:
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or name in (TIME, rows_dim) or _is_bare_dimension(dataset):
            continue
        dims = _dims(dataset)
        if dims[:1] == (rows_dim,) and (variable := _variable(name, dataset, dims[1:], padded)):
            variables[name] = variable
        elif dims == (name,):
            coordinates[name] = _coordinate(path, name, dataset, padded)
        else:
            not_kept.append(name)
    for variable in variables.values():
        for dim, size in zip(variable.dims, variable.shape, strict=True):
            if dim in padded:
                coordinates[dim] = [float(i) for i in range(size)]
    attributes = {**_attributes(file), **_scalars(file)}
    units = str(_attributes(time).get("units", "seconds since 1900-01-01 0:0:0"))
    layout = Layout(variables, coordinates, attributes, tuple(not_kept))
    return AnswerFile(path, path.name, sha256_of(path), path.stat().st_size, len(time), units, rows_dim, layout)


def _variable(name: str, dataset: Any, dims: tuple[str, ...], padded: dict[str, int]) -> Variable | None:
    attributes = _attributes(dataset)
    attributes.pop("coordinates", None)
    shape = tuple(padded[d] if d in padded else int(size) for d, size in zip(dims, dataset.shape[1:], strict=True))
    dtype = dataset.dtype
    if dtype.kind in "OSU":
        # Identifiers are as long as all the rest together; the commit keeps what they stand for.
        if not (EXECUTED in name or "frame_type" in name) or dims:
            return None
        tests = len(str(attributes.get("tests_executed", "")).split(","))
        return Variable(name, f"|S{tests if EXECUTED in name else 3}", (), (), _plain(attributes, drop_fill=True))
    if dtype.kind not in "fiub":
        return None
    dtype = np.dtype("u1") if dtype.kind == "b" else dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype
    return Variable(name, dtype.str, dims, shape, _plain(attributes, drop_fill=dtype.kind == "f" or _is_flag(name)))


def _plain(attributes: dict[str, Any], drop_fill: bool) -> dict[str, Any]:
    """Attributes that stay true of the values as stored: floats are NaN where missing and flags need no fill."""
    return {k: v for k, v in attributes.items() if not (k in ("_FillValue", "missing_value") and drop_fill)}


def _is_flag(name: str) -> bool:
    return name.endswith(("_qartod_results", "_qc_executed", "_qc_results"))


def _coordinate(path: Path, name: str, dataset: Any, padded: dict[str, int]) -> list[float]:
    values = np.asarray(dataset[...], np.float64)
    if name in padded:
        return [float(i) for i in range(padded[name])]
    if not np.isfinite(values).all():
        where = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadFile(
            f"{path.name}: coordinate {name!r} is {values[where]} at index {where}, expected a number; ask again or pad the dimension"
        )
    return values.tolist()


def read_times(file: AnswerFile, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Times of rows [start, stop) as int64 microseconds since 1900."""
    return timeaxis.decode(_open(str(file.path))[TIME][start:stop], file.time_units)


def read_values(file: AnswerFile, variable: Variable, start: int, stop: int) -> np.ndarray:
    """Values of rows [start, stop), in the variable's own type and padded shape; a variable that the file lacks is filled."""
    shape = (stop - start, *variable.shape)
    handle = _open(str(file.path))
    if variable.name not in file.layout.variables:
        return np.full(shape, variable.fill, variable.dtype)
    values = handle[variable.name][start:stop]
    if np.dtype(variable.dtype).kind == "S":
        return values.astype(variable.dtype)
    if values.dtype.kind == "f":
        values = _without_fill(handle[variable.name], values)
    if np.dtype(variable.dtype).kind == "f" and values.dtype.kind in "iu":
        fill = file.layout.variables[variable.name].fill
        values = np.where(values == fill, np.nan, values)
    values = values.astype(variable.dtype, copy=False)
    if values.shape == shape:
        return values
    padded = np.full(shape, variable.fill, variable.dtype)
    padded[tuple(slice(0, size) for size in values.shape)] = values
    return padded


def _without_fill(dataset: Any, values: np.ndarray) -> np.ndarray:
    fill = dataset.attrs.get("_FillValue")
    fill = None if fill is None else np.ravel(fill)[0]
    if fill is None or not np.isfinite(fill):
        return values
    return np.where(values == fill, np.nan, values).astype(values.dtype)


@lru_cache(maxsize=64)
def _open(path: str) -> Any:
    # A window is read variable by variable over all of its files: they stay open meanwhile.
    return h5py.File(path, "r", rdcc_nbytes=1 << 20)


def close_all() -> None:
    """Close every file that reading left open."""
    _open.cache_clear()


def _dims(dataset: Any) -> tuple[str, ...]:
    names = []
    for axis in range(dataset.ndim):
        scales = dataset.dims[axis]
        if len(scales):
            names.append(scales[0].name.rsplit("/", 1)[-1])
        else:  # a dimension scale is its own dimension
            names.append(
                dataset.name.rsplit("/", 1)[-1] if dataset.ndim == 1 else f"{dataset.name}_dim_{axis}".lstrip("/")
            )
    return tuple(names)


def _is_bare_dimension(dataset: Any) -> bool:
    return str(dataset.attrs.get("NAME", b"")).find("This is a netCDF dimension but not a netCDF variable") >= 0


def _attributes(node: Any) -> dict[str, Any]:
    out = {}
    for name in sorted(node.attrs):
        if name not in _HDF5_ATTRIBUTES:
            try:
                out[name] = _json(node.attrs[name])
            except OSError:  # an attribute of a type that HDF5 cannot read back
                continue
    return out


def _json(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return _json(value[0]) if value.size == 1 else [_json(v) for v in value.ravel()]
    return value.item() if isinstance(value, np.generic) else value


def _scalars(file: Any) -> dict[str, Any]:
    """Single values such as a fixed platform's lat and lon, as attributes."""
    return {
        name: _json(file[name][()]) for name in file if isinstance(file[name], h5py.Dataset) and file[name].shape == ()
    }
