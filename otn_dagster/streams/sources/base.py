"""The four verbs of a source, and what they answer with.

Belongs here: what every source has in common. Does not belong here: any one source.

``news`` says what there is, by one cheap call. ``ask`` orders a window and returns at once. ``look`` says what became of
it. ``fetch`` brings one file. A source that has its data at hand answers ``look`` with all files at the first call.
"""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from otn_dagster.explained import Explained
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.plan import Window


class SourceUnavailable(Explained, RuntimeError):
    """The source did not answer, or not in its own language (maintenance, 5xx, time-out): try later."""


class NothingThere(LookupError):
    """The source has no data in the window that was asked for."""


@dataclass(frozen=True)
class Bin:
    """How many rows the source has in one of its own time bins."""

    start: int
    end: int
    count: int


@dataclass(frozen=True)
class Upstream:
    """What a source has of a stream. Times in microseconds since 1900; ``problems`` names what could not be read."""

    begin: int
    end: int
    count: int | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deployment:
    """One deployment of an instrument; ``end`` is None while it lasts."""

    number: int
    start: int
    end: int | None


@dataclass(frozen=True)
class Asked:
    """An order that the source accepted: everything needed to look after it later."""

    handle: dict[str, Any]
    estimated_bytes: int | None = None
    estimated: dt.timedelta | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file of a complete answer."""

    name: str
    url: str
    size: int | None = None


@dataclass(frozen=True)
class Waiting:
    """Not complete yet."""

    reason: str


@dataclass(frozen=True)
class Complete:
    """Everything is there."""

    files: list[RemoteFile]


@dataclass(frozen=True)
class Failed:
    """It will never be complete; ask again."""

    reason: str
    details: dict[str, Any] = field(default_factory=dict)


Look = Waiting | Complete | Failed


class Source(Protocol):
    """What a stream can come from."""

    def news(self, stream: Stream) -> Upstream:
        """What there is; raises NothingThere, SourceUnavailable."""
        ...

    def bins(self, stream: Stream) -> list[Bin]:
        """Row counts by the source's own time bins; empty where it does not count."""
        ...

    def deployments(self, stream: Stream) -> list[Deployment]:
        """Deployments that it knows; empty where it does not know any."""
        ...

    def ask(self, stream: Stream, window: Window) -> Asked:
        """Order a window [start, end); raises NothingThere, SourceUnavailable."""
        ...

    def look(self, stream: Stream, handle: dict[str, Any]) -> Look:
        """What became of an order; raises SourceUnavailable."""
        ...

    def fetch(self, stream: Stream, file: RemoteFile, folder: Path) -> Path:
        """Bring one file into a folder; safe to repeat and to kill; raises SourceUnavailable."""
        ...
