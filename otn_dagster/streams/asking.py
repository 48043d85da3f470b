"""Asking a source: what is missing is ordered, and nobody waits for it.

Belongs here: which windows are asked for, and ordering them. Does not belong here: what became of them (``looking.py``).
"""

import datetime as dt
import itertools
from dataclasses import dataclass

import psycopg

from otn_dagster import database
from otn_dagster.streams import requests, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.harvest import FIRST_LOOK, Harvester, pause
from otn_dagster.streams.ingest import APPEND, REFRESH
from otn_dagster.streams.plan import Window
from otn_dagster.streams.requests import Part, Request
from otn_dagster.streams.retention import forget_branches
from otn_dagster.streams.sources.base import (
    Bin,
    NothingThere,
    Source,
    SourceUnavailable,
    Upstream,
)


@dataclass(frozen=True)
class Asked:
    """What came of asking: the request that is active now, if any, and why."""

    request: Request | None
    what: str


def ask(
    harvester: Harvester,
    key: str,
    mode: str = APPEND,
    force: bool = False,
    by: str = "somebody",
    window: Window | None = None,
) -> Asked:
    """Order what is missing (append) or everything (refresh), and return at once.

    What is under way is left alone, except that ``force`` gives it up and asks again, and that a refresh gives up an
    append. A stream without a store is built like a refresh, so that nobody sees half of it. Safe to repeat.
    Raises SourceUnavailable.
    """
    stream = harvester.streams.stream(key)
    with harvester.connect() as connection:
        current = next(iter(requests.active(connection, key)), None)
    if current and not force and not (mode == REFRESH and current.mode == APPEND):
        return Asked(current, f"request {current.request_no} ({current.mode}) is {current.state} already")
    source, newest = harvester.source(key), harvester.newest_time(key)
    try:
        upstream = source.news(stream)
        if mode == APPEND and window is None and newest is not None and not is_news(upstream, newest) and not force:
            return Asked(None, f"nothing new since {timeaxis.text(newest)}")
        effective = REFRESH if newest is None else mode
        windows = _windows(harvester, stream, source, effective, newest, upstream, window)
    except NothingThere as error:
        return Asked(None, str(error))
    try:
        with harvester.connect() as connection:
            if current:
                requests.move(
                    connection, current.request_no, "skipped", f"given up for a new {effective} asked by {by}"
                )
            request = requests.create(connection, key, effective, windows, by)
    except (psycopg.errors.UniqueViolation, requests.NotAllowed):
        with harvester.connect() as connection:
            current = next(iter(requests.active(connection, key)), None)
        return Asked(current, "somebody else asked at the same moment")
    forget_branches(harvester, key)
    order(harvester, stream, source, request)
    return Asked(newest_record(harvester, request), f"{effective} in {len(windows)} window(s)")


def _windows(
    harvester: Harvester,
    stream: Stream,
    source: Source,
    mode: str,
    newest: int | None,
    upstream: Upstream,
    window: Window | None,
) -> list[tuple[Window, int | None]]:
    if mode == APPEND:
        assert newest is not None
        span = window or (min(newest + 1, upstream.end - 1), upstream.end)
        return [(span, announced(source.bins(stream), span))]
    start, end = upstream.begin, upstream.end
    if custom := stream.harvest_options.custom_range:
        start, end = (timeaxis.micros(timeaxis.parse(value)) for value in (custom.start, custom.end))
    step, bins = stream.refresh_window_days * timeaxis.DAY, source.bins(stream)
    edges = [*range(start, end, step), end]
    spans = list(itertools.pairwise(edges))
    return [(span, announced(bins, span)) for span in spans]


def newest_record(harvester: Harvester, request: Request) -> Request:
    """A request as it is recorded now."""
    with harvester.connect() as connection:
        return requests.get(connection, request.request_no)


def order(harvester: Harvester, stream: Stream, source: Source, request: Request) -> None:
    """Order parts that are not ordered yet, a few at a time. A failure is noted on the part and tried at the next look."""
    with harvester.connect() as connection:
        parts = requests.parts(connection, request.request_no)
    free = stream.parts_at_once - sum(part.state == "asked" for part in parts)
    now = dt.datetime.now(dt.UTC)
    for part in [p for p in parts if p.state == "to_ask" and p.next_look_at <= now + dt.timedelta(seconds=1)][
        : max(0, free)
    ]:
        _order_part(harvester, stream, source, part)


def _order_part(harvester: Harvester, stream: Stream, source: Source, part: Part) -> None:
    try:
        asked = source.ask(stream, part.window)
    except NothingThere as error:
        with harvester.connect() as connection:
            requests.part_becomes(connection, part, "empty", str(error))
    except SourceUnavailable as error:
        with harvester.connect() as connection:
            requests.part_waits(connection, part, str(error), pause(part.looks))
    else:
        with harvester.connect() as connection:
            requests.part_asked(connection, part, asked.handle, FIRST_LOOK)


def is_news(upstream: Upstream, newest: int) -> bool:
    """Whether a source has anything after the last stored time; its end is cut to the millisecond and padded."""
    return upstream.end - timeaxis.SECOND > newest // 1000 * 1000


def announced(bins: list[Bin], window: Window) -> int | None:
    """Rows that the source counts in the bins that lie wholly in a window; None where it does not count."""
    inside = [b.count for b in bins if b.start >= window[0] and b.end <= window[1]]
    return sum(inside) if inside else None


def ask_again(connection: database.Connection, stream: Stream, part: Part, why: str, cause: str) -> None:
    """Ask for a part once more, or let it fail where that was done often enough."""
    if part.attempts >= stream.most_attempts:
        requests.part_becomes(connection, part, "failed", why, cause=cause)
    else:
        requests.part_becomes(connection, part, "to_ask", f"{cause}, asked again: {why}")
