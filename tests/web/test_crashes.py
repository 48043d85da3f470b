"""What was acknowledged survives whatever is killed; what was not is kept once, however often it is sent."""

import random
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from otn_dagster import database
from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from tests.support.effort import times
from tests.support.livenode import LiveNode
from tests.support.processes import RECORDS_A_PUSH, Client, ServiceProcess

KILLS = times(10)
FIELDS = {"station_id": "text", "time": "time", "depth": "integer"}
LIMITS = {"requests_per_second": 100_000, "records_per_day": 10**9}

pytestmark = pytest.mark.end_to_end


def clients_of(live: LiveNode, service: ServiceProcess, count: int = 4) -> list[Client]:
    live.configure(key=["station_id", "depth"], fields=FIELDS, limits=LIMITS)
    return [Client(service, live.key(author=f"c{n}"), f"c{n}") for n in range(count)]


def end(clients: list[Client]) -> None:
    """Let every client be answered once more, so that none has anything under way; then stop them."""
    marks = {client: len(client.acknowledged) for client in clients}
    limit = time.monotonic() + 60
    while any(len(c.acknowledged) <= marks[c] for c in clients) and time.monotonic() < limit:
        time.sleep(0.01)
    for client in clients:
        client.finish.set()
    for client in clients:
        client.join(60)


def lost(live: LiveNode, clients: list[Client]) -> int:
    """Acknowledged pushes that are not in the log."""
    kept = {(author, key) for author, key in live.rows("select author, idempotency_key from platform.live_idempotency")}
    return sum((client.author, f"n{number}") not in kept for client in clients for number in client.acknowledged)


def assert_nothing_lost_or_doubled(live: LiveNode, clients: list[Client]) -> None:
    assert lost(live, clients) == 0
    assert live.log() == live.value("select count(*) from platform.live_idempotency")  # none twice
    live.apply()
    rows = live.rows("select station_id, depth from live_data.ctd")
    sent = {
        (c.author, n * RECORDS_A_PUSH + place)
        for c in clients
        for n in c.acknowledged
        for place in range(RECORDS_A_PUSH)
    }
    assert set(rows) >= sent and len(rows) == len(set(rows)) == live.log() * RECORDS_A_PUSH
    assert all(client.acknowledged for client in clients)


def kill_often(service: ServiceProcess, kills: int) -> None:
    for _ in range(kills):
        time.sleep(random.uniform(0.02, 0.25))
        service.stop()
        service.start()


def test_a_service_that_is_killed_loses_no_acknowledged_record(live: LiveNode):
    service = ServiceProcess()
    clients = clients_of(live, service)
    service.start()
    for client in clients:
        client.start()
    kill_often(service, KILLS)
    end(clients)
    service.stop()
    assert_nothing_lost_or_doubled(live, clients)


def test_a_service_that_answers_before_it_writes_is_seen_to_lose(live: LiveNode):
    service = ServiceProcess("careless")
    clients = clients_of(live, service, 8)
    service.start()
    for client in clients:
        client.start()
    for _ in range(10):
        kill_often(service, 1)
        if lost(live, clients):
            break
    end(clients)
    service.stop(signal.SIGTERM)
    assert lost(live, clients) > 0


def test_sigterm_finishes_what_is_under_way(live: LiveNode):
    service = ServiceProcess()
    clients = clients_of(live, service)
    service.start()
    for client in clients:
        client.start()
    for _ in range(3):
        time.sleep(0.3)
        assert service.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        service.start()
    end(clients)
    service.stop()
    assert_nothing_lost_or_doubled(live, clients)


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch, live: LiveNode):
    """A PostgreSQL that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="otn-killed-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder)
    server.start()
    database.migrate(server.url)
    monkeypatch.setenv("OTN_DATABASE_URL", server.url)
    live.settings = load_settings()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_postgresql_that_is_killed_loses_no_acknowledged_record(live: LiveNode, own_server: EmbeddedServer):
    service = ServiceProcess()
    clients = clients_of(live, service)
    service.start()
    for client in clients:
        client.start()
    for _ in range(5):
        time.sleep(random.uniform(0.2, 0.6))
        postmaster = psutil.Process(own_server.pid())
        for process in [postmaster, *postmaster.children(recursive=True)]:
            process.kill()
        time.sleep(0.2)
        own_server.start()
    end(clients)
    answered = {status for client in clients for status in client.answers}
    assert answered <= {200, 503}, answered
    service.stop()
    assert_nothing_lost_or_doubled(live, clients)


def test_many_writers_number_pushes_in_the_order_of_their_commits(live: LiveNode):
    """A reader that goes on from the last number that it saw misses nothing, whoever else writes."""
    from otn_dagster.live import log
    from tests.support.model import Driven

    driven = Driven(live)
    seen: list[int] = []
    stop = threading.Event()

    def write(author: str) -> None:
        for _ in range(60):
            push = driven.push_of("push", [{"k": author, "v": 1}])
            with live.connect() as connection:
                log.append(connection, [push])
                time.sleep(random.uniform(0, 0.004))  # a commit that takes its time

    def read() -> None:
        while True:
            last = stop.is_set()
            with live.connect() as connection:
                head = log.head(connection, driven.name)
                seen.extend(e.seq for e in log.read(connection, driven.name, seen[-1] if seen else 0, head))
            if last:
                return

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert len(seen) == len(set(seen)) == 240 and seen == sorted(seen)
