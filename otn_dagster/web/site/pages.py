"""The tracker's pages: the board, one item, pushes, projects, the outbox.

Belongs here: which page shows what to whom. Does not belong here: questions to the database (``tracker/board.py``), files
(``downloads.py``), what people do (``tracker_actions.py``).
"""

import datetime as dt
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from psycopg import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster import decisions
from otn_dagster.checks import Verdict
from otn_dagster.telemetry import kinds, readings, submissions
from otn_dagster.telemetry.files import law
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.push import attention, pictures, snapshot, verification
from otn_dagster.telemetry.push import report as push_report
from otn_dagster.telemetry.push.certificate import CERTIFICATE
from otn_dagster.telemetry.push.extracts import file_stem
from otn_dagster.telemetry.push.extracts_list import CHANGES_FILE, TYPES
from otn_dagster.telemetry.push.snapshot import push_folder
from otn_dagster.tracker import board, facts, flows, items, mending, release
from otn_dagster.tracker.mail import outbox, wording
from otn_dagster.tracker.receipt import duplicates
from otn_dagster.web.site.visits import HEADERS, Answer, Stop, Visit, address, page

PUSH_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CODE = re.compile(r"[A-Z][A-Z0-9]{1,15}")
EXTRACT_COLUMNS = [
    "push_date",
    "detection_extract",
    "collectioncode",
    "year",
    "type",
    "added",
    "changed",
    "withdrawn",
    "notified_at",
    "completed",
    "mails",
    "sent",
    "trouble",
]
HISTORY_COLUMNS = [
    "version",
    "at",
    "what",
    "from_state",
    "to_state",
    "hold",
    "actor",
    "actor_kind",
    "run_id",
    "note",
    "evidence",
]
MAIL_COLUMNS = [
    "mail_no",
    "event",
    "push_date",
    "recipient",
    "title",
    "state",
    "attempts",
    "reason",
    "created_at",
    "changed_at",
]
PEOPLE_COLUMNS = ["name", "role", "point_of_contact", "affiliation", "email", "orcid"]
LONGEST_LIST = 100_000
WORDS = {"rejected": "reject", "loading": "reopen", "withdrawn": "withdraw", "received": "reconsider"}


@page
async def show_board(visit: Visit) -> Answer:
    """GET the board: every dataset that the reader may see, by state, filtered."""
    known = board.Filter.names()
    unknown = sorted(set(visit.request.query_params) - {*known, "page", "format"})
    if unknown:
        raise Stop(400, f"found the parameter {unknown[0][:40]!r}, expected some of {', '.join(known)}, page, format.")
    wanted, reader = board.Filter(**{name: visit.parameter(name) for name in known}), visit.reader
    if visit.form:
        rows = await visit.ask(lambda connection: board.items(connection, reader, wanted, LONGEST_LIST))
        return visit.listing("datasets", board.COLUMNS.split(", "), rows, visit.form)
    number = visit.parameter("page") or "1"
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number):
        raise Stop(400, "page: expected a number from 1.")
    offset = (int(number) - 1) * board.PAGE

    def ask(connection: Connection) -> dict[str, Any]:
        return {
            "rows": board.items(connection, reader, wanted, board.PAGE + 1, offset),
            "counts": board.counts(connection, reader, wanted),
            "choices": board.choices(connection, reader),
        }

    found = await visit.ask(ask)
    further = len(found["rows"]) > board.PAGE
    query = dict(visit.request.query_params)
    return visit.page(
        "board",
        **{**found, "rows": found["rows"][: board.PAGE]},
        wanted=wanted,
        holds=flows.HOLDS,
        states=sorted({state for states in flows.STATES.values() for state in states}),
        link=lambda **changes: address("/tracker", query, **{"page": None, **changes}),
        earlier=address("/tracker", query, page=int(number) - 1) if int(number) > 1 else None,
        later=address("/tracker", query, page=int(number) + 1) if further else None,
    )


async def item_of(visit: Visit) -> dict[str, Any]:
    """The item of the path; what the reader may not see is not there, whether it exists or not."""
    text, reader = visit.request.path_params["item_id"], visit.reader
    found = None
    if re.fullmatch(r"[0-9]{1,18}", text):
        found = await visit.ask(lambda connection: board.item(connection, reader, int(text)))
    if found is None:
        raise Stop(401 if visit.person is None else 404, "There is no such dataset, or it is not yours to see.")
    return found


@page
async def show_item(visit: Visit) -> Answer:
    """GET one item: its way so far, checks, files, duplicates, runs, and what a person may do."""
    found = await item_of(visit)
    item_id, reader = found["item_id"], visit.reader

    def ask(connection: Connection) -> dict[str, Any]:
        code = found["collectioncode"]
        acts = visit.person is not None and visit.person.acts_for(found["node"])
        inside = acts or (bool(code) and board.belongs_to(connection, visit.person, code))
        similar = [
            {**one, "visible": board.item(connection, reader, one["item_id"]) is not None}
            for one in duplicates.of(connection, item_id)
        ]
        if not visit.reader.is_staff:  # that another project has the same table is not for everybody
            similar = [one for one in similar if one["visible"]]
        now = items.get(connection, item_id)
        is_file = found["flow"] == flows.SUBMISSION
        return {
            "lines": [line if inside else _for_everybody(line) for line in items.history(connection, item_id)],
            "facts": list(facts.of(connection, item_id).values()) if inside else [],
            "staff": visit.reader.is_staff,
            "duplicates": similar,
            "inside": inside,
            "withdrawing": items.signatures(connection, now, "withdrawn"),
            "question": _question(connection, found["subject"], acts) if is_file and inside else None,
            "refused": submissions.refused_rows(connection, found["subject"]) if is_file and inside else [],
            **_reading(connection, found["subject"] if is_file and inside else None),
        }

    more = await visit.ask(ask)
    if visit.form:
        return visit.listing(f"history-{item_id}", HISTORY_COLUMNS, [vars(line) for line in more["lines"]], visit.form)
    acts = visit.person is not None and visit.person.acts_for(found["node"])
    return visit.page(
        "item",
        item=found,
        **more,
        acts=acts,
        way=_way(found["flow"], more["lines"]),
        actions=_actions(found, visit) if acts else [],
        holds=flows.HOLDS,
        assets=kinds.CHECKED.get(found["kind"], []) if found["flow"] == flows.SUBMISSION else [],
    )


PUBLIC = {"push", "snapshot", "detections", "rows", "checks", "certificate", "extracts", "summaries", "mode", "window"}


def _for_everybody(line: items.Line) -> items.Line:
    """A line of the history without names of people, words of files, or places, for who is neither of project nor node."""
    actor = "a person" if line.actor_kind == "person" else line.actor
    evidence = {name: value for name, value in line.evidence.items() if name in PUBLIC}
    return replace(line, actor=actor, evidence=evidence, note=None, run_id=None)


def _way(flow: str, lines: list[items.Line]) -> list[dict[str, Any]]:
    """The good states of a flow in order, with when each was reached last."""
    good = {
        flows.SUBMISSION: ["received", "loading", "verified", "matched", "extracted", "published"],
        flows.STREAM: ["requested", "ready", "ingested", "checked", "published"],
        flows.LIVE: ["external", "expected", "active"],
    }[flow]
    reached = {line.to_state: line for line in lines if line.what == "move"}
    current = [line.to_state for line in lines if line.what == "move"][-1:]
    return [{"state": state, "line": reached.get(state), "now": [state] == current} for state in good]


def _actions(item: dict[str, Any], visit: Visit) -> list[str]:
    following = flows.following(item["flow"], item["state"])
    by_people = [to for to in following if (step := flows.step(item["flow"], item["state"], to)) and step.people]
    second = (
        item["flow"] == flows.SUBMISSION and item["state"] == "loading" and item["kind"] in visit.settings.second_look
    )
    return [
        *(["release"] if item["hold"] else []),
        *(["hold"] if item["state"] not in flows.ENDED else []),
        *(["sign"] if second else []),
        *[word for to, word in WORDS.items() if to in by_people and not (word == "reopen" and item["kind"] == "fix")],
        "assign",
    ]


def _question(connection: Connection, subject: str, acts: bool) -> dict[str, Any] | None:
    """What is asked about a file. What follows from a list of fixes names other projects' animals: it is for those who act."""
    for asked in decisions.open_questions(connection):
        if asked.subject == subject and (acts or asked.topic != Topic.FIX):
            lines = asked.details if isinstance(asked.details, list) else [asked.details]
            return {"number": asked.number, "topic": asked.topic, "details": lines, "allowed": asked.answers}
    return None


def _reading(connection: Connection, subject: str | None) -> dict[str, Any]:
    """What became of a file's rows and columns, and what was found in it."""
    found = readings.law(connection, subject) if subject else None
    if subject is None or found is None:
        return {"law": None, "columns": {}, "findings": []}
    return {
        "law": law.sentence(found),
        "columns": found["columns"] or {},
        "findings": readings.findings_of(connection, subject),
    }


@page
async def show_pushes(visit: Visit) -> Answer:
    """GET all pushes."""
    found = await visit.ask(board.pushes)
    rows = [{"push_date": date, "cutoff": cutoff, "stands": stands} for date, cutoff, stands in found]
    if visit.form:
        return visit.listing("pushes", ["push_date", "cutoff", "stands"], rows, visit.form)
    return visit.page("pushes", rows=rows)


def push_date_of(visit: Visit) -> str:
    """The push of the path."""
    date = visit.request.path_params["push_date"]
    try:
        if PUSH_DATE.fullmatch(date):
            return dt.date.fromisoformat(date).isoformat()
    except ValueError:
        pass
    raise Stop(404, f"{date[:20]!r} is not a push date.")


@page
async def show_push(visit: Visit) -> Answer:
    """GET one push: towards the cut-off, its certificate, its extracts."""
    date, reader = push_date_of(visit), visit.reader

    def ask(connection: Connection) -> tuple[board.Push, list[dict[str, Any]]]:
        codes = board.visible_projects(connection, reader)
        return board.push(connection, reader, date), _out(visit, connection, board.extracts(connection, date, codes))

    push, extracts = await visit.ask(ask)
    rows = [{**row, "type": TYPES[row["extract_type"]]} for row in extracts]
    if visit.form:
        return visit.listing(f"extracts-{date}", EXTRACT_COLUMNS, rows, visit.form)
    if not push.cutoffs and not rows and not push.by_state:
        raise Stop(404, f"There is no push of {date}.")
    made = push_folder(visit.service.settings, date) / CERTIFICATE
    concerned = reader.is_staff or (visit.person is not None and bool(rows))
    certificate = await visit.ask(lambda _: _certificate(made)) if concerned else None
    by_code: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_code.setdefault(row["collectioncode"], []).append(row)
    files = await visit.ask(
        lambda connection: {
            name: found
            for code, mine in by_code.items()
            if board.belongs_to(connection, visit.person, code)
            for name, found in _files(True, visit, mine).items()
        }
    )
    left_out = await visit.ask(lambda connection: _left_out(visit, connection, date))
    settings = visit.service.settings
    analyst = visit.person is not None and visit.person.role == "analyst"
    looked = await visit.ask(lambda c: release.review(c, settings, date)) if analyst else None
    mended = await visit.ask(lambda c: mending.of(c, settings, date)) if analyst else None
    return visit.page(
        "push",
        files=files,
        left_out=left_out,
        review=looked,
        mending=mended,
        verified=await visit.ask(lambda _: _verified(made.parent)) if reader.is_staff else None,
        released=await visit.ask(lambda connection: release.of(connection, date)) if analyst else None,
        network=reader.is_staff,
        push=push,
        rows=rows,
        certificate=certificate,
        chart=_chart(push),
        cutoff=push.cutoffs[-1][1] if push.cutoffs else None,
    )


def _out(visit: Visit, connection: Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Extracts that the reader may know of: staff of all pushes, others of those that are released."""
    if visit.reader.is_staff:
        return rows
    settings = visit.service.settings
    out = {date for date in {row["push_date"] for row in rows} if release.is_out(connection, settings, str(date))}
    return [row for row in rows if row["push_date"] in out]


def _left_out(visit: Visit, connection: Connection, date: str) -> list[dict[str, Any]]:
    """What a push that is frozen left out, of the projects that the reader belongs to; staff sees all."""
    try:
        frozen = snapshot.read(visit.service.settings, date)
    except snapshot.NothingToPush:
        return []
    if visit.person is not None and visit.person.role == "analyst":
        return frozen.left_out
    if not visit.reader.is_staff and not release.is_out(connection, visit.service.settings, date):
        return []
    codes = {one["collectioncode"] for one in frozen.left_out}
    mine = {code for code in codes if board.belongs_to(connection, visit.person, code)}
    return [one for one in frozen.left_out if one["collectioncode"] in mine]


def _verified(folder: Path) -> dict[str, Any] | None:
    """What the verification found, in figures; None where it was not run."""
    found = verification.read(folder)
    failed = [one for one in found if one["verdict"] == Verdict.FAILED]
    stops = [one["id"] for one in failed if one["stops"]]
    return {"checks": len(found), "found": len(failed), "stops": stops} if found else None


def _certificate(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    made = json.loads(path.read_text(encoding="utf-8"))
    return {**made, "files": len(made["files"])}


def _chart(push: board.Push) -> dict[str, Any] | None:
    """Points of the burn-down in a box of 600 by 160."""
    if len(push.burn_down) < 1:
        return None
    days = [day for day, _ in push.burn_down]
    end = max([days[-1], *(cutoff.date() for _, cutoff, _ in push.cutoffs)])
    span, most = max(1, (end - days[0]).days), max(1, *(count for _, count in push.burn_down))
    at = lambda day: round(20 + 560 * (day - days[0]).days / span, 1)  # noqa: E731
    points = " ".join(f"{at(day)},{round(140 - 120 * count / most, 1)}" for day, count in push.burn_down)
    cutoff = max((cutoff.date() for _, cutoff, _ in push.cutoffs), default=None)
    return {
        "points": points,
        "most": most,
        "first": days[0],
        "end": end,
        "cutoff": at(cutoff) if cutoff else None,
        "today": at(days[-1]),
        "left": push.burn_down[-1][1],
    }


async def project_of(visit: Visit) -> str:
    """The collection of the path, if its page is the reader's to see."""
    code, reader = visit.request.path_params["code"], visit.reader
    if not CODE.fullmatch(code) or not await visit.ask(lambda c: board.sees_project(c, reader, code)):
        raise Stop(401 if visit.person is None else 404, "There is no such project, or it is not yours to see.")
    return code


@page
async def show_projects(visit: Visit) -> Answer:
    """GET the projects that the reader may see."""
    reader = visit.reader

    rows = await visit.ask(lambda connection: board.projects(connection, reader))
    if visit.form:
        return visit.listing("projects", board.PROJECT_COLUMNS, rows, visit.form)
    return visit.page("projects", rows=rows)


@page
async def show_project(visit: Visit) -> Answer:
    """GET one project: what is new since the last push, its datasets, extracts and people."""
    code, reader = await project_of(visit), visit.reader

    def ask(connection: Connection) -> dict[str, Any]:
        belongs = board.belongs_to(connection, visit.person, code)
        return {
            "project": board.project(connection, code),
            "belongs": belongs,
            "contacts": board.contacts(connection, code) if belongs else [],
            "form": board.form_of(connection, code) if belongs else None,
            "datasets": board.items(connection, reader, board.Filter(collection=code), 500),
            "extracts": _out(visit, connection, board.extracts(connection, None, [code])),
            "serious": board.serious(connection, code) if belongs else {},
        }

    found = await visit.ask(ask)
    rows = [{**row, "type": TYPES[row["extract_type"]]} for row in found["extracts"]]
    if visit.form:
        return visit.listing(f"extracts-{code}", EXTRACT_COLUMNS, rows, visit.form)
    last = max((row["push_date"] for row in rows), default=None)
    folder = push_folder(visit.service.settings, str(last)) if last else None
    changes = await visit.ask(lambda _: _changes(folder, code)) if folder else []
    drawn = await visit.ask(lambda _: pictures.there(folder, code)) if folder else []
    files = _files(found["belongs"], visit, rows)
    found["extracts"] = rows
    warnings = attention.read_warnings(folder).get(code, []) if folder and found["belongs"] else []
    return visit.page(
        "project", warnings=warnings, code=code, **found, last=last, changes=changes, pictures=drawn, files=files
    )


def _files(belongs: bool, visit: Visit, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Names of the files of each extract, for those who may have them."""
    if not belongs:
        return {}
    found = {}
    for row in rows:
        folder = push_folder(visit.service.settings, str(row["push_date"])) / "extracts" / row["collectioncode"]
        stem = file_stem(row["collectioncode"], row["extract_type"], row["year"])
        found[f"{row['push_date']} {row['detection_extract']}"] = [
            name for name in (f"{stem}.zip", f"{stem}.parquet") if (folder / name).exists()
        ]
    return found


def _changes(folder: Path, code: str) -> list[dict[str, Any]]:
    if not (folder / CHANGES_FILE).exists():
        return []
    changes = pl.read_parquet(folder / CHANGES_FILE).filter(pl.col("collectioncode") == code)
    return push_report.why(changes).to_dicts()


@page
async def show_people(visit: Visit) -> Answer:
    """GET the people of a project as a list, for those whom they concern."""
    code = await project_of(visit)

    def ask(connection: Connection) -> list[dict[str, Any]] | None:
        return board.contacts(connection, code) if board.belongs_to(connection, visit.person, code) else None

    rows = await visit.ask(ask)
    if rows is None:
        raise Stop(401 if visit.person is None else 403, f"Addresses are for the people of {code} and its node.")
    return visit.listing(f"people-{code}", PEOPLE_COLUMNS, rows, visit.form or "csv")


@page
async def show_outbox(visit: Visit) -> Answer:
    """GET the outbox, for analysts: who is told what, and what is doubtful."""
    if visit.must_sign_in().role != "analyst":
        raise Stop(403, "The outbox names people of all projects: it is for analysts.")
    state = visit.parameter("state")
    mails = await visit.ask(lambda connection: outbox.newest(connection, state, 1000))
    if visit.form:
        return visit.listing("outbox", MAIL_COLUMNS, [vars(mail) for mail in mails], visit.form)
    return visit.page("outbox", mails=mails, mode=visit.settings.mail.mode, state=state)


@page
async def show_mail(visit: Visit) -> Answer:
    """GET one mail, for analysts."""
    if visit.must_sign_in().role != "analyst":
        raise Stop(403, "The outbox names people of all projects: it is for analysts.")
    number = visit.request.path_params["mail_no"]
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise Stop(404, "There is no such mail.")

    def ask(connection: Connection) -> tuple[outbox.Mail, list[tuple[dt.datetime, str, str]]]:
        try:
            return outbox.get(connection, int(number)), outbox.history(connection, int(number))
        except KeyError:
            raise Stop(404, "There is no such mail.") from None

    mail, lines = await visit.ask(ask)
    decisions_now = [word for word, states in outbox.DECIDED_FROM.items() if mail.state in states]
    return visit.page("mail", mail=mail, lines=lines, decisions=decisions_now)


async def style(_: Request) -> Response:
    """GET the style sheet."""
    text = (wording.OWN / "pages" / "style.css").read_text(encoding="utf-8")
    return Response(text, 200, {**HEADERS, "Cache-Control": "max-age=300"}, "text/css; charset=utf-8")


routes = [
    Route("/tracker", show_board, methods=["GET"]),
    Route("/tracker/style.css", style, methods=["GET"]),
    Route("/tracker/items/{item_id}", show_item, methods=["GET"]),
    Route("/tracker/pushes", show_pushes, methods=["GET"]),
    Route("/tracker/pushes/{push_date}", show_push, methods=["GET"]),
    Route("/tracker/projects", show_projects, methods=["GET"]),
    Route("/tracker/projects/{code}/people", show_people, methods=["GET"]),
    Route("/tracker/projects/{code}", show_project, methods=["GET"]),
    Route("/tracker/outbox", show_outbox, methods=["GET"]),
    Route("/tracker/outbox/{mail_no}", show_mail, methods=["GET"]),
]
