"""A push, whatever the dialect it came in: checked, kept, answered.

Belongs here: the order of the checks, and what is written to the log. Does not belong here: routes, the shapes of answers in
other dialects (``opendatasoft.py``, ``erddap.py``).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from otn_dagster.live import batches, files, records
from otn_dagster.live.configuration import live_data
from otn_dagster.live.keys import Key
from otn_dagster.live.log import Logged, Push, Refusal
from otn_dagster.live.records import Fault, Parsed
from otn_dagster.web.answers import Refused
from otn_dagster.web.service import Served, Service

LARGE = 256_000  # bytes beyond which work goes to a thread, so that others are not kept waiting


@dataclass(frozen=True)
class Wanted:
    """What a sender asks for."""

    op: str = "push"
    partial: bool = False
    dry_run: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Kept:
    """What became of it; ``logged`` is None in a dry run."""

    received: int
    faults: list[Fault]
    logged: Logged | None


async def authorise(service: Service, token: str | None, name: str, right: str) -> tuple[Served, Key]:
    """The dataset and the key, where the key has the right; raises Refused. Without a good key, nothing is told of a dataset."""
    if not token:
        raise Refused("bad_key", "a key is needed: Authorization: Bearer push_...")
    key = await service.key_of(token)
    if key.dataset != name:
        raise Refused("scope", f"this key is for another dataset than {name[:60]}")
    if right not in key.rights:
        raise Refused("scope", f"this key may {', '.join(key.rights)}, not {right}")
    if name not in service.served:
        raise Refused("not_found", f"there is no dataset {name}")
    return service.served[name], key


def open_for(service: Service, served: Served, key: Key) -> None:
    """Raise Refused where a dataset takes no pushes, or the key comes too often."""
    if served.disabled:
        raise Refused("push_disabled", f"{served.dataset.name} takes no pushes: {served.disabled}")
    service.quotas.request(key.kid, served.dataset.limits)


async def take_body(service: Service, served: Served, key: Key, body: bytes, kind: str, wanted: Wanted) -> Kept:
    """A body of JSON or NDJSON."""
    quick = served.quick.good(body, kind) if wanted.op == "push" else None
    if quick is not None:
        _count(service, served, key, quick)
        return await _keep(service, served, key, wanted, quick, [], body, kind, body)
    try:
        items = await _aside(len(body), records.items_of, body, kind)
    except records.Malformed as error:
        service.writer.note(Refusal(served.dataset.name, key.author, (), "malformed_json", str(error)))
        raise Refused("malformed_json", str(error)) from None
    _count(service, served, key, len(items))
    parsed = await _aside(len(body), _parse, served, wanted.op, items, False)
    return await _take_parsed(service, served, key, wanted, parsed, items, (body, kind))


async def take_text(service: Service, served: Served, key: Key, rows: list[dict[str, str]], wanted: Wanted) -> Kept:
    """Rows whose values are text, as query strings have them."""
    _count(service, served, key, len(rows))
    parsed = _parse(served, wanted.op, rows, True)
    return await _take_parsed(service, served, key, wanted, parsed, rows, None)


def _parse(served: Served, op: str, items: list[Any], text: bool) -> Parsed:
    return (records.ids if op == "delete" else records.parse)(served.schema, items, text)


def _count(service: Service, served: Served, key: Key, count: int) -> None:
    most = served.dataset.limits.records
    if count == 0:
        raise Refused("no_records")
    if count > most:
        raise Refused("too_many_records", f"{count:,} records, at most {most:,} in one push")


async def _take_parsed(
    service: Service,
    served: Served,
    key: Key,
    wanted: Wanted,
    parsed: Parsed,
    items: list[Any],
    raw: tuple[bytes, str] | None,
) -> Kept:
    good = len(parsed.records)
    if parsed.faults and (not wanted.partial or good == 0):
        refuse(service, served, key, parsed.faults, wanted.dry_run)
    if not wanted.dry_run and wanted.op == "push":
        await keep_files(service, parsed)
    if raw and not served.schema.files:
        body, kind = raw
    elif wanted.op == "delete":
        body, kind = msgspec.json.encode([record.record_id for record in parsed.records]), "json"
    else:
        body, kind = batches.body_of(parsed.records), "ndjson"
    faults = [(fault, _shown(items[fault.index])) for fault in parsed.faults]
    return await _keep(service, served, key, wanted, good, faults, body, kind, raw[0] if raw else body, len(items))


def refuse(service: Service, served: Served, key: Key, faults: list[Fault], dry_run: bool = False) -> None:
    """Refuse a push whole, naming its bad records, and write that down."""
    if not dry_run:
        service.writer.note(Refusal(served.dataset.name, key.author, tuple(faults[: records.MOST_FAULTS])))
    bad = len({fault.index for fault in faults})
    raise Refused("invalid_records", f"{bad} invalid record(s); nothing was stored", faults)


def _shown(item: Any) -> bytes:
    """A refused record as it is kept aside; a large one is cut."""
    body = msgspec.json.encode(item)
    return body if len(body) <= 20_000 else msgspec.json.encode({"cut": body[:20_000].decode("utf-8", "ignore")})


async def keep_files(service: Service, parsed: Parsed) -> None:
    """Keep the files of good records durably, before the log speaks of them."""
    folder = live_data(service.settings)
    try:
        for file in files.files_of(parsed.records):
            await run_in_threadpool(files.keep, folder, file)
    except OSError as error:
        raise Refused("storage_full", f"a file could not be kept: {error.strerror}", retry_after=60) from None


async def _keep(
    service: Service,
    served: Served,
    key: Key,
    wanted: Wanted,
    good: int,
    faults: list[tuple[Fault, bytes]],
    body: bytes,
    kind: str,
    sent: bytes,
    received: int | None = None,
) -> Kept:
    received = good if received is None else received
    shown = [fault for fault, _ in faults]
    if wanted.dry_run:
        return Kept(received, shown, None)
    await service.load_usage(key.kid)
    service.quotas.take(key.kid, served.dataset.limits, good, len(sent))
    try:
        logged = await service.writer.append(
            Push(
                dataset=served.dataset.name,
                author=key.author,
                kid=key.kid,
                op=wanted.op,
                records=good,
                schema_version=served.version,
                body_kind=kind,
                body_sha256=hashlib.sha256(b"%b %d " % (wanted.op.encode(), wanted.partial) + sent).digest(),
                body=body,
                idempotency_key=wanted.idempotency_key,
                size=len(sent),
                faults=tuple(faults),
            )
        )
    except Refused:
        service.quotas.give_back(key.kid, good, len(sent))
        raise
    if logged.replayed:
        service.quotas.give_back(key.kid, good, len(sent))
    return Kept(received, shown, logged)


async def _aside(size: int, work: Any, *arguments: Any) -> Any:
    return await run_in_threadpool(work, *arguments) if size > LARGE else work(*arguments)
