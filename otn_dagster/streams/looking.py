"""Looking what became of what was asked for.

Belongs here: an answer's states, and what they mean for the request. Does not belong here: reading an answer (``ingesting.py``).
"""

import datetime as dt
import time

from otn_dagster.streams import configuration, requests
from otn_dagster.streams.asking import ask_again, order
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.harvest import Harvester, pause
from otn_dagster.streams.requests import EXPIRED, FAILED, Part, Request
from otn_dagster.streams.sources.base import (
    Complete,
    Failed,
    Source,
    SourceUnavailable,
)


def look_at_all(harvester: Harvester, seconds: float) -> tuple[list[Request], dict[str, str]]:
    """Look at every active request, oldest first, for so many seconds.

    (Those whose ingestion is due; what went wrong, by stream.) One that fails never stops the rest: its reason is
    kept on the request, and the next call looks again. Safe to repeat.
    """
    end, due, problems = time.monotonic() + seconds, [], {}
    with harvester.connect() as connection:
        active = [r for r in requests.active(connection) if r.stream in harvester.streams.streams]
    for request in active:
        if time.monotonic() > end:
            break
        try:
            request = look(harvester, request.request_no)
        except Exception as error:
            problems[request.stream] = f"{type(error).__name__}: {error}"
            with harvester.connect() as connection:
                requests.note_reason(connection, request.request_no, problems[request.stream])
            continue
        if request.is_due(dt.datetime.now(dt.UTC)):
            due.append(request)
    return due, problems


def look(harvester: Harvester, request_no: int, now: dt.datetime | None = None) -> Request:
    """Look at every part whose time has come; the request as it is then.

    Complete parts make it ready; failed and late ones are asked for again, and when that was done often enough the
    request fails or expires with the reason. Safe to repeat.
    """
    now = now or dt.datetime.now(dt.UTC)
    with harvester.connect() as connection:
        request = requests.get(connection, request_no)
        parts = requests.parts(connection, request_no)
    if request.state != "requested":
        return request
    stream, source = harvester.streams.stream(request.stream), harvester.source(request.stream)
    for part in parts:
        if part.state == "asked" and part.next_look_at <= now:
            _look_at(harvester, stream, source, part, now)
    order(harvester, stream, source, request)
    return _settle(harvester, request_no)


def _look_at(harvester: Harvester, stream: Stream, source: Source, part: Part, now: dt.datetime) -> None:
    try:
        found = source.look(stream, part.handle or {})
    except SourceUnavailable as error:
        found = None
        reason = str(error)
    else:
        reason = getattr(found, "reason", "")
    late = part.asked_at is not None and now - part.asked_at > configuration.hours(stream.expires_hours)
    with harvester.connect() as connection:
        if isinstance(found, Complete):
            requests.part_becomes(connection, part, "complete", None, [vars(file) for file in found.files])
        elif isinstance(found, Failed) or late:
            cause = FAILED if isinstance(found, Failed) else EXPIRED
            why = reason if cause == FAILED else f"not complete after {stream.expires_hours:g} hours: {reason}"
            ask_again(connection, stream, part, why, cause)
        else:
            requests.part_waits(connection, part, reason, pause(part.looks))


def _settle(harvester: Harvester, request_no: int) -> Request:
    """What the parts mean for the request."""
    with harvester.connect() as connection:
        request = requests.lock(connection, request_no)
        parts = requests.parts(connection, request_no)
        open_parts = [p for p in parts if p.state in ("to_ask", "asked", "complete", "failed")]
        if request.state != "requested":
            return request
        if all(p.state == "empty" for p in parts):
            return requests.move(connection, request_no, "skipped", parts[0].reason)
        if any(p.state == "failed" for p in parts):
            bad = next(p for p in parts if p.state == "failed")
            return requests.move(connection, request_no, bad.cause or FAILED, f"window {bad.part_no}: {bad.reason}")
        if not open_parts or open_parts[0].state == "complete":
            return requests.move(connection, request_no, "ready")
        return request
