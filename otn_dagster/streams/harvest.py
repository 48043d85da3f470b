"""What a harvest touches: configuration, sources, stores, the node database.

Belongs here: the small context that asking, looking and ingesting share. Does not belong here: what they do (``asking.py``,
``looking.py``, ``ingesting.py``).

No step waits. ``asking.ask`` orders and returns; ``looking.look`` is called again and again, with growing pauses; ``ingesting.ingest``
runs when a window is complete. Each may be killed anywhere and run again.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.streams import configuration, refresh
from otn_dagster.streams.configuration import Stream, StreamSettings
from otn_dagster.streams.ingest import Spread
from otn_dagster.streams.sources import source_of
from otn_dagster.streams.sources.base import Source
from otn_dagster.streams.store import StreamStore

FIRST_LOOK, LONGEST_PAUSE, PAUSE_GROWS = dt.timedelta(seconds=5), dt.timedelta(minutes=30), 1.6


@dataclass(frozen=True)
class Harvester:
    """Everything that a stream's harvest touches."""

    settings: Settings
    streams: StreamSettings
    source_for: Callable[[Settings, StreamSettings, Stream], Source] = source_of
    spread_for: Callable[[Stream], Spread | None] = lambda stream: None

    def source(self, key: str) -> Source:
        """Where a stream comes from."""
        return self.source_for(self.settings, self.streams, self.streams.stream(key))

    def store(self, key: str) -> StreamStore:
        """Its store."""
        return StreamStore(configuration.store_location(self.settings, self.streams, key))

    def connect(self):
        """A connection to the node database, in one transaction."""
        return database.connect(self.settings)

    def newest_time(self, key: str) -> int | None:
        """The last stored time, or None where there is no store."""
        store = self.store(key)
        return refresh.span(store.read())[1] if store.exists() else None


def pause(looks: int) -> dt.timedelta:
    """How long to wait before the next look."""
    return min(FIRST_LOOK * PAUSE_GROWS**looks, LONGEST_PAUSE)
