"""A window that Dask's workers write is the same, bit for bit, as one that this process writes."""

from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from otn_dagster.demo.ocean import write_file
from otn_dagster.streams import arrays, ingest
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.spread import with_dask
from otn_dagster.streams.store import StreamStore
from tests.support.harvest import CTD, every, stream_of


@pytest.mark.end_to_end
def test_workers_write_the_same_bits(tmp_path: Path) -> None:
    stream, rows = stream_of(CTD), 600_000  # more than two chunks of every array
    halves = np.array_split(every(1, rows), 2)
    stores = {name: StreamStore(Location(str(tmp_path / name))) for name in ("here", "spread")}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for number, times in enumerate(halves, start=1):
            path = write_file(tmp_path / "files", CTD, 1, times)
            answer = Answer(stream, 1, number, "refresh", (int(times[0]), int(times[-1]) + 1))
            for name, spread in (("here", None), ("spread", with_dask(client))):
                ingest.ingest(stores[name], answer, [path], spread=spread)
    branch = ingest.refresh_branch(1)
    here, spread = (stores[name].read(branch=branch) for name in ("here", "spread"))
    assert list(here.array_keys()) == list(spread.array_keys())
    for name in here.array_keys():
        np.testing.assert_array_equal(
            np.asarray(arrays.array_of(here, name)[:]), np.asarray(arrays.array_of(spread, name)[:]), err_msg=name
        )
    assert arrays.rows_of(spread) == rows
    same = {k: v for k, v in here.attrs.items() if k != "date_modified"} == {
        k: v for k, v in spread.attrs.items() if k != "date_modified"
    }
    assert same
