"""The plain zarr view shows whole commits only, whatever happens while it is made, on a folder and on S3."""

import datetime as dt
import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obstore
import pytest
import xarray as xr

from otn_dagster.demo.ocean import Quirks, value, write_file
from otn_dagster.streams import ingest, published, reading, refresh
from otn_dagster.streams.group import Group
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.published import TooSoon
from otn_dagster.streams.store import StoreMoved, StreamStore
from tests.support.harvest import CTD, MINUTE, START, every, stream_of

STREAM = stream_of(CTD, tolerances={"least_share_of_announced": 0, "least_share_of_before": 0})
GRACE = dt.timedelta(days=7)
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Endpoint of a real S3 API server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def public_bucket(endpoint: str, name: str) -> None:
    """A bucket that anybody may read."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket=name)
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Location, dict]:
    """(where stores lie, what xarray needs to read there)."""
    if request.param == "folder":
        return Location(str(tmp_path / "stores")), {}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    endpoint, bucket = request.getfixturevalue("s3"), f"bucket{next(_numbers)}"
    public_bucket(endpoint, bucket)
    options = {"key": "testing", "secret": "testing", "client_kwargs": {"endpoint_url": endpoint}}
    return Location(f"s3://{bucket}/all", "us-east-1", endpoint), {"storage_options": options}


class Growing:
    """A store that grows by blocks, and its view."""

    def __init__(self, place: tuple[Location, dict], folder: Path):
        self.root, self.options = place
        self.store, self.view = StreamStore(self.root.below("store")), self.root.below("view")
        self._folder, self._number = folder, 0

    def put(self, times: np.ndarray, quirks: Quirks | None = None) -> None:
        self._number += 1
        path = write_file(self._folder / str(self._number), CTD, 1, times, quirks)
        window = (int(times[0]), int(times[-1]) + 1)
        ingest.ingest(self.store, Answer(STREAM, self._number, 1, "append", window), [path])

    def refresh(self, times: np.ndarray, offset: float) -> None:
        self._number += 1
        head = self.store.head()
        path = write_file(self._folder / str(self._number), CTD, 1, times, Quirks(offset=offset))
        ingest.ingest(
            self.store, Answer(STREAM, self._number, 1, "refresh", (int(times[0]), int(times[-1]) + 1)), [path]
        )
        refresh.switch(self.store, self._number, head.snapshot if head else "")

    def publish(self, days: float = 0) -> published.Published:
        return published.publish(self.store, self.view, GRACE, NOW + dt.timedelta(days=days))

    def open(self) -> xr.Dataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return xr.open_zarr(self.view.url, **self.options)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        with self.open() as data:
            micros = (data.time.values.astype("datetime64[us]") - np.datetime64("1900-01-01", "us")).astype(np.int64)
            return micros, data.sea_water_temperature.values


def is_truth(seen: tuple[np.ndarray, np.ndarray], times: np.ndarray, offset: float = 0) -> bool:
    return np.array_equal(seen[0], times) and np.array_equal(seen[1], value("sea_water_temperature", times) + offset)


def test_a_view_follows_appends_late_data_and_refreshes(place: tuple[Location, dict], tmp_path: Path) -> None:
    growing = Growing(place, tmp_path / "files")
    growing.put(every(60, 100))
    assert growing.publish().how == "first"
    assert growing.publish().how == "unchanged"
    growing.put(every(60, 50, START + 150 * MINUTE))
    before = growing.open()
    assert growing.publish().how == "appended"
    growing.put(every(60, 50, START + 100 * MINUTE))
    held = growing.open()
    done = growing.publish()
    assert (done.how, done.spelling) == ("switched", 1)
    assert is_truth(growing.seen(), every(60, 200))
    assert before.sizes["time"] == 100 and held.sizes["time"] == 150
    np.testing.assert_array_equal(before.sea_water_temperature.values, value("sea_water_temperature", every(60, 100)))
    kept = np.concatenate([every(60, 100), every(60, 50, START + 150 * MINUTE)])
    np.testing.assert_array_equal(held.sea_water_temperature.values, value("sea_water_temperature", kept))
    growing.refresh(every(60, 200), 1.0)
    assert growing.publish(1).spelling == 2
    assert is_truth(growing.seen(), every(60, 200), 1.0)
    growing.refresh(every(60, 200), 2.0)
    with pytest.raises(TooSoon, match="2026-11-08"):
        growing.publish(2)
    assert is_truth(growing.seen(), every(60, 200), 1.0), "until then it shows what it showed"
    assert growing.publish(8).spelling == 0
    assert is_truth(growing.seen(), every(60, 200), 2.0)
    with growing.open() as data:
        head = growing.store.head()
        assert head and data.attrs["published"]["commit"] == head.snapshot


@pytest.mark.parametrize("change", ["append", "switch"])
def test_a_view_that_dies_at_any_write_shows_the_old_or_the_new_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    growing = Growing((Location(str(tmp_path / "stores")), {}), tmp_path / "files")
    growing.put(every(60, 100))
    growing.publish()
    if change == "append":
        growing.put(every(60, 50, START + 100 * MINUTE))
    else:
        growing.refresh(every(60, 150), 1.0)
    old, new, offset = every(60, 100), every(60, 150), 0 if change == "append" else 1.0
    put, calls = obstore.put, itertools.count()
    for survives in range(0, 200, 3):
        calls = itertools.count()

        def dying(*args: object, limit: int = survives, counter: itertools.count = calls) -> object:
            if next(counter) >= limit:
                raise KeyboardInterrupt
            return put(*args)

        monkeypatch.setattr(obstore, "put", dying)
        try:
            growing.publish()
            break
        except KeyboardInterrupt:
            seen = growing.seen()
            assert is_truth(seen, old) or is_truth(seen, new, offset), (
                f"neither the old nor the new after {survives} writes"
            )
            # A reader that asks for one array without the root sees one of the two, too.
            assert len(xr.open_zarr(growing.view.url, consolidated=True).time) in (100, 150)
    else:
        pytest.fail("it never finished")
    monkeypatch.setattr(obstore, "put", put)
    growing.publish()
    assert is_truth(growing.seen(), new, offset)


def test_chunks_that_were_left_long_enough_ago_are_deleted_and_no_others(tmp_path: Path) -> None:
    growing = Growing((Location(str(tmp_path / "stores")), {}), tmp_path / "files")
    growing.put(every(60, 100))
    growing.publish()
    growing.refresh(every(60, 100), 1.0)
    growing.publish()
    assert published.forget_left(growing.view, GRACE, NOW + dt.timedelta(days=6)) == 0
    assert published.forget_left(growing.view, GRACE, NOW + dt.timedelta(days=8)) == 40
    assert is_truth(growing.seen(), every(60, 100), 1.0)


def test_anybody_reads_a_public_view_and_a_range_of_it_without_the_whole_axis(
    place: tuple[Location, dict], tmp_path: Path
) -> None:
    growing = Growing(place, tmp_path / "files")
    growing.put(every(60, 1000))
    growing.publish()
    options = dict(place[1])
    if options:
        options["storage_options"] = {"anon": True, "client_kwargs": {"endpoint_url": place[0].endpoint}}
    part = reading.open_published(growing.view.url, "2026-10-01T01:00", "2026-10-01T02:00", **options)
    assert part.sizes["time"] == 60 and str(part.time.values[0])[:16] == "2026-10-01T01:00"
    assert part.sel(time="2026-10-01T01:30").sea_water_temperature.size == 1
    anonymous = Location(place[0].url, place[0].region, place[0].endpoint, anonymous=True)
    if not anonymous.is_local:
        assert StreamStore(anonymous.below("store")).head() == growing.store.head()


def test_a_range_and_a_date_of_the_record_are_one_line(tmp_path: Path) -> None:
    growing = Growing((Location(str(tmp_path / "stores")), {}), tmp_path / "files")
    growing.put(every(60, 100))
    then = growing.store.head()
    growing.refresh(every(60, 300), 1.0)
    assert then
    assert reading.open_version(growing.store, as_of=then.at).sizes["time"] == 100
    assert reading.open_version(growing.store, "2026-10-01T04:00", "2026-10-01T04:10").sizes["time"] == 10
    newest = reading.open_version(growing.store)
    assert newest.sizes["time"] == 300


def test_stores_on_s3_keep_their_promises(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    public_bucket(s3, "promises")
    growing = Growing((Location("s3://promises/all", "us-east-1", s3), {}), tmp_path / "files")
    growing.put(every(60, 100))
    first = growing.store.head()
    with growing.store.writing() as session:  # another writer is faster
        Group.open(session.store, "a").attrs["note"] = "slow"
        growing.put(every(60, 50, START + 100 * MINUTE))
        with pytest.raises(StoreMoved, match="another writer"):
            growing.store.commit(session, "slow", {"rows": 0})
    assert first and growing.store.roll_back(first.snapshot, NOW).startswith("before-rollback")
    assert growing.store.head() == first
