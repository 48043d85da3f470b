"""How old versions of a store go: expiry, then garbage collection.

Belongs here: which versions may go. Does not belong here: old chunks of published
views (``published.py``).

What anybody saw as the newest version within the time that versions are kept stays, however long ago it was written; what a
tag names stays for ever. Objects that nothing refers to are deleted when they are older than the grace, so that a writer
who is at work keeps what it has not committed yet.
"""

import datetime as dt
import shutil
from dataclasses import dataclass

from otn_dagster.streams import configuration, published, requests
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.ingest import refresh_branch
from otn_dagster.streams.lock import locked
from otn_dagster.streams.store import StreamStore


@dataclass(frozen=True)
class Collected:
    """What went from a store."""

    store: str
    expired: int
    objects: int
    bytes: int


def collect(store: StreamStore, keep: dt.timedelta, grace: dt.timedelta, now: dt.datetime | None = None) -> Collected:
    """Expire versions that nobody saw for as long as ``keep``, and delete what only they needed.

    Safe to repeat and to kill: what was deleted was unreachable, what was not is found again.
    """
    now = now or dt.datetime.now(dt.UTC)
    history = store.history()
    oldest_seen = next((commit for commit in history if commit.at <= now - keep), None)
    with locked(store.location.lock_file()):
        expired = store.repository.expire_snapshots(older_than=oldest_seen.at) if oldest_seen else set()
        summary = store.repository.garbage_collect(now - grace)
    objects = (
        summary.chunks_deleted
        + summary.manifests_deleted
        + summary.snapshots_deleted
        + summary.transaction_logs_deleted
    )
    return Collected(store.location.url, len(expired), objects, summary.bytes_deleted)


def collect_all(harvester: Harvester) -> tuple[list[Collected], int]:
    """(what went from every store, how many requests' answers went). Safe to repeat and to kill, store by store."""
    settings, streams = harvester.settings, harvester.streams
    keep, grace = dt.timedelta(days=streams.retention.versions_days), dt.timedelta(days=streams.retention.grace_days)
    found = []
    for key, stream in sorted(streams.streams.items()):
        forget_branches(harvester, key)
        for place in (configuration.store_location, configuration.qc_location):
            store = StreamStore(place(settings, streams, key))
            if store.exists():
                found.append(collect(store, keep, grace))
        if stream.publish:
            published.forget_left(configuration.published_location(settings, streams, key), grace)
    return found, forget_old_answers(harvester)


def forget_branches(harvester: Harvester, key: str) -> int:
    """Forget the branches of refreshes that ended without being switched to; how many. Safe to repeat."""
    store = harvester.store(key)
    if not store.is_created():
        return 0
    with harvester.connect() as connection:
        wanted = {refresh_branch(request.request_no) for request in requests.active(connection, key)}
    ended = {name for name in store.repository.list_branches() if name.startswith("refresh-")} - wanted
    for branch in sorted(ended):
        store.drop_branch(branch)
    return len(ended)


def forget_old_answers(harvester: Harvester, now: dt.datetime | None = None) -> int:
    """Remove the files of answers whose request ended long enough ago; how many requests'. Safe to repeat."""
    now = now or dt.datetime.now(dt.UTC)
    keep, removed = dt.timedelta(days=harvester.streams.retention.answers_days), 0
    for key in harvester.streams.streams:
        folder = configuration.answers_folder(harvester.settings, key)
        for path in folder.glob("[0-9]*"):
            with harvester.connect() as connection:
                request = requests.get(connection, int(path.name))
            if not request.is_active and now - request.changed_at > keep:
                shutil.rmtree(path)
                removed += 1
    return removed
