"""The description of the service for programs, made from the types of its answers and its codes.

Belongs here: one entry for each route. Does not belong here: the routes themselves. A test compares the two.
"""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.web import answers
from otn_dagster.web.answers import CODES, answer

DATASET = "/v1/datasets/{dataset}"
SHOWN = [
    answers.Pushed,
    answers.PartlyPushed,
    answers.ErrorAnswer,
    answers.PushState,
    answers.Refusals,
    answers.Replacement,
    answers.Page,
    answers.DatasetShown,
    answers.Health,
]
KEY = ("bad_key", "scope", "not_found", "unavailable", "internal")
WRITE = (*KEY, "push_disabled", "quota", "busy", "bad_parameter", "storage_full")
BODY = (
    "malformed_json",
    "malformed_body",
    "no_records",
    "too_slow",
    "too_large",
    "too_many_records",
    "unsupported_type",
)


def _parameter(name: str, text: str, where: str = "query", kind: str = "string", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "description": text,
        "required": where == "path",
        "schema": {"type": kind, **more},
    }


IDEMPOTENCY = _parameter(
    "Idempotency-Key", "The same key with the same body is the same push.", "header", maxLength=200
)
MODE = _parameter("mode", "Refuse all records where one is bad, or only those that are.", enum=["atomic", "partial"])
DRY_RUN = _parameter("dry_run", "Check and keep nothing.", enum=["1", "true", "0", "false"])
TIMES = [
    _parameter("start", "From this time on (ISO 8601)."),
    _parameter("end", "Before this time."),
    _parameter("as_of", "As it was known at this moment."),
]


def _schema_of(kind: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _operation(
    text: str,
    good: dict[int, type],
    codes: tuple[str, ...],
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    other_media: tuple[str, ...] = (),
    key: bool = True,
) -> dict[str, Any]:
    answered: dict[str, Any] = {}
    for status, kind in good.items():
        content: dict[str, Any] = {"application/json": {"schema": _schema_of(kind)}}
        content |= {media: {"schema": {"type": "string", "format": "binary"}} for media in other_media}
        answered[str(status)] = {"description": (kind.__doc__ or "").strip(), "content": content}
    for code in codes:
        entry = answered.setdefault(
            str(CODES[code].status),
            {"description": "", "content": {"application/json": {"schema": _schema_of(answers.ErrorAnswer)}}},
        )
        again = " May be sent again." if CODES[code].retry else ""
        entry["description"] = f"{entry['description']} `{code}`: {CODES[code].text}{again}".strip()
    made: dict[str, Any] = {"summary": text, "responses": answered}
    if parameters:
        made["parameters"] = parameters
    if body:
        record = {"schema": {"description": body}}
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": record, "application/x-ndjson": {"schema": {"type": "string"}}},
        }
    if key:
        made["security"] = [{"key": []}]
    return made


def describe() -> dict[str, Any]:
    """The whole description (OpenAPI 3.1)."""
    _, components = msgspec.json.schema_components(SHOWN, ref_template="#/components/schemas/{name}")
    records = "One object, an array of objects, or NDJSON; gzip is taken."
    pushed: dict[int, type] = {200: answers.Pushed, 207: answers.PartlyPushed}
    paths = {
        f"{DATASET}/records": {
            "post": _operation(
                "Push records; a 200 means that they are durable.",
                pushed,
                (*WRITE, *BODY, "invalid_records", "idempotency_mismatch"),
                [MODE, DRY_RUN, IDEMPOTENCY],
                records,
            ),
            "get": _operation(
                "Read records, by time, page by page, as of any moment.",
                {200: answers.Page},
                (*KEY, "bad_parameter"),
                [
                    *TIMES,
                    _parameter("limit", "At most so many.", kind="integer"),
                    _parameter("cursor", "From the answer before."),
                    _parameter("format", "How.", enum=["json", "csv", "parquet"]),
                ],
                other_media=("text/csv", "application/vnd.apache.parquet"),
            ),
        },
        f"{DATASET}/records:delete": {
            "post": _operation(
                "Delete records.",
                pushed,
                (*WRITE, *BODY, "invalid_records", "idempotency_mismatch"),
                [MODE, DRY_RUN, IDEMPOTENCY],
                "Objects with the key's values (without a key, with all fields), or record ids.",
            )
        },
        f"{DATASET}/records:replace": {
            "post": _operation("Begin to send a whole table in chunks.", {200: answers.Replacement}, WRITE)
        },
        f"{DATASET}/replacements/{{replacement}}/chunks/{{chunk}}": {
            "put": _operation(
                "Send a chunk; they are numbered from 0, and may be sent again.",
                {200: answers.Replacement},
                (*WRITE, *BODY, "invalid_records", "replacement_closed", "other_chunk"),
                body=records,
            )
        },
        f"{DATASET}/replacements/{{replacement}}:commit": {
            "post": _operation(
                "Make what was sent the table; what was not sent is deleted.",
                {200: answers.Pushed},
                (*WRITE, "missing_chunks", "would_remove"),
                [
                    _parameter("chunks", "How many chunks were sent.", kind="integer"),
                    _parameter("confirm", "How many records may go.", kind="integer"),
                ],
            )
        },
        f"{DATASET}/replacements/{{replacement}}": {
            "delete": _operation("Give a replacement up.", {200: answers.Replacement}, (*WRITE, "replacement_closed"))
        },
        f"{DATASET}/records/{{record_id}}": {
            "delete": _operation(
                "Delete one record.", {200: answers.Pushed}, (*WRITE, "invalid_records"), [IDEMPOTENCY]
            )
        },
        f"{DATASET}/pushes/{{seq}}": {"get": _operation("What became of a push.", {200: answers.PushState}, KEY)},
        f"{DATASET}/errors": {
            "get": _operation(
                "What was refused, newest first.",
                {200: answers.Refusals},
                (*KEY, "bad_parameter"),
                [_parameter("since", "From this moment on."), _parameter("limit", "At most so many.", kind="integer")],
            )
        },
        f"{DATASET}/files/{{sha256}}": {
            "get": _operation("A file that a record has.", {}, KEY, other_media=("application/octet-stream",))
        },
        DATASET: {"get": _operation("What the dataset is.", {200: answers.DatasetShown}, KEY)},
        "/healthz": {"get": _operation("The process answers.", {200: answers.Health}, (), key=False)},
        "/readyz": {
            "get": _operation("It can keep what it is sent.", {200: answers.Health, 503: answers.Health}, (), key=False)
        },
    }
    paths[f"{DATASET}/files/{{sha256}}"]["get"]["responses"]["200"] = {
        "description": "The bytes, with the content type they were sent with.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
    for path, operations in paths.items():
        named = [part.split("}")[0] for part in path.split("{")[1:]]
        for name in reversed(named):
            kind = "integer" if name in ("seq", "chunk") else "string"
            for operation in operations.values():
                operation.setdefault("parameters", []).insert(0, _parameter(name, f"The {name}.", "path", kind))
    return {
        "openapi": "3.1.0",
        "info": {"title": "otn_dagster live datasets", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "push_<id>_<secret>"}},
        },
    }


async def serve_description(_: Request) -> Response:
    """GET /v1/openapi.json."""
    return answer(describe())


routes = [Route("/v1/openapi.json", serve_description, methods=["GET"])]
