"""The missing-files report (detections-3c): of every deployment of a project whether what its receiver recorded was sent.

Belongs here: the verdict on a deployment, from its dates, its events and its detections. Does not belong here: detections without a
deployment (``missing_metadata.py``), pages and mails.

Source: node manager training, detections-3c: deployments against events, in four states. A receiver that is still in the water, lost or
failed owes nothing. What ends a log is its upload: initializations and uploads are all the events that many logs have.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from otn_dagster.database import Connection
from otn_dagster.telemetry.clocks import OFFLOAD
from otn_dagster.telemetry.project_tables import table, year_tables

AT_SEA = dt.timedelta(days=7)  # how long before its recovery the last upload of a log may be that is whole


class State(StrEnum):
    """What was sent of a deployment."""

    ALL_THERE = "all_there"
    EVENTS_MISSING = "events_missing"  # there are detections, and no events
    SOME_MISSING = "some_missing"  # events up to an upload before its end
    ALL_MISSING = "all_missing"
    UNDATED = "undated"  # recovered, and nobody said when
    NOT_DUE = "not_due"  # not recovered, nor read
    LOST = "lost"  # or failed: there is nothing to send


DUE = (State.ALL_MISSING, State.SOME_MISSING, State.EVENTS_MISSING, State.UNDATED)
SAYS = {
    State.ALL_THERE: "all there",
    State.EVENTS_MISSING: "without events",
    State.SOME_MISSING: "without a part of their events",
    State.ALL_MISSING: "without detections and events",
    State.UNDATED: "without a date of recovery",
    State.NOT_DUE: "still in the water",
    State.LOST: "lost or failed",
}
ASKS = {
    State.EVENTS_MISSING: "detections are there; send the events",
    State.SOME_MISSING: "events end before the recovery; send the rest",
    State.ALL_MISSING: "send detections and events",
    State.UNDATED: "say when it was recovered",
}


@dataclass(frozen=True)
class Deployed:
    """One deployment with what was sent of it: its last upload, how many events between it and the next, how many detections it heard."""

    rcvrcatnumber: str
    station: str
    receiver: str
    start: dt.datetime
    end: dt.datetime | None  # recovered, or read last
    recover_ind: str | None
    uploaded: dt.datetime | None = None  # the last upload of its log
    events: int = 0
    detections: int = 0

    @property
    def state(self) -> State:
        """The rule: a log is whole where it was uploaded at the recovery, or after it and before the receiver was deployed again."""
        said = (self.recover_ind or "").lower()
        if said.startswith("l") or said == "failed":
            return State.LOST
        if self.end is None:
            return State.UNDATED if said in ("y", "f") else State.NOT_DUE
        if self.uploaded is not None:
            return State.ALL_THERE if self.uploaded >= self.end - AT_SEA else State.SOME_MISSING
        if self.events:
            return State.SOME_MISSING
        return State.EVENTS_MISSING if self.detections else State.ALL_MISSING

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "station": self.station,
            "receiver": self.receiver,
            "rcvrcatnumber": self.rcvrcatnumber,
            "deployed": self.start,
            "recovered": self.end,
            "state": str(self.state),
            "says": ASKS.get(self.state, SAYS[self.state]),
            "detections": self.detections,
            "events": self.events,
            "uploaded": self.uploaded,
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
        uploaded, count = events.get(name, (None, 0))
        found.append(Deployed(name, station, receiver, start, end, recover_ind, uploaded, count, heard.get(name, 0)))
    return found


def _events(connection: Connection, code: str) -> dict[str, tuple[dt.datetime | None, int]]:
    """Of every deployment the last upload, and how many events there are: from its beginning until the receiver is deployed again."""
    if not _is_there(connection, code, "events"):
        return {}
    rows = connection.execute(
        sql.SQL(
            """with deployed as (
                   select m.catalognumber, k.receiver_key, m.startdatetime as begins,
                       lead(m.startdatetime) over (partition by k.receiver_key order by m.startdatetime) as next
                   from {} m join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber where m.basisofrecord = 'RECEIVER')
               select d.catalognumber, max(e.datetime) filter (where e.description = %s), count(*) from deployed d
               join {} e on e.receiver_key = d.receiver_key and e.datetime > d.begins and e.datetime <= coalesce(d.next, 'infinity')
               group by 1"""
        ).format(table(code, "moorings"), table(code, "events")),
        [OFFLOAD],
    ).fetchall()
    return {name: (uploaded, count) for name, uploaded, count in rows}


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
