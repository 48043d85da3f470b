"""A small node that was loaded and pushed once, copied for each test; the tracker's pages as people visit them."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.orchestration import headless
from tests.support.databases import dagster_in_memory, new_database
from tests.support.node import PAST_PUSH, Node
from tests.support.sheets import fill
from tests.support.site import Site, serving
from tests.support.tracking import finish


@pytest.fixture(scope="session")
def pushed_once(server: EmbeddedServer) -> Iterator[tuple[str, Path]]:
    """(name of a template database, data root) of a node after a real push."""
    folder = Path(tempfile.mkdtemp(prefix="otn-pushed-"))
    url = new_database(server)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("OTN_DATA", str(folder / "data"))
        patch.setenv("OTN_DATABASE_URL", url)
        stack.enter_context(dagster_in_memory(patch))
        node = Node(load_settings())
        node.clock("2026-10-01T00:00:00")
        fill(node)
        loaded = headless.load(node.config, settle_seconds=0.1)
        assert loaded.good, loaded
        node.clock("2026-10-17T00:00:00")
        outcome = headless.push(node.settings, PAST_PUSH)
        assert outcome.good and outcome.waits_for_release, outcome.error
        finish(node, PAST_PUSH)
    yield re.findall(r"/(test_[0-9]+)\?", url)[0], folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pushed(
    pushed_once: tuple[str, Path], server: EmbeddedServer, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
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
