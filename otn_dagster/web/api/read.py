"""Reading over HTTP: what a dataset is, its records, the files in them.

Belongs here: routes of ``/v1/datasets/{dataset}`` that read. Does not belong here: the question to the database
(``live/reading.py``).
"""

import itertools
import tempfile
from typing import Any, BinaryIO
from urllib.parse import urlencode

import psycopg
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from otn_dagster.live import files, reading, registry
from otn_dagster.live.configuration import Limits, live_data
from otn_dagster.live.reading import Answer, BadQuestion, NotReadable, Question
from otn_dagster.web.answers import DatasetShown, FieldShown, Page, Refused, answer
from otn_dagster.web.api import pushing
from otn_dagster.web.api.parameters import number, one_of, parameters, token_of
from otn_dagster.web.served import Served
from otn_dagster.web.service import Service

MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
RECORDS_A_PAGE, MOST_RECORDS_A_PAGE = 1_000, 10_000
IN_MEMORY = 8_000_000
MOST_EXPORTS = 20
EVERYBODY = Limits(requests_per_second=50)


async def _readable(request: Request) -> tuple[Service, Served]:
    service, name = request.app.state.service, request.path_params["dataset"]
    served = service.datasets.get(name)
    if served is None or served.dataset.read != "everyone":
        served, key = await pushing.authorise(service, token_of(request), name, "read")
        service.quotas.request(f"reads of {key.kid}", served.dataset.limits)
    else:
        service.quotas.request("readers without a key", EVERYBODY)
    return service, served


async def show_dataset(request: Request) -> Response:
    """GET the dataset: its fields and key."""
    service, served = await _readable(request)
    if (await service.doors.read(lambda connection: registry.switches(connection, served.dataset))).unpublished:
        raise Refused("not_found")
    schema = served.schema
    fields = {name: FieldShown(f.type, f.required, f.units, f.description) for name, f in schema.fields.items()}
    about = served.dataset
    return answer(
        DatasetShown(about.name, about.title, list(schema.key), fields, schema.unknown_fields, served.version)
    )


async def read_records(request: Request) -> Response:
    """GET records: as JSON in pages, as CSV or Parquet whole (or in pages, with a limit)."""
    service, served = await _readable(request)
    given = parameters(request, "start", "end", "as_of", "limit", "cursor", "format")
    form = one_of(given, "format", ("json", "csv", "parquet"), "json")
    most = MOST_RECORDS_A_PAGE if form == "json" else 10**9
    limit = number(given, "limit", RECORDS_A_PAGE if form == "json" else 0, 1, most) or None
    start, end, as_of = (reading.moment(given[name]) if name in given else None for name in ("start", "end", "as_of"))
    question = Question(start, end, as_of, limit and limit + 1, given.get("cursor"))
    if form == "json":
        return answer(await _ask(service, served, question, lambda found: _page(found, limit or 0)))
    if service.exports >= MOST_EXPORTS:
        raise Refused("busy", "too many exports are being sent")
    made, further = await _ask(service, served, question, lambda found: _file(found, form, limit))
    return _sent(request, service, made, further, form, f"{served.dataset.name}.{form}")


async def _ask(service: Service, served: Served, question: Question, make: Any) -> Any:
    def ask(connection: psycopg.Connection) -> Any:
        connection.execute("set transaction isolation level repeatable read read only")
        return make(reading.ask(connection, served.dataset, question))

    try:
        return await service.doors.read(ask)
    except NotReadable as error:
        raise Refused("not_found", str(error)) from None
    except BadQuestion as error:
        raise Refused("bad_parameter", str(error)) from None


def _page(found: Answer, limit: int) -> Page:
    rows = list(found.rows)
    further = found.cursor_after(rows[limit - 1]) if len(rows) > limit else None
    shown = [dict(zip(found.columns, map(reading.plain, row), strict=True)) for row in rows[:limit]]
    return Page(shown, further, found.seq, found.head)


def _file(found: Answer, form: str, limit: int | None) -> tuple[BinaryIO, str | None]:
    """The whole answer, in memory or on disk, before its first byte is sent: so it is whole, or an error."""
    further: list[str] = []

    def rows():
        last: tuple = ()
        for count, row in enumerate(found.rows, 1):
            if limit and count > limit:
                further.append(found.cursor_after(last))
                return
            last = row
            yield row

    limited = Answer(found.schema, found.columns, rows(), found.seq, found.head, found.time_field)
    made: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by whoever sends it
    if form == "csv":
        for part in reading.as_csv(limited):
            made.write(part)
    else:
        import pyarrow.parquet as pq

        with pq.ParquetWriter(made, reading.arrow_schema(limited), compression="zstd") as writer:
            for batch in reading.as_batches(limited):
                writer.write_batch(batch)
    return made, further[0] if further else None


def _sent(request: Request, service: Service, made: BinaryIO, further: str | None, form: str, name: str) -> Response:
    size = made.tell()
    made.seek(0)

    def parts():
        service.exports += 1
        try:
            with made:
                yield from itertools.takewhile(bool, iter(lambda: made.read(1 << 16), b""))
        finally:
            service.exports -= 1

    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
    if further:
        query = urlencode({**dict(request.query_params), "cursor": further})
        headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return StreamingResponse(parts(), media_type=MEDIA[form], headers=headers)


async def read_file(request: Request) -> Response:
    """GET files/{sha256}: a file that a record of this dataset names now."""
    service, served = await _readable(request)
    sha256 = request.path_params["sha256"]
    try:
        path = files.path_of(live_data(service.settings), sha256)
    except ValueError:
        raise Refused("not_found") from None
    kind = await _ask(service, served, Question(limit=1), lambda _: None) or await service.doors.read(
        lambda connection: reading.content_type(connection, served.dataset.name, served.schema, sha256)
    )
    if kind is None or not path.exists():
        raise Refused("not_found", f"no record of {served.dataset.name} has this file")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    return FileResponse(path, media_type=kind, filename=sha256[:16], headers=headers)


BASE = "/v1/datasets/{dataset}"
routes = [
    Route(f"{BASE}/records", read_records, methods=["GET"]),
    Route(f"{BASE}/files/{{sha256}}", read_file, methods=["GET"]),
    Route(BASE, show_dataset, methods=["GET"]),
]
