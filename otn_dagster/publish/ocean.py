"""Fish meet ocean: each matched detection with the nearest values in time of the streams near its receiver.

Belongs here: distances, the join, and pinning the versions of the stores that it used. Does not belong here: matching
(``telemetry``) and stores (``streams``).

A push is made from frozen things: the version of each store that it uses is tagged with the push's name, so the join can be
made again, and retention never removes what it came from.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from otn_dagster import files
from otn_dagster.streams import arrays, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.store import StreamStore
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.extracts import Context

EARTH_KM = 6371.0088
FILE, PINS = "detections_with_ocean.parquet", "ocean_pins.json"
SCHEMA = {
    "collectioncode": pl.String,
    "trackercode": pl.String,
    "transmitter": pl.String,
    "det_key": pl.Int64,
    "station": pl.String,
    "dateCollectedUTC": pl.Datetime("ms"),
    "stream": pl.String,
    "snapshot": pl.String,
    "distance_km": pl.Float64,
    "variable": pl.String,
    "units": pl.String,
    "value": pl.Float64,
    "measuredUTC": pl.Datetime("us"),
    "seconds_apart": pl.Float64,
}
MATCHED = [rules.MATCHED, rules.MATCHED_OWN]
_SLICE_ROWS = 1 << 20


@dataclass(frozen=True)
class Joined:
    """Where the join was written, how many rows it has, and how many detections have a value."""

    path: Path
    rows: int
    detections: int
    with_ocean: int
    pins: dict[str, str]


def join(
    context: Context,
    streams: Mapping[str, tuple[Stream, StreamStore]],
    folder: Path,
    push_date: str,
    within_km: float,
    within_hours: float,
) -> Joined:
    """Write ``detections_with_ocean.parquet`` into a push's folder (columns as ``SCHEMA``).

    The versions of the stores are chosen once and kept in ``ocean_pins.json``; so it is safe to repeat, a year later too.
    """
    pins = _pins(streams, folder, push_date)
    frames = [pl.DataFrame(schema=SCHEMA)]
    for key, snapshot in sorted(pins.items()):
        stream, store = streams[key]
        frames.append(_join_stream(context, stream, store, snapshot, within_km, within_hours))
    table = pl.concat(frames).sort("collectioncode", "det_key", "stream", "variable")
    with files.replacing(folder / FILE) as aside:
        table.write_parquet(aside)
    matched = sum(context.matches.counts.get(rules.REASONS[outcome], 0) for outcome in MATCHED)
    return Joined(folder / FILE, table.height, matched, table["det_key"].n_unique(), pins)


def _matched(context: Context, deployments: pl.DataFrame) -> pl.DataFrame:
    """Matched detections of some deployments (deployment_key, and what else is wanted of them), in the order of time."""
    mine = pl.col("deployment_key").is_in(deployments["deployment_key"].to_list())
    rows = context.matches_in_words().filter(mine, pl.col("outcome").is_in(MATCHED)).collect()
    named = rows.join(context.transmitters, on="transmitter_key", how="left")
    return named.join(deployments, on="deployment_key", how="left").sort("time_ms")


def _pins(streams: Mapping[str, tuple[Stream, StreamStore]], folder: Path, push_date: str) -> dict[str, str]:
    """The version of each store that this push uses: those of the first time, tagged so that they stay."""
    path = folder / PINS
    if path.exists():
        pins: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    else:
        heads = {
            key: store.head() for key, (stream, store) in streams.items() if stream.ocean_variables and store.exists()
        }
        pins = {key: head.snapshot for key, head in heads.items() if head}
    for key, snapshot in pins.items():
        streams[key][1].tag(f"push-{push_date}", snapshot)
    files.write(path, json.dumps(pins, indent=1, sort_keys=True))
    return pins


def _join_stream(
    context: Context, stream: Stream, store: StreamStore, snapshot: str, within_km: float, within_hours: float
) -> pl.DataFrame:
    group = store.read(snapshot)
    lat, lon = group.attrs.get("lat"), group.attrs.get("lon")
    if not isinstance(lat, int | float) or not isinstance(lon, int | float):
        return pl.DataFrame(schema=SCHEMA)
    places = context.deployments.select("deployment_key", "station", "latitude", "longitude")
    km = distance_km(places["latitude"].to_numpy(), places["longitude"].to_numpy(), float(lat), float(lon))
    near = _matched(context, places.with_columns(distance_km=pl.Series(km)).filter(pl.col("distance_km") <= within_km))
    frames = [pl.DataFrame(schema=SCHEMA)]
    for name in stream.ocean_variables:
        if near.height and name in group:
            frames.append(_nearest(near, stream, group, snapshot, name, within_hours))
    return pl.concat(frames)


def _nearest(
    near: pl.DataFrame, stream: Stream, group: Any, snapshot: str, name: str, within_hours: float
) -> pl.DataFrame:
    """The nearest value in time of one variable; values that are missing are no values."""
    micros = near["time_ms"].to_numpy() * 1000 + timeaxis.micros(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
    reach = int(within_hours * 3600 * timeaxis.SECOND)
    low, high = arrays.seek(group, int(micros.min()) - reach), arrays.seek(group, int(micros.max()) + reach + 1)
    measured, values = _finite(group, name, low, high)
    if not len(measured):
        return pl.DataFrame(schema=SCHEMA)
    after = np.clip(np.searchsorted(measured, micros), 0, len(measured) - 1)
    before = np.clip(after - 1, 0, None)
    best = np.where(np.abs(measured[before] - micros) <= np.abs(measured[after] - micros), before, after)
    apart = np.abs(measured[best] - micros) / timeaxis.SECOND
    units = str(arrays.array_of(group, name).attrs.get("units", "1"))
    return (
        near.with_columns(
            dateCollectedUTC=pl.from_epoch("time_ms", time_unit="ms"),
            stream=pl.lit(stream.key),
            snapshot=pl.lit(snapshot),
            variable=pl.lit(name),
            units=pl.lit(units),
            value=pl.Series(values[best].astype(np.float64)),
            measuredUTC=pl.Series(timeaxis.datetimes(measured[best])).cast(pl.Datetime("us")),
            seconds_apart=pl.Series(apart),
        )
        .filter(pl.col("seconds_apart") <= within_hours * 3600)
        .select([pl.col(column).cast(kind) for column, kind in SCHEMA.items()])
    )


def _finite(group: Any, name: str, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    array, time = arrays.array_of(group, name), arrays.array_of(group, "time")
    times, values = [], []
    for start in range(low, high, _SLICE_ROWS):
        part = np.asarray(array[start : min(start + _SLICE_ROWS, high)])
        good = np.isfinite(part) if part.dtype.kind == "f" else part != array.attrs.get("_FillValue")
        values.append(part[good])
        times.append(np.asarray(time[start : min(start + _SLICE_ROWS, high)])[good])
    empty = np.empty(0)
    return (np.concatenate(times), np.concatenate(values)) if times else (empty, empty)


def distance_km(latitudes: np.ndarray, longitudes: np.ndarray, latitude: float, longitude: float) -> np.ndarray:
    """Great-circle distance by the haversine formula, on a sphere of the Earth's mean radius."""
    a, b = np.radians(latitudes.astype(float)), np.radians(latitude)
    half = (
        np.sin((a - b) / 2) ** 2
        + np.cos(a) * np.cos(b) * np.sin(np.radians(longitudes.astype(float) - longitude) / 2) ** 2
    )
    return 2 * EARTH_KM * np.arcsin(np.sqrt(half))
