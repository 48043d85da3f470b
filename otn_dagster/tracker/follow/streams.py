"""What became of stream requests, followed as moves of their items.

Belongs here: which state of a request means which step, and its evidence. Does not belong here: requests (``streams/``).

The history of a request is replayed, so that an item shows every step that the request took, however late it is followed.
"""

from typing import Any

from otn_dagster.database import Connection
from otn_dagster.streams import requests, timeaxis
from otn_dagster.streams.requests import Request
from otn_dagster.tracker import flows, items
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.items import Actor, Item, NotAllowed

HARVESTER = Actor("streams")


def follow(connection: Connection, request_no: int, actor: Actor = HARVESTER) -> Item:
    """Bring an item after its request. Safe to repeat."""
    request = requests.get(connection, request_no)
    item, _ = items.register(
        connection,
        flows.STREAM,
        str(request_no),
        state="requested",
        title=f"{request.stream} {request.mode} {request_no}",
        kind=request.mode,
        actor=actor,
        evidence={
            "mode": request.mode,
            "window": f"{timeaxis.text(request.window_start)[:19]} to {timeaxis.text(request.window_end)[:19]}",
            "asked_by": request.asked_by,
        },
        owner=request.asked_by,
    )
    item = items.get(connection, item.item_id, lock=True)
    for state, what in _steps(connection, request_no, item):
        if item.hold and not item.hold_by_person:
            item = items.release(connection, item.item_id, *_accepted(connection, item, actor))
        try:
            item = items.move(connection, item.item_id, state, actor, _evidence(connection, request, state, what))
        except NotAllowed as refused:
            items.describe(connection, item.item_id, Blocker.NOT_ALLOWED, str(refused))
            return items.get(connection, item.item_id)
    if request.held and request.is_active and not item.hold:
        item = items.hold(connection, item.item_id, "needs_researcher", actor, request.held["why"])
    if item.hold and not request.held and not item.hold_by_person:
        item = items.release(connection, item.item_id, *_accepted(connection, item, actor))
    waits = ((request.held or {}).get("why") or request.reason) if request.is_active else None
    items.describe(connection, item.item_id, Blocker.REQUEST, waits)
    return items.get(connection, item.item_id)


def _steps(connection: Connection, request_no: int, item: Item) -> list[tuple[str, str]]:
    """(state, what) of the steps that the item has not taken yet."""
    states: list[tuple[str, str]] = []
    for _, state, what in requests.history(connection, request_no):
        if not states or states[-1][0] != state:
            states.append((state, what))
    taken = [line.to_state for line in items.history(connection, item.item_id) if line.what == "move"]
    return states[len(taken) :]


def _accepted(connection: Connection, item: Item, actor: Actor) -> tuple[Actor, str]:
    """(who accepted what held a request, why), from the request's own history since then; else it went on by itself."""
    said = requests.accepted_since(connection, int(item.subject), item.hold_since)
    return (Actor.person(said[0]), said[1]) if said else (actor, "the request went on")


def _evidence(connection: Connection, request: Request, state: str, what: str) -> dict[str, Any]:
    parts = requests.parts(connection, request.request_no)
    files = [str(file.get("name") or file) for part in parts for file in part.files or []]
    gates = request.facts.get("gates") or "nothing came that could be compared"
    commit = request.snapshot or "nothing changed"
    return {
        "requested": {"reason": what},
        "ready": {"files": files or "a window is complete without files", "windows": len(parts)},
        "ingested": {"rows": request.facts.get("rows", "nothing changed"), "commit": commit},
        "checked": {"gates": gates},
        "published": {"commit": commit, "gates": gates},
    }.get(state, {"reason": what})


def behind(connection: Connection) -> list[int]:
    """Requests whose item is not where they are."""
    rows = connection.execute(
        "select r.request_no from platform.stream_requests r left join platform.tracker_items i"
        " on i.flow = 'stream' and i.subject = r.request_no::text"
        " where i.item_id is null or i.state <> r.state"
        " or (i.hold is null and r.held is not null and r.state in ('requested', 'ready', 'ingested', 'checked'))"
        " or (i.hold is not null and not i.hold_by_person and r.held is null) order by 1 limit 200"
    ).fetchall()
    return [number for (number,) in rows]
