"""What is started by itself, and how often: a run that was lost before it could say so is started again, after growing pauses.

Belongs here: counting attempts of an occasion (a file that came, an answer that is complete), and deciding what is next. Does not belong
here: failures that the domain noted (those change the occasion); whether a run is under way (``sensors/under_way.py``).
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from otn_dagster.database import Connection

FIRST_PAUSE, LONGEST_PAUSE = dt.timedelta(seconds=5), dt.timedelta(minutes=30)
MOST_ATTEMPTS = 5
KEPT = dt.timedelta(days=30)


@dataclass(frozen=True)
class Tried:
    """How often an occasion was started, and when for the last time."""

    times: int
    last: dt.datetime


class Next(Enum):
    """What to do with an occasion for which no run is under way."""

    START = auto()
    WAIT = auto()
    GIVE_UP = auto()


def what_is_next(tried: Tried | None, now: dt.datetime) -> Next:
    """Start at once the first time; then after a pause that doubles; after so many attempts no more."""
    if tried is None:
        return Next.START
    if tried.times >= MOST_ATTEMPTS:
        return Next.GIVE_UP
    pause = min(FIRST_PAUSE * 2**tried.times, LONGEST_PAUSE)
    return Next.WAIT if now < tried.last + pause else Next.START


def of(connection: Connection, occasions: Iterable[str]) -> dict[str, Tried]:
    """What was tried of some occasions."""
    rows = connection.execute(
        "select occasion, times, last_at from platform.attempts where occasion = any(%s)", [list(occasions)]
    ).fetchall()
    return {occasion: Tried(times, last) for occasion, times, last in rows}


def note(connection: Connection, occasions: Iterable[str]) -> dict[str, str]:
    """Count an attempt of each, before it is started; the name of each attempt, which is never used again. One that never came about
    has cost a pause.
    """
    connection.execute("delete from platform.attempts where last_at < clock_timestamp() - %s", [KEPT])
    rows = connection.execute(
        "insert into platform.attempts (occasion) select unnest(%s::text[]) on conflict (occasion) do update"
        " set times = attempts.times + 1, last_at = clock_timestamp() returning occasion, times, last_at",
        [sorted(set(occasions))],
    ).fetchall()
    return {occasion: f"{occasion} attempt {times} at {last:%Y%m%dT%H%M%S%f}" for occasion, times, last in rows}


def start(connection: Connection, subjects: Mapping[str, str]) -> dict[str, str]:
    """Count an attempt of every occasion that is to be started now; subjects with the key of their run, which is never used again.

    subjects: what each occasion is about, by occasion; no run is under way for it.
    """
    tried, now = of(connection, subjects), dt.datetime.now(dt.UTC)
    named = note(connection, [one for one in subjects if what_is_next(tried.get(one), now) is Next.START])
    return {subjects[occasion]: name for occasion, name in named.items()}
