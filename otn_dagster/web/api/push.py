"""The push API: records in, out and replaced, and what became of them.

Belongs here: routes of ``/v1/datasets/{dataset}`` that write, and their answers. Does not belong here: reading records
(``read.py``).
"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.live import batches, history, log, reading, records, removal
from otn_dagster.live.keys import Key
from otn_dagster.live.log import Logged, Push
from otn_dagster.web.answers import (
    PartlyPushed,
    Pushed,
    PushState,
    Refusals,
    Refused,
    RefusedShown,
    Replacement,
    answer,
    shown,
)
from otn_dagster.web.api import pushing
from otn_dagster.web.api.bodies import body_of, kind_of
from otn_dagster.web.api.parameters import flag, number, one_of, parameters, token_of, whole
from otn_dagster.web.api.pushing import Kept, Wanted
from otn_dagster.web.served import Served
from otn_dagster.web.service import Service

MOST_KEY_LENGTH = 200
OF_REPLACEMENTS = "replacement "


def _service(request: Request) -> Service:
    return request.app.state.service


async def push(request: Request) -> Response:
    """POST records: one object, an array, or NDJSON."""
    return await _write(request, "push")


async def delete(request: Request) -> Response:
    """POST records:delete: objects with the key's values, or record ids."""
    return await _write(request, "delete")


async def delete_one(request: Request) -> Response:
    """DELETE records/{record_id}."""
    service, name = _service(request), request.path_params["dataset"]
    served, key = await pushing.authorise(service, token_of(request), name, "delete")
    pushing.count_request(service, served, key)
    body = msgspec.json.encode([request.path_params["record_id"]])
    kept = await pushing.take_body(
        service, served, key, body, "json", Wanted("delete", idempotency_key=_idempotency(request))
    )
    return _pushed(kept)


async def _write(request: Request, op: str) -> Response:
    service, name = _service(request), request.path_params["dataset"]
    served, key = await pushing.authorise(service, token_of(request), name, op)
    pushing.count_request(service, served, key)
    given = parameters(request, "mode", "dry_run")
    wanted = Wanted(
        op=op,
        partial=one_of(given, "mode", ("atomic", "partial"), served.dataset.mode) == "partial",
        dry_run=flag(given, "dry_run"),
        idempotency_key=_idempotency(request),
    )
    async with _body(request, service, served, key) as (body, kind):
        return _pushed(await pushing.take_body(service, served, key, body, kind, wanted))


@asynccontextmanager
async def _body(request: Request, service: Service, served: Served, key: Key) -> AsyncIterator[tuple[bytes, str]]:
    """The body and its kind; one that cannot be taken is written down as refused."""
    async with AsyncExitStack() as stack:
        try:
            kind = kind_of(request)
            body = await stack.enter_async_context(body_of(request, served.most_bytes, service.budget, key.kid))
        except Refused as refused:
            pushing.note(service, served, key, refused)
            raise
        yield body, kind


def _idempotency(request: Request) -> str | None:
    found = request.headers.get("idempotency-key")
    if found is not None and not 0 < len(found) <= MOST_KEY_LENGTH:
        raise Refused("bad_parameter", f"Idempotency-Key: expected 1 to {MOST_KEY_LENGTH} characters")
    if found and found.startswith(OF_REPLACEMENTS):
        raise Refused("bad_parameter", f"Idempotency-Key: what begins with {OF_REPLACEMENTS!r} is the service's own")
    return found


def _pushed(kept: Kept) -> Response:
    seq, replayed = (kept.logged.seq, kept.logged.replayed) if kept.logged else (None, False)
    dry = kept.logged is None
    if kept.refused:
        accepted = kept.received - kept.refused
        return answer(PartlyPushed("partial", kept.received, accepted, seq, shown(kept.faults), replayed, dry), 207)
    return answer(Pushed("ok", kept.received, seq, replayed, dry))


async def push_state(request: Request) -> Response:
    """GET pushes/{seq}."""
    service, name = _service(request), request.path_params["dataset"]
    author = await _looker(service, request, name)
    seq = whole(request.path_params["seq"])
    row = await service.doors.query(lambda connection: history.push(connection, name, seq, author))
    if row is None:
        raise Refused("not_found", f"{name} has no push {seq}")
    number, op, author, received_at, count, refused, version, at, *outcome = row
    state = PushState(
        number, op, "applied" if at else "accepted", author, reading.plain(received_at), count, refused, version
    )
    if at:
        state.applied_at = reading.plain(at)
        state.run_id, state.inserted, state.updated, state.unchanged, state.deleted = outcome
    return answer(state)


async def errors(request: Request) -> Response:
    """GET errors: what was refused, newest first."""
    service, name = _service(request), request.path_params["dataset"]
    author = await _looker(service, request, name)
    given = parameters(request, "since", "limit")
    since = reading.moment(given["since"]) if "since" in given else None
    most = number(given, "limit", 100, 1, 1000)
    rows = await service.doors.query(lambda connection: history.refused(connection, name, since, author, most))
    found = [
        RefusedShown(
            reading.plain(at), author, code, message, seq, index, field, msgspec.json.decode(body) if body else None
        )
        for at, author, code, message, seq, index, field, body in rows
    ]
    return answer(Refusals(found))


async def _looker(service: Service, request: Request, name: str) -> str | None:
    """Whose pushes may be looked at: with the right to read everybody's (None), else one's own."""
    token = token_of(request)
    key = await service.keys.of(token) if token else None
    if key is None:
        raise Refused("bad_key")
    served, key = await pushing.authorise(service, token, name, key.rights[0])
    service.quotas.request(f"reads of {key.kid}", served.dataset.limits)
    return None if "read" in key.rights else key.author


async def open_replacement(request: Request) -> Response:
    """POST records:replace: begin to send a whole table."""
    service, served, key = await _replacing(request)
    batch_id = await _batch(service, lambda connection: batches.open_batch(connection, served.dataset.name, key.author))
    return answer(Replacement("ok", batch_id, [], 0))


async def add_chunk(request: Request) -> Response:
    """PUT replacements/{id}/chunks/{n}: a part of the table; safe to send again."""
    service, served, key = await _replacing(request)
    batch_id, chunk_no = _batch_id(request), whole(request.path_params["chunk"], 10**6)
    async with _body(request, service, served, key) as (body, kind):
        try:
            parsed = await pushing.aside(len(body), _records_of, served, body, kind)
        except records.Malformed as error:
            raise Refused("malformed_json", str(error)) from None
        size = len(body)
    pushing.count(served, parsed.received)
    if parsed.faults:
        pushing.refuse(parsed.faults)
    await service.load_usage(key.kid)
    service.quotas.take(key.kid, served.dataset.limits, len(parsed.records), size)
    chunk = batches.body_of(parsed.records)

    def add(connection: Any) -> tuple[list[int], int]:
        batches.find(connection, batch_id, served.dataset.name, key.author)
        if batches.add(connection, batch_id, chunk_no, served.version, chunk, len(parsed.records)):
            log.note_usage(connection, {key.kid: (1, len(parsed.records), size)})
        return batches.chunks(connection, batch_id)

    try:
        await pushing.keep_files(service, parsed)
        return answer(Replacement("ok", batch_id, *await _batch(service, add)))
    except Refused:
        service.quotas.give_back(key.kid, len(parsed.records), size)
        raise


def _records_of(served: Served, body: bytes, kind: str) -> records.Parsed:
    return records.parse(served.schema, records.items_of(body, kind))


async def commit_replacement(request: Request) -> Response:
    """POST replacements/{id}:commit?chunks=N: what was sent becomes the table; what was not sent is deleted."""
    service, served, key = await _replacing(request)
    batch_id, name = _batch_id(request), served.dataset.name
    digest = hashlib.sha256(batch_id.encode()).digest()
    given = parameters(request, "chunks", "confirm")
    if "chunks" not in given:
        raise Refused("bad_parameter", "chunks: expected how many chunks were sent")
    expected, confirmed = number(given, "chunks", 0, 0, 1_000_000), number(given, "confirm", 0, 0, 10**12)

    def close(connection: Any) -> Logged | int:
        before = log.kept_before(connection, name, key.author, OF_REPLACEMENTS + batch_id, digest)
        if before:
            return before[0]
        batches.find(connection, batch_id, name, key.author, closed_too=True)
        numbers, total = batches.chunks(connection, batch_id)
        if numbers != list(range(expected)):
            missing = sorted(set(range(expected)) - set(numbers))[:10]
            raise Refused(
                "missing_chunks", f"expected chunks 0 to {expected - 1}; missing {missing}, there are {len(numbers)}"
            )
        ids = batches.record_ids(connection, batch_id, served.schema)
        removed, there = removal.would_remove(connection, served.dataset, served.schema, ids)
        if there and 100 * removed / there > served.dataset.most_removed_percent and removed != confirmed:
            raise Refused(
                "would_remove",
                f"{removed:,} of {there:,} records would go, at most {served.dataset.most_removed_percent:g} % may go unasked."
                f" If that is right, commit with confirm={removed}.",
            )
        batches.close(connection, batch_id)
        return total

    total = await _batch(service, close)
    if isinstance(total, Logged):
        return answer(Pushed("ok", total.records, total.seq, replayed=True))
    logged = await service.writer.append(
        Push(
            dataset=name,
            author=key.author,
            kid=key.kid,
            op="replace",
            records=total,
            schema_version=served.version,
            body_kind="batch",
            body_sha256=digest,
            body=None,
            idempotency_key=OF_REPLACEMENTS + batch_id,
            batch_id=batch_id,
        )
    )
    return answer(Pushed("ok", total, logged.seq, logged.replayed))


async def give_up_replacement(request: Request) -> Response:
    """DELETE replacements/{id}: forget what was sent."""
    service, served, key = await _replacing(request)
    batch_id = _batch_id(request)

    def forget(connection: Any) -> None:
        batches.find(connection, batch_id, served.dataset.name, key.author)
        batches.give_up(connection, batch_id)

    await _batch(service, forget)
    return answer(Replacement("ok", batch_id, [], 0))


async def _replacing(request: Request) -> tuple[Service, Served, Key]:
    service = _service(request)
    served, key = await pushing.authorise(service, token_of(request), request.path_params["dataset"], "replace")
    pushing.count_request(service, served, key)
    pushing.must_be_open(served)
    return service, served, key


def _batch_id(request: Request) -> str:
    """The id as it was given out; other spellings of it are not taken for it."""
    found = request.path_params["replacement"]
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found):
        raise Refused("not_found", "there is no such replacement")
    return found


async def _batch(service: Service, work: Any) -> Any:
    try:
        return await service.doors.query(work)
    except batches.BatchProblem as error:
        raise Refused(error.code, str(error)) from None


BASE = "/v1/datasets/{dataset}"
routes = [
    Route(f"{BASE}/records", push, methods=["POST"]),
    Route(f"{BASE}/records:delete", delete, methods=["POST"]),
    Route(f"{BASE}/records:replace", open_replacement, methods=["POST"]),
    Route(f"{BASE}/replacements/{{replacement}}/chunks/{{chunk}}", add_chunk, methods=["PUT"]),
    Route(f"{BASE}/replacements/{{replacement}}:commit", commit_replacement, methods=["POST"]),
    Route(f"{BASE}/replacements/{{replacement}}", give_up_replacement, methods=["DELETE"]),
    Route(f"{BASE}/records/{{record_id}}", delete_one, methods=["DELETE"]),
    Route(f"{BASE}/pushes/{{seq}}", push_state, methods=["GET"]),
    Route(f"{BASE}/errors", errors, methods=["GET"]),
]
