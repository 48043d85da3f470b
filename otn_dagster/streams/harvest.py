"""A request's life: ask its source, look what became of it, ingest what is complete, make it the newest version.

Belongs here: the order of things and what each failure means. Does not belong here: sources (``sources/``), the record
(``requests.py``), stores (``ingest.py``, ``refresh.py``).

No step waits. ``ask`` orders and returns; ``look`` is called again and again, with growing pauses; ``ingest`` runs when a
window is complete. Each may be killed anywhere and run again.
"""

import datetime as dt
import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.streams import configuration, refresh, requests, timeaxis
from otn_dagster.streams.configuration import Stream, StreamSettings
from otn_dagster.streams.gates import Gate, GateFailed
from otn_dagster.streams.ingest import APPEND, REFRESH, Answer, Ingested, SchemaChanged, Spread, ingest, refresh_branch
from otn_dagster.streams.netcdf import BadFile
from otn_dagster.streams.plan import Window
from otn_dagster.streams.requests import EXPIRED, FAILED, Part, Request
from otn_dagster.streams.sources import source_of
from otn_dagster.streams.sources.base import (
    Bin,
    Complete,
    Failed,
    NothingThere,
    RemoteFile,
    Source,
    SourceUnavailable,
    Upstream,
)
from otn_dagster.streams.store import StreamStore

FIRST_LOOK, LONGEST_PAUSE, PAUSE_GROWS = dt.timedelta(seconds=5), dt.timedelta(minutes=30), 1.6
MOST_INGEST_ATTEMPTS = 5


@dataclass(frozen=True)
class Asked:
    """What came of asking: the request that is active now, if any, and why."""

    request: Request | None
    what: str


@dataclass(frozen=True)
class Progress:
    """What an ingestion did."""

    request: Request
    ingested: list[Ingested] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    what: str = ""


@dataclass(frozen=True)
class Harvester:
    """Everything that a stream's harvest touches."""

    settings: Settings
    streams: StreamSettings
    source_for: Callable[[Settings, StreamSettings, Stream], Source] = source_of
    spread_for: Callable[[Stream], Spread | None] = lambda stream: None

    def source(self, key: str) -> Source:
        """Where a stream comes from."""
        return self.source_for(self.settings, self.streams, self.streams.stream(key))

    def store(self, key: str) -> StreamStore:
        """Its store."""
        return StreamStore(configuration.store_location(self.settings, self.streams, key))

    def connect(self):
        """A connection to the node database, in one transaction."""
        return database.connect(self.settings)

    def newest_time(self, key: str) -> int | None:
        """The last stored time, or None where there is no store."""
        store = self.store(key)
        return refresh.span(store.read())[1] if store.exists() else None

    def ask(
        self, key: str, mode: str = APPEND, force: bool = False, by: str = "somebody", window: Window | None = None
    ) -> Asked:
        """Order what is missing (append) or everything (refresh), and return at once.

        What is under way is left alone, except that ``force`` gives it up and asks again, and that a refresh gives up an
        append. A stream without a store is built like a refresh, so that nobody sees half of it. Safe to repeat.
        Raises SourceUnavailable.
        """
        stream = self.streams.stream(key)
        with self.connect() as connection:
            current = next(iter(requests.active(connection, key)), None)
        if current and not force and not (mode == REFRESH and current.mode == APPEND):
            return Asked(current, f"request {current.request_no} ({current.mode}) is {current.state} already")
        source, newest = self.source(key), self.newest_time(key)
        try:
            upstream = source.news(stream)
            if mode == APPEND and window is None and newest is not None and not is_news(upstream, newest) and not force:
                return Asked(None, f"nothing new since {timeaxis.text(newest)}")
            effective = REFRESH if newest is None else mode
            windows = self._windows(stream, source, effective, newest, upstream, window)
        except NothingThere as error:
            return Asked(None, str(error))
        try:
            with self.connect() as connection:
                if current:
                    requests.move(
                        connection, current.request_no, "skipped", f"given up for a new {effective} asked by {by}"
                    )
                request = requests.create(connection, key, effective, windows, by)
        except (psycopg.errors.UniqueViolation, requests.NotAllowed):
            with self.connect() as connection:
                current = next(iter(requests.active(connection, key)), None)
            return Asked(current, "somebody else asked at the same moment")
        self.forget_branches(key)
        self._order(stream, source, request)
        return Asked(self._get(request), f"{effective} in {len(windows)} window(s)")

    def _windows(
        self, stream: Stream, source: Source, mode: str, newest: int | None, upstream: Upstream, window: Window | None
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

    def _get(self, request: Request) -> Request:
        with self.connect() as connection:
            return requests.get(connection, request.request_no)

    def _order(self, stream: Stream, source: Source, request: Request) -> None:
        """Order parts that are not ordered yet, a few at a time. A failure is noted on the part and tried at the next look."""
        with self.connect() as connection:
            parts = requests.parts(connection, request.request_no)
        free = stream.parts_at_once - sum(part.state == "asked" for part in parts)
        now = dt.datetime.now(dt.UTC)
        for part in [p for p in parts if p.state == "to_ask" and p.next_look_at <= now + dt.timedelta(seconds=1)][
            : max(0, free)
        ]:
            self._order_part(stream, source, part)

    def _order_part(self, stream: Stream, source: Source, part: Part) -> None:
        try:
            asked = source.ask(stream, part.window)
        except NothingThere as error:
            with self.connect() as connection:
                requests.part_becomes(connection, part, "empty", str(error))
        except SourceUnavailable as error:
            with self.connect() as connection:
                requests.part_waits(connection, part, str(error), pause(part.looks))
        else:
            with self.connect() as connection:
                requests.part_asked(connection, part, asked.handle, FIRST_LOOK)

    def look_at_all(self, seconds: float) -> tuple[list[Request], dict[str, str]]:
        """Look at every active request, oldest first, for so many seconds.

        (Those whose ingestion is due; what went wrong, by stream.) One that fails never stops the rest: its reason is
        kept on the request, and the next call looks again. Safe to repeat.
        """
        end, due, problems = time.monotonic() + seconds, [], {}
        with self.connect() as connection:
            active = [r for r in requests.active(connection) if r.stream in self.streams.streams]
        for request in active:
            if time.monotonic() > end:
                break
            try:
                request = self.look(request.request_no)
            except Exception as error:
                problems[request.stream] = f"{type(error).__name__}: {error}"
                with self.connect() as connection:
                    requests.note_reason(connection, request.request_no, problems[request.stream])
                continue
            if request.is_due(dt.datetime.now(dt.UTC)):
                due.append(request)
        return due, problems

    def look(self, request_no: int, now: dt.datetime | None = None) -> Request:
        """Look at every part whose time has come; the request as it is then.

        Complete parts make it ready; failed and late ones are asked for again, and when that was done often enough the
        request fails or expires with the reason. Safe to repeat.
        """
        now = now or dt.datetime.now(dt.UTC)
        with self.connect() as connection:
            request = requests.get(connection, request_no)
            parts = requests.parts(connection, request_no)
        if request.state != "requested":
            return request
        stream, source = self.streams.stream(request.stream), self.source(request.stream)
        for part in parts:
            if part.state == "asked" and part.next_look_at <= now:
                self._look_at(stream, source, part, now)
        self._order(stream, source, request)
        return self._settle(request_no)

    def _look_at(self, stream: Stream, source: Source, part: Part, now: dt.datetime) -> None:
        try:
            found = source.look(stream, part.handle or {})
        except SourceUnavailable as error:
            found = None
            reason = str(error)
        else:
            reason = getattr(found, "reason", "")
        late = part.asked_at is not None and now - part.asked_at > configuration.hours(stream.expires_hours)
        with self.connect() as connection:
            if isinstance(found, Complete):
                requests.part_becomes(connection, part, "complete", None, [vars(file) for file in found.files])
            elif isinstance(found, Failed) or late:
                cause = FAILED if isinstance(found, Failed) else EXPIRED
                why = reason if cause == FAILED else f"not complete after {stream.expires_hours:g} hours: {reason}"
                _ask_again(connection, stream, part, why, cause)
            else:
                requests.part_waits(connection, part, reason, pause(part.looks))

    def _settle(self, request_no: int) -> Request:
        """What the parts mean for the request."""
        with self.connect() as connection:
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

    def ingest(self, request_no: int) -> Progress:
        """Ingest every window that is complete, in order; when all are, make the result the newest version.

        Safe to repeat and to kill: each window is one commit, recognised when it is met again. What needs a person is held;
        raises what stopped it otherwise.
        """
        with self.connect() as connection:
            request = requests.get(connection, request_no)
        if not request.is_active or request.state == "requested" or request.held:
            return Progress(request, what=f"request {request_no} is {'held' if request.held else request.state}")
        with self.connect() as connection:
            attempt = requests.begin_ingestion(connection, request_no, FIRST_LOOK * 4**request.ingest_attempts)
            if attempt > MOST_INGEST_ATTEMPTS:
                why = f"{MOST_INGEST_ATTEMPTS} attempts at ingesting failed; the last: {request.reason}"
                return Progress(requests.move(connection, request_no, "failed", why))
        try:
            return self._ingest(request)
        except Exception as error:
            with self.connect() as connection:
                requests.note_trouble(connection, request_no, f"{type(error).__name__}: {error}")
            raise

    def _ingest(self, request: Request) -> Progress:
        done: list[Ingested] = []
        if request.state == "ready":
            try:
                done = self._ingest_parts(request)
            except (BadFile, SchemaChanged, GateFailed) as error:
                return Progress(self._after_refusal(request, error), done, getattr(error, "gates", []), what=str(error))
            if self._go_on_asking(request):
                return Progress(self._get(request), done, what="other windows are still to come")
        return self._finish(self._get(request), done)

    def _ingest_parts(self, request: Request) -> list[Ingested]:
        stream, source, store = (
            self.streams.stream(request.stream),
            self.source(request.stream),
            self.store(request.stream),
        )
        with self.connect() as connection:
            parts = requests.parts(connection, request.request_no)
            accepted = requests.accepted_changes(connection, request.stream) | set(request.accepted)
        if request.mode == REFRESH:
            store.create()
            with self.connect() as connection:
                requests.note_base(connection, request.request_no, store.repository.lookup_branch("main"))
        done = []
        for part in parts:
            if part.state in ("to_ask", "asked"):
                break
            if part.state != "complete":
                continue
            folder = (
                configuration.answers_folder(self.settings, request.stream)
                / str(request.request_no)
                / f"{part.part_no}-{part.attempts}"
            )
            try:
                paths = [source.fetch(stream, RemoteFile(**file), folder) for file in part.files or []]
                answer = Answer(
                    stream,
                    request.request_no,
                    part.part_no,
                    request.mode,
                    part.window,
                    part.handle or {},
                    part.announced,
                )
                result = ingest(store, answer, paths, accepted, self.spread_for(stream))
            except (BadFile, GateFailed, SchemaChanged) as error:
                error.part = part  # type: ignore[union-attr]
                raise
            with self.connect() as connection:
                requests.note_conflicts(connection, part, result.conflicts)
                requests.part_becomes(connection, part, "ingested", None if result.changed else "nothing changed")
                requests.note_result(connection, request.request_no, result.snapshot, {"rows": result.facts["rows"]})
            done.append(result)
        return done

    def _after_refusal(self, request: Request, error: BadFile | SchemaChanged | GateFailed) -> Request:
        """Ask again where that may help, wait for a person where one must decide, fail where nothing helps."""
        stream, part = self.streams.stream(request.stream), error.part  # type: ignore[union-attr]
        with self.connect() as connection:
            if isinstance(error, SchemaChanged):
                changes = [{"key": c.key, "text": str(c)} for c in error.changes]
                why = f"schema change: {error}. {_remedy(request, error)}"
                requests.hold(connection, request.request_no, {"why": why, "changes": changes})
            elif part and part.attempts < stream.most_attempts:
                _ask_again(connection, stream, part, str(error), FAILED)
                requests.move(connection, request.request_no, "requested", str(error))
            elif isinstance(error, GateFailed) and error.can_be_accepted:
                why = f"{error}. {_remedy(request, error)}"
                requests.hold(
                    connection, request.request_no, {"why": why, "gates": [gate.name for gate in error.gates]}
                )
            else:
                requests.move(connection, request.request_no, "failed", str(error))
            return requests.get(connection, request.request_no)

    def _go_on_asking(self, request: Request) -> bool:
        with self.connect() as connection:
            missing = any(p.state in ("to_ask", "asked") for p in requests.parts(connection, request.request_no))
            if missing:
                requests.move(connection, request.request_no, "requested", "further windows")
        return missing

    def _finish(self, request: Request, done: list[Ingested]) -> Progress:
        """From all windows ingested to the newest version."""
        stream, store, number = self.streams.stream(request.stream), self.store(request.stream), request.request_no
        found: list[Gate] = [gate for result in done for gate in result.gates]
        with self.connect() as connection:
            if request.state == "ready":
                request = requests.move(connection, number, "ingested")
            accepted = requests.accepted_changes(connection, request.stream)
            parts = requests.parts(connection, number)
        if request.mode == REFRESH and refresh_branch(number) in store.repository.list_branches():
            counted = [part.announced for part in parts if part.announced is not None]
            known = [d.number for d in self.source(request.stream).deployments(stream) if d.start < request.window_end]
            try:
                compared = refresh.compare(
                    store, stream, number, sum(counted) if counted else None, known, accepted, request.accepted
                )
            except (SchemaChanged, GateFailed) as error:
                error.part = None  # type: ignore[union-attr]
                return Progress(self._after_refusal(request, error), done, getattr(error, "gates", []), what=str(error))
            found = list({gate.name: gate for gate in [*found, *compared]}.values())
        with self.connect() as connection:
            if request.state == "ingested":
                request = requests.move(connection, number, "checked")
        if request.mode == REFRESH:
            assert request.base_snapshot is not None
            snapshot = refresh.switch(store, number, request.base_snapshot)
            with self.connect() as connection:
                requests.note_result(connection, number, snapshot, {})
        with self.connect() as connection:
            requests.note_result(connection, number, None, {"gates": [vars(gate) for gate in found]})
            request = requests.move(connection, number, "published")
        return Progress(request, done, found, what=f"request {number} is published")

    def forget_branches(self, key: str) -> int:
        """Forget the branches of refreshes that ended without being switched to; how many. Safe to repeat."""
        store = self.store(key)
        if not store.is_created():
            return 0
        with self.connect() as connection:
            wanted = {refresh_branch(request.request_no) for request in requests.active(connection, key)}
        ended = {name for name in store.repository.list_branches() if name.startswith("refresh-")} - wanted
        for branch in sorted(ended):
            store.drop_branch(branch)
        return len(ended)

    def forget_old_answers(self, now: dt.datetime | None = None) -> int:
        """Remove the files of answers whose request ended long enough ago; how many requests'. Safe to repeat."""
        now = now or dt.datetime.now(dt.UTC)
        keep, removed = dt.timedelta(days=self.streams.retention.answers_days), 0
        for key in self.streams.streams:
            folder = configuration.answers_folder(self.settings, key)
            for path in folder.glob("[0-9]*"):
                with self.connect() as connection:
                    request = requests.get(connection, int(path.name))
                if not request.is_active and now - request.changed_at > keep:
                    shutil.rmtree(path)
                    removed += 1
        return removed


def is_news(upstream: Upstream, newest: int) -> bool:
    """Whether a source has anything after the last stored time; its end is cut to the millisecond and padded."""
    return upstream.end - timeaxis.SECOND > newest // 1000 * 1000


def announced(bins: list[Bin], window: Window) -> int | None:
    """Rows that the source counts in the bins that lie wholly in a window; None where it does not count."""
    inside = [b.count for b in bins if b.start >= window[0] and b.end <= window[1]]
    return sum(inside) if inside else None


def pause(looks: int) -> dt.timedelta:
    """How long to wait before the next look."""
    return min(FIRST_LOOK * PAUSE_GROWS**looks, LONGEST_PAUSE)


def _ask_again(connection: database.Connection, stream: Stream, part: Part, why: str, cause: str) -> None:
    if part.attempts >= stream.most_attempts:
        requests.part_becomes(connection, part, "failed", why, cause=cause)
    else:
        requests.part_becomes(connection, part, "to_ask", f"{cause}, asked again: {why}")


def _remedy(request: Request, error: SchemaChanged | GateFailed) -> str:
    """What a person can do about a request that is held."""
    if isinstance(error, SchemaChanged) and request.mode == APPEND and any(c.needs_refresh for c in error.changes):
        return f"A refresh is needed: `otn-dagster streams ask {request.stream} --refresh`."
    number = request.request_no
    return (
        f"Accept it with `otn-dagster streams accept {number}`, or end it with `otn-dagster streams give-up {number}`."
    )


def explain(request: Request) -> dict[str, Any]:
    """A request in words, for people."""
    return {
        "request": request.request_no,
        "mode": request.mode,
        "state": "held" if request.held else request.state,
        "from": timeaxis.text(request.window_start)[:19],
        "to": timeaxis.text(request.window_end)[:19],
        "reason": (request.held or {}).get("why") or request.reason or "",
        "asked by": request.asked_by,
        "at": f"{request.changed_at:%Y-%m-%d %H:%M:%S}",
    }
