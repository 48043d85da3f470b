"""The missing-files report (detections-3c): of every deployment of a project whether what its receiver recorded was sent.

Belongs here: the verdict on a deployment, from its dates, its events and its detections. Does not belong here: detections without a
deployment (``missing_metadata.py``), pages and mails.

Source: node manager training, detections-3c: deployments against events, in four states. A receiver that is still in the water, or lost,
owes nothing.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.telemetry.project_tables import table, year_tables

ON_DECK = dt.timedelta(
    days=7
)  # what a log may lack at either end: a receiver is started before it is deployed, and read after


class State(StrEnum):
    """What was sent of a deployment."""

    ALL_THERE = "all_there"
    EVENTS_MISSING = "events_missing"  # there are detections, and no events
    SOME_MISSING = "some_missing"  # events of a part of it
    ALL_MISSING = "all_missing"
    NOT_DUE = "not_due"  # not recovered, nor read
    LOST = "lost"


DUE = (State.ALL_MISSING, State.SOME_MISSING, State.EVENTS_MISSING)
SAYS = {
    State.ALL_THERE: "all is there",
    State.EVENTS_MISSING: "detections are there, send the events",
    State.SOME_MISSING: "events of a part are missing, send the rest",
    State.ALL_MISSING: "nothing was sent, send detections and events",
    State.NOT_DUE: "not recovered yet",
    State.LOST: "lost",
}


@dataclass(frozen=True)
class Deployed:
    """One deployment with what was sent of it: first and last event within it, and how many detections it heard."""

    rcvrcatnumber: str
    station: str
    receiver: str
    start: dt.datetime
    end: dt.datetime | None  # recovered, or read last
    recover_ind: str | None
    first_event: dt.datetime | None = None
    last_event: dt.datetime | None = None
    events: int = 0
    detections: int = 0

    @property
    def state(self) -> State:
        """The rule."""
        if self.end is None:
            return State.LOST if (self.recover_ind or "").lower().startswith("l") else State.NOT_DUE
        if self.first_event is None or self.last_event is None:
            return State.EVENTS_MISSING if self.detections else State.ALL_MISSING
        whole = self.first_event <= self.start + ON_DECK and self.last_event >= self.end - ON_DECK
        return State.ALL_THERE if whole else State.SOME_MISSING

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "station": self.station,
            "receiver": self.receiver,
            "rcvrcatnumber": self.rcvrcatnumber,
            "deployed": self.start,
            "recovered": self.end,
            "state": str(self.state),
            "says": SAYS[self.state],
            "detections": self.detections,
            "events": self.events,
            "first_event": self.first_event,
            "last_event": self.last_event,
        }


def report(connection: Connection, collectioncode: str) -> list[Deployed]:
    """Deployments of a project by station and time, each with what was sent. Costs the project's own rows, each table read once."""
    if not _is_there(connection, collectioncode, "moorings"):
        return []
    deployments = connection.execute(
        sql.SQL(
            """select m.catalognumber, m.relatedcatalogitem, m.collectornumber, m.startdatetime,
                   coalesce(m.enddatetime, (select max(d.startdatetime) from {m} d where d.basisofrecord = 'DOWNLOAD'
                       and d.relatedcatalogitem = m.catalognumber)), m.recover_ind
               from {m} m where m.basisofrecord = 'RECEIVER' order by m.relatedcatalogitem, m.startdatetime, m.catalognumber"""
        ).format(m=table(collectioncode, "moorings"))
    ).fetchall()
    events, heard = _events(connection, collectioncode), _heard(connection, collectioncode)
    found = []
    for name, station, receiver, start, end, recover_ind in deployments:
        first, last, count = events.get(name, (None, None, 0))
        found.append(Deployed(name, station, receiver, start, end, recover_ind, first, last, count, heard.get(name, 0)))
    return found


def _events(connection: Connection, code: str) -> dict[str, tuple[dt.datetime, dt.datetime, int]]:
    """First and last event of every deployment, and how many: what the project sent."""
    if not _is_there(connection, code, "events"):
        return {}
    rows = connection.execute(
        sql.SQL(
            """select m.catalognumber, min(e.datetime), max(e.datetime), count(*) from {} m
               join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber
               join {} e on e.receiver_key = k.receiver_key and e.datetime between m.startdatetime - %(margin)s
                   and coalesce(m.enddatetime, 'infinity') + %(margin)s
               where m.basisofrecord = 'RECEIVER' group by 1"""
        ).format(table(code, "moorings"), table(code, "events")),
        {"margin": ON_DECK},
    ).fetchall()
    return {name: (first, last, count) for name, first, last, count in rows}


def _heard(connection: Connection, code: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for place in year_tables(connection, code, "otn_detections").values():
        query = sql.SQL("select rcvrcatnumber, count(*) from {} group by 1").format(place)
        for name, count in connection.execute(query).fetchall():
            found[name] = found.get(name, 0) + count
    return found


def _is_there(connection: Connection, code: str, name: str) -> bool:
    row = connection.execute("select to_regclass(%s)", [table(code, name).as_string(connection)]).fetchone()
    return row is not None and row[0] is not None


def in_figures(found: Sequence[Deployed]) -> dict[str, int]:
    """Deployments by state, those that somebody should act on first."""
    counted = {state: sum(one.state is state for one in found) for state in (*DUE, *State)}
    return {str(state): count for state, count in counted.items() if count}
