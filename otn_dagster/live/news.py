"""Which datasets have something to apply, and when a run for them is due.

Belongs here: the decision, as a plain function of what is known. Does not belong here: starting runs (``sensors/live.py``).

A dataset gets a run when its log is ahead or a fetched file waits, and none is under way. A run that did not get there is tried
again under another key, after pauses that grow to ten minutes: a key that was used is never run again, whatever became of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from otn_dagster.database import Connection
from otn_dagster.live import apply, remote

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
Due = dict[str, tuple[int, int, int]]  # dataset → (push applied last, newest push, oldest fetched file that waits)


class Tried(msgspec.Struct):
    """The newest attempt for a dataset."""

    applied: int
    fetch: int
    attempt: int
    next_at: float


@dataclass(frozen=True)
class Start:
    """A run to start."""

    dataset: str
    run_key: str


def due(connection: Connection, known: Collection[str]) -> Due:
    """Configured datasets whose log is ahead of their table, or for which a file waits."""
    ahead, files = apply.behind(connection), remote.waiting(connection)
    return {
        name: (*ahead.get(name, (0, 0)), files.get(name, 0)) for name in sorted(known) if name in ahead or name in files
    }


def starts(
    wanted: Due, tried: Mapping[str, Tried], running: Collection[str], now: float
) -> tuple[list[Start], dict[str, Tried]]:
    """(runs to start, what to remember). A run that got on is followed at once; one that did not is tried again after its pause."""
    found, remembered = [], {}
    for name, (applied, push, fetch) in wanted.items():
        before = tried.get(name)
        same = before is not None and before.applied == applied and before.fetch == fetch
        if name in running or (before and same and now < before.next_at):
            if before:
                remembered[name] = before
            continue
        attempt = before.attempt + 1 if before and same else 1
        pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        remembered[name] = Tried(applied, fetch, attempt, now + pause)
        found.append(Start(name, f"{name} push {push} fetch {fetch} attempt {attempt} at {now:.0f}"))
    return found, remembered


def read_cursor(text: str | None) -> dict[str, Tried]:
    """What was remembered; nothing where it cannot be read."""
    try:
        return msgspec.json.decode(text, type=dict[str, Tried]) if text else {}
    except msgspec.DecodeError:
        return {}


def write_cursor(remembered: Mapping[str, Tried]) -> str:
    """What to remember until the next look."""
    return msgspec.json.encode(remembered).decode()
