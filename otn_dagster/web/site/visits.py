"""Pages for people: who visits, what every page carries, how a list becomes html, json, csv or xlsx, errors in words.

Belongs here: what all pages share. Does not belong here: any single page (``pages.py``), signing in (``signing_in.py``).

Pages are made on the server, and work without scripts: the policy that they carry forbids any.
"""

import asyncio
import datetime as dt
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import msgspec
from psycopg import Connection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from otn_dagster.live.configuration import Limits
from otn_dagster.tracker import export, people
from otn_dagster.tracker.board import Reader
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.mail import wording
from otn_dagster.tracker.people import Person
from otn_dagster.web.answers import CODES, Refused
from otn_dagster.web.service import Service

logger = logging.getLogger(__name__)
SESSION = "otn_session"
LONGEST_FORM, SECONDS_FOR_A_FORM = 64_000, 15.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STRANGERS = Limits(requests_per_second=30)
MOST_IN_A_WORKBOOK = 20_000
FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def cookie(settings: TrackerSettings, name: str) -> str:
    """Over TLS with the prefix that lets no other site of the domain plant one."""
    return f"__Host-{name}" if settings.web_url.startswith("https://") else name


class Stop(Exception):
    """A page that is not shown, and what is said instead."""

    def __init__(self, status: int, text: str):
        """``status`` of HTTP; ``text`` for a person."""
        self.status, self.text = status, text
        super().__init__(text)


@dataclass(frozen=True)
class Visit:
    """A request of somebody."""

    request: Request
    service: Service
    settings: TrackerSettings
    session: str | None
    person: Person | None

    @classmethod
    async def of(cls, request: Request) -> "Visit":
        """Who visits: looked up anew for every page, so that a session that ended shows nothing more."""
        service: Service = request.app.state.service
        token = request.cookies.get(cookie(service.tracker, SESSION))
        if not service.sessions.knows(token):  # strangers share what strangers may ask
            service.quotas.request("visitors", STRANGERS)
        person = await service.doors.visit(lambda connection: people.of_session(connection, token)) if token else None
        service.sessions.remember(token, person is not None)
        return cls(request, service, service.tracker, token if person else None, person)

    @property
    def is_secure(self) -> bool:
        """Whether people reach the site over TLS."""
        return self.settings.web_url.startswith("https://")

    def cookie(self, name: str) -> str:
        """A cookie's full name."""
        return cookie(self.settings, name)

    @property
    def reader(self) -> Reader:
        """What they may see."""
        open_live = tuple(
            name
            for name, one in self.service.datasets.items()
            if one.dataset.read == "everyone" and not one.unpublished
        )
        return Reader(self.person, self.settings.access, open_live)

    async def ask[Found](self, question: Callable[[Connection], Found]) -> Found:
        """Ask the database."""
        return await self.service.doors.visit(question)

    def parameter(self, name: str) -> str | None:
        """A parameter of the address, once."""
        value = self.request.query_params.get(name)
        return value.replace("\x00", "")[:200] if value else None

    def must_sign_in(self) -> Person:
        """The person; raises Stop where nobody is signed in."""
        if self.person is None:
            raise Stop(401, "Sign in to see this.")
        return self.person

    def page(self, template: str, status: int = 200, **values: Any) -> "Made":
        """A page; it is made in a thread of its own kind, so that no instrument waits for it."""
        return partial(self.page_now, template, status, **values)

    def page_now(self, template: str, status: int = 200, **values: Any) -> Response:
        """A small page, at once."""
        token = people.form_token(self.session) if self.session else ""
        text = wording.render(
            f"pages/{template}.html",
            person=self.person,
            form_token=token,
            settings=self.settings,
            query=dict(self.request.query_params),
            path=self.request.url.path,
            now=dt.datetime.now(dt.UTC),
            **values,
        )
        return Response(text, status, HEADERS, "text/html; charset=utf-8")

    def listing(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], form: str) -> "Made":
        """A list as json, csv or xlsx."""
        if form == "xlsx" and len(rows) > MOST_IN_A_WORKBOOK:
            raise Stop(
                413, f"A workbook holds {MOST_IN_A_WORKBOOK:,} rows here, and these are more: take csv, or filter."
            )
        return partial(self._listing, name, columns, rows, form)

    def _listing(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], form: str) -> Response:
        if form == "json":
            plain = [{column: export.plain(row.get(column)) for column in columns} for row in rows]
            body = msgspec.json.encode({name: plain, "count": len(plain)})
        elif form == "csv":
            body = export.as_csv(columns, rows).encode()
        else:
            body = export.as_xlsx(columns, rows, dt.datetime.now(dt.UTC))
        disposition = {"Content-Disposition": f'attachment; filename="{name}.{form}"'} if form != "json" else {}
        return Response(body, 200, {**HEADERS, **disposition}, FORMATS[form])

    @property
    def form(self) -> str | None:
        """In which form a list is asked for; None for a page."""
        wanted = self.parameter("format")
        if wanted is not None and wanted not in FORMATS:
            raise Stop(400, f"format: found {wanted[:20]!r}, expected one of {', '.join(FORMATS)}.")
        return wanted

    async def form_fields(self) -> dict[str, str]:
        """Fields of a form that a page of this session sent; raises Stop where another site, or nobody, made it."""
        fields = await read_form(self.request)
        token = people.form_token(self.session) if self.session else secrets.token_hex(32)
        if not hmac.compare_digest(fields.get("form_token", "").encode(), token.encode()):
            raise Stop(403, "This form is too old, or is not of this site. Go back, reload the page and try again.")
        return fields


async def read_form(request: Request) -> dict[str, str]:
    """Fields of a form; raises Stop where it comes from another site, is too large or too slow."""
    if not is_own(request):
        raise Stop(403, "This form is not of this site.")
    if request.headers.get("content-type", "").split(";")[0] != "application/x-www-form-urlencoded":
        raise Stop(415, "Expected the form of a page.")
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS_FOR_A_FORM):
            async for part in request.stream():
                body += part
                if len(body) > LONGEST_FORM:
                    raise Stop(413, "The form is too large.")
    except (TimeoutError, ClientDisconnect):
        raise Stop(408, "The form did not come in time.") from None
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50)
    except (UnicodeDecodeError, ValueError):
        raise Stop(400, "The form cannot be read.") from None
    return {name: values[0].replace("\x00", "").strip() for name, values in fields.items()}


def is_own(request: Request) -> bool:
    """Whether a form was made by a page of this site, as browsers say (Fetch metadata, and Origin where that is missing)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


Made = Callable[[], Response]  # an answer that is still to be made
Answer = Response | Made


def page(endpoint: Callable[[Visit], Awaitable[Answer]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that takes a visit; what goes wrong becomes a page, or json for who asked for json."""

    @wraps(endpoint)
    async def visited(request: Request) -> Response:
        visit = None
        try:
            visit = await Visit.of(request)
            made = await endpoint(visit)
            return await visit.service.doors.make(made) if callable(made) and not isinstance(made, Response) else made
        except Stop as stop:
            return _stopped(request, visit, stop)
        except Refused as refused:
            return _stopped(request, visit, Stop(CODES[refused.code].status, refused.message))
        except Exception:
            trace_id = secrets.token_hex(8)
            logger.exception("error %s in %s %s", trace_id, request.method, request.url.path)
            return _stopped(request, visit, Stop(500, f"Something broke here; the log names it {trace_id}."))

    return visited


def _stopped(request: Request, visit: Visit | None, stop: Stop) -> Response:
    if request.query_params.get("format") in FORMATS:
        return Response(
            msgspec.json.encode({"status": "error", "message": stop.text}), stop.status, HEADERS, "application/json"
        )
    if stop.status == 401 and request.method == "GET":
        return redirect(f"/tracker/sign-in?next={quote(str(request.url.path))}")
    if visit is None:
        service: Service = request.app.state.service
        visit = Visit(request, service, service.tracker, None, None)
    return visit.page_now("message", stop.status, text=stop.text)


def redirect(where: str) -> Response:
    """To another page, which is fetched with GET."""
    return RedirectResponse(where, 303, HEADERS)


def address(path: str, query: Mapping[str, Any], **changes: Any) -> str:
    """The same address with other parameters; None takes one away."""
    wanted = {name: value for name, value in {**query, **changes}.items() if value not in (None, "")}
    return f"{path}?{urlencode(wanted)}" if wanted else path
