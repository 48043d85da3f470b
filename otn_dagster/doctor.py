"""How a node stands: what is configured, reachable, writable and up to date.

Belongs here: looking, each thing by itself, so that one that fails hides no other. Does not belong here: mending anything.
"""

import datetime as dt
import shutil
import smtplib
import sys
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from otn_dagster import database
from otn_dagster.checks import Check, Outcome
from otn_dagster.files import replacing
from otn_dagster.node import NodeConfig

SECONDS = 3.0
LEAST_FREE_BYTES = 2 * 2**30
MOST_SECONDS_APART = 5.0
Finding = tuple[bool | None, str]  # whether it is well (None: it need not be), and what was found


def configuration(config: NodeConfig) -> Finding:
    """Every yaml file can be read."""
    problems = list(config.live.problems.values())
    parts = f"{len(config.settings.nodes)} nodes, {len(config.streams.streams)} streams, {len(config.live.datasets)} live datasets"
    _ = config.tracker
    return (not problems, "; ".join(problems) or f"{config.folder}: {parts}")


def data_root(config: NodeConfig) -> Finding:
    """The data root can be written to and has room."""
    folder = config.settings.data
    with replacing(folder / ".doctor") as aside:
        aside.write_bytes(b"written")
    (folder / ".doctor").unlink()
    free = shutil.disk_usage(folder).free
    return (free >= LEAST_FREE_BYTES, f"{folder}, {free / 2**30:,.1f} GiB free")


def node_database(config: NodeConfig) -> Finding:
    """The node database answers, can be written to, and has the newest schema."""
    with database.connect(config.settings) as connection:
        database.write_something(connection)
        found = database.describe(connection)
    newest = database.newest_revision()
    where = "by OTN_DATABASE_URL" if config.settings.database_url else "embedded"
    said = f"PostgreSQL {found.server} ({where}), PostGIS {found.postgis or 'not there'}, schema {found.revision} of {newest}"
    apart = abs((dt.datetime.now(dt.UTC) - found.clock).total_seconds())
    if found.locks < found.wanted:
        says = f"room for {found.locks:,} locks, and the tables of all projects take {found.wanted:,}: raise max_locks_per_transaction"
        return (False, f"{said}; {says}")
    if apart > MOST_SECONDS_APART:
        return (False, f"{said}; its clock and this machine's are {apart:.0f} seconds apart")
    return (found.revision == newest, said)


def stream_stores(config: NodeConfig) -> Finding:
    """Where streams are stored can be reached."""
    from otn_dagster.streams import configuration as streams

    if not config.streams.streams:
        return (None, "no stream is configured")
    place = streams.stores(config.settings, config.streams)
    next(iter(place.objects().list(chunk_size=1)), None)
    return (True, place.url)


def mail(config: NodeConfig) -> Finding:
    """The mail server answers, where mails are sent."""
    settings = config.tracker.mail
    if settings.mode not in ("live", "allowlist"):
        return (None, f"mode {settings.mode}: no mail is sent")
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SECONDS) as server:
        code, _ = server.noop()
    return (code == 250, f"{settings.smtp_host}:{settings.smtp_port}, mode {settings.mode}")


def web_service(config: NodeConfig) -> Finding:
    """The web service runs where the tracker says it is."""
    return _running(f"{config.tracker.web_url}/healthz")


def dagster_ui(config: NodeConfig) -> Finding:
    """Dagster's webserver runs where the tracker says it is."""
    return _running(f"{config.tracker.dagster_url}/server_info")


def packages(config: NodeConfig) -> Finding:
    """Which versions run."""
    names = ("otn-dagster", "dagster", "duckdb", "zarr", "icechunk")
    return (True, f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in names))


LOOKS: list[tuple[Check, Callable[[NodeConfig], Finding]]] = [
    (Check(name="packages", title="Packages"), packages),
    (Check(name="configuration", title="Configuration", hint="Correct what is named."), configuration),
    (Check(name="data_root", title="Data root", hint="Make it writable (OTN_DATA names it), or make room."), data_root),
    (
        Check(name="database", title="Node database", hint="Start it, or correct OTN_DATABASE_URL; set its clock."),
        node_database,
    ),
    (
        Check(name="streams", title="Stream stores", hint="Check OTN_STREAMS_URL and the credentials of the bucket."),
        stream_stores,
    ),
    (Check(name="mail", title="Mail server", hint="Check `mail` in config/tracker.yaml."), mail),
    (
        Check(
            name="web",
            title="Web service",
            hint="`otn-dagster up` or `serve` starts it; `web_url` says where.",
            warns=True,
        ),
        web_service,
    ),
    (
        Check(
            name="dagster", title="Dagster UI", hint="`otn-dagster up` starts it; `dagster_url` says where.", warns=True
        ),
        dagster_ui,
    ),
]


def look(config: NodeConfig) -> list[Outcome[Check]]:
    """Everything, in the order in which one would mend it. Changes nothing."""
    return [_outcome(check, how, config) for check, how in LOOKS]


def _outcome(check: Check, how: Callable[[NodeConfig], Finding], config: NodeConfig) -> Outcome[Check]:
    try:
        passed, found = how(config)
    except Exception as error:  # whatever is wrong with one thing, the others are looked at
        passed, found = False, (str(error).splitlines() or [type(error).__name__])[0]
    facts: dict[str, Any] = {"found": found}
    return Outcome(check, passed, facts=facts)


def _running(url: str) -> Finding:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return (answer.status == 200, url)
    except (TimeoutError, OSError) as error:
        return (False, f"{url}: {getattr(error, 'reason', error)}")
