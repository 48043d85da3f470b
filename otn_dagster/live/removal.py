"""How much a replacement would remove, before it does.

Belongs here: counting what is there now, applied or not. Does not belong here: deciding how much is too much.
"""

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.live import apply, log
from otn_dagster.live.configuration import Dataset
from otn_dagster.live.schema import Schema
from otn_dagster.live.table import STORE


def would_remove(connection: Connection, dataset: Dataset, schema: Schema, record_ids: set[str]) -> tuple[int, int]:
    """(records that are there and would go, records that are there): those of the table, and those that wait in the log."""
    there = _applied(connection, dataset.name)
    row = connection.execute("select seq from platform.live_applied where dataset = %s", [dataset.name]).fetchone()
    for entry in log.read(connection, dataset.name, row[0] if row else 0, log.head(connection, dataset.name)):
        there = set() if entry.op == "replace" else there
        for _, kind, body in log.bodies(connection, entry):
            ids = {record.record_id for record in apply.parse_body(schema, entry.op, kind, body).records}
            there = there - ids if entry.op == "delete" else there | ids
    return len(there - record_ids), len(there)


def _applied(connection: Connection, name: str) -> set[str]:
    if not connection.execute("select to_regclass(%s)", [f'{STORE}."{name}"']).fetchone()[0]:  # type: ignore[index]
        return set()
    query = sql.SQL("select _record_id from {} where _current and not _deleted").format(sql.Identifier(STORE, name))
    return {record_id.hex for (record_id,) in connection.execute(query)}
