"""Taking in what is complete: window by window into the store, behind gates, until the result is the newest version.

Belongs here: the order of it, and what each refusal means. Does not belong here: one window (``ingest.py``), the end of a refresh
(``refresh.py``).
"""

from dataclasses import dataclass, field

from otn_dagster.streams import configuration, refresh, requests
from otn_dagster.streams.asking import ask_again, newest_record
from otn_dagster.streams.gates import Gate, GateFailed
from otn_dagster.streams.harvest import FIRST_LOOK, Harvester
from otn_dagster.streams.ingest import APPEND, REFRESH, Answer, Ingested, SchemaChanged, ingest, refresh_branch
from otn_dagster.streams.netcdf import BadFile
from otn_dagster.streams.requests import FAILED, Part, Request
from otn_dagster.streams.sources.base import (
    RemoteFile,
)

MOST_INGEST_ATTEMPTS = 5


@dataclass(frozen=True)
class Progress:
    """What an ingestion did."""

    request: Request
    ingested: list[Ingested] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    what: str = ""


class PartRefused(Exception):
    """An answer that is not taken: by which part, where it was one, and why."""

    def __init__(self, part: Part | None, cause: BadFile | SchemaChanged | GateFailed):
        """``cause`` is what the ingestion, or the end of a refresh, raised."""
        super().__init__(str(cause))
        self.part, self.cause = part, cause

    @property
    def gates(self) -> list[Gate]:
        """Gates that did not open."""
        return self.cause.gates if isinstance(self.cause, GateFailed) else []


def bring_in(harvester: Harvester, request_no: int) -> Progress:
    """Ingest every window that is complete, in order; when all are, make the result the newest version.

    Safe to repeat and to kill: each window is one commit, recognised when it is met again. What needs a person is held;
    raises what stopped it otherwise.
    """
    with harvester.connect() as connection:
        request = requests.get(connection, request_no)
    if not request.is_active or request.state == "requested" or request.held:
        return Progress(request, what=f"request {request_no} is {'held' if request.held else request.state}")
    with harvester.connect() as connection:
        attempt = requests.begin_ingestion(connection, request_no, FIRST_LOOK * 4**request.ingest_attempts)
        if attempt > MOST_INGEST_ATTEMPTS:
            why = f"{MOST_INGEST_ATTEMPTS} attempts at ingesting failed; the last: {request.reason}"
            return Progress(requests.move(connection, request_no, "failed", why))
    try:
        return _ingest(harvester, request)
    except Exception as error:
        with harvester.connect() as connection:
            requests.note_trouble(connection, request_no, f"{type(error).__name__}: {error}")
        raise


def _ingest(harvester: Harvester, request: Request) -> Progress:
    done: list[Ingested] = []
    if request.state == "ready":
        try:
            done = _ingest_parts(harvester, request)
        except PartRefused as refused:
            return Progress(_after_refusal(harvester, request, refused), done, refused.gates, what=str(refused))
        if _go_on_asking(harvester, request):
            return Progress(newest_record(harvester, request), done, what="other windows are still to come")
    return _finish(harvester, newest_record(harvester, request), done)


def _ingest_parts(harvester: Harvester, request: Request) -> list[Ingested]:
    stream, source, store = (
        harvester.streams.stream(request.stream),
        harvester.source(request.stream),
        harvester.store(request.stream),
    )
    with harvester.connect() as connection:
        parts = requests.parts(connection, request.request_no)
        accepted = requests.accepted_changes(connection, request.stream) | set(request.accepted)
    if request.mode == REFRESH:
        store.create()
        with harvester.connect() as connection:
            requests.note_base(connection, request.request_no, store.repository.lookup_branch("main"))
    done = []
    for part in parts:
        if part.state in ("to_ask", "asked"):
            break
        if part.state != "complete":
            continue
        folder = (
            configuration.answers_folder(harvester.settings, request.stream)
            / str(request.request_no)
            / f"{part.part_no}-{part.attempts}"
        )
        try:
            paths = [source.fetch(stream, RemoteFile(**file), folder) for file in part.files or []]
            answer = Answer(
                stream,
                request.request_no,
                part.part_no,
                request.mode,
                part.window,
                part.handle or {},
                part.announced,
            )
            result = ingest(store, answer, paths, accepted, harvester.spread_for(stream))
        except (BadFile, GateFailed, SchemaChanged) as error:
            raise PartRefused(part, error) from error
        with harvester.connect() as connection:
            requests.note_conflicts(connection, part, result.conflicts)
            requests.part_becomes(connection, part, "ingested", None if result.changed else "nothing changed")
            requests.note_result(connection, request.request_no, result.snapshot, {"rows": result.facts["rows"]})
        done.append(result)
    return done


def _after_refusal(harvester: Harvester, request: Request, refused: PartRefused) -> Request:
    """Ask again where that may help, wait for a person where one must decide, fail where nothing helps."""
    stream, part, error = harvester.streams.stream(request.stream), refused.part, refused.cause
    with harvester.connect() as connection:
        if isinstance(error, SchemaChanged):
            changes = [{"key": c.key, "text": str(c)} for c in error.changes]
            why = f"schema change: {error}. {_remedy(request, error)}"
            requests.hold(connection, request.request_no, {"why": why, "changes": changes})
        elif part and part.attempts < stream.most_attempts:
            ask_again(connection, stream, part, str(error), FAILED)
            requests.move(connection, request.request_no, "requested", str(error))
        elif isinstance(error, GateFailed) and error.can_be_accepted:
            why = f"{error}. {_remedy(request, error)}"
            requests.hold(connection, request.request_no, {"why": why, "gates": [gate.name for gate in error.gates]})
        else:
            requests.move(connection, request.request_no, "failed", str(error))
        return requests.get(connection, request.request_no)


def _go_on_asking(harvester: Harvester, request: Request) -> bool:
    with harvester.connect() as connection:
        missing = any(p.state in ("to_ask", "asked") for p in requests.parts(connection, request.request_no))
        if missing:
            requests.move(connection, request.request_no, "requested", "further windows")
    return missing


def _finish(harvester: Harvester, request: Request, done: list[Ingested]) -> Progress:
    """From all windows ingested to the newest version."""
    stream, store, number = (
        harvester.streams.stream(request.stream),
        harvester.store(request.stream),
        request.request_no,
    )
    found: list[Gate] = [gate for result in done for gate in result.gates]
    with harvester.connect() as connection:
        if request.state == "ready":
            request = requests.move(connection, number, "ingested")
        accepted = requests.accepted_changes(connection, request.stream)
        parts = requests.parts(connection, number)
    if request.mode == REFRESH and refresh_branch(number) in store.repository.list_branches():
        counted = [part.announced for part in parts if part.announced is not None]
        known = [d.number for d in harvester.source(request.stream).deployments(stream) if d.start < request.window_end]
        try:
            compared = refresh.compare(
                store, stream, number, sum(counted) if counted else None, known, accepted, request.accepted
            )
        except (SchemaChanged, GateFailed) as error:
            refused = PartRefused(None, error)
            return Progress(_after_refusal(harvester, request, refused), done, refused.gates, what=str(error))
        found = list({gate.name: gate for gate in [*found, *compared]}.values())
    with harvester.connect() as connection:
        if request.state == "ingested":
            request = requests.move(connection, number, "checked")
    if request.mode == REFRESH:
        assert request.base_snapshot is not None
        snapshot = refresh.switch(store, number, request.base_snapshot)
        with harvester.connect() as connection:
            requests.note_result(connection, number, snapshot, {})
    with harvester.connect() as connection:
        requests.note_result(connection, number, None, {"gates": [vars(gate) for gate in found]})
        request = requests.move(connection, number, "published")
    return Progress(request, done, found, what=f"request {number} is published")


def _remedy(request: Request, error: SchemaChanged | GateFailed) -> str:
    """What a person can do about a request that is held."""
    if isinstance(error, SchemaChanged) and request.mode == APPEND and any(c.needs_refresh for c in error.changes):
        return f"A refresh is needed: `otn-dagster streams ask {request.stream} --refresh`."
    return "`otn-dagster held` lists it; accept it or give it up with `otn-dagster decide`."
