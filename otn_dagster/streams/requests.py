"""Requests as records: what was asked for, in which windows, and what became of it.

Belongs here: the rows of ``platform.stream_requests`` and their moves. Does not belong here: talking to sources
(``asking.py``) and stores (``ingest.py``).

States: requested → ready → ingested → checked → published, or failed, expired, skipped. At most one request of a stream is
active (a unique index says so); stream, mode and window of a request never change (a trigger says so); a request that has
ended stays as it ended. So a refresh cannot read an append's answer, and a failure is never remembered as an answer.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from otn_dagster import decisions
from otn_dagster.database import Connection
from otn_dagster.explained import Explained, Unknown
from otn_dagster.streams import timeaxis
from otn_dagster.streams.plan import Window

QUESTION, GIVE_UP = "stream_request", "give-up"  # the topic of what a request is held for, and its other answer
ANSWERS = (decisions.ACCEPT, GIVE_UP)
ACTIVE = ("requested", "ready", "ingested", "checked")
MOVES = {
    "requested": {"ready", "failed", "expired", "skipped"},
    "ready": {"requested", "ingested", "failed", "expired", "skipped"},
    "ingested": {"checked", "failed", "skipped"},
    "checked": {"published", "failed", "skipped"},
}
_COLUMNS = (
    "request_no, stream, mode, window_start, window_end, state, reason, held, accepted, asked_by, base_snapshot, snapshot,"
    " ingest_attempts, next_ingest_at, facts, created_at, changed_at"
)
FAILED, EXPIRED = "failed", "expired"  # why a part did not come: refused by its source, or not complete in time
_PART_COLUMNS = (
    "request_no, part_no, window_start, window_end, state, handle, files, announced, attempts, looks, asked_at, next_look_at, reason,"
    " cause"
)


class NotAllowed(Explained, RuntimeError):
    """A move that the table of moves does not have."""


@dataclass(frozen=True)
class Request:
    """One request. Windows in microseconds since 1900."""

    request_no: int
    stream: str
    mode: str
    window_start: int
    window_end: int
    state: str
    reason: str | None
    held: dict[str, Any] | None
    accepted: list[str]
    asked_by: str
    base_snapshot: str | None
    snapshot: str | None
    ingest_attempts: int
    next_ingest_at: dt.datetime
    facts: dict[str, Any]
    created_at: dt.datetime
    changed_at: dt.datetime

    @property
    def window(self) -> Window:
        """Half-open."""
        return self.window_start, self.window_end

    @property
    def is_active(self) -> bool:
        """Whether it is under way."""
        return self.state in ACTIVE

    def is_due(self, now: dt.datetime) -> bool:
        """Whether an ingestion may begin: something is complete, no person is waited for, and the last attempt is long enough ago."""
        return self.state in ("ready", "ingested", "checked") and not self.held and self.next_ingest_at <= now


@dataclass(frozen=True)
class Part:
    """One window of a request: asked for, complete, ingested on its own."""

    request_no: int
    part_no: int
    window_start: int
    window_end: int
    state: str
    handle: dict[str, Any] | None
    files: list[dict[str, Any]] | None
    announced: int | None
    attempts: int
    looks: int
    asked_at: dt.datetime | None
    next_look_at: dt.datetime
    reason: str | None
    cause: str | None  # of a part that failed: FAILED or EXPIRED

    @property
    def window(self) -> Window:
        """Half-open."""
        return self.window_start, self.window_end


def create(
    connection: Connection, stream: str, mode: str, windows: list[tuple[Window, int | None]], asked_by: str
) -> Request:
    """A new request for windows, each with the rows that its source announced, if it did.

    Raises psycopg.errors.UniqueViolation where the stream has an active one: two that race make one request.
    """
    start, end = windows[0][0][0], windows[-1][0][1]
    row = connection.execute(
        "insert into platform.stream_requests (stream, mode, window_start, window_end, asked_by) values (%s, %s, %s, %s, %s)"
        " returning request_no",
        [stream, mode, start, end, asked_by],
    ).fetchone()
    assert row is not None
    for number, (window, announced) in enumerate(windows, start=1):
        connection.execute(
            "insert into platform.stream_request_parts (request_no, part_no, window_start, window_end, announced) values (%s, %s, %s, %s, %s)",
            [row[0], number, *window, announced],
        )
    _log(connection, row[0], "requested", f"{mode} in {len(windows)} window(s), asked by {asked_by}")
    return get(connection, row[0])


def get(connection: Connection, request_no: int) -> Request:
    """One request; raises KeyError."""
    query = f"select {_COLUMNS} from platform.stream_requests where request_no = %s"  # noqa: S608
    row = connection.execute(query, [request_no]).fetchone()
    if row is None:
        raise Unknown(f"there is no request {request_no}")
    return Request(*row)


def active(connection: Connection, stream: str | None = None) -> list[Request]:
    """Requests under way, of one stream or of all, oldest first."""
    rows = connection.execute(
        f"select {_COLUMNS} from platform.stream_requests where state = any(%s) and (%s::text is null or stream = %s) order by request_no",  # noqa: S608
        [list(ACTIVE), stream, stream],
    ).fetchall()
    return [Request(*row) for row in rows]


def newest(connection: Connection, stream: str, limit: int = 20) -> list[Request]:
    """The newest requests of a stream, newest first."""
    rows = connection.execute(
        f"select {_COLUMNS} from platform.stream_requests where stream = %s order by request_no desc limit %s",  # noqa: S608
        [stream, limit],
    ).fetchall()
    return [Request(*row) for row in rows]


def lock(connection: Connection, request_no: int) -> Request:
    """One request, locked until the transaction ends."""
    connection.execute("select 1 from platform.stream_requests where request_no = %s for update", [request_no])
    return get(connection, request_no)


def parts(connection: Connection, request_no: int) -> list[Part]:
    """Its windows, in order of time."""
    rows = connection.execute(
        f"select {_PART_COLUMNS} from platform.stream_request_parts where request_no = %s order by part_no",  # noqa: S608
        [request_no],
    ).fetchall()
    return [Part(*row) for row in rows]


def move(connection: Connection, request_no: int, state: str, reason: str | None = None) -> Request:
    """Move a request; to the state that it is in does nothing, so a step that is run again is safe. Raises NotAllowed."""
    request = lock(connection, request_no)
    if request.state == state:
        return request
    if state not in MOVES.get(request.state, set()):
        raise NotAllowed(f"request {request_no} is {request.state}, which does not become {state}")
    connection.execute(
        "update platform.stream_requests set state = %s, reason = %s, changed_at = clock_timestamp() where request_no = %s",
        [state, reason, request_no],
    )
    _log(connection, request_no, state, reason or state)
    if state not in ACTIVE:
        decisions.settle(connection, QUESTION, str(request_no), GIVE_UP, "the request ended", reason or state)
    return get(connection, request_no)


def hold(connection: Connection, request_no: int, held: dict[str, Any]) -> None:
    """Stop a request until a person accepts what it holds. Safe to repeat."""
    request = lock(connection, request_no)
    connection.execute("update platform.stream_requests set held = %s where request_no = %s", [Jsonb(held), request_no])
    _log(connection, request_no, request.state, f"waits for a person: {held['why']}")
    decisions.ask_anew(connection, QUESTION, str(request_no), [f"{request.stream}: {held['why']}"], ANSWERS)


def decide(connection: Connection, request_no: int, answer: str, by: str, why: str) -> Request:
    """What a person says of a request that is held: what holds it is accepted, or the request is given up."""
    if answer == GIVE_UP:
        decisions.settle(connection, QUESTION, str(request_no), GIVE_UP, by, why)
        return move(connection, request_no, "skipped", f"given up by {by}: {why}")
    return accept(connection, request_no, by, why)


def accept(connection: Connection, request_no: int, by: str, why: str) -> Request:
    """A person accepts what a request holds: gates are opened for it, schema changes for its stream. Safe to repeat."""
    request = lock(connection, request_no)
    if not request.held:
        return request
    for change in request.held.get("changes", []):
        connection.execute(
            "insert into platform.stream_schema_acceptances (stream, change_key, change, accepted_by, why) values (%s, %s, %s, %s, %s)"
            " on conflict do nothing",
            [request.stream, change["key"], change["text"], by, why],
        )
    decisions.settle(connection, QUESTION, str(request_no), decisions.ACCEPT, by, why)
    gates = sorted({*request.accepted, *request.held.get("gates", [])})
    connection.execute(
        "update platform.stream_requests set held = null, accepted = %s, ingest_attempts = 0, next_ingest_at = clock_timestamp()"
        " where request_no = %s",
        [gates, request_no],
    )
    connection.execute(
        "insert into platform.stream_request_history (request_no, state, what, accepted_by, why) values (%s, %s, %s, %s, %s)",
        [request_no, request.state, f"accepted by {by}: {why}", by, why],
    )
    return get(connection, request_no)


def accepted_since(connection: Connection, request_no: int, since: dt.datetime | None) -> tuple[str, str] | None:
    """(who, why) of the newest acceptance of a request since a moment; None where nobody accepted anything."""
    return connection.execute(
        "select accepted_by, why from platform.stream_request_history where request_no = %s and accepted_by is not null and at >= %s"
        " order by history_no desc limit 1",
        [request_no, since],
    ).fetchone()


def accepted_changes(connection: Connection, stream: str) -> set[str]:
    """Keys of the schema changes that people accepted for a stream."""
    rows = connection.execute(
        "select change_key from platform.stream_schema_acceptances where stream = %s", [stream]
    ).fetchall()
    return {key for (key,) in rows}


def begin_ingestion(connection: Connection, request_no: int, pause: dt.timedelta) -> int:
    """Count an attempt at ingesting, and say when the next may begin; how many there were with it."""
    row = connection.execute(
        "update platform.stream_requests set ingest_attempts = ingest_attempts + 1, next_ingest_at = clock_timestamp() + %s"
        " where request_no = %s returning ingest_attempts",
        [pause, request_no],
    ).fetchone()
    assert row is not None
    return row[0]


def note_reason(connection: Connection, request_no: int, reason: str) -> None:
    """Keep what an active request waits for, or what is wrong with it. Safe to repeat."""
    connection.execute("update platform.stream_requests set reason = %s where request_no = %s", [reason, request_no])


def note_trouble(connection: Connection, request_no: int, reason: str) -> None:
    """Keep why an attempt at ingesting ended without a result. Safe to repeat."""
    request = lock(connection, request_no)
    note_reason(connection, request_no, reason)
    _log(connection, request_no, request.state, f"attempt {request.ingest_attempts} ended: {reason}")


def note_result(connection: Connection, request_no: int, snapshot: str | None, facts: dict[str, Any]) -> None:
    """Keep what came of a request. Safe to repeat."""
    connection.execute(
        "update platform.stream_requests set snapshot = coalesce(%s, snapshot), facts = facts || %s where request_no = %s",
        [snapshot, Jsonb(facts), request_no],
    )


def note_base(connection: Connection, request_no: int, snapshot: str | None) -> None:
    """Keep which version a refresh began from; the first note stands."""
    connection.execute(
        "update platform.stream_requests set base_snapshot = coalesce(base_snapshot, %s) where request_no = %s",
        [snapshot, request_no],
    )


def part_asked(connection: Connection, part: Part, handle: dict[str, Any], next_look: dt.timedelta) -> None:
    """A part was ordered at its source."""
    connection.execute(
        "update platform.stream_request_parts set state = 'asked', handle = %s, files = null, attempts = attempts + 1, looks = 0,"
        " asked_at = clock_timestamp(), next_look_at = clock_timestamp() + %s, reason = null where request_no = %s and part_no = %s",
        [Jsonb(handle), next_look, part.request_no, part.part_no],
    )
    _log(connection, part.request_no, "requested", f"window {part.part_no} asked for, attempt {part.attempts + 1}")


def part_waits(connection: Connection, part: Part, reason: str, next_look: dt.timedelta) -> None:
    """A part is not complete yet: look again later."""
    connection.execute(
        "update platform.stream_request_parts set looks = looks + 1, reason = %s, next_look_at = clock_timestamp() + %s"
        " where request_no = %s and part_no = %s",
        [reason, next_look, part.request_no, part.part_no],
    )
    note_reason(connection, part.request_no, reason)


def part_becomes(
    connection: Connection,
    part: Part,
    state: str,
    reason: str | None = None,
    files: list[dict[str, Any]] | None = None,
    cause: str | None = None,
) -> None:
    """A part changes its state; one that failed says its cause."""
    connection.execute(
        "update platform.stream_request_parts set state = %s, reason = %s, cause = %s, files = coalesce(%s, files)"
        " where request_no = %s and part_no = %s",
        [state, reason, cause, Jsonb(files) if files is not None else None, part.request_no, part.part_no],
    )
    if state == "ingested":  # the attempts were worth it: those at the next window are counted anew
        connection.execute(
            "update platform.stream_requests set ingest_attempts = 0, next_ingest_at = clock_timestamp() where request_no = %s",
            [part.request_no],
        )
    request = get(connection, part.request_no)
    _log(
        connection,
        part.request_no,
        request.state,
        f"window {part.part_no} is {state.replace('_', ' ')}" + (f": {reason}" if reason else ""),
    )


def note_conflicts(connection: Connection, part: Part, conflicts: list[dict[str, Any]]) -> None:
    """Keep rows that said something else of the same instant. Safe to repeat."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into platform.stream_conflicts (request_no, part_no, time, variable, kept, dropped, dropped_file)"
            " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            [
                [
                    part.request_no,
                    part.part_no,
                    *(c[k] for k in ("time", "variable", "kept", "dropped", "dropped_file")),
                ]
                for c in conflicts
            ],
        )


def note_rollback(connection: Connection, stream: str, snapshot: str, tag: str, by: str, why: str) -> None:
    """Keep who went back to which version of a stream, and why."""
    connection.execute(
        "insert into platform.stream_rollbacks (stream, snapshot, left_under_tag, rolled_back_by, why) values (%s, %s, %s, %s, %s)",
        [stream, snapshot, tag, by, why],
    )


def history(connection: Connection, request_no: int) -> list[tuple[dt.datetime, str, str]]:
    """(when, state, what) of a request, in order."""
    rows = connection.execute(
        "select at, state, what from platform.stream_request_history where request_no = %s order by history_no",
        [request_no],
    ).fetchall()
    return [(at, state, what) for at, state, what in rows]


def _log(connection: Connection, request_no: int, state: str, what: str) -> None:
    connection.execute(
        "insert into platform.stream_request_history (request_no, state, what) values (%s, %s, %s)",
        [request_no, state, what],
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
