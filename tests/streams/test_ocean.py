"""Detections meet the ocean: the nearest value in time, of streams that are near, from versions that stay."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from otn_dagster.demo.ocean import Instrument, Quirks, value, write_file
from otn_dagster.publish import ocean
from otn_dagster.streams import ingest, retention, timeaxis
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.store import StreamStore
from otn_dagster.telemetry.push import matching, snapshot
from otn_dagster.telemetry.push.extracts import Context
from tests.support.harvest import stream_of
from tests.support.node import NEXT_PUSH, Node

UNIX = timeaxis.micros(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))


def put(
    store: StreamStore,
    instrument: Instrument,
    number: int,
    times: np.ndarray,
    folder: Path,
    quirks: Quirks | None = None,
) -> None:
    path = write_file(folder / str(number), instrument, 1, times, quirks)
    mode, window = ("append" if number == 1 else "refresh"), (int(times[0]), int(times[-1]) + 1)
    head = store.head() if number > 1 else None
    ingest.ingest(store, Answer(stream_of(instrument), number, 1, mode, window), [path])
    if head:
        store.switch_to(ingest.refresh_branch(number), head.snapshot)


def test_each_matched_detection_has_the_nearest_value_of_streams_that_are_near(
    node: Node, real: Path, tmp_path: Path
) -> None:
    node.drop_tree(real / "hfx-nsbs-2022" / "incoming")
    node.load()
    folder = node.push()
    context = Context.of(snapshot.read(node.settings, NEXT_PUSH), matching.read(folder))
    matched = context.matches_in_words().filter(pl.col("trackercode").is_not_null()).collect()
    deployments = context.deployments.select("deployment_key", "latitude", "longitude")
    places = matched.join(deployments, on="deployment_key")
    place = places.row(0, named=True)
    near = Instrument(
        "HFXL-MOOR1-01-CTDMOOR01", "recovered", "near", "ctd", place["latitude"] + 0.05, place["longitude"]
    )
    far = Instrument("HFXL-MOOR2-01-CTDMOOR02", "recovered", "far", "ctd", place["latitude"] + 20, place["longitude"])
    first = int(places["time_ms"].min() * 1000) + UNIX - 3 * 3600 * timeaxis.SECOND  # type: ignore[operator]
    times = first + np.arange(24 * 120, dtype=np.int64) * 3600 * timeaxis.SECOND
    streams = {}
    for instrument in (near, far):
        store = StreamStore(Location(str(tmp_path / instrument.stream)))
        put(store, instrument, 1, times, tmp_path / f"{instrument.stream}-files")
        streams[instrument.key] = (stream_of(instrument, ocean_variables=["sea_water_temperature"]), store)

    joined = ocean.join(context, streams, folder, NEXT_PUSH, within_km=50, within_hours=1)
    table = pl.read_parquet(joined.path)
    expected = _plain(places, near, times)
    assert joined.detections == places.height and joined.with_ocean > 0
    assert set(table["stream"]) == {near.key} and table["distance_km"].max() <= 50  # type: ignore[operator]
    found = {row["det_key"]: (row["value"], row["seconds_apart"]) for row in table.iter_rows(named=True)}
    assert found == expected

    before = joined.path.read_bytes()
    store = streams[near.key][1]
    put(store, near, 2, times, tmp_path / "near-files", Quirks(offset=5.0))
    retention.collect(store, dt.timedelta(0), dt.timedelta(0), dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    ocean.join(context, streams, folder, NEXT_PUSH, 50, 1)
    assert joined.path.read_bytes() == before, "a push that is made again uses the versions that it used"


def _plain(places: pl.DataFrame, near: Instrument, times: np.ndarray) -> dict[int, tuple[float, float]]:
    """The same, detection by detection."""
    out = {}
    for row in places.iter_rows(named=True):
        if (
            ocean.distance_km(np.array([row["latitude"]]), np.array([row["longitude"]]), near.latitude, near.longitude)[
                0
            ]
            > 50
        ):
            continue
        at = row["time_ms"] * 1000 + UNIX
        best = (
            min(range(len(times)), key=lambda i: (abs(int(times[i]) - at), i))
            if len(times) < 50
            else int(np.argmin(np.abs(times - at)))
        )
        apart = abs(int(times[best]) - at) / 1e6
        if apart <= 3600:
            out[row["det_key"]] = (float(value("sea_water_temperature", times[best : best + 1])[0]), apart)
    return out


def test_distances_are_those_of_a_sphere() -> None:
    halifax_to_sable = ocean.distance_km(np.array([44.65]), np.array([-63.57]), 43.93, -59.9)[0]
    assert halifax_to_sable == pytest.approx(303, abs=3)
    assert ocean.distance_km(np.array([0.0]), np.array([0.0]), 0.0, 90.0)[0] == pytest.approx(10007.5, abs=0.5)
