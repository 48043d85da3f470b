"""The calls that clients of ERDDAP's EDDTableFromHttpGet make, answered as ERDDAP does.

Belongs here: ``.insert`` and ``.delete`` with their query strings, the success object, errors as ERDDAP writes them. Does not
belong here: what a push is (``pushing.py``).

Source: ERDDAP, "Working with the datasets.xml File", EDDTableFromHttpGet. Values are variables by name, scalars or arrays of
one length; ``author=Name_key`` must be last, which shows that nothing was cut off. Unlike there, a number is never rounded or
made missing to fit its type: the request fails and says why.
"""

import re
from urllib.parse import unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otn_dagster.live import reading
from otn_dagster.web.answers import CODES, Refused, answer
from otn_dagster.web.api import pushing
from otn_dagster.web.api.bodies import body_of
from otn_dagster.web.api.pushing import Wanted
from otn_dagster.web.service import Service

NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 413: "Payload Too Large"}
RESERVED = ("timestamp", "command")
MOST_BYTES = 256_000


def error(refused: Refused) -> Response:
    """An error as ERDDAP writes them."""
    status = 403 if refused.code == "bad_key" else CODES[refused.code].status
    faults = "; ".join(f"row {fault.index}: {fault.field or ''} {fault.message}" for fault in refused.faults[:20])
    text = f"{NAMES.get(status, 'Error')}: {refused.message}{': ' if faults else ''}{faults}"
    quoted = re.sub(r"[\x00-\x1f]", " ", text).replace("\\", "\\\\").replace('"', '\\"')
    body = f'Error {{\n    code={status};\n    message="{quoted}";\n}}\n'
    return PlainTextResponse(body, status, refused.headers())


async def insert(request: Request) -> Response:
    """``{dataset}.insert``."""
    return await _write(request, "push")


async def delete(request: Request) -> Response:
    """``{dataset}.delete``: by the key's values; other variables are not looked at."""
    return await _write(request, "delete")


async def _write(request: Request, op: str) -> Response:
    service, name = request.app.state.service, request.path_params["dataset"]
    pairs = _pairs(await _query(request, service))
    author, _, token = pairs.pop()[1].partition("_")
    served, key = await pushing.authorise(service, token, name, op)
    if key.author != author or not served.dataset.erddap.enabled:
        raise Refused("bad_key")
    pushing.count_request(service, served, key)
    rows = rows_of(pairs, served.dataset.key, list(served.schema.fields), served.dataset.limits.records)
    kept = await pushing.take_text(service, served, key, rows, Wanted(op))
    assert kept.logged is not None
    at = kept.logged.received_at
    return answer(
        {
            "status": "success",
            "nRowsReceived": kept.received,
            "stringTimestamp": reading.plain(at.replace(microsecond=at.microsecond // 1000 * 1000)),
            "numericTimestamp": int(at.timestamp() * 1000) / 1000,
        }
    )


async def _query(request: Request, service: Service) -> str:
    """The parameters. The key is among them, so that they are read before anybody is known: few bytes, of a budget apart."""
    if request.method == "POST":
        async with body_of(request, MOST_BYTES, service.keyless_budget, "") as body:
            return body.decode("utf-8", "replace")
    if len(request.scope["query_string"]) > MOST_BYTES:
        raise Refused("too_large", f"more than {MOST_BYTES:,} bytes; send fewer rows at once")
    return request.scope["query_string"].decode("latin-1")


def _pairs(query: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in query.split("&") if part]
    pairs = [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]
    if not pairs or pairs[-1][0] != "author":
        raise Refused("bad_parameter", "the last parameter must be author=Name_key; the URL may have been cut off")
    return pairs


def rows_of(pairs: list[tuple[str, str]], required: list[str], known: list[str], most: int) -> list[dict[str, str]]:
    """Rows of variables with scalars or arrays; raises Refused."""
    columns: dict[str, list[str] | str] = {}
    for name, value in pairs:
        if name in RESERVED:
            raise Refused("bad_parameter", f"{name} is set by the server and may not be sent")
        if name not in known:
            raise Refused("bad_parameter", f"there is no variable {name[:60]!r}, expected some of: {', '.join(known)}")
        if name in columns:
            raise Refused("bad_parameter", f"the variable {name} is given more than once")
        columns[name] = array_of(name, value) if value.startswith("[") else value
    missing = [name for name in required if name not in columns]
    if missing:
        raise Refused("bad_parameter", f"required variables are missing: {', '.join(missing)}")
    lengths = {len(value) for value in columns.values() if isinstance(value, list)}
    if len(lengths) > 1:
        raise Refused("bad_parameter", f"arrays have different lengths: {', '.join(map(str, sorted(lengths)))}")
    count = lengths.pop() if lengths else 1
    if count > most:
        raise Refused("too_many_records", f"{count:,} rows, at most {most:,} in one push")
    return [
        {name: value[row] if isinstance(value, list) else value for name, value in columns.items()}
        for row in range(count)
    ]


def array_of(name: str, text: str) -> list[str]:
    """``[1,2]``, ``["a","b"]`` or ``[2016-06-23T19:53:00Z,...]`` as texts; raises Refused."""
    if not text.endswith("]"):
        raise Refused("bad_parameter", f"the array of {name} has no end")
    try:
        found = msgspec.json.decode(text)
        plain = [item if isinstance(item, str) else msgspec.json.encode(item).decode() for item in found]
        return ["" if item == "null" else item for item in plain]
    except RecursionError:
        raise Refused("bad_parameter", f"the array of {name} is nested") from None
    except msgspec.DecodeError:
        inner = text[1:-1].strip()
        return [part.strip() for part in inner.split(",")] if inner else []


routes = [
    Route("/erddap/tabledap/{dataset}.insert", insert, methods=["GET", "POST"]),
    Route("/erddap/tabledap/{dataset}.delete", delete, methods=["GET", "POST"]),
]
