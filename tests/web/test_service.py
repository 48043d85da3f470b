"""The service under bad conditions, through a real socket: slow clients, too much at once, a full disk, no database."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from otn_dagster.live.log import Logged, Push
from otn_dagster.web import protocol, run
from otn_dagster.web.api import bodies
from otn_dagster.web.api.writer import Writer
from otn_dagster.web.app import make_app
from otn_dagster.web.service import Service
from tests.support.livenode import LiveNode, record


class Running:
    """The service on a real socket, in a thread of this process."""

    def __init__(self, live: LiveNode, **options: Any):
        self.service = Service(live.settings, **options)
        self.listening = run.listen("127.0.0.1", 0)
        self.port = self.listening.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(make_app(self.service), log_level="warning", access_log=False, http=protocol.Bounded)
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)

    def __enter__(self) -> "Running":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)

    def push(self, token: str, records: Any, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
        connection.request("POST", "/v1/datasets/ctd/records", json.dumps(records), given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.headers.items()}


def test_a_slow_client_is_told_so_and_holds_nobody_up(live: LiveNode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "SECONDS_TO_FIRST_BYTE", 0.5)
    monkeypatch.setattr(bodies, "SECONDS_FOR_A_BODY", 1.0)
    live.configure()
    token = live.key()
    with Running(live) as running:
        head = (
            f"POST /v1/datasets/ctd/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n["
        ).encode()
        silent, dripping = (socket.create_connection(("127.0.0.1", running.port)) for _ in range(2))
        silent.sendall(head)
        dripping.sendall(head)
        for _ in range(20):
            with contextlib.suppress(OSError):
                dripping.sendall(b" ")
            assert running.push(token, [record()], **{"Idempotency-Key": "one"})[0] in (200, 429)
            time.sleep(0.1)
        for one in (silent, dripping):
            one.settimeout(10)
            answer = one.recv(10_000).decode()
            assert answer.startswith("HTTP/1.1 408") and '"code":"too_slow"' in answer
        assert running.service.budget.held == 0
    assert live.log() == 1


class Held(Writer):
    """A disk that is slow until it is let go."""

    go = threading.Event()

    def _flush(self, pushes: list[Push], refusals: list[Any]) -> list[Logged | Exception]:
        self.go.wait(30)
        return super()._flush(pushes, refusals)


def test_beyond_its_memory_the_service_says_busy_and_then_goes_on(live: LiveNode):
    live.configure(limits={"requests_per_second": 1000})
    token = live.key()
    Held.go.clear()
    answers: list[tuple[int, dict[str, Any], dict[str, str]]] = []
    with Running(live, make_writer=lambda connect: Held(connect, most_pending_bytes=5_000)) as running:
        threads = [
            threading.Thread(target=lambda n=n: answers.append(running.push(token, [record(hour=n)])))
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        while len(answers) < 7:
            time.sleep(0.01)
        assert {(status, body["code"], headers["retry-after"]) for status, body, headers in answers} == {
            (503, "busy", "1")
        }
        Held.go.set()
        for thread in threads:
            thread.join()
        assert running.push(token, [record(hour=20)])[0] == 200
    taken = sum(status == 200 for status, _, _ in answers)
    assert 0 < taken < 12 and live.log() == taken + 1


def test_a_group_with_one_bad_push_keeps_the_others(live: LiveNode):
    """Whatever PostgreSQL refuses of one push fails that push alone."""
    live.configure()

    async def push_all() -> list[Any]:
        import psycopg

        from otn_dagster import database

        writer = Writer(lambda: psycopg.connect(database.database_url(live.settings)))
        good = {"dataset": "ctd", "author": "a", "kid": None, "op": "push", "records": 1, "body_kind": "json"}
        pushes = [
            Push(**good, schema_version=2**40 if n == 3 else 1, body_sha256=b"x", body=b"x", idempotency_key=str(n))
            for n in range(6)
        ]
        done = await asyncio.gather(*(writer.append(push) for push in pushes), return_exceptions=True)
        await writer.drain()
        return done

    done = asyncio.run(push_all())
    assert [isinstance(one, Logged) for one in done] == [True, True, True, False, True, True]
    assert live.log() == 5


@pytest.fixture
def small_disk():
    """A file system of some megabytes."""
    folder = Path(tempfile.mkdtemp(prefix="otn-small-"))
    folder.chmod(0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "small", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_of_the_database(live: LiveNode, small_disk: Path, server: Any):
    """The table's disk is full: what is answered says so, and nothing of it is kept."""
    space = small_disk / "space"
    space.mkdir(mode=0o700)
    if server.user:
        shutil.chown(space, server.user)
    small_disk.chmod(0o755)
    import psycopg

    from otn_dagster import database

    name = f"small_{os.getpid()}"
    with psycopg.connect(database.database_url(live.settings), autocommit=True) as connection:
        connection.execute(f"create tablespace {name} location '{space}'")
        connection.execute(f"alter table platform.live_log set tablespace {name}")
    live.configure(limits={"requests_per_second": 1000, "body_mb": 10})
    token = live.key()
    statuses = []
    with Running(live) as running:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 39_000_000)
        with contextlib.suppress(OSError), ballast.open("ab") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        for number in range(60):
            status, body, headers = running.push(token, [{**record(), "station_id": os.urandom(300_000).hex()}])
            statuses.append(status)
            if status != 200:
                assert (status, body["code"], headers["retry-after"]) == (503, "storage_full", "60"), number
                break
        kept = live.log()
        assert statuses[-1] == 503 and kept == statuses.count(200)
        ballast.unlink()
        assert running.push(token, [record(hour=1)])[0] == 200
    assert live.log() == kept + 1
    with psycopg.connect(database.database_url(live.settings), autocommit=True) as connection:
        connection.execute("alter table platform.live_log set tablespace pg_default")
        connection.execute(f"drop tablespace {name}")


def test_a_full_disk_of_files(live: LiveNode, small_disk: Path, monkeypatch: pytest.MonkeyPatch):
    import base64

    fields = {"k": "text", "photo": {"type": "file", "most_mb": 60}}
    live.configure(key=["k"], fields=fields, limits={"body_mb": 30})
    token = live.key()
    (small_disk / "ballast").write_bytes(bytes(25_000_000))
    settings = live.settings.model_copy(update={"data": small_disk})
    monkeypatch.setattr(live, "settings", settings)
    content = base64.b64encode(os.urandom(20_000_000)).decode()
    with Running(live) as running:
        item = {"k": "a", "photo": {"content": content, "content-type": "application/octet-stream"}}
        status, body, _ = running.push(token, [item])
    assert (status, body["code"]) == (503, "storage_full") and live.log() == 0
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["ballast"]


def test_without_its_database_the_service_says_so(live: LiveNode):
    live.configure()
    token = live.key()
    with Running(live) as running:
        assert running.push(token, [record()])[0] == 200
        running.service.doors.pushers.close()
        running.service.keys.forget()
        status, body, headers = running.push(token, [record()])
        assert (status, body["code"], headers["retry-after"]) == (503, "unavailable", "2")
        connection = http.client.HTTPConnection("127.0.0.1", running.port)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 503


def test_loopback_is_the_default():
    import inspect

    from otn_dagster.cli import main

    assert inspect.signature(main.serve).parameters["host"].default == "127.0.0.1"


def raw(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes, and read until the server closes; what it said."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(20)
        said = b""
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while block := connection.recv(65_536):
                said += block
        return said


class Bounds:
    @pytest.fixture
    def running(self, live: LiveNode, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(protocol, "SECONDS_FOR_A_HEAD", 0.7)
        live.configure(limits={"requests_per_second": 1000}, erddap={"enabled": True}, read="everyone")
        with Running(live) as running:
            yield running


class TestStrangers(Bounds):
    def test_headers_without_end_are_cut_off(self, running: Running, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(protocol, "SECONDS_FOR_A_HEAD", 60)
        start = time.monotonic()
        said = raw(running.port, b"GET /healthz HTTP/1.1\r\n", *[b"x: " + b"y" * 60_000 + b"\r\n"] * 100)
        assert said == b"" and time.monotonic() - start < 10

    def test_who_says_nothing_or_half_a_head_is_cut_off(self, running: Running):
        for parts in ([], [b"GET /healthz HTTP/1.1\r\nHost: x"]):
            start = time.monotonic()
            assert raw(running.port, *parts) == b"" and time.monotonic() - start < 5

    def test_bodies_of_strangers_never_fill_the_memory_of_pushers(self, running: Running, live: LiveNode):
        head = b"POST /erddap/tabledap/ctd.insert HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        open_ones = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(54)]
        for number, one in enumerate(open_ones):
            size = 4_900_000 if number < 14 else 250_000
            with contextlib.suppress(OSError):
                one.sendall(head % size + b"x" * (size - 1000))
        time.sleep(1)  # until what was sent is read
        assert running.push(live.key(), [{**record(), "station_id": "x" * 900_000}])[0] == 200
        for one in open_ones:
            one.close()

    def test_readers_never_keep_pushers_waiting(self, running: Running, live: LiveNode):
        tokens = [live.key(author=f"p{n}") for n in range(11)]
        assert running.push(tokens[10], [record(hour=h) for h in range(10)])[0] == 200
        live.apply()
        with live.connect() as connection:
            connection.execute("lock table live_store.ctd in access exclusive mode")  # every reader waits
            readers = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(20)]
            for one in readers:
                one.sendall(b"GET /v1/datasets/ctd/records?format=csv HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.3)
            for hour in range(10):
                assert running.push(tokens[hour], [record(hour=hour)])[0] == 200
        for one in readers:
            one.settimeout(20)
            assert one.recv(100).startswith(b"HTTP/1.1 200")
            one.close()

    def test_numbers_of_many_digits_are_answered_at_once(self, running: Running, live: LiveNode):
        token = live.key(author="a")
        start = time.monotonic()
        query = f"station_id=1&time=2026-01-01&temperature={'1' * 60_000}x&author=a_{token}"
        said = raw(
            running.port,
            f"GET /erddap/tabledap/ctd.insert?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
        )
        assert b"expected a number" in said and time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/datasets/ctd/records?limit={'9' * 5000}", 400),
        (f"/v1/datasets/ctd/pushes/{'9' * 5000}", 404),
        ("/v1/datasets/ctd/pushes/x", 404),
        ("/v1/datasets/ctd/records?cursor=WzEsIngiLG51bGxd", 400),
        ("/v1/datasets/ctd/records?cursor=" + "W1tb" * 500, 400),
    ],
)
def test_odd_questions_are_answered_in_json(live: LiveNode, path: str, status: int):
    live.configure()
    with live.serve() as api:
        api.push([record()], token=live.key())
        live.apply()
        answer = api.client.get(path, headers={"Authorization": f"Bearer {api.token}"})
    assert answer.status_code == status and answer.json()["status"] == "error"
