"""HTTP as uvicorn speaks it, with bounds on what comes before a body: its size, and how long it may take.

Belongs here: connections. Does not belong here: bodies (``bodies.py``).

uvicorn's fast protocol has no such bounds: one connection could send headers without end, or say nothing for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 65_536
SECONDS_FOR_A_HEAD = 15.0


class Bounded(HttpToolsProtocol):
    """Closes connections whose request line and headers are too long, or do not come."""

    _alarm: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """The first head is waited for from here on."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What comes while a head is not complete counts."""
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self.transport.close()
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Another head begins."""
        self._in_head, self._head_bytes = True, 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete; the body has its own bounds."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._stop_waiting()
        self._alarm = self.loop.call_later(SECONDS_FOR_A_HEAD, self._too_late)

    def _stop_waiting(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _too_late(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
