"""The calls that clients of Opendatasoft's push API make, answered as documented.

Belongs here: their paths, keys and answers. Does not belong here: what a push is (``pushing.py``).

Source: Opendatasoft user guide, "Pushing real-time data"; shape of errors from its management API 1.0. A dataset must switch
these calls on, because they carry the key in the URL; deleting by GET must be switched on beside.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.live.records import Fault
from otn_dagster.web.answers import CODES, Refused, answer
from otn_dagster.web.api import pushing
from otn_dagster.web.api.bodies import body_of, kind_of
from otn_dagster.web.api.pushing import Wanted
from otn_dagster.web.served import Served
from otn_dagster.web.service import Service

BASE = "/api/push/1.0/{dataset}/{resource}"
CODE_NAMES = {"invalid_records": "validation_error", "malformed_json": "bad_request", "no_records": "bad_request"}


def error(refused: Refused) -> Response:
    """An error in their shape."""
    code = CODE_NAMES.get(refused.code, refused.code)
    body: dict[str, Any] = {"status": "error", "error_code": code, "message": refused.message}
    if refused.faults:
        body["detail"] = _detail(refused.faults)
    return answer(body, CODES[refused.code].status, refused.headers())


def _detail(faults: Sequence[Fault]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.field or "record", []).append(f"record {fault.index}: {fault.message}")
    return found


async def _enter(request: Request, right: str) -> tuple[Service, Served, pushing.Key]:
    service, name = request.app.state.service, request.path_params["dataset"]
    token = request.query_params.get("pushkey") or request.query_params.get("apikey")
    served, key = await pushing.authorise(service, token, name, right)
    if not served.dataset.opendatasoft.enabled:
        raise Refused("bad_key")
    pushing.count_request(service, served, key)
    return service, served, key


async def _write(request: Request, op: str) -> Response:
    service, served, key = await _enter(request, op)
    kind = kind_of(request, lenient=True)
    async with body_of(request, served.most_bytes, service.budget, key.kid) as body:
        await pushing.take_body(service, served, key, body, kind, Wanted(op))
    return answer({"status": "OK"})


async def push(request: Request) -> Response:
    """POST .../push/?pushkey=: one record or an array."""
    return await _write(request, "push")


async def delete(request: Request) -> Response:
    """POST .../delete/?pushkey=: the record as if adding it for the first time."""
    return await _write(request, "delete")


async def delete_by_get(request: Request) -> Response:
    """GET .../{record_id}/delete/?pushkey=: off unless a dataset switches it on."""
    service, served, key = await _enter(request, "delete")
    if not served.dataset.opendatasoft.delete_by_get:
        raise Refused("bad_method", "deleting by GET is switched off; use POST .../delete/")
    body = msgspec.json.encode([request.path_params["record_id"]])
    await pushing.take_body(service, served, key, body, "json", Wanted("delete"))
    return answer({"status": "OK"})


# With and without the slash at the end: a redirect would turn the POST into a GET.
routes = [
    Route(f"{BASE}/{path}{slash}", endpoint, methods=[method])
    for slash in ("/", "")
    for path, endpoint, method in (
        ("push", push, "POST"),
        ("delete", delete, "POST"),
        ("{record_id}/delete", delete_by_get, "GET"),
    )
]
