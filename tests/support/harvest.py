"""A harvester on a local OOINet, and the truth of what it should have stored."""

import datetime as dt
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from otn_dagster.config import PROJECT_ROOT, Settings
from otn_dagster.demo.ocean import Instrument, counts, value
from otn_dagster.demo.ooinet import FakeOOINet, Upstream
from otn_dagster.streams import arrays, asking, configuration, ingesting, looking, requests, timeaxis
from otn_dagster.streams.configuration import Stream, StreamSettings
from otn_dagster.streams.group import Group
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.ingesting import Progress
from otn_dagster.streams.requests import Request

CTD = Instrument("CE02SHBP-LJ01D-06-CTDBPN106", "streamed", "ctdbp_no_sample")


START = timeaxis.micros(dt.datetime(2026, 10, 1, tzinfo=dt.UTC))


MINUTE = 60 * timeaxis.SECOND


def stream_of(instrument: Instrument, **settings: object) -> Stream:
    return Stream(
        instrument=instrument.refdes, stream={"method": instrument.method, "name": instrument.stream}, **settings
    )  # type: ignore[arg-type]


@dataclass
class Harvest:
    """A harvester as tests drive it."""

    settings: Settings
    server: FakeOOINet
    streams: dict[str, Stream] = field(default_factory=dict)

    @property
    def harvester(self) -> Harvester:
        return Harvester(self.settings, StreamSettings(streams=self.streams, ooinet_url=self.server.url))

    def add(self, instrument: Instrument, deployments: dict[int, np.ndarray], **settings: object) -> Upstream:
        upstream = Upstream(instrument, deployments)
        self.server.streams[instrument.key] = upstream
        self.streams[instrument.key] = stream_of(instrument, **settings)
        return upstream

    def run(
        self, key: str, mode: str = "append", force: bool = False, rounds: int = 12, **options: object
    ) -> Request | None:
        """Ask, then look and ingest as the sensor does, until it ended, is held, or nothing moves."""
        asked = asking.ask(self.harvester, key, mode, force, by="test", **options)  # type: ignore[arg-type]
        return None if asked.request is None else self.go_on(asked.request.request_no, rounds)

    def go_on(self, number: int, rounds: int = 12) -> Request:
        request = None
        for _ in range(rounds):
            self.let_time_pass()
            request = looking.look(self.harvester, number)
            if request.is_due(dt.datetime.now(dt.UTC)):
                request = ingesting.bring_in(self.harvester, number).request
            if not request.is_active or request.held:
                break
        assert request is not None
        return request

    def let_time_pass(self) -> None:
        with self.harvester.connect() as connection:
            connection.execute(
                "update platform.stream_request_parts set next_look_at = clock_timestamp() - interval '1 s'"
            )
            connection.execute(
                "update platform.stream_requests set next_ingest_at = clock_timestamp() - interval '1 s'"
            )

    def ingest(self, number: int) -> Progress:
        return ingesting.bring_in(self.harvester, number)

    def group(self, key: str) -> Group:
        return self.harvester.store(key).read()

    def times(self, key: str) -> np.ndarray:
        return np.asarray(arrays.array_of(self.group(key), "time")[:])

    def history(self, number: int) -> list[str]:
        with self.harvester.connect() as connection:
            return [f"{state}: {what}" for _, state, what in requests.history(connection, number)]


def every(seconds: float, count: int, start: int = START) -> np.ndarray:
    """Times at even steps."""
    return start + np.arange(count, dtype=np.int64) * int(seconds * timeaxis.SECOND)


def assert_is_truth(group: Group, times: np.ndarray, offset: float = 0.0) -> None:
    """The store holds these times, each once, and at each the values that the instrument measured then."""
    stored = np.asarray(arrays.array_of(group, "time")[:])
    np.testing.assert_array_equal(stored, np.unique(times))
    lengths = {name: array.shape[0] for name, array in group.arrays() if "time" in array.metadata.dimension_names}
    assert set(lengths.values()) == {len(stored)}, lengths
    for name in ("sea_water_temperature", "sea_water_practical_salinity"):
        np.testing.assert_array_equal(np.asarray(arrays.array_of(group, name)[:]), value(name, stored) + offset)
    np.testing.assert_array_equal(np.asarray(arrays.array_of(group, "pressure")[:]), counts("pressure", stored))


KEY = CTD.key


def platform_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harvest: Harvest) -> None:
    """A configuration of one stream, on the local OOINet."""
    config = tmp_path / "config"
    (config / "streams").mkdir(parents=True)
    for name in ("nodes.yaml", "pushes.yaml", "streams.yaml"):
        shutil.copyfile(PROJECT_ROOT / "config" / name, config / name)
    shutil.copyfile(PROJECT_ROOT / "config" / "streams" / f"{KEY}.yaml", config / "streams" / f"{KEY}.yaml")
    monkeypatch.setenv("OTN_CONFIG", str(config))
    monkeypatch.setenv("OOINET_URL", harvest.server.url)
    harvest.streams.update(configuration.load_streams().streams)
