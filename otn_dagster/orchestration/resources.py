"""What a run may touch: the node database, the lake of push files, streams and their stores, live datasets.

Belongs here: handing domain objects to assets, and turning domain errors into Dagster failures. Does not belong here:
any rule or any SQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.explained import Unknown
from otn_dagster.live import apply, detections, remote, silence
from otn_dagster.live.configuration import Dataset, LiveDatasets
from otn_dagster.node import NodeConfig
from otn_dagster.streams import configuration, requests
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.location import Location
from otn_dagster.streams.spread import spread_of
from otn_dagster.streams.store import StreamStore
from otn_dagster.telemetry import cutoffs
from otn_dagster.telemetry.push import extracts, matching
from otn_dagster.telemetry.push import snapshot as snapshots
from otn_dagster.tracker.follow import live as follow_live
from otn_dagster.tracker.follow import streams as follow_streams
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import notices

Stepping = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def actor_of(context: Stepping) -> Actor:
    """A run, as the tracker names who did something."""
    return Actor.run(context.run.job_name, context.run.run_id)


class Configured(dg.ConfigurableResource):
    """A resource that knows the node's configuration: read once for a run or tick, because Dagster makes it anew for each."""

    config_folder: str = ""  # without it, OTN_CONFIG or the project's own
    _config: NodeConfig | None = PrivateAttr(default=None)

    @property
    def config(self) -> NodeConfig:
        """The configuration, as it was when this run or tick first asked."""
        if self._config is None:
            self._config = NodeConfig(Path(self.config_folder) if self.config_folder else None)
        return self._config

    @property
    def settings(self) -> Settings:
        """Nodes, push calendar, data root, database."""
        return self.config.settings


class NodeDatabase(Configured):
    """The node database, by ``OTN_DATABASE_URL`` or the embedded server."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in one transaction."""
        with database.connect(self.settings) as connection:
            yield connection


class Lake(Configured):
    """The files of pushes, under the data root."""

    def folder(self, push_date: str) -> Path:
        """Folder of a push."""
        return snapshots.push_folder(self.settings, push_date)

    def snapshot(self, push_date: str) -> snapshots.Snapshot:
        """Its frozen snapshot."""
        return snapshots.read(self.settings, push_date)

    def matches(self, push_date: str) -> matching.Matches:
        """Its matches."""
        return matching.read(self.folder(push_date))

    def before(self, push_date: str) -> tuple[snapshots.Snapshot, matching.Matches] | None:
        """Snapshot and matches of the last real push before it."""
        date = snapshots.previous(self.settings, push_date)
        return None if date is None else (self.snapshot(date), self.matches(date))

    def context(self, push_date: str) -> extracts.Context:
        """What extracts, reports and summaries of a push are made from."""
        return extracts.Context.of(self.snapshot(push_date), self.matches(push_date))


class Streams(Configured):
    """Ocean streams: their configuration, sources and stores."""

    def harvester(self) -> Harvester:
        """What asks, looks and ingests."""
        return Harvester(self.settings, self.config.streams, spread_for=spread_of)

    def follow(self, key: str, actor: Actor) -> None:
        """Bring the tracker after the newest request of a stream."""
        with self.harvester().connect() as connection:
            for request in requests.newest(connection, key, 1):
                follow_streams.follow(connection, request.request_no, actor)

    def store(self, key: str) -> StreamStore:
        """The store of a stream."""
        return StreamStore(configuration.store_location(self.settings, self.config.streams, key))

    def flags(self, key: str) -> StreamStore:
        """The store of its QARTOD flags."""
        return StreamStore(configuration.qc_location(self.settings, self.config.streams, key))

    def view(self, key: str) -> Location:
        """Where its plain zarr view is."""
        return configuration.published_location(self.settings, self.config.streams, key)

    @property
    def described(self) -> Path:
        """Where tables about streams are."""
        return configuration.described_folder(self.settings)


class Live(NodeDatabase):
    """Live datasets in the node database: their configuration, log and tables."""

    @property
    def datasets(self) -> LiveDatasets:
        """All datasets as they are configured."""
        return self.config.live

    def dataset(self, name: str) -> Dataset:
        """One dataset; a name that is not configured fails the run."""
        try:
            return self.config.live.dataset(name)
        except Unknown as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    def bring_up_to_date(self, name: str, run_id: str) -> tuple[list[remote.Taken], apply.Applied]:
        """Take the fetched files that wait, apply the log; a schema that the table cannot follow fails the run, saying how to go on."""
        dataset = self.dataset(name)
        taken = remote.take_all(self.settings, dataset) if dataset.source else []
        try:
            with self.connect() as connection:
                applied = apply.apply(connection, dataset, run_id)
                follow_live.follow_or_say(connection, dataset, Actor.run("apply_live", run_id))
                return taken, applied
        except apply.NeedsReplay as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    def submit_detections(self, name: str) -> list[detections.Written]:
        """Receiver-days of a dataset of detections as files in ``incoming/``."""
        dataset = self.dataset(name)
        if dataset.kind != "detections":
            return []
        with self.connect() as connection:
            return detections.submit(connection, self.settings, dataset)

    def standing_findings(self) -> list[silence.Finding]:
        """Who is silent; changes nothing."""
        with self.connect() as connection:
            return silence.look(connection, self.config.live)[0]

    def watch(self) -> tuple[list[silence.Finding], list[silence.Notice]]:
        """Who is silent, and what began or ended; operators are told in the same transaction."""
        with self.connect() as connection:
            found, began_or_ended = silence.watch(connection, self.config.live)
            notices.silence(connection, self.config.tracker, began_or_ended, cutoffs.now(connection))
            return found, began_or_ended
