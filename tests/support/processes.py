"""Processes and clients of crash tests."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Self

from otn_dagster.config import PROJECT_ROOT

RECORDS_A_PUSH = 5


class ServiceProcess:
    """The service, started and killed."""

    def __init__(self, mode: str = "careful"):
        self.mode = mode
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.service_worker", self.mode],
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ.copy(),
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return self
            time.sleep(0.02)
        raise RuntimeError("the service did not start")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(how)
        return self.process.wait(60)


class Client(threading.Thread):
    """Pushes numbered batches, each until it is answered, and remembers what was acknowledged."""

    def __init__(self, service: ServiceProcess, token: str, author: str, dataset: str = "ctd"):
        super().__init__(daemon=True)
        self.service, self.token, self.author, self.dataset = service, token, author, dataset
        self.acknowledged: list[int] = []
        self.answers: dict[int, int] = {}
        self.finish = threading.Event()
        self.hurry = threading.Event()

    def run(self) -> None:
        number, connection = 0, None
        while not self.finish.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=20)
                status = self.send(connection, number)
                self.answers[status] = self.answers.get(status, 0) + 1
                if status == 200:
                    self.acknowledged.append(number)
                    number += 1
                else:
                    time.sleep(0.02)
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(random.uniform(0, 0.02))

    def send(self, connection: http.client.HTTPConnection, number: int) -> int:
        body = json.dumps(self.records(number))
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Idempotency-Key": f"n{number}",
            "Content-Type": "application/json",
        }
        connection.request("POST", f"/v1/datasets/{self.dataset}/records", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def records(self, number: int) -> list[dict[str, object]]:
        return [
            {"station_id": self.author, "time": "2026-01-01T00:00:00Z", "depth": number * RECORDS_A_PUSH + place}
            for place in range(RECORDS_A_PUSH)
        ]
