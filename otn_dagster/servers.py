"""The servers that a command needs: Dagster's own as child processes, and the embedded database while it is in use.

Belongs here: starting, waiting for and stopping them. Does not belong here: what they run.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from otn_dagster.config import Settings, home
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Explained


def end_with_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that a supervisor's stop takes the children along, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


class ChildServer:
    """A server on loopback in a process group of its own, stopped by its process id."""

    name = ""
    answers_at = ""

    def __init__(self, port: int, log: Path | None = None):
        """Output goes to ``log``, or to this process's own where none is given."""
        self.url = f"http://127.0.0.1:{port}"
        self._port, self._log = port, log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start."""
        output = self._log.open("ab") if self._log else None
        # A session of its own: Ctrl-C reaches this process, which then stops the children in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self.command()],
            cwd=home(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop with SIGINT as a person would; whatever is left of the group after 30 seconds is killed."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait_until_ready(self, seconds: float = 180) -> None:
        """Return when it answers; raises where it ended or does not come up."""
        assert self._process is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise Explained(
                    f"{self.name} ended with {self._process.returncode}" + (f"; see {self._log}" if self._log else "")
                )
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if urllib.request.urlopen(f"{self.url}{self.answers_at}", timeout=5).status == 200:
                    return
            time.sleep(0.5)
        raise Explained(f"{self.name} did not answer at {self.url}")

    def wait(self) -> None:
        """Wait until it ends or the person presses Ctrl-C."""
        assert self._process is not None
        with contextlib.suppress(KeyboardInterrupt):
            self._process.wait()


class Dagster(ChildServer):
    """``dagster dev``: the webserver and the daemon."""

    name, answers_at = "dagster dev", "/server_info"

    def command(self) -> list[str]:
        """What is run."""
        return ["dagster", "dev", "-h", "127.0.0.1", "-p", str(self._port), "-w", "workspace.yaml"]


class WebService(ChildServer):
    """``otn-dagster serve``: records are pushed to it and read from it."""

    name, answers_at = "the web service", "/readyz"

    def command(self) -> list[str]:
        """What is run."""
        return ["otn_dagster.cli", "serve", "--port", str(self._port)]


class server_of:
    """The embedded database, if none is configured: started if it is not running, and stopped again by who started it."""

    def __init__(self, settings: Settings):
        self.server = None if settings.database_url else EmbeddedServer(settings.data)
        self.mine = False

    def __enter__(self) -> None:
        """Start."""
        self.mine = bool(self.server and self.server.start())

    def __exit__(self, *_: object) -> None:
        """Stop what was started here."""
        if self.server and self.mine:
            self.server.stop()
