"""An ERDDAP dataset and a folder of files come into the same stores by the same verbs as OOINet."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import numpy as np
import pytest
from scipy.io import netcdf_file

from otn_dagster.demo.ocean import value, write_file
from otn_dagster.streams import arrays, gaps, timeaxis
from otn_dagster.streams.sources.folder import Folder
from tests.support.harvest import CTD, MINUTE, START, Harvest, assert_is_truth, every, stream_of

KEY = CTD.key
UNIX = timeaxis.micros(timeaxis.parse("1970-01-01"))


class FakeErddap:
    """tabledap of one dataset: info as JSON, rows as classic netCDF, as ERDDAP serves them."""

    def __init__(self, folder: Path):
        self.times, self.asked, self._folder = every(60, 0), [], folder
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = owner.reply(unquote(self.path))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/erddap"

    def reply(self, path: str) -> tuple[int, bytes]:
        if path.endswith("/info/buoy/index.json"):
            span = {
                "time_coverage_start": timeaxis.text(self.times[0]),
                "time_coverage_end": timeaxis.text(self.times[-1]),
            }
            rows = [["attribute", "NC_GLOBAL", name, "String", text] for name, text in span.items()]
            names = ["Row Type", "Variable Name", "Attribute Name", "Data Type", "Value"]
            return 200, json.dumps({"table": {"columnNames": names, "rows": rows}}).encode()
        if "/tabledap/buoy.nc" in path:
            self.asked.append(path)
            constraints = path.split("?", 1)[1]
            low, high = (float(constraints.split(f"time{op}")[1].split("&")[0]) for op in (">=", "<"))
            seconds = (self.times - UNIX) / 1e6
            return 200, self.file(self.times[(seconds >= low) & (seconds < high)])
        return 404, b'Error { code=404; message="Not Found"; }'

    def file(self, times: np.ndarray) -> bytes:
        path = self._folder / "answer.nc"
        with netcdf_file(str(path), "w") as file:
            file.createDimension("row", len(times))
            time = file.createVariable("time", "f8", ("row",))
            time[:], time.units = (times - UNIX) / 1e6, "seconds since 1970-01-01T00:00:00Z"
            temperature = file.createVariable("sea_water_temperature", "f8", ("row",))
            temperature[:], temperature.units = value("sea_water_temperature", times), "degree_C"
        return path.read_bytes()


@pytest.fixture
def erddap(tmp_path: Path) -> Iterator[FakeErddap]:
    fake = FakeErddap(tmp_path)
    threading.Thread(target=fake.server.serve_forever, daemon=True).start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_an_erddap_dataset_grows_and_is_refreshed(harvest: Harvest, erddap: FakeErddap) -> None:
    harvest.add(CTD, {}, source={"kind": "erddap", "url": erddap.url, "dataset": "buoy"})
    erddap.times = every(60, 100)
    assert harvest.run(KEY).state == "published"  # type: ignore[union-attr]
    erddap.times = every(60, 180)
    assert harvest.run(KEY).mode == "append"  # type: ignore[union-attr]
    group = harvest.group(KEY)
    np.testing.assert_array_equal(np.asarray(arrays.array_of(group, "time")[:]), every(60, 180))
    np.testing.assert_array_equal(
        np.asarray(arrays.array_of(group, "sea_water_temperature")[:]), value("sea_water_temperature", every(60, 180))
    )
    assert harvest.run(KEY) is None and len(erddap.asked) == 2
    assert harvest.run(KEY, "refresh").state == "published"  # type: ignore[union-attr]


def test_a_folder_of_files_grows_and_late_files_are_found(harvest: Harvest, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    harvest.add(CTD, {}, source={"kind": "folder", "url": str(folder)})
    piece = lambda n: every(60, 100, START + n * 100 * MINUTE)  # noqa: E731
    write_file(folder, CTD, 1, piece(0))
    write_file(folder, CTD, 1, piece(2))
    assert harvest.run(KEY).state == "published"  # type: ignore[union-attr]
    write_file(folder, CTD, 1, piece(3))
    (folder / "broken.nc").write_bytes(b"not a netCDF file")
    assert harvest.run(KEY).state == "published"  # type: ignore[union-attr]
    write_file(folder, CTD, 1, piece(1))
    stream, source = harvest.streams[KEY], harvest.harvester.source(KEY)
    found = gaps.find(harvest.group(KEY), source.bins(stream), [], 0.98)
    asked = gaps.ask_again(harvest.harvester, stream, found)
    assert asked and asked.request and harvest.go_on(asked.request.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 400))
    assert "broken.nc" in source.news(stream).problems[0]


def test_a_bucket_is_a_folder(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    path = write_file(tmp_path, CTD, 1, every(60, 50))
    memory.pipe("/bucket/" + path.name, path.read_bytes())
    source = Folder("memory://bucket")
    stream = stream_of(CTD)
    assert source.news(stream).count == 50
    asked = source.ask(stream, (START, START + 100 * MINUTE))
    found = source.look(stream, asked.handle)
    fetched = source.fetch(stream, found.files[0], tmp_path / "copy")  # type: ignore[union-attr]
    assert fetched.read_bytes() == path.read_bytes()
