"""Databases of tests: copies of a template, and a Dagster that keeps its records in memory."""

import contextlib
import itertools
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from otn_dagster.embedded import EmbeddedServer
from otn_dagster.orchestration import headless

_numbers = itertools.count()


def new_database(server: EmbeddedServer, template: str = "otn") -> str:
    """URL of a fresh database, a copy of the template."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url.replace("/otn?", "/postgres?"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
    return server.url.replace("/otn?", f"/{name}?")


@contextlib.contextmanager
def dagster_in_memory(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs and partitions that Dagster keeps in memory: opening a database for each of its events costs more than most steps do."""
    with dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(headless, "dagster_instance", lambda: contextlib.nullcontext(instance))
        yield
