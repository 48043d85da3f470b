"""The tracker's board with ten thousand items, and what it costs to find duplicates.

    uv run python -m benchmarks.tracker

Answers are timed at the server: the whole of the application, database included, without a network. The board is compared with
an empty page of the same service in the same run; finding duplicates with reading the file alone.
"""

import argparse
import datetime as dt
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import psycopg
from starlette.testclient import TestClient

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.live.configuration import Limits
from otn_dagster.telemetry.files.reading import read_export
from otn_dagster.tracker import items, people
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.receipt import prints
from otn_dagster.web.app import make_app
from otn_dagster.web.service import Service
from otn_dagster.web.site import visits as pages

STATES = ["received", "loading", "verified", "matched", "extracted", "published"]
PATHS = {
    "an empty page (sign-in)": "/tracker/sign-in",
    "the board, first page of 100": "/tracker",
    "the board, last page": "/tracker?page=100",
    "filtered by state and collection": "/tracker?state=verified&collection=P7",
    "one item": "/tracker/items/5000",
    "all as json": "/tracker?format=json",
    "all as csv": "/tracker?format=csv",
    "all as xlsx": "/tracker?format=xlsx",
}


def fill(settings, count: int) -> None:
    """Items in all states, with their histories, in a hundred collections."""
    actor = Actor.run("benchmark", "run")
    everything = dict.fromkeys(
        [
            "file",
            "run",
            "rows",
            "checks",
            "push",
            "snapshot",
            "detections",
            "certificate",
            "extracts",
            "summaries",
            "mails",
        ],
        "evidence",
    )
    with database.connect(settings) as connection:
        for number in range(count):
            code = f"P{number % 100}"
            item, _ = items.register(
                connection, "submission", f"s{number}", state="received", title=f"{code}_tags_{number}.xlsx", kind="tags",
                actor=actor, evidence=everything, node="OTN", collectioncode=code, owner=f"person{number % 100}@example.org",
                push_date=dt.date(2027, 2, 18), sha256=f"{number:064x}",
            )  # fmt: skip
            for state in STATES[1 : 1 + number % 6]:
                items.move(connection, item.item_id, state, actor, everything)
            if number % 10 == 0 and number % 6 != 5:
                items.hold(connection, item.item_id, "needs_researcher", actor, "a column is missing")


def measure(client: TestClient, path: str, rounds: int) -> tuple[float, int]:
    """(median of milliseconds, bytes) of an answer."""
    times, size = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        answer = client.get(path)
        times.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        size = len(answer.content)
    return statistics.median(times), size


def board(settings, count: int, rounds: int) -> None:
    """Print how long answers take."""
    fill(settings, count)
    with psycopg.connect(database.database_url(settings), autocommit=True) as connection:
        connection.execute("analyze")
    with database.connect(settings) as connection:
        token = people.invite(connection, "ada@example.org", "Ada", "analyst", [], "benchmark")
    with database.connect(settings) as connection:
        people.accept(connection, token, "a long password")
    with database.connect(settings) as connection:
        session = people.sign_in(connection, "ada@example.org", "a long password", 1)
    pages.STRANGERS = Limits(requests_per_second=10_000)
    with TestClient(make_app(Service(settings)), cookies={"otn_session": session}) as client:
        print(f"{count:,} items\n\n| answer | ms | of an empty page | KB |\n|---|---:|---:|---:|")
        empty = measure(client, "/tracker/sign-in", rounds)[0]
        for name, path in PATHS.items():
            took, size = measure(client, path, rounds if "all as" not in name else 3)
            print(f"| {name} | {took:,.0f} | {took / empty:,.1f} | {size / 1000:,.0f} |")


def duplicates(folder: Path, rows: int) -> None:
    """Print what a print costs beside reading alone."""
    path = folder / "export.csv"
    start = dt.datetime(2024, 1, 1)
    with path.open("w", encoding="utf-8") as out:
        out.write(
            "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit,Station Name\n"
        )
        for number in range(rows):
            out.write(f"{start + dt.timedelta(seconds=number)},VR2W-{number % 50},A69-1602-{number % 999},,,,,S\n")
    before = time.process_time()
    read_export(path, "detections", path.with_suffix(".parquet"), {})
    reading = time.process_time() - before
    before = time.process_time()
    assert prints.of_file(path, "detections")
    printing = time.process_time() - before
    print(
        f"\n{rows:,} detections: reading {reading:.2f} CPU s, print {printing:.2f} CPU s ({printing / reading:.1f} times)"
    )


def main() -> None:
    """Run both on a node of their own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=500_000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="otn-benchmark-"))
    folder.chmod(0o755)
    os.environ["OTN_DATA"] = str(folder / "data")
    (folder / "data").mkdir(mode=0o755)
    os.environ.pop("OTN_DATABASE_URL", None)
    settings = load_settings()
    server = EmbeddedServer(settings.data)
    server.start()
    try:
        board(settings, arguments.items, arguments.rounds)
        duplicates(folder, arguments.rows)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
