"""The demo's streams: two instruments on a local OOINet and a mooring whose files lie in a folder.

Belongs here: what the instruments have, what happens to them, and waiting for the sensors. Does not belong here: the server
(``ooinet.py``) and everything that the platform does.

First all three are new. Then OOINet has another hour, and rows that came late; and one stream is refreshed.
"""

import datetime as dt
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.demo.network import PROJECTS, SPRING
from otn_dagster.demo.ocean import Instrument, write_file
from otn_dagster.demo.ooinet import TOKEN, USER, FakeOOINet, Upstream
from otn_dagster.orchestration import headless
from otn_dagster.streams import configuration, timeaxis
from otn_dagster.streams.overview import overview
from otn_dagster.streams.store import StreamStore

CTD = Instrument("CE02SHBP-LJ01D-06-CTDBPN106", "streamed", "ctdbp_no_sample", "ctd", 44.6371, -124.306)
PCO2W = Instrument("CE04OSPS-SF01B-4F-PCO2WA102", "streamed", "pco2w_a_sami_data_record", "pco2w", 44.3741, -124.9564)
MOORING = Instrument(
    "HFXL-MOOR1-01-CTDMOOR01", "recovered", "ctd_hourly", "ctd", PROJECTS[0].latitude + 0.1, PROJECTS[0].longitude
)
HOUR = 3600 * timeaxis.SECOND
LONGEST_WAIT_SECONDS = 600


@dataclass
class Story:
    """The server, and what it will have later."""

    server: FakeOOINet
    later: dict[str, dict[int, np.ndarray]]


@contextmanager
def ooinet(now: dt.datetime) -> Iterator[Story]:
    """A local OOINet that every process started meanwhile takes for the real one."""
    end = timeaxis.micros(now.replace(minute=0, second=0, microsecond=0))
    ctd = np.arange(end - 30 * HOUR, end, timeaxis.SECOND, dtype=np.int64)
    pco2w = np.arange(end - 60 * 24 * HOUR, end, HOUR, dtype=np.int64)
    lost = (ctd >= end - 20 * HOUR) & (ctd < end - 17 * HOUR)
    first = (ctd < end - HOUR) & ~lost
    half = ctd < end - 24 * HOUR
    upstreams = [
        Upstream(CTD, {1: ctd[first & half], 2: ctd[first & ~half]}),
        Upstream(PCO2W, {1: pco2w[:-24]}),
    ]
    with FakeOOINet(upstreams) as server:
        server.faults.looks_until_ready = 2
        server.annotations[CTD.refdes] = [
            {"id": 1, "beginDT": int((now - dt.timedelta(hours=20)).timestamp() * 1000), "endDT": int((now - dt.timedelta(hours=17)).timestamp() * 1000),
             "annotation": "Node was without power; data were recovered later.", "exclusionFlag": False, "qcFlag": "not_available"}
        ]  # fmt: skip
        os.environ.update(OOINET_URL=server.url, OOI_USERNAME=USER, OOI_TOKEN=TOKEN)
        yield Story(server, {CTD.key: {1: ctd[half], 2: ctd[~half]}, PCO2W.key: {1: pco2w}})


def write_mooring(settings: Settings) -> None:
    """The mooring's files: one a month, a value an hour. Safe to repeat."""
    folder, start = settings.data / "incoming-streams" / MOORING.key, timeaxis.micros(SPRING.replace(tzinfo=dt.UTC))
    for month in range(19):
        times = start + np.arange(month * 30 * 24, (month + 1) * 30 * 24, dtype=np.int64) * HOUR
        write_file(folder, MOORING, 1, times)


def run(settings: Settings, console: Console, story: Story) -> None:
    """New streams, then an append with late data, then a refresh: asked for here, ingested by the sensors."""
    write_mooring(settings)
    with console.status("asking OOINet for two streams and looking into a folder"):
        headless.run_job("look_for_news")
    _wait(settings, console, "the sensors ingest three new streams")
    for key, deployments in story.later.items():
        story.server.streams[key].deployments = deployments
    with console.status("another hour, and rows that came late"):
        headless.run_job("look_for_news")
    _wait(settings, console, "the sensors append")
    with console.status("comparing with OOINet's own counts"):
        headless.run_job("find_gaps", CTD.key)
    _wait(settings, console, "the sensors put late rows in their place")
    with console.status("refreshing a stream"):
        headless.run_job("ask_stream", PCO2W.key, {"ops": {"stream_request": {"config": {"refresh": True}}}})
    _wait(settings, console, "the sensors build the refresh and switch to it")
    with console.status("catalog, annotations, gaps"):
        headless.run_job("describe_streams")
        headless.run_job("find_gaps", CTD.key)
    _say(settings, console)


def _wait(settings: Settings, console: Console, what: str) -> None:
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    with console.status(what):
        while time.monotonic() < end:
            with database.connect(settings) as connection:
                row = connection.execute(
                    "select count(*) filter (where state in ('requested', 'ready', 'ingested', 'checked') and held is null),"
                    " count(*) filter (where held is not null or state in ('failed', 'expired')) from platform.stream_requests"
                ).fetchone()
            assert row is not None
            if row[1]:
                raise RuntimeError(
                    f"{row[1]} request(s) failed or wait for a person; see `otn-dagster streams requests`"
                )
            if not row[0] and _no_run_is_under_way():
                return
            time.sleep(1)
    raise TimeoutError(f"{what}: not done in time; see {settings.data / 'dagster.log'}")


def _no_run_is_under_way() -> bool:
    unfinished, failed = headless.runs_under_way()
    if failed:
        raise RuntimeError(f"runs of {sorted(set(failed))} failed; the UI shows why")
    return not unfinished


def _say(settings: Settings, console: Console) -> None:
    streams = configuration.load_streams()
    for instrument in (CTD, PCO2W, MOORING):
        stands = overview(StreamStore(configuration.store_location(settings, streams, instrument.key)))
        assert stands is not None
        view = configuration.published_location(settings, streams, instrument.key)
        console.print(
            f"stream [bold]{instrument.key}[/]: {stands.rows:,} rows to {stands.last[:19]}, {stands.versions} version(s)"
        )
        console.print(f"  plain zarr: {view.url}")
