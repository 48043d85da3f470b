"""A small node that was loaded and pushed once, copied for each test; the tracker's pages as people visit them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.orchestration import headless
from tests.support.databases import dagster_in_memory, new_database
from tests.support.node import PAST_PUSH, Node
from tests.support.once import Once, made_once
from tests.support.sheets import fill
from tests.support.site import Site, serving
from tests.support.tracking import finish


def fill_and_push(node: Node) -> None:
    """A real push that nobody released yet."""
    node.clock("2026-10-01T00:00:00")
    fill(node)
    loaded = headless.load(node.config, settle_seconds=0.1)
    assert loaded.good, loaded
    node.clock("2026-10-17T00:00:00")
    outcome = headless.push(node.settings, PAST_PUSH)
    assert outcome.good and outcome.waits_for_release, outcome.error


@pytest.fixture(scope="session")
def waiting_once(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, fill_and_push)


@pytest.fixture(scope="session")
def pushed_once(server: EmbeddedServer) -> Iterator[Once]:
    def prepare(node: Node) -> None:
        fill_and_push(node)
        finish(node, PAST_PUSH)

    yield from made_once(server, prepare)


@pytest.fixture
def pushed(pushed_once: Once, server: EmbeddedServer, configured: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A copy of the node that was pushed; its files are shared, and are not to be changed."""
    monkeypatch.setenv("OTN_DATA", str(pushed_once[1]))
    monkeypatch.setenv("OTN_DATABASE_URL", new_database(server, pushed_once[0]))
    return Node(load_settings())


@pytest.fixture
def site(pushed: Node) -> Iterator[Site]:
    """The pages of the node that was pushed."""
    with serving(pushed) as one:
        yield one


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with dagster_in_memory(monkeypatch):
        yield tmp_path
