"""Signing in and out, and choosing a password with an invitation, or with a link that the person asked for.

Belongs here: their pages and cookies. Does not belong here: accounts (``tracker/people.py``).

The session's cookie is read by no script, is sent to this site only, and over TLS only where the site has it. The form of signing in
carries a token of its own, kept in a cookie, so that nobody can sign somebody else in as himself.
"""

import datetime as dt
import hmac
import re
import secrets

from psycopg import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.live.configuration import Limits
from otn_dagster.tracker import people
from otn_dagster.tracker.mail import notices, wording
from otn_dagster.tracker.people import BadSignIn
from otn_dagster.web.site.visits import HEADERS, SESSION, Stop, Visit, page, read_form, redirect

FORM = "otn_form"
SCRIPT = wording.OWN / "pages" / "invitation.js"
FROM_A_PLACE, EVERYBODY = Limits(requests_per_second=2), Limits(requests_per_second=10)
_LOCAL = re.compile(r"/tracker(/[A-Za-z0-9._~/-]*)?")


def _cookie(visit: Visit, answer: Response, name: str, value: str, seconds: int) -> None:
    name = visit.cookie(name)
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=visit.is_secure, httponly=True, samesite="lax")


def _form_page(visit: Visit, template: str, status: int = 200, **values: object) -> Response:
    token = secrets.token_urlsafe(24)
    answer = visit.page_now(template, status, sign_in_token=token, **values)
    _cookie(visit, answer, FORM, token, 3600)
    return answer


async def _fields(visit: Visit) -> dict[str, str]:
    fields = await read_form(visit.request)
    expected = visit.request.cookies.get(visit.cookie(FORM)) or secrets.token_hex(16)
    if not hmac.compare_digest(fields.get("sign_in_token", "").encode(), expected.encode()):
        raise Stop(403, "This form is too old, or cookies are switched off. Go back, reload the page and try again.")
    visit.service.quotas.request(f"signing in from {_place(visit)}", FROM_A_PLACE)
    visit.service.quotas.request("signing in", EVERYBODY)
    return fields


def _place(visit: Visit) -> str:
    """Where a request comes from; behind a proxy that is the proxy."""
    return visit.request.client.host if visit.request.client else ""


def _next(value: str | None) -> str:
    """A page of the tracker; never another site."""
    return value if value and _LOCAL.fullmatch(value) and "//" not in value and ".." not in value else "/tracker"


@page
async def show_sign_in(visit: Visit) -> Response:
    """GET sign-in."""
    return _form_page(visit, "sign_in", next=_next(visit.parameter("next")), problem="", email="")


@page
async def sign_in(visit: Visit) -> Response:
    """POST sign-in."""
    fields = await _fields(visit)
    email, password = fields.get("email", ""), fields.get("password", "")
    hours = visit.settings.access.session_hours

    def ask(connection: Connection) -> str:
        return people.sign_in(connection, email, password, hours, _place(visit))

    try:
        token = await visit.ask(ask)
    except BadSignIn as problem:
        return _form_page(
            visit, "sign_in", 403, next=_next(fields.get("next")), problem=str(problem), email=email[:254]
        )
    answer = redirect(_next(fields.get("next")))
    _cookie(visit, answer, SESSION, token, int(hours * 3600))
    answer.delete_cookie(visit.cookie(FORM), path="/", secure=visit.is_secure)
    return answer


@page
async def sign_out(visit: Visit) -> Response:
    """POST sign-out."""
    await visit.form_fields()
    token = visit.session or ""
    await visit.ask(lambda connection: people.sign_out(connection, token))
    answer = redirect("/tracker")
    answer.delete_cookie(visit.cookie(SESSION), path="/", secure=visit.is_secure)
    return answer


@page
async def show_invitation(visit: Visit) -> Response:
    """GET invitation: its code is pasted, or stands behind the # of a link, so that no log of addresses has it."""
    answer = _form_page(visit, "invitation", problem="", code="")
    answer.headers["Content-Security-Policy"] += "; script-src 'self'"
    return answer


@page
async def accept_invitation(visit: Visit) -> Response:
    """POST invitation."""
    fields = await _fields(visit)
    if fields.get("password") != fields.get("again"):
        return _form_page(visit, "invitation", 400, problem="The two passwords differ.", code=fields.get("token", ""))
    try:
        await visit.ask(
            lambda connection: people.accept(connection, fields.get("token", ""), fields.get("password", ""))
        )
    except BadSignIn as problem:
        return _form_page(visit, "invitation", 400, problem=str(problem), code=fields.get("token", ""))
    return redirect("/tracker/sign-in")


@page
async def show_password(visit: Visit) -> Response:
    """GET password: for whoever has none, or forgot it."""
    return _form_page(visit, "password", asked=False, sends=_sends(visit))


@page
async def ask_password(visit: Visit) -> Response:
    """POST password: the answer is the same whether the address is known."""
    fields = await _fields(visit)
    email, settings, now = fields.get("email", "")[:254], visit.settings, dt.datetime.now(dt.UTC)
    if _sends(visit):
        await visit.ask(lambda connection: notices.password(connection, settings, email, now))
    return _form_page(visit, "password", asked=_sends(visit), sends=_sends(visit))


def _sends(visit: Visit) -> bool:
    return visit.settings.mail.mode in ("live", "allowlist")


async def script(_: Request) -> Response:
    """GET the script of the invitation's page."""
    return Response(SCRIPT.read_text(encoding="utf-8"), 200, HEADERS, "text/javascript; charset=utf-8")


async def home(request: Request) -> Response:
    """GET /: the board."""
    return redirect("/tracker")


routes = [
    Route("/", home, methods=["GET"]),
    Route("/tracker/sign-in", show_sign_in, methods=["GET"]),
    Route("/tracker/sign-in", sign_in, methods=["POST"]),
    Route("/tracker/sign-out", sign_out, methods=["POST"]),
    Route("/tracker/password", show_password, methods=["GET"]),
    Route("/tracker/password", ask_password, methods=["POST"]),
    Route("/tracker/invitation.js", script, methods=["GET"]),
    Route("/tracker/invitation", show_invitation, methods=["GET"]),
    Route("/tracker/invitation", accept_invitation, methods=["POST"]),
]
