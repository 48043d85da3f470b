"""What the database knows of a dataset: that it exists, the versions of its schema, whether it is open.

Belongs here: registering configuration, switches that a person turns, the record of who turned them. Does not belong here:
configuration itself, tables.
"""

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Json, Jsonb

from otn_dagster.database import LIVE_SCHEMA_LOCK, Connection
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.log import wait_for_log
from otn_dagster.live.schema import Schema, from_definition


@dataclass(frozen=True)
class Switches:
    """Whether a dataset takes pushes and shows itself; a reason where it does not."""

    disabled: str | None = None
    unpublished: str | None = None


def register(connection: Connection, dataset: Dataset) -> int:
    """Write down a dataset and its schema; the number of the schema's version.

    Safe to repeat and to race: the newest version is used again where it is the same; a lock lets one at a time add another.
    """
    digest = dataset.schema_.digest()
    newest = newest_version(connection, dataset.name)
    if newest and newest[1].digest() == digest:
        return newest[0]
    connection.execute("select pg_advisory_xact_lock(%s)", [LIVE_SCHEMA_LOCK])
    connection.execute(
        "insert into platform.live_datasets (dataset) values (%s) on conflict do nothing", [dataset.name]
    )
    newest = newest_version(connection, dataset.name)
    if newest and newest[1].digest() == digest:
        return newest[0]
    version = newest[0] + 1 if newest else 1
    connection.execute(
        "insert into platform.live_schemas (dataset, version, definition) values (%s, %s, %s)",
        [dataset.name, version, Json(dataset.schema_.definition())],
    )
    return version


def newest_version(connection: Connection, name: str) -> tuple[int, Schema] | None:
    """The newest version of a dataset's schema, if there is any."""
    row = connection.execute(
        "select version, definition from platform.live_schemas where dataset = %s order by version desc limit 1", [name]
    ).fetchone()
    return (row[0], from_definition(row[1])) if row else None


def versions(connection: Connection, name: str) -> dict[int, Schema]:
    """Every version of a dataset's schema."""
    rows = connection.execute("select version, definition from platform.live_schemas where dataset = %s", [name])
    return {version: from_definition(definition) for version, definition in rows}


def switches(connection: Connection, dataset: Dataset) -> Switches:
    """How a dataset stands: what its file says, and what a person switched since."""
    row = connection.execute(
        "select disabled_by, disabled_why, unpublished_by, unpublished_why from platform.live_datasets where dataset = %s",
        [dataset.name],
    ).fetchone()
    by, why, hidden_by, hidden_why = row or (None,) * 4
    disabled = (
        f"switched off by {by}: {why}" if by else None if dataset.enabled else "switched off in its configuration"
    )
    hidden = f"hidden by {hidden_by}: {hidden_why}" if hidden_by else None
    return Switches(disabled, hidden or (None if dataset.published else "hidden in its configuration"))


def switch(connection: Connection, name: str, what: str, on: bool, by: str, why: str) -> None:
    """Turn ``disabled`` or ``unpublished`` on or off; data stay as they are. Safe to repeat; who and why are kept."""
    if what not in ("disabled", "unpublished"):
        raise ValueError(f"no switch {what!r}")
    wait_for_log(connection)
    connection.execute(
        "update platform.live_datasets set disabled_by = %s, disabled_why = %s where dataset = %s"
        if what == "disabled"
        else "update platform.live_datasets set unpublished_by = %s, unpublished_why = %s where dataset = %s",
        [by if on else None, why if on else None, name],
    )
    words = {("disabled", True): "disable", ("disabled", False): "enable", ("unpublished", True): "unpublish"}
    note(connection, name, words.get((what, on), "publish"), by, why)


def note(
    connection: Connection, name: str, action: str, by: str, why: str, facts: dict[str, Any] | None = None
) -> None:
    """Write down what a person did to a dataset; these rows never change."""
    connection.execute(
        "insert into platform.live_actions (dataset, action, by, why, facts) values (%s, %s, %s, %s, %s)",
        [name, action, by, why, Jsonb(facts or {})],
    )
