"""The web service as one ASGI application.

Belongs here: routes gathered, errors as answers, start and stop. Does not belong here: what a route does.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster.live.reading import BadQuestion
from otn_dagster.web import health
from otn_dagster.web.answers import Refused
from otn_dagster.web.api import erddap, openapi, opendatasoft
from otn_dagster.web.api import push as push_api
from otn_dagster.web.api import read as reading_api
from otn_dagster.web.service import Service
from otn_dagster.web.site import actions as tracker_actions
from otn_dagster.web.site import calendar_feed, comparing, downloads, missing, signing_in, submitting, verified
from otn_dagster.web.site import pages as tracker_pages

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(service: Service) -> Starlette:
    """The application on a service, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    own = [*push_api.routes, *reading_api.routes, *health.routes, *openapi.routes]
    app = Starlette(
        routes=[
            *(_answered(route, Refused.answer) for route in own),
            *(_answered(route, opendatasoft.error) for route in opendatasoft.routes),
            *(_answered(route, erddap.error) for route in erddap.routes),
            *signing_in.routes,
            *tracker_pages.routes,
            *calendar_feed.routes,
            *submitting.routes,
            *downloads.routes,
            *verified.routes,
            *comparing.routes,
            *missing.routes,
            *tracker_actions.routes,
        ],
        exception_handlers={HTTPException: _no_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _answered(route: Route, error: Callable[[Refused], Response]) -> Route:
    endpoint: Endpoint = route.endpoint

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return error(refused)
        except BadQuestion as problem:
            return error(Refused("bad_parameter", str(problem)))
        except Exception:
            trace_id = secrets.token_hex(8)
            logger.exception("error %s in %s %s", trace_id, request.method, request.url.path)
            return error(Refused("internal", trace_id=trace_id))

    return Route(route.path, answered, methods=list((route.methods or {"GET"}) - {"HEAD"}), name=route.name)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "bad_method"}.get(status, "internal")
    return Refused(code, f"{request.method} {request.url.path[:200]}").answer()
