"""The body of a request: read within limits of size, time and memory, unpacked, its kind told.

Belongs here: bytes. Does not belong here: what they mean.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from otn_dagster.web.answers import Refused

SECONDS_TO_FIRST_BYTE = 10.0
SECONDS_FOR_A_BODY = 60.0
MOST_BYTES_IN_FLIGHT = 64_000_000
KINDS = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
}


class Budget:
    """How many bytes of bodies are held at once, over all requests, and how many of them for one sender."""

    def __init__(self, most: int = MOST_BYTES_IN_FLIGHT, share: float = 0.5):
        """``most`` bytes, of which one sender may have a share; beyond them requests are refused as busy."""
        self.most, self.share = most, int(most * share)
        self._held: dict[str, int] = {}

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return sum(self._held.values())

    def take(self, who: str, count: int) -> None:
        """Hold more bytes for a sender; raises Refused."""
        if self.held + count > self.most or self._held.get(who, 0) + count > self.share:
            raise Refused("busy")
        self._held[who] = self._held.get(who, 0) + count

    def give_back(self, who: str, count: int) -> None:
        """Hold them no longer."""
        left = self._held.get(who, 0) - count
        if left > 0:
            self._held[who] = left
        else:
            self._held.pop(who, None)


def kind_of(request: Request, lenient: bool = False) -> str:
    """``json`` or ``ndjson`` by the content type; raises Refused. ``lenient`` takes whatever curl sends by itself as JSON."""
    name = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if name in KINDS:
        return KINDS[name]
    if lenient:
        return "json"
    raise Refused(
        "unsupported_type", f"found Content-Type {name[:80]!r}, expected application/json or application/x-ndjson"
    )


@asynccontextmanager
async def body_of(request: Request, most: int, budget: Budget, who: str) -> AsyncIterator[bytes]:
    """The unpacked body, of at most ``most`` bytes, held for a sender as long as the block runs. Raises Refused."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise Refused("unsupported_type", f"found Content-Encoding {encoding[:40]!r}, expected gzip or none")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    unpacker = _Gzip(most) if "gzip" in encoding else None
    parts: list[bytes] = []
    size = held = came = 0
    try:
        async for block in _blocks(request):
            came += len(block)
            if came > most:
                raise _too_large(most)
            block = unpacker.add(block) if unpacker else block
            size += len(block)
            if size > most:
                raise _too_large(most)
            budget.take(who, len(block))
            held += len(block)
            parts.append(block)
        if unpacker:
            unpacker.finish()
        yield b"".join(parts) if len(parts) != 1 else parts[0]
    finally:
        budget.give_back(who, held)


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    end = time.monotonic() + SECONDS_FOR_A_BODY
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(min(SECONDS_TO_FIRST_BYTE, end - time.monotonic())):
                block = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused("too_slow") from None
        except ClientDisconnect:
            raise Refused("too_slow", "the client went away before its body was whole") from None
        if block:
            yield block


class _Gzip:
    """Gzip in pieces, of several members, never more than the limit at once."""

    def __init__(self, most: int):
        self.most, self.size = most, 0
        self.inner = zlib.decompressobj(31)
        self.begun = False

    def add(self, block: bytes) -> bytes:
        parts = []
        while block:
            if self.inner.eof:
                self.inner = zlib.decompressobj(31)
            try:
                part = self.inner.decompress(block, self.most - self.size + 1)
            except zlib.error as error:
                raise Refused("malformed_body", f"the body is not valid gzip: {error}") from None
            self.begun = True
            self.size += len(part)
            if self.size > self.most:
                raise _too_large(self.most)
            parts.append(part)
            block = self.inner.unconsumed_tail or self.inner.unused_data
        return b"".join(parts)

    def finish(self) -> None:
        if not self.begun or not self.inner.eof:
            raise Refused("malformed_body", "the gzip body is truncated")


def _too_large(most: int) -> Refused:
    return Refused("too_large", f"the body has more than {most:,} bytes; send it in several pushes")
