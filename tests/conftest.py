"""What tests share: a node of their own on a PostgreSQL server that all tests of a process share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import psycopg
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage
from xdist.scheduler import LoadFileScheduling

from otn_dagster import database
from otn_dagster.config import PROJECT_ROOT, Settings, load_settings
from otn_dagster.demo.ooinet import TOKEN, USER, FakeOOINet
from otn_dagster.embedded import EmbeddedServer
from tests.support.databases import new_database
from tests.support.harvest import Harvest
from tests.support.livenode import LiveNode
from tests.support.node import Node

os.environ["OTN_LOOK_SECONDS"] = "5"  # before any definitions are loaded: real daemons are waited for
REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile("otn", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("otn")


@pytest.fixture(autouse=True)
def no_instance_is_left() -> Iterator[None]:
    """A Dagster instance that a test left open is remembered by Dagster after it is gone, and breaks whoever loads definitions next."""
    with set_defs_state_storage(None):
        yield


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


class _Scheduling(LoadFileScheduling):
    """A file at a time to each worker; those of ``end_to_end`` to one, as one: they wait for daemons most of the time, while the other
    workers keep both cores busy. Two of them at once would wait for each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = "tests/end_to_end/"
        return folder if nodeid.startswith(folder) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """How tests are given to workers."""
    return _Scheduling(config, log)


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
    if (pid := server.pid()) is not None:  # nothing is kept: it need not write what hundreds of databases hold
        os.kill(pid, signal.SIGQUIT)
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the test's own, without live datasets."""
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder, ignore=shutil.ignore_patterns("live"))
    monkeypatch.setenv("OTN_CONFIG", str(folder))
    return folder


@pytest.fixture
def harvest(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harvest]:
    monkeypatch.setenv("OOI_USERNAME", USER)
    monkeypatch.setenv("OOI_TOKEN", TOKEN)
    with FakeOOINet([]) as server:
        yield Harvest(settings, server)
