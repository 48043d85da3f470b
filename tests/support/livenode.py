"""Live datasets as tests drive them: configuration written, pushes by HTTP checked against the description, tables read."""

import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from openapi_schema_validator import OAS31Validator
from starlette.testclient import TestClient

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.live import apply, configuration, keys, registry, replay
from otn_dagster.live.configuration import Dataset
from otn_dagster.web.api.openapi import describe
from otn_dagster.web.app import make_app
from otn_dagster.web.service import Service

CTD: dict[str, Any] = {
    "key": ["station_id", "time"],
    "fields": {
        "station_id": "text",
        "time": "time",
        "temperature": "number",
        "depth": "integer",
        "ok": "boolean",
    },
}


class LiveNode:
    """Datasets of a node."""

    def __init__(self, settings: Settings, folder: Path):
        self.settings, self.folder = settings, folder

    def configure(self, name: str = "ctd", **changes: Any) -> Dataset:
        """Write a dataset's file; ``ctd`` with changes unless it says otherwise."""
        path = self.folder / "live" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**CTD, **changes}, sort_keys=False), encoding="utf-8")
        dataset = configuration.read_dataset(path)
        with self.connect() as connection:
            registry.register(connection, dataset)
        return dataset

    def connect(self):
        return database.connect(self.settings)

    def dataset(self, name: str = "ctd") -> Dataset:
        return configuration.load_live().dataset(name)

    def key(self, name: str = "ctd", author: str = "buoy-7", may: str = "push,delete,replace,read", **more: Any) -> str:
        """The token of a new key."""
        with self.connect() as connection:
            return keys.make(connection, name, author, may.split(","), "test", **more)[1]

    def apply(self, name: str = "ctd") -> apply.Applied:
        with self.connect() as connection:
            return apply.apply(connection, self.dataset(name), "run-1")

    def replay(self, name: str = "ctd", **how: Any) -> replay.Difference:
        with self.connect() as connection:
            return replay.replay(connection, self.dataset(name), by="test", why="test", **how)

    def rows(self, query: str, *parameters: Any) -> list[tuple]:
        with self.connect() as connection:
            return connection.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def log(self, name: str = "ctd") -> int:
        """How many pushes are in the log."""
        return self.value("select count(*) from platform.live_log where dataset = %s", name)

    @contextmanager
    def serve(self, **options: Any):
        """The service, without sockets; every answer of its own API is compared with its description."""
        app = make_app(Service(self.settings, **options))
        with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
            yield Api(client, self)


class Api:
    """Calls as a client makes them."""

    def __init__(self, client: TestClient, node: LiveNode):
        self.client, self.node = client, node
        self.token: str | None = None

    def call(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """Any call; with the key that was used last, or another one."""
        self.token = token or self.token
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        answer = self.client.request(method, path, headers=headers, **options)
        if path.startswith("/v1/"):
            conforms(method, path, answer)
        return answer

    def push(self, records: Any, name: str = "ctd", **options: Any) -> httpx.Response:
        """Push records as JSON, or bytes as they are."""
        if isinstance(records, bytes):
            options["content"] = records
            options["headers"] = {"Content-Type": "application/json", **options.get("headers", {})}
        else:
            options["json"] = records
        return self.call("POST", f"/v1/datasets/{name}/records", **options)

    def delete(self, items: Any, name: str = "ctd", **options: Any) -> httpx.Response:
        return self.call("POST", f"/v1/datasets/{name}/records:delete", json=items, **options)

    def read(self, name: str = "ctd", **parameters: Any) -> list[dict[str, Any]]:
        """Records without what the platform adds."""
        answer = self.call("GET", f"/v1/datasets/{name}/records", params=parameters)
        assert answer.status_code == 200, answer.text
        return [plain(record) for record in answer.json()["records"]]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the platform adds, and without what is missing."""
    return {name: value for name, value in record.items() if not name.startswith("_") and value is not None}


def record(station: str = "46088", hour: int = 0, temperature: float | None = 14.2) -> dict[str, Any]:
    made: dict[str, Any] = {"station_id": station, "time": f"2026-01-01T{hour:02d}:00:00Z"}
    return made if temperature is None else {**made, "temperature": temperature}


def eventually[Found](look: Callable[[], Found], seconds: float = 20) -> Found:
    """What a look finds, once it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


DESCRIPTION = json.loads(json.dumps(describe()))


def conforms(method: str, path: str, answer: httpx.Response) -> None:
    """An answer is one that the description has for this call."""
    template = _template_of(method, path.split("?")[0])
    if template is None:
        assert answer.status_code in (404, 405), (method, path, answer.status_code)
        return
    responses = DESCRIPTION["paths"][template][method.lower()]["responses"]
    assert str(answer.status_code) in responses, (method, path, answer.status_code, answer.text)
    media = answer.headers["content-type"].split(";")[0]
    content = responses[str(answer.status_code)]["content"]
    assert media in content or "*/*" in content, (path, media)
    if media == "application/json":
        schema = {**content[media]["schema"], "components": DESCRIPTION["components"]}
        OAS31Validator(schema).validate(answer.json())


def _template_of(method: str, path: str) -> str | None:
    import re

    for template, operations in DESCRIPTION["paths"].items():
        pattern = re.sub(r"\{(seq|chunk)\}", r"[0-9]+", template)
        pattern = re.sub(r"\{[a-z_0-9]+\}", "[^/:]+", pattern)
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return template
    return None
