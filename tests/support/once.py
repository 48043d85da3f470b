"""Nodes that are prepared once and copied for each test: loading and pushing cost more than most tests do."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from tests.support.databases import dagster_in_memory, new_database
from tests.support.node import Node

Once = tuple[str, Path]  # a template database by name, and a data root


def made_once(server: EmbeddedServer, prepare: Callable[[Node], None]) -> Iterator[Once]:
    """A node that is prepared once, to be copied for each test."""
    folder = Path(tempfile.mkdtemp(prefix="otn-once-"))
    url = new_database(server)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("OTN_DATA", str(folder / "data"))
        patch.setenv("OTN_DATABASE_URL", url)
        stack.enter_context(dagster_in_memory(patch))
        prepare(Node(load_settings()))
    yield re.findall(r"/(test_[0-9]+)\?", url)[0], folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def copied(once: Once, server: EmbeddedServer, folder: Path, patch: pytest.MonkeyPatch) -> Node:
    """A copy of such a node, with files of its own."""
    shutil.copytree(once[1], folder / "data")
    patch.setenv("OTN_DATA", str(folder / "data"))
    patch.setenv("OTN_DATABASE_URL", new_database(server, once[0]))
    return Node(load_settings())
