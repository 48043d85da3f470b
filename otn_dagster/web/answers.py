"""Every answer of the service as a type, and every error as a code with its status and meaning.

Belongs here: the shapes that clients rely on; the OpenAPI description is made from them. Does not belong here: deciding which
answer to give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from otn_dagster.live.records import MOST_FAULTS, Fault


@dataclass(frozen=True)
class Meaning:
    """What an error code means, and whether the same request may be sent again (with the same Idempotency-Key)."""

    status: int
    text: str
    retry: bool = False


CODES = {
    "malformed_json": Meaning(400, "The body is no JSON; the message names the byte where it stops being so."),
    "malformed_body": Meaning(400, "The body cannot be unpacked."),
    "no_records": Meaning(400, "The body holds no record."),
    "bad_parameter": Meaning(400, "A parameter cannot be used."),
    "bad_key": Meaning(
        401,
        "A key is needed (Authorization: Bearer push_...), or this one is wrong or ended. An unknown dataset is answered so, too.",
    ),
    "scope": Meaning(403, "The key is for another dataset, or not for this."),
    "not_found": Meaning(404, "There is no such thing."),
    "bad_method": Meaning(405, "This cannot be done here."),
    "too_slow": Meaning(408, "The body did not come in time.", True),
    "push_disabled": Meaning(409, "The dataset takes no pushes for now; what is there stays."),
    "would_remove": Meaning(
        409, "A replacement would remove more than may go at once; the message says how to confirm."
    ),
    "replacement_closed": Meaning(409, "The replacement is committed or given up."),
    "other_chunk": Meaning(409, "Another body came under this chunk's number."),
    "missing_chunks": Meaning(409, "Chunks of the replacement are missing."),
    "too_large": Meaning(413, "The body is larger than the dataset allows, after unpacking."),
    "too_many_records": Meaning(413, "More records than the dataset allows in one push."),
    "unsupported_type": Meaning(415, "Send application/json or application/x-ndjson."),
    "invalid_records": Meaning(422, "Records were refused; each is named by index and field. Nothing was stored."),
    "idempotency_mismatch": Meaning(422, "This Idempotency-Key was used with another body."),
    "quota": Meaning(429, "The key's quota is used up; Retry-After says until when.", True),
    "internal": Meaning(500, "An error of the service; the trace id finds it in its log.", True),
    "busy": Meaning(503, "Too much is under way.", True),
    "unavailable": Meaning(503, "The database cannot be reached; whether the push was kept is unknown.", True),
    "storage_full": Meaning(503, "There is no space left.", True),
}


class FaultShown(msgspec.Struct):
    """One thing wrong with one record."""

    index: int
    code: str
    message: str
    field: str | None = None


class ErrorAnswer(msgspec.Struct):
    """Every error."""

    status: Literal["error"]
    code: str
    message: str
    errors: list[FaultShown]
    trace_id: str | None = None


class Pushed(msgspec.Struct):
    """A push that is durable (or, in a dry run, would be: then ``seq`` is null)."""

    status: Literal["ok"]
    received: int
    seq: int | None
    replayed: bool = False
    dry_run: bool = False


class PartlyPushed(msgspec.Struct):
    """A push of which some records were refused; they are kept aside with their reasons."""

    status: Literal["partial"]
    received: int
    accepted: int
    seq: int | None
    rejected: list[FaultShown]
    replayed: bool = False
    dry_run: bool = False


class PushState(msgspec.Struct):
    """What became of a push."""

    seq: int
    op: Literal["push", "delete", "replace"]
    state: Literal["accepted", "applied"]
    author: str
    received_at: str
    records: int
    refused: int
    schema_version: int
    applied_at: str | None = None
    run_id: str | None = None
    inserted: int | None = None
    updated: int | None = None
    unchanged: int | None = None
    deleted: int | None = None


class RefusedShown(msgspec.Struct):
    """Something that was refused: a record of a push (``seq``), or a push as a whole."""

    at: str
    author: str
    code: str
    message: str
    seq: int | None
    index: int | None
    field: str | None
    record: Any = None


class Refusals(msgspec.Struct):
    """What was refused, newest first."""

    errors: list[RefusedShown]


class Replacement(msgspec.Struct):
    """An open replacement."""

    status: Literal["ok"]
    replacement: str
    chunks: list[int]
    records: int


class Page(msgspec.Struct):
    """Records, and how to ask for the next page."""

    records: list[dict[str, Any]]
    next: str | None
    seq: int
    newest_seq: int


class FieldShown(msgspec.Struct):
    """A field of a dataset."""

    type: str
    required: bool
    units: str | None
    description: str | None


class DatasetShown(msgspec.Struct):
    """A dataset as those may see it who may read it."""

    dataset: str
    title: str
    key: list[str]
    fields: dict[str, FieldShown]
    unknown_fields: str
    schema_version: int


class Health(msgspec.Struct):
    """Whether the service lives, or is ready."""

    status: Literal["ok", "not ready"]


class Refused(Exception):
    """A request that ends here with an error."""

    def __init__(
        self,
        code: str,
        message: str = "",
        faults: Sequence[Fault] = (),
        retry_after: int | None = None,
        trace_id: str | None = None,
    ):
        """``code`` is one of ``CODES``; without a message its meaning is said."""
        self.code, self.message, self.faults = code, message or CODES[code].text, faults
        self.retry_after = retry_after if retry_after is not None else (1 if CODES[code].status in (429, 503) else None)
        self.trace_id = trace_id
        super().__init__(self.message)

    def answer(self) -> Response:
        """The answer of the service's own API."""
        body = ErrorAnswer("error", self.code, self.message, shown(self.faults), self.trace_id)
        return answer(body, CODES[self.code].status, self.headers())

    def headers(self) -> dict[str, str]:
        """``Retry-After`` where it helps to wait; a challenge where a key is missing; an end where the body was not read."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        if CODES[self.code].status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.code in ("too_large", "too_slow", "busy"):
            headers["Connection"] = "close"
        return headers


def shown(faults: Sequence[Fault]) -> list[FaultShown]:
    """Faults as clients see them, the first hundred bad records."""
    found: list[FaultShown] = []
    indexes: set[int] = set()
    for fault in faults:
        indexes.add(fault.index)
        if len(indexes) > MOST_FAULTS:
            break
        found.append(FaultShown(fault.index, fault.code, fault.message, fault.field))
    return found


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        msgspec.json.encode(body),
        status,
        {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )
