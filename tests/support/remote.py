"""A web server whose table changes, fails and breaks off as it is told."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd

from tests.support.livenode import LiveNode

TABLE = pd.DataFrame(
    {
        "station_id": ["46088", "46088", "b"],
        "time": pd.to_datetime(["2026-01-01T00:00:00", "2026-01-01T01:00:00", "2026-01-01T00:00:00"], utc=True),
        "temperature": [14.2, 15.0, None],
        "depth": pd.array([3, None, 2**53 + 1], dtype="Int64"),
        "ok": pd.array([True, None, False], dtype="boolean"),
    }
)


class Remote(ThreadingHTTPServer):
    """A server of one file, which counts how often it sends it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.sent, self.validators, self.status, self.cut = b"", 0, True, 200, 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Remote

    def do_GET(self) -> None:
        at = self.server
        etag = f'"{hashlib.sha256(at.content).hexdigest()[:10]}"'
        if self.path.startswith("/secret") and self.headers.get("X-Key") != "s3cret":
            self.send_error(403)
            return
        if at.validators and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        at.sent += 1
        self.send_response(at.status)
        if at.validators:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(at.content)))
        self.end_headers()
        self.wfile.write(at.content[: len(at.content) - at.cut])

    def log_message(self, *_: Any) -> None:
        pass


def csv_of(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ").encode()


def configure(live: LiveNode, url: str, name: str = "bottles", **more: Any) -> None:
    source = {
        "url": url,
        "schedules": ["0 8 * * MON", "30 14 * * WED"],
        "time_zone": "America/Halifax",
        **more.pop("source", {}),
    }
    live.configure(name, source=source, **more)
