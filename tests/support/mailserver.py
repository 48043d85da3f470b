"""A real SMTP server for tests: keeps what it takes, and misbehaves when told to."""

import asyncio
import email
import random
import threading
from email.message import Message
from types import TracebackType

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Inbox:
    """What a server took, in order; ``misbehave`` may answer in its place or drop the link."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.lock = threading.Lock()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        answer = await self.misbehave(server)
        if answer and answer.startswith("4"):
            return answer
        with self.lock:
            self.messages.append(email.message_from_bytes(content))
        if answer == "drop":
            assert server.transport
            server.transport.abort()
            await asyncio.sleep(0.01)
        return "250 taken"

    async def misbehave(self, server: SMTP) -> str | None:
        return None

    def ids(self) -> list[str]:
        """Message-IDs of all that was taken."""
        with self.lock:
            return [str(message["Message-ID"]) for message in self.messages]

    def to(self, address: str) -> list[Message]:
        """Messages to an address."""
        with self.lock:
            return [message for message in self.messages if address in str(message["To"])]


class Moody(Inbox):
    """Refuses for now, or takes a message and drops the link before it says so; sometimes slowly."""

    def __init__(self, refuses: float, drops: float, seed: int = 1) -> None:
        super().__init__()
        self.refuses, self.drops, self.random = refuses, drops, random.Random(seed)

    async def misbehave(self, server: SMTP) -> str | None:
        await asyncio.sleep(self.random.random() * 0.02)
        chance = self.random.random()
        return (
            "451 try again later" if chance < self.refuses else "drop" if chance < self.refuses + self.drops else None
        )


class MailServer:
    """The server on a free port of loopback, while the block lasts."""

    def __init__(self, inbox: Inbox | None = None) -> None:
        self.inbox = inbox or Inbox()
        self._controller = Controller(self.inbox, hostname="127.0.0.1", port=0)

    def __enter__(self) -> "MailServer":
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._controller = Controller(self.inbox, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()
