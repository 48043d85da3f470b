"""What tests share: a node of their own on a PostgreSQL server that all tests of a process share."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import hypothesis
import psycopg
import pytest

from otn_dagster import database
from otn_dagster.config import PROJECT_ROOT, Settings, load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.orchestration import headless
from tests.livenode import LiveNode
from tests.node import Node

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
_numbers = itertools.count()
# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile("otn", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("otn")


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One embedded server; its database ``otn`` is migrated and serves as template."""
    folder = Path(tempfile.mkdtemp(prefix="otn-tests-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder)
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        # What a killed process wrote stays; only a machine that loses its power would lose it, and no test pulls the plug.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")
    database.migrate(server.url)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def new_database(server: EmbeddedServer, template: str = "otn") -> str:
    """URL of a fresh database, a copy of the template."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url.replace("/otn?", "/postgres?"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
    return server.url.replace("/otn?", f"/{name}?")


@pytest.fixture
def settings(server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a node with an empty data root and a database of its own."""
    monkeypatch.setenv("OTN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OTN_DATABASE_URL", new_database(server))
    return load_settings()


@pytest.fixture
def node(settings: Settings) -> Node:
    """A node to drop files into, load and push."""
    return Node(settings)


@pytest.fixture
def live(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveNode:
    """A node with a configuration of its own, without live datasets yet."""
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder, ignore=shutil.ignore_patterns("live"))
    monkeypatch.setenv("OTN_CONFIG", str(folder))
    return LiveNode(settings, folder)


@contextlib.contextmanager
def dagster_in_memory(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs and partitions that Dagster keeps in memory: opening a database for each of its events costs more than most steps do."""
    with dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(headless, "dagster_instance", lambda: contextlib.nullcontext(instance))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start real servers come first, so that no worker is left alone with the longest of them."""
    slow = {item.path for item in items if item.get_closest_marker("end_to_end")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real() -> Path:
    """Real files and the results that must come out of them."""
    if not REAL.exists():
        pytest.skip(f"the real files are not here ({REAL})")
    return REAL
