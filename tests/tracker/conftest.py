"""A small node that was loaded and pushed once, copied for each test; the tracker's pages as people visit them."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.testclient import TestClient

from otn_dagster.config import PROJECT_ROOT, load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.live.configuration import Limits
from otn_dagster.orchestration import headless
from otn_dagster.tracker import people
from otn_dagster.web.app import make_app
from otn_dagster.web.service import Service
from otn_dagster.web.site import signing_in
from otn_dagster.web.site import visits as pages
from tests.conftest import dagster_in_memory, new_database
from tests.node import PAST_PUSH, Node
from tests.telemetry.test_loading import fill

PASSWORD = "correct horse battery"


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
        loaded = headless.load(node.settings, settle_seconds=0.1)
        assert loaded.good, loaded
        node.clock("2026-10-17T00:00:00")
        outcome = headless.push(node.settings, PAST_PUSH)
        assert outcome.good, outcome.error
    yield re.findall(r"/(test_[0-9]+)\?", url)[0], folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the test's own, without live datasets."""
    folder = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", folder, ignore=shutil.ignore_patterns("live"))
    monkeypatch.setenv("OTN_CONFIG", str(folder))
    return folder


def configure(folder: Path, **blocks: Any) -> None:
    """Change blocks of ``tracker.yaml``."""
    path = folder / "tracker.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in blocks.items():
        written[name] = {**written[name], **values} if isinstance(values, dict) else values
    path.write_text(yaml.safe_dump(written), encoding="utf-8")


@pytest.fixture
def pushed(
    pushed_once: tuple[str, Path], server: EmbeddedServer, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
    """A copy of the node that was pushed; its files are shared, and are not to be changed."""
    monkeypatch.setenv("OTN_DATA", str(pushed_once[1]))
    monkeypatch.setenv("OTN_DATABASE_URL", new_database(server, pushed_once[0]))
    return Node(load_settings())


class Visitor:
    """Somebody with a browser of their own."""

    def __init__(self, client: TestClient):
        self.client = client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, page: str | None = None, **fields: str) -> httpx.Response:
        """Send the form of a page: its hidden fields, and what a person fills in."""
        form = self.get(page or path).text
        hidden = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', form))
        return self.client.post(path, data={**hidden, **fields})

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/tracker/sign-in", email=email, password=password)

    def act(self, item: int, action: str, **fields: str) -> httpx.Response:
        return self.post(
            f"/tracker/items/{item}/{action}", page=f"/tracker/items/{item}", **{"reason": "because", **fields}
        )


class Site:
    """The web service on a node, and people who visit it."""

    def __init__(self, node: Node, app: Any):
        self.node, self.app = node, app

    def visitor(self) -> Visitor:
        return Visitor(
            TestClient(self.app, raise_server_exceptions=False, follow_redirects=False, base_url="http://otn.test")
        )

    def person(self, email: str, role: str = "reader", *nodes: str) -> Visitor:
        """Somebody with an account who is signed in."""
        with self.node.connect() as connection:
            token = people.invite(connection, email, email.split("@")[0], role, list(nodes), "test")
        with self.node.connect() as connection:
            people.accept(connection, token, PASSWORD)
        visitor = self.visitor()
        assert visitor.sign_in(email).status_code == 303
        return visitor


@contextmanager
def serving(node: Node) -> Iterator[Site]:
    """The service on a node, without sockets; visitors may ask as fast as tests do."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((pages, "STRANGERS"), (signing_in, "EVERYBODY"), (signing_in, "FROM_A_PLACE")):
            patch.setattr(module, name, Limits(requests_per_second=10_000))
        app = make_app(Service(node.settings))
        with TestClient(app):
            yield Site(node, app)


@pytest.fixture
def site(pushed: Node) -> Iterator[Site]:
    """The pages of the node that was pushed."""
    with serving(pushed) as one:
        yield one
