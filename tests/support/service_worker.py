"""The service as a process of its own, for tests that kill it: ``python -m tests.support.service_worker careful|careless``.

``careless`` is the negative control: it answers before it writes. A crash test that cannot see it lose records proves nothing.
"""

import asyncio
import sys

from otn_dagster.config import load_settings
from otn_dagster.live.log import Logged, Push
from otn_dagster.web import run
from otn_dagster.web.api.writer import Writer
from otn_dagster.web.service import Service


class Careless(Writer):
    """Answers first."""

    async def append(self, push: Push) -> Logged:
        import datetime as dt

        self._later = asyncio.ensure_future(super().append(push))
        return Logged(0, dt.datetime.now(dt.UTC))


if __name__ == "__main__":
    listening = run.listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    writer = {"careful": Writer, "careless": Careless}[sys.argv[1]]
    run.serve(load_settings(), listening, Service(load_settings(), writer))
