"""The tracker's pages as people visit them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.testclient import TestClient

from otn_dagster.live.configuration import Limits
from otn_dagster.tracker import people
from otn_dagster.web.app import make_app
from otn_dagster.web.service import Service
from otn_dagster.web.site import signing_in
from otn_dagster.web.site import visits as pages
from tests.support.node import Node

PASSWORD = "correct horse battery"


def configure(folder: Path, **blocks: Any) -> None:
    """Change blocks of ``tracker.yaml``."""
    path = folder / "tracker.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in blocks.items():
        written[name] = {**written[name], **values} if isinstance(values, dict) else values
    path.write_text(yaml.safe_dump(written), encoding="utf-8")


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
