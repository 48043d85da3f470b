"""A push, whatever the dialect it came in: checked, kept, answered.

Belongs here: the order of the checks, and what is written to the log. Does not belong here: routes, the shapes of answers in
other dialects (``opendatasoft.py``, ``erddap.py``).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from otn_dagster.live import batches, files, log, records
from otn_dagster.live.configuration import live_data
from otn_dagster.live.keys import Key
from otn_dagster.live.log import Logged, Push, Refusal
from otn_dagster.live.records import Fault, Parsed
from otn_dagster.web.answers import CODES, Refused
from otn_dagster.web.served import Served
from otn_dagster.web.service import Service

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
    refused: int
    faults: list[Fault]
    logged: Logged | None


@dataclass(frozen=True)
class _Checked:
    """A push that may be kept: what came (``sent``), and what the log keeps of it."""

    received: int
    good: int
    faults: list[tuple[Fault, bytes | None]]
    body: bytes
    kind: str
    sent: bytes
    files: Parsed | None = None


async def authorise(service: Service, token: str | None, name: str, right: str) -> tuple[Served, Key]:
    """The dataset and the key, where the key has the right; raises Refused. Without a good key, nothing is told of a dataset."""
    if not token:
        raise Refused("bad_key")
    key = await service.keys.of(token)
    if key.dataset != name:
        raise Refused("scope", f"this key is for another dataset than {name[:60]}")
    if right not in key.rights:
        raise Refused("scope", f"this key may {', '.join(key.rights)}, not {right}")
    if name not in service.datasets:
        raise Refused("not_found", f"there is no dataset {name}")
    return service.datasets[name], key


def count_request(service: Service, served: Served, key: Key) -> None:
    """Raise Refused where the key comes too often."""
    try:
        service.quotas.request(key.kid, served.dataset.limits)
    except Refused as refused:
        note(service, served, key, refused)
        raise


def must_be_open(served: Served) -> None:
    """Raise Refused where a dataset takes no pushes."""
    if served.disabled:
        raise Refused("push_disabled", f"{served.dataset.name} takes no pushes: {served.disabled}")


def note(service: Service, served: Served, key: Key, refused: Refused) -> None:
    """Write down that a push was refused, if that is its sender's affair."""
    if CODES[refused.code].status < 500 and refused.code not in ("push_disabled", "bad_key"):
        faults = tuple(refused.faults[: records.MOST_FAULTS])
        service.writer.note(Refusal(served.dataset.name, key.author, faults, refused.code, refused.message))


async def take_body(service: Service, served: Served, key: Key, body: bytes, kind: str, wanted: Wanted) -> Kept:
    """A body of JSON or NDJSON; raises Refused, and writes that down."""
    try:
        must_be_open(served)
        return await _take_body(service, served, key, body, kind, wanted)
    except Refused as refused:
        if before := await _kept_before(service, served, key, body, wanted):
            return before
        if not wanted.dry_run:
            note(service, served, key, refused)
        raise


async def _kept_before(service: Service, served: Served, key: Key, body: bytes, wanted: Wanted) -> Kept | None:
    """A push that was kept stays kept: whoever repeats it is told so, though it would be refused today."""
    if wanted.idempotency_key is None or wanted.dry_run:
        return None
    name, idempotency_key, digest = served.dataset.name, wanted.idempotency_key, _digest(wanted, body)
    found = await service.doors.query(
        lambda connection: log.kept_before(connection, name, key.author, idempotency_key, digest)
    )
    if found is None:
        return None
    logged, faults = found
    return Kept(logged.records + logged.refused, logged.refused, faults, logged)


async def _take_body(service: Service, served: Served, key: Key, body: bytes, kind: str, wanted: Wanted) -> Kept:
    if not body:
        raise Refused("no_records")
    quick = served.quick.good(body, kind) if wanted.op == "push" else None
    if quick is not None:
        count(served, quick)
        return await _keep(service, served, key, wanted, _Checked(quick, quick, [], body, kind, body))
    try:
        items = await aside(len(body), records.items_of, body, kind)
    except records.Malformed as error:
        raise Refused("malformed_json", str(error)) from None
    count(served, len(items))
    parsed = await aside(len(body), _parse, served, wanted.op, items, False)
    return await _take_parsed(service, served, key, wanted, parsed, items, (body, kind))


async def take_text(service: Service, served: Served, key: Key, rows: list[dict[str, str]], wanted: Wanted) -> Kept:
    """Rows whose values are text, as query strings have them; raises Refused, and writes that down."""
    try:
        must_be_open(served)
        count(served, len(rows))
        parsed = await aside(LARGE + 1 if len(rows) > 1000 else 0, _parse, served, wanted.op, rows, True)
        return await _take_parsed(service, served, key, wanted, parsed, rows, None)
    except Refused as refused:
        note(service, served, key, refused)
        raise


def _parse(served: Served, op: str, items: list[Any], text: bool) -> Parsed:
    return (records.ids if op == "delete" else records.parse)(served.schema, items, text)


def count(served: Served, found: int) -> None:
    """Raise Refused where a push holds nothing, or too much."""
    most = served.dataset.limits.records
    if found == 0:
        raise Refused("no_records")
    if found > most:
        raise Refused("too_many_records", f"{found:,} records, at most {most:,} in one push")


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
        refuse(parsed.faults)
    if raw and (wanted.op == "delete" or not served.schema.files):
        body, kind = raw
    else:
        body, kind = batches.body_of(parsed.records), "ndjson"
    most = records.MOST_FAULTS if raw and body is raw[0] else len(items)
    faults = _with_bodies(parsed.faults, items, most)
    files_of = parsed if wanted.op == "push" else None
    checked = _Checked(len(items), good, faults, body, kind, raw[0] if raw else body, files_of)
    return await _keep(service, served, key, wanted, checked)


def _with_bodies(faults: list[Fault], items: list[Any], most: int) -> list[tuple[Fault, bytes | None]]:
    """The faults of the first refused records, each record's body once; the others are in the push's own body."""
    found: list[tuple[Fault, bytes | None]] = []
    seen: set[int] = set()
    for fault in faults:
        if fault.index not in seen and len(seen) >= most:
            break
        found.append((fault, None if fault.index in seen else _shown(items[fault.index])))
        seen.add(fault.index)
    return found


def refuse(faults: list[Fault]) -> None:
    """Refuse a push whole, naming its bad records."""
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


async def _keep(service: Service, served: Served, key: Key, wanted: Wanted, checked: _Checked) -> Kept:
    shown, refused = [fault for fault, _ in checked.faults], checked.received - checked.good
    if wanted.dry_run:
        return Kept(checked.received, refused, shown, None)
    size = len(checked.sent)
    await service.load_usage(key.kid)
    service.quotas.take(key.kid, served.dataset.limits, checked.good, size)
    try:
        if checked.files:
            await keep_files(service, checked.files)
        logged = await service.writer.append(
            Push(
                dataset=served.dataset.name,
                author=key.author,
                kid=key.kid,
                op=wanted.op,
                records=checked.good,
                schema_version=served.version,
                body_kind=checked.kind,
                body_sha256=_digest(wanted, checked.sent),
                body=checked.body,
                idempotency_key=wanted.idempotency_key,
                size=size,
                refused=refused,
                faults=tuple(checked.faults),
            )
        )
    except Refused:
        service.quotas.give_back(key.kid, checked.good, size)
        raise
    if logged.replayed:
        service.quotas.give_back(key.kid, checked.good, size)
    return Kept(checked.received, refused, shown, logged)


def _digest(wanted: Wanted, sent: bytes) -> bytes:
    return hashlib.sha256(b"%b %d " % (wanted.op.encode(), wanted.partial) + sent).digest()


async def aside(size: int, work: Any, *arguments: Any) -> Any:
    """Do work of so many bytes, in a thread where they are many."""
    return await run_in_threadpool(work, *arguments) if size > LARGE else work(*arguments)
