"""Integer keys of receivers and transmitters: detections are matched on these, not on text.

Belongs here: giving a key once. Does not belong here: what is loaded under it.
"""

from collections.abc import Sequence

from psycopg import sql

from otn_dagster.database import Connection

TABLES = {"receiver": ("receiver_keys", "rcv_serial_no"), "transmitter": ("transmitter_keys", "transmitter")}


def assign_keys(connection: Connection, kind: str, values: Sequence[str]) -> None:
    """Give integer keys to receivers or transmitters that have none. Safe to repeat and to race."""
    name, column = TABLES[kind]
    connection.execute(
        sql.SQL(
            "insert into {t} ({c}) select v from unnest(%s::text[]) with ordinality u(v, o)"
            " where not exists (select 1 from {t} k where k.{c} = v) order by o on conflict do nothing"
        ).format(t=sql.Identifier("platform", name), c=sql.Identifier(column)),
        [list(values)],
    )
