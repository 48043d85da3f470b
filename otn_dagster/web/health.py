"""Whether the service lives, and whether it can keep what it is sent.

Belongs here: what a supervisor asks. Does not belong here: how datasets do.
"""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster import database
from otn_dagster.web.answers import Health, Refused, answer


async def alive(_: Request) -> Response:
    """GET /healthz: the process answers."""
    return answer(Health("ok"))


async def ready(request: Request) -> Response:
    """GET /readyz: something can be written durably now, or could a second ago."""
    service = request.app.state.service
    if time.monotonic() > service.ready_until:
        try:
            await service.doors.query(database.write_something)
        except Refused:
            return answer(Health("not ready"), 503, {"Retry-After": "2"})
        service.ready_until = time.monotonic() + 1
    return answer(Health("ok"))


routes = [Route("/healthz", alive, methods=["GET"]), Route("/readyz", ready, methods=["GET"])]
