"""The service as a process: ``otn-dagster serve``.

Belongs here: uvicorn and its settings. Does not belong here: the application.
"""

import logging
import socket

import uvicorn

from otn_dagster.config import Settings
from otn_dagster.web.app import make_app
from otn_dagster.web.protocol import Bounded
from otn_dagster.web.service import Service

SECONDS_TO_FINISH = 20
MOST_CONNECTIONS = 2_000


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made


def serve(settings: Settings, made: socket.socket, service: Service | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; what is under way is finished first.

    There is no access log: it would hold the keys that old clients put into URLs.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = uvicorn.Config(
        make_app(service or Service(settings)),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        timeout_keep_alive=30,
        backlog=1024,
        server_header=False,
        date_header=False,
        ws="none",
        http=Bounded,
        limit_concurrency=MOST_CONNECTIONS,
    )
    uvicorn.Server(config).run(sockets=[made])
