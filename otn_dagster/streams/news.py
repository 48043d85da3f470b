"""What is new at the sources: one cheap call a stream, and an order for each that has something.

Belongs here: looking at all streams, one failing source never stopping the rest. Does not belong here: asking itself
(``asking.py``).
"""

import datetime as dt
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from otn_dagster.checks import Check, Outcome
from otn_dagster.streams import asking, timeaxis
from otn_dagster.streams.harvest import Harvester

LOOKS_AT_ONCE = 8


SOURCES_ANSWER = Check(name="sources_answer", title="Every source answered", warns=True)
NOT_SILENT = Check(name="streams_are_not_silent", title="Every stream has recent data", warns=True)
CHECKS = [SOURCES_ANSWER, NOT_SILENT]


@dataclass(frozen=True)
class News:
    """One stream: where its source ends, where its store ends, and what was done about it."""

    stream: str
    upstream_end: str
    stored_end: str
    hours_behind: float | None
    hours_silent: float | None
    silent: bool
    what: str
    request: int | None = None
    problem: str | None = None


def look(harvester: Harvester, now: dt.datetime | None = None) -> list[News]:
    """Look at every enabled stream and ask where there is something new. Safe to repeat: what was asked for is under way."""
    now = now or dt.datetime.now(dt.UTC)
    keys = [key for key, stream in sorted(harvester.streams.streams.items()) if stream.enabled]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        return list(pool.map(lambda key: _look(harvester, key, now), keys))


def outcomes(found: Sequence[News]) -> list[Outcome[Check]]:
    """Which sources failed, which streams are silent."""
    problems = [{"stream": one.stream, "problem": one.problem} for one in found if one.problem]
    silent = [
        {"stream": one.stream, "last": one.upstream_end, "hours": one.hours_silent} for one in found if one.silent
    ]
    return [Outcome(SOURCES_ANSWER, not problems, problems), Outcome(NOT_SILENT, not silent, silent)]


def _look(harvester: Harvester, key: str, now: dt.datetime) -> News:
    stream, stored = harvester.streams.stream(key), None
    try:
        stored = harvester.newest_time(key)
        upstream = harvester.source(key).news(stream)
        asked = asking.ask(harvester, key, by="streams_daily")
    except Exception as error:  # whatever is wrong with one source, the others are looked at
        return News(key, "", _text(stored), None, None, False, "not asked", None, f"{type(error).__name__}: {error}")
    hours_silent = (now - timeaxis.instant(upstream.end)).total_seconds() / 3600
    behind = None if stored is None else max(0.0, (upstream.end - stored) / timeaxis.SECOND / 3600)
    return News(
        key,
        _text(upstream.end),
        _text(stored),
        None if behind is None else round(behind, 2),
        round(hours_silent, 2),
        hours_silent > stream.silent_after_hours,
        asked.what,
        asked.request.request_no if asked.request else None,
        "; ".join(upstream.problems) or None,
    )


def _text(value: int | None) -> str:
    return "" if value is None else timeaxis.text(value)[:19]
