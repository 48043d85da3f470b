"""Files that people may have: a submission as it came, its rows as they were read, extracts, pictures of reports.

Belongs here: who may have which file, and its path. Does not belong here: pages.

No path is ever made from what a visitor writes: files are found by the database or by the names that a push's list has, and are looked
for in their own folder only. They are sent as attachments, so that a browser shows none as a page of this site.
"""

import re
from pathlib import Path
from typing import Any

import polars as pl
from psycopg import Connection
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.files import container, sheets
from otn_dagster.telemetry.files.refusals import BadFile
from otn_dagster.telemetry.push import pictures
from otn_dagster.telemetry.push.extracts import FILE_WORD
from otn_dagster.telemetry.push.snapshot import push_folder
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import board, flows, release
from otn_dagster.web.site.pages import CODE, item_of, project_of, push_date_of
from otn_dagster.web.site.visits import HEADERS, Answer, Stop, Visit, page

EXTRACT = re.compile(rf"[a-z0-9]+_({'|'.join(FILE_WORD.values())})_detections_[0-9]{{4}}\.(zip|parquet)")
MOST_ROWS, MOST_EXPORTED, MOST_COLUMNS, LARGEST_SHEET = 200, 100_000, 100, 20 * 2**20


async def _submission(visit: Visit) -> Submission:
    """The submission of the item of the path, for those who may have its file."""
    item = await item_of(visit)
    if item["flow"] != flows.SUBMISSION:
        raise Stop(404, "This dataset has no file.")
    code = item["collectioncode"]

    def ask(connection: Connection) -> Submission | None:
        if not board.belongs_to(connection, visit.person, code):
            return None
        return submissions.get(connection, item["subject"])

    found = await visit.ask(ask)
    if found is None:
        raise Stop(401 if visit.person is None else 403, f"Files of {code} are for its people and its node.")
    return found


@page
async def submitted_file(visit: Visit) -> Answer:
    """GET the file as it came."""
    found = await _submission(visit)
    return _sent(found.path(visit.service.settings), visit.service.settings.submissions, found.file_name)


@page
async def sheet(visit: Visit) -> Answer:
    """GET the rows of a file as they are read, with their numbers in the file."""
    found = await _submission(visit)
    path, most = found.path(visit.service.settings), MOST_EXPORTED if visit.form else MOST_ROWS
    try:
        columns, rows = await visit.ask(lambda _: _read(found, path, found.parquet(visit.service.settings), most))
    except BadFile as error:
        raise Stop(422, f"{found.file_name}: {error}") from None
    except OSError:
        raise Stop(404, f"{found.file_name} is not where it was kept; tell your node manager.") from None
    if visit.form:
        return visit.listing(f"rows-{visit.request.path_params['item_id']}", columns, rows, visit.form)
    return visit.page(
        "sheet", submission=found, columns=columns, rows=rows, most=most, item_id=visit.request.path_params["item_id"]
    )


def _read(found: Submission, path: Path, parquet: Path, most: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Rows of a file, if it is small enough to be read beside instruments' pushes."""
    size = path.stat().st_size
    if found.kind not in ("detections", "events") and size > LARGEST_SHEET:
        raise BadFile(f"it has {size / 2**20:,.0f} MiB, more than is shown here", "Take the file itself.")
    columns, rows = _rows(found, path, parquet, most)
    return columns[:MOST_COLUMNS], rows


def _rows(found: Submission, path: Path, parquet: Path, most: int) -> tuple[list[str], list[dict[str, Any]]]:
    if found.kind == "project":
        lines = container.decode(path.read_bytes()).splitlines()[:most]
        return ["row", "line"], [{"row": number, "line": line} for number, line in enumerate(lines, 1)]
    if found.kind in ("detections", "events"):
        if not parquet.exists():
            raise BadFile("it was not read yet", "Wait until it is loaded.")
        frame = pl.scan_parquet(parquet).head(most).collect()
        return frame.columns, frame.to_dicts()
    tables = sheets.find(path, found.kind).tables
    headers = dict.fromkeys(name for table in tables for name in table.headers)
    rows = [{"row": row.number, **row.cells} for table in tables for row in table.rows]
    return ["row", *headers], rows[:most]


@page
async def extract(visit: Visit) -> Answer:
    """GET an extract of a push, for the people of its project."""
    date, code, name = push_date_of(visit), visit.request.path_params["code"], visit.request.path_params["name"]
    if not CODE.fullmatch(code) or not EXTRACT.fullmatch(name):
        raise Stop(404, "There is no such extract.")
    if not await visit.ask(lambda connection: board.belongs_to(connection, visit.person, code)):
        raise Stop(401 if visit.person is None else 404, f"Extracts of {code} are for its people and its node.")
    settings = visit.service.settings
    if not visit.reader.is_staff and not await visit.ask(lambda connection: release.is_out(connection, settings, date)):
        raise Stop(404, f"The push of {date} is not released yet. You will have a mail when it is.")
    folder = push_folder(settings, date) / "extracts" / code
    return _sent(folder / name, folder, name)


@page
async def picture(visit: Visit) -> Answer:
    """GET a picture of a project's report."""
    date, code, kind = push_date_of(visit), await project_of(visit), visit.request.path_params["kind"]
    if kind not in pictures.KINDS:
        raise Stop(404, "There is no such picture.")
    settings = visit.service.settings
    if not visit.reader.is_staff and not await visit.ask(lambda connection: release.is_out(connection, settings, date)):
        raise Stop(404, f"The push of {date} is not released yet.")
    folder = push_folder(settings, date)
    path = await visit.ask(lambda _: pictures.picture(folder, code, kind))
    if path is None:
        raise Stop(404, "There is no such picture.")
    return FileResponse(path, media_type="image/png", headers=HEADERS)


def _sent(path: Path, root: Path, name: str) -> Response:
    if not path.resolve().is_relative_to(root.resolve()) or not path.is_file():
        raise Stop(404, f"{name} is not there.")
    headers = {**HEADERS, "Content-Security-Policy": "sandbox"}
    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)


routes = [
    Route("/tracker/items/{item_id}/file", submitted_file, methods=["GET"]),
    Route("/tracker/items/{item_id}/rows", sheet, methods=["GET"]),
    Route("/tracker/pushes/{push_date}/extracts/{code}/{name}", extract, methods=["GET"]),
    Route("/tracker/pushes/{push_date}/reports/{code}/{kind}", picture, methods=["GET"]),
]
