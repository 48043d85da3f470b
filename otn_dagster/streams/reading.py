"""Opening a stream: the newest version, one of a date, or only a range of time without indexing the whole axis.

Belongs here: what notebooks call. Does not belong here: writing.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.streams import annotations, configuration, timeaxis
from otn_dagster.streams.arrays import CHUNK_STARTS, TIME_CHUNK_ROWS
from otn_dagster.streams.layout import TIME
from otn_dagster.streams.store import NoSuchStore, StreamStore

Moment = str | dt.datetime | None


def open_stream(
    key: str, start: Moment = None, end: Moment = None, as_of: Moment = None, snapshot: str | None = None
) -> xr.Dataset:
    """A stream of this node, from ``start`` to before ``end``, as it was at ``as_of`` or in a snapshot (default: now).

    Times are ISO 8601 or datetimes, UTC. Raises NoSuchStore where there is no such stream or version.
    """
    settings, streams = load_settings(), configuration.load_streams()
    return open_version(StreamStore(configuration.store_location(settings, streams, key)), start, end, as_of, snapshot)


def open_version(
    store: StreamStore, start: Moment = None, end: Moment = None, as_of: Moment = None, snapshot: str | None = None
) -> xr.Dataset:
    """The same for a store at hand."""
    if not store.exists():
        raise NoSuchStore(f"{store.location.url} has no data yet")
    if as_of is not None:
        snapshot = store.commit_as_of(_moment(as_of)).snapshot
    session = (
        store.repository.readonly_session(snapshot_id=snapshot)
        if snapshot
        else store.repository.readonly_session("main")
    )
    return _cut(xr.open_zarr(session.store, consolidated=False, chunks=None, create_default_indexes=False), start, end)


def open_published(
    url: str, start: Moment = None, end: Moment = None, storage_options: dict[str, Any] | None = None
) -> xr.Dataset:
    """A published view by URL, from ``start`` to before ``end``; needs nothing but xarray."""
    return _cut(
        xr.open_zarr(url, storage_options=storage_options, chunks=None, create_default_indexes=False), start, end
    )


def _cut(dataset: xr.Dataset, start: Moment, end: Moment) -> xr.Dataset:
    """Rows of a range, indexed by time; the time axis is searched in one or two of its chunks only."""
    first = 0 if start is None else _seek(dataset, _moment(start))
    last = dataset.sizes[TIME] if end is None else _seek(dataset, _moment(end))
    return dataset.isel({TIME: slice(first, max(first, last))}).set_xindex(TIME)


def _seek(dataset: xr.Dataset, moment: dt.datetime) -> int:
    wanted = timeaxis.micros(moment)
    chunk = int(np.searchsorted(np.asarray(dataset.attrs[CHUNK_STARTS], np.int64), wanted, side="left")) - 1
    if chunk < 0:
        return 0
    low = chunk * TIME_CHUNK_ROWS
    times = dataset.variables[TIME][low : low + TIME_CHUNK_ROWS].values
    return low + int(np.searchsorted(times, timeaxis.datetimes(np.asarray(wanted)), side="left"))


def _moment(value: Moment) -> dt.datetime:
    if isinstance(value, str):
        return timeaxis.parse(value)
    assert value is not None
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value


def bad_rows(key: str, dataset: xr.Dataset) -> xr.DataArray:
    """Which rows of a stream annotations exclude or call bad; ``dataset.where(~bad_rows(key, dataset))`` leaves them out."""
    settings, stream = load_settings(), configuration.load_streams().stream(key)
    with database.connect(settings) as connection:
        table = annotations.table(connection, stream.instrument)
    since = dataset[TIME].values.astype("datetime64[us]") - np.datetime64(timeaxis.EPOCH.replace(tzinfo=None), "us")
    masked = annotations.mask(since.astype(np.int64), table, stream.stream.method, stream.stream.name)
    return xr.DataArray(masked, dims=[TIME], coords={TIME: dataset[TIME]}, name="bad_rows")


def to_netcdf(dataset: xr.Dataset, path: Path) -> Path:
    """A slice as a CF netCDF file of its own, for tools that read no zarr: a time series at one station.

    Left out are what CF has no words for: raw counts, legacy bitmaps, flags test by test (results stay).
    """
    data = dataset.load()
    bitmaps = ("_qc_executed", "_qc_results")
    unnamed = [
        name
        for name, one in data.data_vars.items()
        if one.dtype.kind in "SO" or one.attrs.get("units") == "counts" or str(name).endswith(bitmaps)
    ]
    data = data.drop_vars(unnamed)
    data = data.set_coords([name for name in ("deployment", "depth") if name in data])
    lat, lon = data.attrs.get("lat"), data.attrs.get("lon")
    attributes = {
        k: v for k, v in data.attrs.items() if isinstance(v, str | int | float) and v != "" and k not in ("lat", "lon")
    }
    if lat is not None and lon is not None:
        data = data.assign_coords(
            latitude=(
                (),
                lat,
                {"standard_name": "latitude", "units": "degrees_north", "axis": "Y", "long_name": "latitude"},
            ),
            longitude=(
                (),
                lon,
                {"standard_name": "longitude", "units": "degrees_east", "axis": "X", "long_name": "longitude"},
            ),
        )
    station = (
        (),
        str(attributes.get("instrument", "station")),
        {"cf_role": "timeseries_id", "long_name": "reference designator"},
    )
    data = data.assign_coords(station=station)
    for name in data.variables:
        if "flag_values" in data[name].attrs:
            data[name].attrs["flag_values"] = np.asarray(data[name].attrs["flag_values"], data[name].dtype)
        held = str(data[name].attrs.get("ancillary_variables", "")).split()
        if held:
            data[name].attrs["ancillary_variables"] = " ".join(one for one in held if one in data.variables)
    data.attrs = {**attributes, "featureType": "timeSeries"}
    encoding = {"time": {"units": "microseconds since 1900-01-01T00:00:00Z", "dtype": "int64"}}
    data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return path
