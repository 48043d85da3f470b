"""How live datasets and remote sources stand, followed as moves of their items.

Belongs here: which facts of a dataset mean which state. Does not belong here: pushes, fetches and alerts (``live/``).
"""

from typing import Any

from otn_dagster.database import Connection
from otn_dagster.live import registry
from otn_dagster.live.configuration import Dataset, LiveDatasets
from otn_dagster.tracker import flows, items
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.items import Actor, Item, NotAllowed

WATCHER = Actor("live")


def follow(connection: Connection, dataset: Dataset, actor: Actor = WATCHER) -> Item:
    """Bring the item of a dataset after it. Safe to repeat."""
    remote = dataset.source is not None
    item, _ = items.register(
        connection,
        flows.LIVE,
        dataset.name,
        state="external" if remote else "expected",
        title=dataset.title or dataset.name,
        kind=dataset.kind if not remote else "remote source",
        actor=actor,
        evidence={"source": dataset.source.url}
        if dataset.source
        else {"configuration": f"config/live/{dataset.name}.yaml"},
        node=dataset.node,
        collectioncode=dataset.collectioncode,
    )
    item = items.get(connection, item.item_id, lock=True)
    closed = registry.switches(connection, dataset).disabled
    if closed:
        return items.move(connection, item.item_id, "closed", actor, {"by": "its switch", "reason": closed})
    if item.state == "closed":
        item = items.move(
            connection, item.item_id, "expected", actor, {"by": "its switch", "reason": "it is open again"}
        )
    for to, evidence in _due(connection, dataset.name, item):
        item = items.move(connection, item.item_id, to, actor, evidence)
    return item


def _due(connection: Connection, name: str, item: Item) -> list[tuple[str, dict[str, Any]]]:
    """The next step, with what shows that it was taken."""
    push = _newest_push(connection, name)
    alert = connection.execute(
        "select alert_no, text, started_at from platform.live_alerts where dataset = %s and kind = 'silent' and subject = ''"
        " and ended_at is null",
        [name],
    ).fetchone()
    if item.state == "external":
        look = connection.execute(
            "select fetch_no, looked_at from platform.live_fetches where dataset = %s and outcome in ('unchanged', 'changed', 'taken')"
            " order by fetch_no limit 1",
            [name],
        ).fetchone()
        found = [("expected", {"look": look[0], "at": look[1]})] if look else []
        return [*found, *([("active", push)] if look and push else [])]
    if item.state == "silent" and not alert:
        return [("active", push)] if push else [("expected", {"reason": "the alert ended"})]
    if item.state == "expected" and push and not (alert and alert[2] > push["received at"]):
        return [("active", push)]
    if item.state in ("expected", "active") and alert:
        return [("silent", {"alert": alert[0], "text": alert[1]})]
    return []


def _newest_push(connection: Connection, name: str) -> dict[str, Any] | None:
    row = connection.execute(
        "select seq, author, received_at from platform.live_log where dataset = %s order by seq desc limit 1", [name]
    ).fetchone()
    return {"push": row[0], "author": row[1], "received at": row[2]} if row else None


def follow_or_say(connection: Connection, dataset: Dataset, actor: Actor) -> Item:
    """Follow; where a person holds it, say so on the item, and go on to the others."""
    try:
        with connection.transaction():
            return follow(connection, dataset, actor)
    except NotAllowed as refused:
        item = items.find(connection, flows.LIVE, dataset.name)
        assert item is not None
        items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, str(refused))
        return item


def follow_all(connection: Connection, live: LiveDatasets, actor: Actor = WATCHER) -> list[Item]:
    """Every configured dataset; one whose file is gone is closed."""
    found = []
    for dataset in live.datasets.values():
        registry.register(connection, dataset)
        found.append(follow_or_say(connection, dataset, actor))
    gone = connection.execute(
        "select item_id from platform.tracker_items where flow = 'live' and state <> 'closed' and not subject = any(%s)",
        [list(live.datasets)],
    ).fetchall()
    broken = bool(live.problems)  # a file that cannot be read is not gone
    for (item_id,) in [] if broken else gone:
        evidence = {"by": "configuration", "reason": "its file is gone"}
        found.append(items.move(connection, item_id, "closed", actor, evidence))
    return found
