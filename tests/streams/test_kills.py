"""A process that is killed at any moment tears no store, loses no row that it acknowledged, and needs no hand to go on.

``OTN_EFFORT=20`` runs the long mode.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from otn_dagster.demo.ocean import _noise
from otn_dagster.streams import arrays
from otn_dagster.streams.location import Location
from otn_dagster.streams.store import StreamStore
from tests.support import effort
from tests.support import stream_worker as worker

KILLS = effort.times(10)
FAR = 100_000


def start(root: Path, first: int, last: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.support.stream_worker", str(root), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def step_of(times: np.ndarray, at_least: int) -> int:
    """The step after which the store holds just these times; AssertionError where there is none from ``at_least`` on."""
    for step in range(at_least, at_least + 3):
        if np.array_equal(times, worker.times_after(step)):
            return step
    if np.array_equal(times, np.union1d(worker.times_after(at_least), worker.block(at_least + 1))):
        return at_least  # in the middle of a step that brings two blocks
    raise AssertionError(
        f"{len(times)} rows are not what any step from {at_least} on leaves ({len(worker.times_after(at_least))})"
    )


def assert_whole(root: Path, acknowledged: int) -> None:
    store = StreamStore(Location(str(root / "store")))
    if not acknowledged and not store.exists():
        return
    group = store.read()
    times = np.asarray(arrays.array_of(group, "time")[:])
    step_of(times, acknowledged)
    assert {arrays.array_of(group, name).shape[0] for name in arrays.names_along_time(group)} == {len(times)}
    np.testing.assert_array_equal(np.asarray(arrays.array_of(group, "pco2_seawater")[:]), 400 + 60 * _noise(times, 9))
    if (root / "view" / "zarr.json").exists():
        with xr.open_zarr(str(root / "view"), chunks=None) as view:
            seen = (view.time.values.astype("datetime64[us]") - np.datetime64("1900-01-01", "us")).astype(np.int64)
            step_of(seen, max(0, acknowledged))
            np.testing.assert_array_equal(view.pco2_seawater.values, 400 + 60 * _noise(seen, 9))
            np.testing.assert_array_equal(
                view.light_measurements.values[:, 3], (2120 + 100 * _noise(seen, 5)).astype(np.int32)
            )


@pytest.mark.end_to_end
def test_a_store_survives_being_killed_at_random_points(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(KILLS), 0
    for _ in range(KILLS):
        process = start(tmp_path, acknowledged + 1, FAR)
        assert process.stdout
        time.sleep(chance.uniform(0.02, 1.2))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        for line in rest.splitlines():
            acknowledged = int(line.split()[1])
        assert_whole(tmp_path, acknowledged)
    last = acknowledged + 15  # whatever was interrupted goes on by itself, through another refresh and collection
    process = start(tmp_path, acknowledged + 1, last)
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and rest.splitlines()[-1] == f"done {last}"
    assert_whole(tmp_path, last)
    stored = StreamStore(Location(str(tmp_path / "store"))).read()
    np.testing.assert_array_equal(np.asarray(arrays.array_of(stored, "time")[:]), worker.times_after(last))


COMMITTER = """
import sys
from pathlib import Path
import numpy as np
from otn_dagster.demo.ocean import write_file
from otn_dagster.streams import ingest
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.store import StreamStore
from tests.support import stream_worker as worker
root, mine = Path(sys.argv[1]), int(sys.argv[2])
store = StreamStore(Location(str(root / "store")))
for i in range(int(sys.argv[3])):
    number = i * 8 + mine + 1
    times = worker.block(number)
    path = write_file(root / "files", worker.INSTRUMENT, 1, times)
    ingest.ingest(store, Answer(worker.STREAM, number, 1, "append", (int(times[0]), int(times[-1]) + 1)), [path])
    print(number, flush=True)
"""


@pytest.mark.end_to_end
def test_eight_processes_that_commit_to_one_store_lose_nothing(tmp_path: Path) -> None:
    commits = max(3, KILLS // 8)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", COMMITTER, str(tmp_path), str(mine), str(commits)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in range(8)
    ]
    acknowledged = [int(line) for process in processes for line in process.communicate(timeout=300)[0].split()]
    assert len(acknowledged) == 8 * commits
    store = StreamStore(Location(str(tmp_path / "store")))
    times = np.asarray(arrays.array_of(store.read(), "time")[:])
    np.testing.assert_array_equal(times, np.concatenate([worker.block(n) for n in sorted(acknowledged)]))
    assert len(store.history()) == 8 * commits
