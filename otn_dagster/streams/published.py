"""The plain zarr view of a store: one consolidated zarr v3 group at a stable URL, for readers that have only xarray.

Belongs here: copying a commit's chunks to where plain readers find them, in an order that never shows a mixture. Does not
belong here: the record itself (``store.py``); a view is derived and can be made again at any time.

Chunks are copied as they are, first; the root ``zarr.json``, which holds the metadata of all arrays, is put last, in one
step. Rows that were appended only add to what old readers know: the chunk that grew begins as it was. Anything else (a
refresh, late data, a rollback) goes under the next of three ways in which zarr spells the keys of chunks, and the root
switches all arrays to it at once, while old readers go on reading the old keys. A spelling is used again only when it was
left longer than the grace ago: until then the view stays where it is and says so.
"""

import datetime as dt
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import obstore

from otn_dagster.explained import Explained
from otn_dagster.streams.location import Location
from otn_dagster.streams.lock import locked
from otn_dagster.streams.store import Commit, NoSuchStore, StreamStore

ROOT = "zarr.json"
SPELLINGS = (
    {"name": "default", "configuration": {"separator": "/"}},
    {"name": "default", "configuration": {"separator": "."}},
    {"name": "v2", "configuration": {"separator": "."}},
)
_PUTS_AT_ONCE = 16


class TooSoon(Explained, RuntimeError):
    """A view that cannot be switched yet without taking chunks from under readers of an older one."""


@dataclass(frozen=True)
class Published:
    """What a view shows: the commit, since when, its rows, and which spelling its chunks have."""

    commit: str
    at: str
    rows: int
    spelling: int
    copied: int = 0
    how: str = "unchanged"


def published(location: Location) -> Published | None:
    """What is published now."""
    root = _get_json(location.objects(), ROOT)
    facts = (root or {}).get("attributes", {}).get("published")
    return None if not facts else Published(facts["commit"], facts["at"], facts["rows"], facts["spelling"])


def publish(
    store: StreamStore, location: Location, grace: dt.timedelta, now: dt.datetime | None = None, override: bool = False
) -> Published:
    """Make the view show the newest version of the store.

    Safe to repeat and to kill: before the root is put nothing has changed for anybody, and chunks that were copied are
    copied again. Raises NoSuchStore, and TooSoon unless ``override`` says that old readers do not matter.
    """
    now = now or dt.datetime.now(dt.UTC)
    history = store.history()
    if not history:
        raise NoSuchStore(f"{store.location.url} has no data yet")
    with locked(location.lock_file()) if location.is_local else nullcontext():
        objects = location.objects()
        root = _get_json(objects, ROOT)
        return _publish(store, objects, history, root, grace, now, override)


def _publish(
    store: StreamStore,
    objects: Any,
    history: list[Commit],
    root: dict[str, Any] | None,
    grace: dt.timedelta,
    now: dt.datetime,
    override: bool,
) -> Published:
    head = history[0]
    facts = (root or {}).get("attributes", {}).get("published")
    if facts and facts["commit"] == head.snapshot:
        return Published(facts["commit"], facts["at"], facts["rows"], facts["spelling"])
    view = _View(store, head.snapshot)
    if facts is None:
        how, spelling, left, first_row = "first", 0, {}, 0
    elif _only_appended(history, facts["commit"], facts["rows"]) and _same_kind(root or {}, view.arrays):
        how, spelling, left, first_row = "appended", facts["spelling"], facts["left"], facts["rows"]
    else:
        how, spelling, first_row = "switched", (facts["spelling"] + 1) % len(SPELLINGS), 0
        left = {**facts["left"], str(facts["spelling"]): now.isoformat()}
        left_at = left.pop(str(spelling), None)
        if left_at and now - dt.datetime.fromisoformat(left_at) < grace and not override:
            raise TooSoon(
                f"chunks of the version before the last are kept for its readers until {dt.datetime.fromisoformat(left_at) + grace:%Y-%m-%d %H:%M}"
            )
    known = set((root or {}).get("consolidated_metadata", {}).get("metadata", {})) if how == "appended" else set()
    jobs = [
        (key, other)
        for name in view.arrays
        for key, other in view.chunks(name, first_row if name in known else 0, spelling)
    ]
    with ThreadPoolExecutor(_PUTS_AT_ONCE) as pool:
        list(pool.map(lambda job: _copy(view, objects, *job), jobs))
    made = {
        "commit": head.snapshot,
        "at": now.isoformat(timespec="seconds"),
        "rows": head.rows,
        "spelling": spelling,
        "left": left,
    }
    documents = {
        name: {**document, "chunk_key_encoding": SPELLINGS[spelling]} for name, document in view.arrays.items()
    }
    _put_json(objects, ROOT, view.root(documents, made))
    for name, document in documents.items():  # for readers that do not ask for the root
        _put_json(objects, f"{name}/{ROOT}", document)
    return Published(head.snapshot, made["at"], head.rows, spelling, len(jobs), how)


class _View:
    """One version of a store as zarr documents and encoded chunks."""

    def __init__(self, store: StreamStore, snapshot: str):
        self._store = store.repository.readonly_session(snapshot_id=snapshot).store
        self._group = store.read(snapshot)
        self.arrays = {
            name: json.loads(self.bytes(f"{name}/{ROOT}") or b"{}") for name in sorted(self._group.array_keys())
        }

    def bytes(self, key: str) -> bytes | None:
        """One object of the store."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        found = sync(self._store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def root(self, documents: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        """The root document, with the metadata of all arrays in it."""
        inline = {"kind": "inline", "must_understand": False, "metadata": documents}
        attributes = {**dict(self._group.attrs), "published": made}
        return {"zarr_format": 3, "node_type": "group", "attributes": attributes, "consolidated_metadata": inline}

    def chunks(self, name: str, first_row: int, spelling: int) -> Iterator[tuple[str, str]]:
        """(key in the store, key in the view) of every chunk that has rows from ``first_row`` on."""
        document = self.arrays[name]
        shape, chunk = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
        along_time = document["dimension_names"][:1] == ["time"]
        counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
        first = first_row // chunk[0] if along_time else 0
        for index in product(range(first, counts[0]), *(range(n) for n in counts[1:])):
            numbers = [str(i) for i in index]
            yield f"{name}/c/{'/'.join(numbers)}", f"{name}/{_spell(numbers, spelling)}"


def _spell(numbers: list[str], spelling: int) -> str:
    return ["/".join(["c", *numbers]), ".".join(["c", *numbers]), ".".join(numbers)][spelling]


def _copy(view: _View, objects: Any, key: str, other: str) -> None:
    data = view.bytes(key)
    if data is not None:
        obstore.put(objects, other, data)
    elif _exists(objects, other):  # nothing was written there: it must not show what an older version had
        obstore.delete(objects, other)


def _only_appended(history: list[Commit], commit: str, rows: int) -> bool:
    """Whether everything since a commit only added rows after those that it had."""
    for newer in history:
        if newer.snapshot == commit:
            return True
        if newer.facts["first_changed_row"] < rows:
            return False
    return False


def _same_kind(root: dict[str, Any], arrays: dict[str, Any]) -> bool:
    """Whether every published array is still there with its type and chunks."""
    before = root.get("consolidated_metadata", {}).get("metadata", {})
    kind = lambda document: (document["data_type"], document["chunk_grid"], document["fill_value"], document["codecs"])  # noqa: E731
    return all(name in arrays and kind(arrays[name]) == kind(document) for name, document in before.items())


def forget_left(location: Location, grace: dt.timedelta, now: dt.datetime | None = None) -> int:
    """Delete chunks under spellings that were left longer than the grace ago; how many. Safe to repeat."""
    now = now or dt.datetime.now(dt.UTC)
    with locked(location.lock_file()) if location.is_local else nullcontext():
        objects = location.objects()
        facts = (_get_json(objects, ROOT) or {}).get("attributes", {}).get("published")
        old = {
            int(s) for s, at in (facts or {}).get("left", {}).items() if now - dt.datetime.fromisoformat(at) >= grace
        }
        doomed = [
            meta["path"] for batch in obstore.list(objects) for meta in batch if _spelling_of(meta["path"]) in old
        ]
        for key in doomed:
            obstore.delete(objects, key)
        return len(doomed)


def _spelling_of(key: str) -> int | None:
    """Which spelling a chunk's key has; None for metadata."""
    rest = key.partition("/")[2]
    if not rest or rest == ROOT:
        return None
    return 0 if rest.startswith("c/") else 1 if rest.startswith("c.") else 2


def _get_json(objects: Any, key: str) -> dict[str, Any] | None:
    try:
        return json.loads(bytes(obstore.get(objects, key).bytes()))
    except FileNotFoundError:
        return None


def _put_json(objects: Any, key: str, document: dict[str, Any]) -> None:
    obstore.put(objects, key, json.dumps(document, allow_nan=True).encode())


def _exists(objects: Any, key: str) -> bool:
    try:
        obstore.head(objects, key)
    except FileNotFoundError:
        return False
    return True
