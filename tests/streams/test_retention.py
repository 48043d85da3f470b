"""Expiry and collection never take what a tag names, what anybody saw lately, or what a writer has not committed yet."""

import datetime as dt
import time
from pathlib import Path

import numpy as np

from otn_dagster.demo.ocean import write_file
from otn_dagster.streams import arrays, ingest, retention
from otn_dagster.streams.group import Group
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.store import StreamStore
from tests.support.harvest import CTD, MINUTE, START, assert_is_truth, every, stream_of

STREAM = stream_of(CTD)
ZERO = dt.timedelta(0)


def grow(store: StreamStore, folder: Path, steps: int) -> None:
    for i in range(steps):
        times = every(60, 50, START + i * 50 * MINUTE)
        path = write_file(folder, CTD, 1, times)
        ingest.ingest(store, Answer(STREAM, i + 1, 1, "append", (int(times[0]), int(times[-1]) + 1)), [path])


def test_what_was_seen_lately_and_what_is_tagged_stays(tmp_path: Path) -> None:
    store = StreamStore(Location(str(tmp_path / "store")))
    grow(store, tmp_path / "files", 6)
    history = store.history()
    store.tag("push-2026-10-15", history[4].snapshot)
    tagged, newest = history[4], history[0]
    size = store.bytes_stored()
    # Somebody opened the third newest while it was the newest, just before the second newest was committed.
    reader_came = history[1].at - dt.timedelta(milliseconds=1)
    now = dt.datetime.now(dt.UTC)
    reading = store.read(history[2].snapshot)
    collected = retention.collect(store, keep=now - reader_came, grace=ZERO, now=now)
    assert collected.expired and collected.objects
    assert_is_truth(reading, every(60, 200))
    assert_is_truth(store.read(tagged.snapshot), every(60, 100))
    assert_is_truth(store.read(newest.snapshot), every(60, 300))
    assert [c.snapshot for c in store.history()] == [c.snapshot for c in history[:3]]
    assert store.bytes_stored() < size
    assert retention.collect(store, now - reader_came, ZERO, now).expired == 0, "again changes nothing"


def test_collection_within_the_grace_leaves_a_writer_at_work_alone(tmp_path: Path) -> None:
    store = StreamStore(Location(str(tmp_path / "store")))
    grow(store, tmp_path / "files", 2)
    session = store.repository.writable_session("main")
    array = arrays.array_of(Group.open(session.store, "a"), "sea_water_temperature")
    array[0:100] = np.full(100, 7.0)
    time.sleep(0.1)
    retention.collect(store, keep=ZERO, grace=dt.timedelta(minutes=1))
    head = store.head()
    assert head
    store.commit(session, "by hand", {**head.facts})
    assert set(np.asarray(arrays.array_of(store.read(), "sea_water_temperature")[:])) == {7.0}


def test_daily_appends_do_not_grow_without_bound(tmp_path: Path) -> None:
    store = StreamStore(Location(str(tmp_path / "store")))
    grow(store, tmp_path / "files", 12)
    before = store.bytes_stored()
    retention.collect(store, ZERO, ZERO, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    assert store.bytes_stored() < before / 3
    assert_is_truth(store.read(), every(60, 600))
