"""Questions to the tracker: lists of items, one push, one project; each answers only what its reader may see.

Belongs here: SQL that reads, and who may see which items. Does not belong here: pages (``web/tracker_pages.py``), moves (``items.py``).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.database import Connection
from otn_dagster.telemetry import names
from otn_dagster.telemetry.files.refusals import Severity
from otn_dagster.tracker import flows
from otn_dagster.tracker.configuration import Access
from otn_dagster.tracker.people import Person

PAGE = 100
COLUMNS = (
    "item_id, flow, title, kind, node, collectioncode, state, state_since, hold, hold_since, hold_by, hold_why, blocker, blocker_code, owner,"
    " push_date, created_at, version"
)


@dataclass(frozen=True)
class Reader:
    """Who asks: nobody in particular, or a person; with what is open to everybody."""

    person: Person | None
    access: Access
    open_live: tuple[str, ...] = ()

    @property
    def is_staff(self) -> bool:
        """Whether it is a manager or an analyst."""
        return self.person is not None and self.person.is_staff


ALL = Reader(Person("platform", "platform", "analyst", ()), Access())


@dataclass(frozen=True)
class Filter:
    """Which items a list shows; None shows all."""

    flow: str | None = None
    node: str | None = None
    collection: str | None = None
    kind: str | None = None
    state: str | None = None
    hold: str | None = None
    push: str | None = None
    owner: str | None = None
    q: str | None = None

    @classmethod
    def names(cls) -> list[str]:
        """Names of the filters."""
        return [field.name for field in fields(cls)]


def visible(reader: Reader) -> tuple[sql.Composable, dict[str, Any]]:
    """The condition that every question carries, with its parameters."""
    person = reader.person
    if person and person.role == "analyst":
        return sql.SQL("true"), {}
    condition = sql.SQL(
        "(i.collectioncode = any(%(open)s) or (i.flow = 'stream' and %(streams)s) or (i.flow = 'live' and i.subject = any(%(live)s))"
        " or i.node = any(%(nodes)s) or (%(manager)s and i.node is null) or i.collectioncode in (select cp.collectioncode from"
        " obis.contacts_projects cp join obis.contacts c using (contact_pk) where lower(c.email) = %(email)s))"
    )
    manager = person is not None and person.role == "manager"
    return condition, {
        "open": reader.access.open_projects,
        "streams": reader.access.open_streams,
        "live": list(reader.open_live),
        "nodes": list(person.nodes) if person and manager else [],
        "manager": manager,
        "email": person.email if person else None,
    }


def _where(reader: Reader, wanted: Filter) -> tuple[sql.Composable, dict[str, Any]]:
    condition, parameters = visible(reader)
    parts = [condition]
    columns: dict[str, LiteralString] = {
        "flow": "i.flow",
        "node": "i.node",
        "collection": "i.collectioncode",
        "kind": "i.kind",
        "state": "i.state",
        "push": "i.push_date::text",
        "owner": "i.owner",
    }
    if reader.person is None or reader.person.role != "analyst":  # a filter must not tell what a list hides
        del columns["owner"]
    for name, column in columns.items():
        if value := getattr(wanted, name):
            parts.append(sql.SQL("{} = {}").format(sql.SQL(column), sql.Placeholder(f"f_{name}")))
            parameters[f"f_{name}"] = value
    if wanted.hold:
        parts.append(sql.SQL("i.hold is not null" if wanted.hold == "any" else "i.hold = %(f_hold)s"))
        parameters["f_hold"] = wanted.hold
    if wanted.q:
        parts.append(sql.SQL("strpos(lower(i.title), lower(%(f_q)s)) > 0"))
        parameters["f_q"] = wanted.q
    return sql.SQL(" and ").join(parts), parameters


def items(
    connection: Connection, reader: Reader, wanted: Filter, limit: int | None = PAGE, offset: int = 0
) -> list[dict[str, Any]]:
    """Items as rows: those that do not move for the longest time first, ended ones last."""
    where, parameters = _where(reader, wanted)
    query = sql.SQL(
        "select {columns} from platform.tracker_items i where {where}"
        " order by (state = any(%(ended)s)), state_since, item_id limit %(limit)s offset %(offset)s"
    ).format(columns=sql.SQL(COLUMNS), where=where)
    parameters |= {"ended": list(flows.ENDED), "limit": limit, "offset": offset}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, parameters).fetchall()
    return _without_addresses(connection, reader, rows)


def _without_addresses(connection: Connection, reader: Reader, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who owns, who holds and why is for the project's people and its node; where a project is open, others see the rest."""
    person = reader.person
    if person and person.role == "analyst":
        return rows
    mine = set(projects_of(connection, person))
    for row in rows:
        if not (person and (person.acts_for(row["node"]) or row["collectioncode"] in mine)):
            row["owner"] = row["hold_by"] = row["hold_why"] = None
            if row["blocker_code"] not in flows.PUBLIC_BLOCKERS:  # other words may quote what is in a file
                row["blocker"] = None
    return rows


def projects_of(connection: Connection, person: Person | None) -> list[str]:
    """Codes of the projects whose people somebody belongs to."""
    rows = connection.execute(
        "select distinct cp.collectioncode from obis.contacts_projects cp join obis.contacts c using (contact_pk)"
        " where lower(c.email) = %s",
        [person.email if person else None],
    ).fetchall()
    return [code for (code,) in rows]


def counts(connection: Connection, reader: Reader, wanted: Filter) -> list[dict[str, Any]]:
    """For each state: how many items, how many on hold, since when the oldest is in it."""
    where, parameters = _where(reader, wanted)
    query = sql.SQL(
        "select flow, state, count(*) as items, count(hold) as held, min(state_since) as oldest from platform.tracker_items i"
        " where {where} group by flow, state"
    ).format(where=where)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, parameters).fetchall()
    order = {(flow, state): n for flow, states in flows.STATES.items() for n, state in enumerate(states)}
    flow_order = list(flows.FLOWS)
    return sorted(rows, key=lambda row: (flow_order.index(row["flow"]), order.get((row["flow"], row["state"]), 99)))


def choices(connection: Connection, reader: Reader) -> dict[str, list[str]]:
    """What can be filtered by, among what the reader sees."""
    where, parameters = visible(reader)
    columns: dict[str, LiteralString] = {
        "node": "node",
        "collection": "collectioncode",
        "kind": "kind",
        "push": "push_date::text",
        "owner": "owner",
    }
    if reader.person is None or reader.person.role != "analyst":
        del columns["owner"]
    query = sql.SQL(" union all ").join(
        sql.SQL("select {}, {} from platform.tracker_items i where {} group by 2").format(
            sql.Literal(name), sql.SQL(column), where
        )
        for name, column in columns.items()
    )
    found: dict[str, list[str]] = {name: [] for name in [*columns, "owner"]}
    for name, value in connection.execute(query, parameters).fetchall():
        if value:
            found[name].append(value)
    return {name: sorted(values) for name, values in found.items()}


def item(connection: Connection, reader: Reader, item_id: int) -> dict[str, Any] | None:
    """One item, if the reader may see it."""
    where, parameters = visible(reader)
    query = sql.SQL("select i.* from platform.tracker_items i where item_id = %(item)s and {}").format(where)
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query, {**parameters, "item": item_id}).fetchone()
    return _without_addresses(connection, reader, [found])[0] if found else None


def sees_project(connection: Connection, reader: Reader, collectioncode: str) -> bool:
    """Whether the project's page is the reader's to see: it is open, names them, or is of their node."""
    if collectioncode in reader.access.open_projects:
        return True
    return belongs_to(connection, reader.person, collectioncode)


def belongs_to(connection: Connection, person: Person | None, collectioncode: str) -> bool:
    """Whether somebody is one of the project's people, or acts for its node: they may have its files and addresses."""
    if person is None:
        return False
    if person.role == "analyst":
        return True
    row = connection.execute(
        "select r.node, exists(select 1 from obis.contacts_projects cp join obis.contacts c using (contact_pk)"
        " where cp.collectioncode = r.collectioncode and lower(c.email) = %s) from obis.otn_resources r where collectioncode = %s",
        [person.email, collectioncode],
    ).fetchone()
    if row is None:
        found = connection.execute(
            "select distinct node from platform.tracker_items where collectioncode = %s and node is not null",
            [collectioncode],
        ).fetchall()
        return bool(found) and all(person.acts_for(node) for (node,) in found)
    return row[1] or person.acts_for(row[0])


def submits_for(connection: Connection, person: Person | None) -> list[dict[str, Any]]:
    """Projects for which somebody may submit files: code, node and title."""
    rows = connection.execute(
        "select collectioncode, node, resource_full_name from obis.otn_resources order by 1"
    ).fetchall()
    return [
        {"code": code, "node": node, "title": title}
        for code, node, title in rows
        if belongs_to(connection, person, code)
    ]


def project_of_receivers(connection: Connection, receivers: Sequence[str], codes: Sequence[str]) -> str | None:
    """Which of some projects deployed most of these receivers."""
    row = connection.execute(
        "select collectioncode from obis.moorings where basisofrecord = 'RECEIVER' and collectornumber = any(%s)"
        " and collectioncode = any(%s) group by 1 order by count(distinct collectornumber) desc, 1 limit 1",
        [[names.receiver_serial(receiver) for receiver in receivers], list(codes)],
    ).fetchone()
    return row[0] if row else None


def node_of(connection: Connection, collectioncode: str) -> str | None:
    """The node of a project; None where there is no such project."""
    row = connection.execute(
        "select node from obis.otn_resources where collectioncode = %s", [collectioncode]
    ).fetchone()
    return row[0] if row else None


def items_of(connection: Connection, submission_keys: Sequence[str]) -> dict[str, int]:
    """Numbers of the items of submissions, by their keys."""
    rows = connection.execute(
        "select subject, item_id from platform.tracker_items where flow = 'submission' and subject = any(%s)",
        [list(submission_keys)],
    ).fetchall()
    return dict(rows)


def serious(connection: Connection, collectioncode: str) -> dict[int, int]:
    """How many findings of each of a project's files lost rows, or want a decision, by item."""
    rows = connection.execute(
        "select item_id, count(*) from platform.findings f join platform.tracker_items i on i.subject = f.submission_key"
        " where i.flow = 'submission' and i.collectioncode = %s and f.severity <= %s group by 1",
        [collectioncode, int(Severity.DECIDE)],
    ).fetchall()
    return dict(rows)


def project(connection: Connection, collectioncode: str) -> dict[str, Any] | None:
    """What the project's form says."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select collectioncode, node, resource_full_name, abstract, citation, website, locality, status, sdate, edate, submission_key"
            " from obis.otn_resources where collectioncode = %s",
            [collectioncode],
        ).fetchone()


def form_of(connection: Connection, collectioncode: str) -> int | None:
    """The item of the form that a project was made from."""
    row = connection.execute(
        "select i.item_id from obis.otn_resources r join platform.tracker_items i on i.flow = 'submission' and i.subject = r.submission_key"
        " where r.collectioncode = %s",
        [collectioncode],
    ).fetchone()
    return row[0] if row else None


def contacts(connection: Connection, collectioncode: str) -> list[dict[str, Any]]:
    """The project's people."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select name, email, affiliation, orcid, role, point_of_contact from obis.contacts join obis.contacts_projects"
            " using (contact_pk) where collectioncode = %s order by point_of_contact desc, role, name",
            [collectioncode],
        ).fetchall()


def extracts(connection: Connection, push_date: str | None, codes: Sequence[str] | None) -> list[dict[str, Any]]:
    """Extracts of a push (or of all), of some collections (or of all), with who was told."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select l.push_date, l.detection_extract, l.collectioncode, l.year, l.extract_type, l.added, l.changed, l.withdrawn,
                   l.notified_at, l.completed, count(o.mail_no) as mails, count(*) filter (where o.state = 'sent') as sent,
                   count(*) filter (where o.state in ('failed', 'uncertain')) as trouble
               from obis.detection_extracts_list l left join platform.outbox_extracts e using (push_date, detection_extract)
               left join platform.outbox o using (mail_no)
               where (%(push)s::date is null or l.push_date = %(push)s) and (%(codes)s::text[] is null or l.collectioncode = any(%(codes)s))
               group by l.push_date, l.detection_extract, l.collectioncode, l.year, l.extract_type, l.added, l.changed, l.withdrawn,
                   l.notified_at, l.completed
               order by l.push_date desc, l.collectioncode, l.year, l.extract_type""",
            {"push": push_date, "codes": None if codes is None else list(codes)},
        ).fetchall()


def visible_projects(connection: Connection, reader: Reader) -> list[str] | None:
    """Codes of the projects whose pages the reader may see; None means all."""
    if reader.person and reader.person.role == "analyst":
        return None
    person = reader.person
    rows = connection.execute(
        "select collectioncode from obis.otn_resources r where collectioncode = any(%s) or node = any(%s) or exists"
        " (select 1 from obis.contacts_projects cp join obis.contacts c using (contact_pk)"
        "  where cp.collectioncode = r.collectioncode and lower(c.email) = %s) order by 1",
        [
            reader.access.open_projects,
            list(person.nodes) if person and person.role == "manager" else [],
            person.email if person else None,
        ],
    ).fetchall()
    return [code for (code,) in rows]


@dataclass(frozen=True)
class Push:
    """A push as its page shows it."""

    push_date: str
    cutoffs: list[tuple[str, dt.datetime, dt.datetime | None]]
    by_state: list[tuple[str, int]]
    burn_down: list[tuple[dt.date, int]]


def pushes(connection: Connection) -> list[tuple[dt.date, dt.datetime, str]]:
    """(push date, last cut-off, how it stands: ahead, locked, unlocked, waits, released), the newest first.

    unlocked: loading is open again, and nobody was told; it waits where its mails wait for the release.
    """
    return connection.execute(
        """select push_date, max(cutoff), case when bool_or(r.push_date is not null) then 'released'
               when bool_or(t.push_date is not null) then 'waits' when bool_and(finished_at is not null) then 'unlocked'
               when max(cutoff) <= platform.now() then 'locked' else 'ahead' end
           from platform.push_cutoffs left join platform.push_releases r using (push_date)
           left join platform.tracker_pushes t using (push_date) group by 1 order by 1 desc"""
    ).fetchall()


def push(connection: Connection, reader: Reader, push_date: str) -> Push:
    """How a push stands: cut-offs, items by state, and day by day how many were not verified yet."""
    cutoffs = connection.execute(
        "select node, cutoff, finished_at from platform.push_cutoffs where push_date = %s order by cutoff, node",
        [push_date],
    ).fetchall()
    where, parameters = visible(reader)
    mine = sql.SQL(
        "select i.item_id, i.state, i.created_at::date as came, (select min(h.at)::date from platform.tracker_history h"
        " where h.item_id = i.item_id and h.what = 'move' and h.to_state in ('verified', 'rejected', 'superseded', 'withdrawn')) as done"
        " from platform.tracker_items i where i.flow = 'submission' and i.push_date = %(push)s and {}"
    ).format(where)
    parameters |= {"push": push_date}
    rows = connection.execute(mine, parameters).fetchall()
    by_state: dict[str, int] = {}
    for _, state, _, _ in rows:
        by_state[state] = by_state.get(state, 0) + 1
    ordered = [(state, by_state[state]) for state in flows.STATES[flows.SUBMISSION] if state in by_state]
    return Push(push_date, cutoffs, ordered, _burn_down(rows))


def _burn_down(rows: Sequence[tuple[int, str, dt.date, dt.date | None]]) -> list[tuple[dt.date, int]]:
    """(day, items that had come and were not verified by its end)."""
    if not rows:
        return []
    first = min(came for _, _, came, _ in rows)
    last = max([dt.datetime.now(dt.UTC).date(), *(done for *_, done in rows if done)])
    days = [first + dt.timedelta(days=n) for n in range(min((last - first).days + 1, 400))]
    return [(day, sum(came <= day and (done is None or done > day) for _, _, came, done in rows)) for day in days]


PROJECT_COLUMNS = ["collectioncode", "node", "resource_full_name", "status"]


def projects(connection: Connection, reader: Reader) -> list[dict[str, Any]]:
    """The projects that a reader may see, by code."""
    codes = visible_projects(connection, reader)
    rows = connection.execute(
        "select collectioncode, node, resource_full_name, status from obis.otn_resources"
        " where %s::text[] is null or collectioncode = any(%s) order by 1",
        [codes, codes],
    ).fetchall()
    return [dict(zip(PROJECT_COLUMNS, row, strict=True)) for row in rows]
