"""Loading many files, from the folder to the upper tables: headless, by the sensors, and at rest.

    uv run python -m benchmarks.loading --files 1000 --rows 10000000

A network of projects with receivers and tags is loaded first and not counted. Then all files of detections lie in ``incoming/``; counted is
what it takes until every one is loaded: CPU of all processes (PostgreSQL, Dagster's servers and runs) and wall time. The measure beside it is
``COPY`` of the same rows, typed already, into a plain table for each project: what the database takes for the bytes alone. With ``--rest M``
the servers of ``otn-dagster up`` then have nothing to do for M minutes, and their CPU is taken. Every detection is counted in the database
before anything is printed.
"""

import argparse
import datetime as dt
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil
import psycopg
from psycopg import sql

from benchmarks.measuring import tree_cpu
from otn_dagster import transfer
from otn_dagster.config import PROJECT_ROOT
from otn_dagster.demo.files import DEPLOYMENT_HEADER, project_form, sheet_csv
from otn_dagster.demo.formats import Heard, vue
from otn_dagster.demo.network import PROJECTS, Project
from otn_dagster.embedded import EmbeddedServer

RECEIVERS = 25  # of a project
START = dt.datetime(2022, 1, 13)


@dataclass(frozen=True)
class Place:
    """A node of its own: its folder, its database, its environment."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.data)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "OTN_HOME": str(self.home), "OTN_DATA": str(self.data), "PYTHONPATH": str(PROJECT_ROOT)}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "otn_dagster.cli", *words]

    def cpu(self) -> float:
        """CPU seconds of the database server until now."""
        pid = self.server.pid()
        return tree_cpu(psutil.Process(pid)) if pid else 0.0

    def loaded(self) -> tuple[int, int]:
        """(files of detections that are loaded, their rows)."""
        with psycopg.connect(self.server.url) as connection:
            row = connection.execute(
                "select count(*), coalesce(sum(loaded_rows), 0)::bigint from platform.submissions where kind = 'detections' and state = 'loaded'"
            ).fetchone()
        assert row is not None
        return row


def make_place(home: Path, projects: int) -> Place:
    """A node with projects and their receivers, loaded."""
    for name in ("config", "dagster.yaml", "workspace.yaml"):
        source = PROJECT_ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, home / name)
    shutil.rmtree(home / "config" / "live", ignore_errors=True)
    place = Place(home)
    place.server.start()  # so that no command stops it
    for number in range(projects):
        code, incoming = f"P{number:03d}", place.data / "incoming" / "OTN" / f"P{number:03d}"
        form = Project("OTN", code, "data", f"Project {code}", "Halifax, NS", 44.2, -63.4, PROJECTS[1].species)
        put(incoming / "project" / f"{code}.txt", project_form(form))
        put(incoming / "deployments" / f"{code}.csv", deployments(number))
    done = subprocess.run(place.command("load"), env=place.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the network was not loaded:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return place


def put(path: Path, content: bytes) -> None:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def serial(project: int, number: int) -> str:
    """Of a receiver of a project."""
    return str(100_000 + project * RECEIVERS + number)


def deployments(project: int) -> bytes:
    """The sheet of a project's receivers, each in the water all the time."""
    rows = []
    for number in range(RECEIVERS):
        cells = {
            "OTN_ARRAY": f"P{project:03d}",
            "STATION_NO": str(number),
            "DEPLOY_DATE_TIME": "2021-06-01T00:00:00",
            "DEPLOY_LAT": 44.2,
            "DEPLOY_LONG": -63.4,
            "INS_MODEL_NO": "VR2W",
            "INS_SERIAL_NO": serial(project, number),
            "RECOVERED": "n",
        }
        rows.append([next((v for k, v in cells.items() if name.startswith(k)), None) for name in DEPLOYMENT_HEADER])
    return sheet_csv(DEPLOYMENT_HEADER, rows)


def heard(project: int, number: int, file: int, rows: int) -> list[Heard]:
    """Detections of one receiver, as one offload brings them."""
    draw = random.Random(file)
    at = START + dt.timedelta(days=file % 300)
    return [
        Heard(
            at + dt.timedelta(seconds=37 * i),
            "VR2W",
            serial(project, number),
            f"A69-1602-{4_000 + draw.randrange(500)}",
            None,
        )
        for i in range(rows)
    ]


def drop(place: Place, projects: int, files: int, rows: int) -> int:
    """All files of detections, whole at once; their bytes."""
    size = 0
    for file in range(files):
        project, number = file % projects, (file // projects) % RECEIVERS
        content = vue(heard(project, number, file, rows))
        put(place.data / "incoming" / "OTN" / f"P{project:03d}" / "detections" / f"f{file:05d}.csv", content)
        size += len(content)
    return size


@dataclass(frozen=True)
class Spent:
    """What something took."""

    cpu: float
    database: float
    wall: float

    def row(self, name: str, files: int) -> str:
        both = self.cpu + self.database
        return f"| {name} | {both:.1f} | {both / files:.3f} | {self.database / files:.3f} | {self.wall:.0f} | {60 * files / self.wall:.0f} |"


def headless(place: Place) -> Spent:
    """``otn-dagster load``."""
    before, clock = place.cpu(), time.perf_counter()
    process = psutil.Popen(
        place.command("load"), env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - clock
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # what was loaded is counted by whoever asks
        raise SystemExit(f"`otn-dagster load` ended with {os.waitstatus_to_exitcode(status)}")
    return Spent(usage.ru_utime + usage.ru_stime, place.cpu() - before, wall)


def by_sensors(place: Place, files: int, rest_minutes: float, seconds: float) -> tuple[Spent, Spent | None]:
    """``otn-dagster up``: from its start until all is loaded, less what the start takes; then at rest."""
    log = (place.home / "up.log").open("w")
    incoming, aside = place.data / "incoming", place.home / "aside"
    incoming.rename(aside)
    incoming.mkdir()
    words = place.command("up", "--port", str(free_port()), "--web-port", str(free_port()))
    up = psutil.Popen(words, env=place.environment, stdout=log, stderr=subprocess.STDOUT, cwd=place.home)
    try:
        time.sleep(60)  # servers have started
        servers, database, clock = tree_cpu(up), place.cpu(), time.perf_counter()
        incoming.rmdir()
        aside.rename(incoming)
        while place.loaded()[0] < files and time.perf_counter() - clock < seconds:
            time.sleep(2)
        loaded = Spent(tree_cpu(up) - servers, place.cpu() - database, time.perf_counter() - clock)
        rest = None
        if rest_minutes:
            time.sleep(90)  # the last run ends
            servers, database, clock = tree_cpu(up), place.cpu(), time.perf_counter()
            time.sleep(60 * rest_minutes)
            rest = Spent(tree_cpu(up) - servers, place.cpu() - database, time.perf_counter() - clock)
        return loaded, rest
    finally:
        up.send_signal(signal.SIGINT)
        with suppress(psutil.TimeoutExpired):
            up.wait(60)
        log.close()


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def copied(place: Place, projects: int, files: int, rows: int) -> Spent:
    """The same rows by ``COPY``, a transaction a file, into a plain table for each project."""
    frames = []
    for file in range(files):
        some = heard(file % projects, (file // projects) % RECEIVERS, file, rows)
        frames.append(
            pl.DataFrame(
                {
                    "datetime": [one.at for one in some],
                    "receiver": [one.serial for one in some],
                    "transmitter": [one.transmitter for one in some],
                    "sensor_value": [one.sensor for one in some],
                },
                schema_overrides={"sensor_value": pl.Float64},
            )
        )
    with psycopg.connect(place.server.url, autocommit=True) as connection:
        for project in range(projects):
            name = sql.Identifier(f"plain_{project}")
            columns = sql.SQL("(datetime timestamp, receiver text, transmitter text, sensor_value float8)")
            connection.execute(sql.SQL("create table {} {}").format(name, columns))
        database, mine, clock = place.cpu(), time.process_time(), time.perf_counter()
        for file, frame in enumerate(frames):
            with connection.transaction():
                transfer.copy_in(connection, sql.Identifier(f"plain_{file % projects}"), frame)
        return Spent(time.process_time() - mine, place.cpu() - database, time.perf_counter() - clock)


def main() -> None:
    """Make, load, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of all files together")
    parser.add_argument("--projects", type=int, default=20)
    parser.add_argument("--rest", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--how", choices=["headless", "sensors", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=3_600, help="give up after so long")
    arguments = parser.parse_args()
    files, rows = arguments.files, arguments.rows // arguments.files
    ways = ["headless", "sensors"] if arguments.how == "both" else [arguments.how]
    print(f"{files:,} files of {rows:,} detections, {arguments.projects} projects\n")
    print("| | CPU s | a file | of it PostgreSQL | wall s | files a minute |\n|---|---:|---:|---:|---:|---:|")
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="otn-loading-") as folder:
            Path(folder).chmod(0o755)
            place = make_place(Path(folder), arguments.projects)
            try:
                drop(place, arguments.projects, files, rows)
                rest = None
                if way == "headless":
                    spent = headless(place)
                else:
                    spent, rest = by_sensors(place, files, arguments.rest, arguments.seconds)
                found = place.loaded()
                print(
                    spent.row(way, files) + ("" if found == (files, files * rows) else f" **loaded {found}**"),
                    flush=True,
                )
                if rest:
                    share = 100 * (rest.cpu + rest.database) / rest.wall
                    print(
                        f"\nat rest for {rest.wall / 60:.0f} minutes: {share:.1f} % of a core ({100 * rest.database / rest.wall:.1f} PostgreSQL)"
                    )
                if way == ways[-1]:
                    print(copied(place, arguments.projects, files, rows).row("COPY of the same rows", files))
            finally:
                place.server.stop()


if __name__ == "__main__":
    main()
