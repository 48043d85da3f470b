"""The web service with its durable log, against the same service without a store, and against one commit a request.

    uv run python -m benchmarks.live

Each server is a process of its own; one client process keeps 32 connections busy with requests that are ready beforehand. Rounds
of the servers follow each other in random order, and figures are medians of rounds. CPU a record is that of the service, and
beside it of PostgreSQL's processes. The service without a store checks everything and keeps nothing; the one with a commit a
request has the same writer with groups of one. What was acknowledged is counted in the log before anything is printed.
"""

import argparse
import asyncio
import datetime as dt
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

from otn_dagster import database
from otn_dagster.config import PROJECT_ROOT, load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.live import keys, registry
from otn_dagster.live.configuration import write_dataset
from otn_dagster.live.log import Logged, Push
from otn_dagster.web.api import writer as writers
from otn_dagster.web.api.writer import Writer

CONNECTIONS = 32
SIZES = (1, 100, 1000)
EXAMPLE = {
    "station_id": "46088",
    "time": "2026-01-01T00:00:00Z",
    "air_temperature": 14.25,
    "sea_water_temperature": 9.125,
    "wave_height": 1.5,
    "wind_speed": 7.75,
    "battery": 3612,
    "ok": True,
}


class Nothing(Writer):
    """Keeps nothing."""

    async def append(self, push: Push) -> Logged:
        """Answer as if it were kept."""
        return Logged(1, dt.datetime.now(dt.UTC))


def serve(mode: str) -> None:
    """A server of one kind; prints its port."""
    from otn_dagster.web import run
    from otn_dagster.web.service import Service

    if mode == "alone":
        writers.MOST_IN_GROUP = 1
    listening = run.listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    settings = load_settings()
    run.serve(settings, listening, Service(settings, Nothing if mode == "nothing" else Writer))


def bodies(size: int, count: int) -> list[bytes]:
    """Pushes of so many records, whose values differ as those of instruments do."""
    generator = random.Random(size)
    made = []
    for number in range(count):
        at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=number * size)
        records = [
            {
                **EXAMPLE,
                "station_id": f"4{generator.randrange(4):04d}",
                "time": (at + dt.timedelta(seconds=place)).isoformat().replace("+00:00", "Z"),
                "air_temperature": round(generator.gauss(14, 3), 2),
                "sea_water_temperature": round(9 + math.sin(number), 3),
                "wave_height": round(generator.expovariate(1), 2),
                "wind_speed": round(abs(generator.gauss(7, 3)), 2),
                "battery": generator.randrange(3400, 3700),
            }
            for place in range(size)
        ]
        made.append(json.dumps(records[0] if size == 1 else records).encode())
    return made


async def _busy(port: int, requests: list[bytes], end: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.monotonic() < end:
        writer.write(requests[done % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode() + (await reader.read(500)).decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        done += 1
    writer.close()
    return done


async def _load(port: int, requests: list[bytes], seconds: float) -> int:
    end = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_busy(port, requests[n:] + requests[:n], end) for n in range(CONNECTIONS))))


def client(port: int, size: int, seconds: float, token: str) -> None:
    """Keep a server busy; print how many requests were answered, in how many seconds."""
    head = (
        "POST /v1/datasets/bench/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: "
    )
    requests = [head.encode() + b"%d\r\n\r\n" % len(body) + body for body in bodies(size, 64)]
    start = time.monotonic()
    done = asyncio.run(_load(port, requests, seconds))
    print(done, time.monotonic() - start)


def cpu_of(processes: list[psutil.Process]) -> float:
    """CPU seconds of processes."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="otn-bench-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder)
    server.start()
    try:
        measure(server, folder, arguments.seconds, arguments.rounds)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def start(mode: str) -> subprocess.Popen:
    """A server as a process of its own."""
    command = [sys.executable, "-m", "benchmarks.live", "serve", mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def measure(server: EmbeddedServer, folder: Path, seconds: float, rounds: int) -> None:
    """All servers, all sizes, in rounds."""
    os.environ |= {
        "OTN_DATA": str(folder / "data"),
        "OTN_DATABASE_URL": server.url,
        "OTN_CONFIG": str(folder / "config"),
    }
    shutil.copytree(PROJECT_ROOT / "config", folder / "config", ignore=shutil.ignore_patterns("live"))
    path = write_dataset("bench", json.dumps(EXAMPLE), ["station_id", "time"])
    path.write_text(
        path.read_text()
        + "limits: {requests_per_second: 1000000, records_per_day: 1000000000000, mb_per_day: 1000000000}\n"
    )
    settings = load_settings()
    from otn_dagster.live.configuration import read_dataset

    with database.connect(settings) as connection:
        registry.register(connection, read_dataset(path))
        token = keys.make(connection, "bench", "bench", ["push"], "bench")[1]
    modes = ("nothing", "durable", "alone")
    services = {mode: start(mode) for mode in modes}
    ports = {mode: int(process.stdout.readline()) for mode, process in services.items() if process.stdout}
    time.sleep(4)
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    acknowledged = 0
    try:
        for number in range(rounds + 1):
            for size in SIZES:
                for mode in random.sample(modes, len(modes)):
                    done, figures = one(server, services[mode], ports[mode], size, seconds, token)
                    acknowledged += done if mode != "nothing" else 0
                    if number:  # the first round only warms up
                        found.setdefault((mode, size), []).append(figures)
    finally:
        for process in services.values():
            process.terminate()
            process.wait()
    with psycopg.connect(server.url) as connection:
        kept = connection.execute("select count(*) from platform.live_log").fetchone()[0]  # type: ignore[index]
    assert kept == acknowledged, (kept, acknowledged)
    report({case: tuple(map(statistics.median, zip(*rows, strict=True))) for case, rows in found.items()}, acknowledged)


def one(
    server: EmbeddedServer, service: subprocess.Popen, port: int, size: int, seconds: float, token: str
) -> tuple[int, tuple[float, float, float]]:
    """Requests answered; (records a second, CPU µs a record of the service, of PostgreSQL)."""
    postgres = psutil.Process(server.pid())
    before = cpu_of([psutil.Process(service.pid)]), cpu_of([postgres, *postgres.children(recursive=True)])
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.live", "client", str(port), str(size), str(seconds), token],
        capture_output=True,
        text=True,
        check=True,
    )
    done, lasted = run.stdout.split()
    after = cpu_of([psutil.Process(service.pid)]), cpu_of([postgres, *postgres.children(recursive=True)])
    records = int(done) * size
    return int(done), (records / float(lasted), *(1e6 * (b - a) / records for a, b in zip(before, after, strict=True)))


def report(found: dict[tuple[str, int], tuple[float, ...]], acknowledged: int) -> None:
    """The table."""
    print(f"{acknowledged:,} pushes were acknowledged as durable, and are in the log")
    print(
        "| records a push | server | records/s, of no store | records/s | CPU µs a record | PostgreSQL, CPU µs a record |"
    )
    print("|---|---|---|---|---|---|")
    names = {"nothing": "no store", "durable": "**durable, groups**", "alone": "durable, one commit a push"}
    for size in SIZES:
        for mode, name in names.items():
            rate, cpu, postgres = found[mode, size]
            print(
                f"| {size:,} | {name} | {rate / found['nothing', size][0]:.2f} | {rate:,.0f} | {cpu:.2f} | {postgres:.2f} |"
            )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", mode]:
            serve(mode)
        case ["client", port, size, seconds, token]:
            client(int(port), int(size), float(seconds), token)
        case _:
            main()
