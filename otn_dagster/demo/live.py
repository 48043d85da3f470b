"""The demo's live datasets: a buoy that pushes records, and a table on a web server that is fetched when it changed.

Belongs here: their configuration, what they send, and waiting for the sensors. Does not belong here: the service and everything
that the platform does.
"""

import contextlib
import datetime as dt
import json
import math
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from otn_dagster import database
from otn_dagster.config import Settings, configuration_folder
from otn_dagster.live import apply, keys, registry, remote
from otn_dagster.live.configuration import load_live, read_dataset

BUOY, BOTTLES = "demo-buoy", "demo-bottles"
STATIONS = {"44258": 44.5, "44150": 42.5}
HOURS = 5 * 24
LONGEST_WAIT_SECONDS = 120


def _buoy() -> dict[str, Any]:
    return {
        "title": "Two buoys off Nova Scotia (simulated)",
        "key": ["station_id", "time"],
        "example": {
            "station_id": "44258",
            "time": "2026-11-20T12:00:00Z",
            "sea_water_temperature": 9.4,
            "wave_height": 1.2,
        },
        "read": "everyone",
        "silence": {"warn_minutes": 720, "fail_minutes": 1440, "per": ["author", "station_id"]},
    }


def _bottles(url: str) -> dict[str, Any]:
    return {
        "title": "Bottle samples of a partner (simulated)",
        "key": ["sample"],
        "fields": {"sample": "text", "time": "time", "depth": "number", "salinity": "number"},
        "read": "everyone",
        "source": {
            "url": f"{url}/bottles.csv",
            "schedules": ["0 8 * * MON", "30 14 * * WED"],
            "time_zone": "America/Halifax",
        },
    }


@contextmanager
def datasets(settings: Settings) -> Iterator[None]:
    """Both datasets configured, beside those of the node, in a copy of its configuration under the data root."""
    folder, at = settings.data / "demo" / "config", settings.data / "demo" / "partner"
    at.mkdir(parents=True, exist_ok=True)
    if configuration_folder().resolve() != folder.resolve():
        shutil.copytree(configuration_folder(), folder, dirs_exist_ok=True)
    rows = [f"B{n:03d},2026-11-{n % 19 + 1:02d}T10:00:00Z,{n * 5},{31 + n / 40:.2f}" for n in range(60)]
    (at / "bottles.csv").write_text("sample,time,depth,salinity\n" + "\n".join(rows) + "\n", encoding="utf-8")
    with _partner(at) as url:
        for name, written in ((BUOY, _buoy()), (BOTTLES, _bottles(url))):
            path = folder / "live" / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
            with database.connect(settings) as connection:
                registry.register(connection, read_dataset(path))
        os.environ["OTN_CONFIG"] = str(folder)
        os.environ.setdefault("OTN_LOOK_SECONDS", "5")  # somebody is watching
        yield


@contextmanager
def _partner(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, format: str, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(settings: Settings, console: Console, url: str) -> None:
    """The buoys push five days, an hour at a time, with a bad record among them; the partner's table is fetched."""
    with database.connect(settings) as connection:
        for key in keys.listed(connection, BUOY):
            keys.revoke(connection, key.kid)  # of a demo before this one
        _, token = keys.make(connection, BUOY, "buoy-controller", ["push", "read"], "the demo")
    with console.status("two buoys push five days of records"):
        refused = sum(_push(url, token, hour) for hour in range(HOURS))
    remote.look(settings, load_live().dataset(BOTTLES), seconds=60)
    with console.status("the sensor applies them"):
        _wait(settings)
    console.print(f"live: {HOURS} pushes of two buoys, {refused} refused; a partner's table was fetched. Read them at")
    console.print(
        f"  {url}/v1/datasets/{BUOY}/records?limit=3   (also format=csv, format=parquet, as_of=...)", soft_wrap=True
    )


def _push(url: str, token: str, hour: int) -> bool:
    """One hour of both buoys; a tenth of the way something is sent that is no number. True where it was refused."""
    at = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=HOURS - hour)
    records = [
        {
            "station_id": station,
            "time": at.isoformat(),
            "sea_water_temperature": round(8 + 2 * math.sin(hour / 20 + latitude), 3),
            "wave_height": "calm" if hour == HOURS // 10 else round(1 + 0.5 * math.cos(hour / 7 + latitude), 2),
        }
        for station, latitude in STATIONS.items()
    ]
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": at.isoformat(),
    }
    request = urllib.request.Request(f"{url}/v1/datasets/{BUOY}/records", json.dumps(records).encode(), headers)
    for _ in range(20):
        try:
            with urllib.request.urlopen(request, timeout=30):
                return False
        except urllib.error.HTTPError as error:
            if error.code == 422:
                return True
            if error.code not in (429, 503):
                raise
            time.sleep(float(error.headers["Retry-After"]))
    raise TimeoutError(f"the web service at {url} did not take a push")


def _wait(settings: Settings) -> None:
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while time.monotonic() < end:
        with database.connect(settings) as connection, contextlib.suppress(KeyError):
            behind = {*apply.behind(connection), *remote.waiting(connection)}
            if not behind & {BUOY, BOTTLES}:
                return
        time.sleep(1)
    raise TimeoutError(f"the sensor did not apply {BUOY} and {BOTTLES} in time; see {settings.data / 'dagster.log'}")
