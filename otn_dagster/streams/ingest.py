"""From the files of an answer to a commit: plan, schema, merge, gates, commit.

Belongs here: the order of these steps, for an append and for a refresh. Does not belong here: any of the steps, and where
files come from (``sources/``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from otn_dagster.late import late
from otn_dagster.streams import arrays, describe, gates, netcdf, timeaxis
from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.gates import Gate, GateFailed
from otn_dagster.streams.group import Group
from otn_dagster.streams.layout import BadLayout, Layout, SchemaChange, changes, union
from otn_dagster.streams.netcdf import AnswerFile, BadFile
from otn_dagster.streams.plan import Plan, Window, make_plan
from otn_dagster.streams.store import MAIN, StreamStore

if TYPE_CHECKING:
    import icechunk
else:
    icechunk = late("icechunk")

APPEND, REFRESH = "append", "refresh"
REMEMBERED_COMMITS = 200
S3_THREADS = 8


class SchemaChanged(RuntimeError):
    """What came has another schema than what is stored; a person accepts it or asks for a refresh."""

    def __init__(self, found: Sequence[SchemaChange]):
        """``found`` are the changes that nobody accepted."""
        super().__init__("; ".join(str(change) for change in found))
        self.changes = list(found)


@dataclass(frozen=True)
class Answer:
    """One window of a request, with what its source announced of it."""

    stream: Stream
    request_no: int
    part_no: int
    mode: str
    window: Window
    source: dict[str, Any] = field(default_factory=dict)
    announced: int | None = None

    @property
    def name(self) -> str:
        """Request and part."""
        return f"{self.request_no}/{self.part_no}"

    @property
    def branch(self) -> str:
        """Where it is committed."""
        return MAIN if self.mode == APPEND else refresh_branch(self.request_no)


@dataclass(frozen=True)
class Ingested:
    """What became of an answer. ``snapshot`` is None where it changed nothing."""

    snapshot: str | None
    facts: dict[str, Any]
    gates: list[Gate]
    conflicts: list[dict[str, Any]]

    @property
    def changed(self) -> bool:
        """Whether there is a commit of it."""
        return self.snapshot is not None


class Spread(Protocol):
    """Writes blocks somewhere else than in this process."""

    def __call__(
        self,
        session: icechunk.Session,
        store: StreamStore,
        base: str | None,
        plan: Plan,
        merge: arrays.Merge,
        blocks: list[arrays.Block],
    ) -> None:
        """Write them all into the session."""
        ...


def refresh_branch(request_no: int) -> str:
    """The branch on which a refresh is built."""
    return f"refresh-{request_no}"


def ingest(
    store: StreamStore,
    answer: Answer,
    files: Sequence[Path],
    accepted: Iterable[str] = (),
    spread: Spread | None = None,
) -> Ingested:
    """Merge the files of an answer into its branch and commit, or leave everything as it was.

    Safe to repeat and to kill at any point: nothing is visible before the commit, the commit is one step, and an answer
    whose commit is there is recognised and left alone. Raises BadFile, SchemaChanged, GateFailed, StoreMoved.
    """
    store.create()
    if answer.mode == REFRESH:
        store.start_branch(answer.branch)
    try:
        with store.writing(answer.branch) as session:
            done = _done_before(store, answer)
            return done or _ingest(store, session, answer, files, set(accepted), spread)
    finally:
        netcdf.close_all()


def _ingest(
    store: StreamStore,
    session: icechunk.Session,
    answer: Answer,
    paths: Sequence[Path],
    accepted: set[str],
    spread: Spread | None,
) -> Ingested:
    files = [netcdf.read_header(path, answer.stream.padded) for path in paths]
    begun = _begun(store, answer)
    fresh = answer.mode == REFRESH and not begun
    target = Group.open(session.store, "a")
    base_snapshot = None if fresh or not arrays.rows_of(target) else session.snapshot_id
    base = store.read(base_snapshot) if base_snapshot else None
    layout = _layout(answer, base, files, accepted)
    if fresh:
        for name in list(target.array_keys()):
            del target[name]
        target.attrs.clear()
    plan = make_plan(files, answer.window, layout)
    merge = arrays.plan_merge(base, plan, answer.window)
    if merge.unchanged:
        return Ingested(None, _facts(answer, plan, merge, begun), [], plan.conflicts)
    first_rows = arrays.prepare(target, base, plan, merge)
    _write(
        session, store, base_snapshot, base, target, plan, merge, list(arrays.blocks(layout, first_rows, merge)), spread
    )
    problems, spanned = arrays.write_times(target, base, plan, merge)
    target.attrs.update({**describe.attributes(answer.stream, layout), **spanned})
    found = gates.check(target, plan, merge, problems, answer.announced, answer.stream.tolerances)
    if bad := gates.failed(found, accepted):
        raise GateFailed(bad)
    facts = _facts(answer, plan, merge, begun)
    message = f"{answer.mode} {answer.name}: {timeaxis.text(answer.window[0])} to {timeaxis.text(answer.window[1])}"
    snapshot = store.commit(session, message, facts, amend=begun is not None)
    return Ingested(snapshot, facts, found, plan.conflicts)


def _write(
    session: icechunk.Session, store: StreamStore, base_snapshot: str | None, base: Group | None, target: Group,
    plan: Plan, merge: arrays.Merge, blocks: list[arrays.Block], spread: Spread | None,
) -> None:  # fmt: skip
    if spread:
        spread(session, store, base_snapshot, plan, merge, blocks)
        return
    write: Callable[[arrays.Block], None] = lambda block: arrays.write_block(target, base, plan, merge, block)  # noqa: E731
    if store.location.is_local:
        for block in blocks:
            write(block)
    else:  # against latency, not for speed: the work itself is done under HDF5's lock
        with ThreadPoolExecutor(S3_THREADS) as pool:
            list(pool.map(write, blocks))


def _layout(answer: Answer, base: Group | None, files: list[AnswerFile], accepted: set[str]) -> Layout:
    """The layout to write; raises SchemaChanged where an append would change what is stored and nobody accepted it."""
    try:
        if base is None:
            return describe.with_meanings(union(file.layout for file in files))
        stored = arrays.layout_of(base)
        came = [(file.name, describe.with_meanings(file.layout)) for file in files]
        if answer.mode == APPEND:
            found = [c for c in changes(stored, came) if c.key not in accepted or c.needs_refresh]
            if found:
                raise SchemaChanged(found)
        return union([stored, *(layout for _, layout in came)])
    except BadLayout as error:
        raise BadFile(f"{answer.stream.key}: {error}") from error


def _done_before(store: StreamStore, answer: Answer) -> Ingested | None:
    """What became of this very answer, where its commit is there."""
    for commit in store.history(answer.branch, REMEMBERED_COMMITS):
        for part in commit.facts.get("parts", []):
            if part["name"] == answer.name:
                return Ingested(commit.snapshot, commit.facts, [], [])
    return None


def _begun(store: StreamStore, answer: Answer) -> list[dict[str, Any]] | None:
    """Parts that the refresh has committed so far; None where this is its first."""
    head = store.head(answer.branch) if answer.mode == REFRESH else None
    if head is None or head.facts.get("request") != answer.request_no:
        return None
    return list(head.facts["parts"])


def _changed_from(answer: Answer, plan: Plan, merge: arrays.Merge) -> int:
    """From which time on anything changed: after the leading rows that were there already."""
    return int(plan.times(merge.same - 1, merge.same)[0]) + 1 if merge.same else answer.window[0]


def _facts(answer: Answer, plan: Plan, merge: arrays.Merge, begun: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What the commit says: the request, its windows with their files, and what changed."""
    files = [file.describe() for file in plan.files]
    part = {
        "name": answer.name,
        "window": list(answer.window),
        "source": answer.source,
        "files": files,
        "digest": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        "rows": plan.count,
        "replaced": merge.last - merge.first,
        "repeats": plan.repeats,
        "conflicts": plan.conflicting_rows,
        "without_time": plan.without_time,
        "outside": plan.outside,
        "not_kept": list(plan.layout.not_kept),
    }
    return {
        "stream": answer.stream.key,
        "request": answer.request_no,
        "mode": answer.mode,
        "rows": merge.rows,
        "first_changed_row": 0 if answer.mode == REFRESH else merge.first_changed,
        "changed_from": _changed_from(answer, plan, merge),
        "changed_to": answer.window[1],
        "parts": [*(begun or []), part],
        "by": f"otn_dagster {version('otn-dagster')}",
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
