"""Opening a stream: the newest version, one of a date, or only a range of time without indexing the whole axis.

Belongs here: what notebooks call. Does not belong here: writing.
"""

import datetime as dt
from typing import Any

import numpy as np
import xarray as xr

from otn_dagster.config import load_settings
from otn_dagster.streams import configuration, timeaxis
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
