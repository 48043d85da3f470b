"""A page to drop a file on: looked at within seconds, row by row, then submitted or discarded.

Belongs here: taking a file's bytes, also in parts, showing the verdict, submitting. Does not belong here: the verdict
(``telemetry/files/preview.py``), what it would change (``telemetry/rehearsal.py``), loading (the sensor).

A file lies in ``uploads/<token>/`` of the data root until it is submitted or discarded, or a day has passed. The token is the visitor's:
nobody else finds it. Bytes are appended where the last part ended, so a lost connection costs one part.
"""

import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otn_dagster.telemetry import rehearsal, submissions
from otn_dagster.telemetry.files import law, preview
from otn_dagster.telemetry.files.preview import Preview
from otn_dagster.telemetry.files.reading import kinds_fed
from otn_dagster.telemetry.files.refusals import Severity
from otn_dagster.telemetry.submissions import KINDS
from otn_dagster.tracker import board
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.receipt import duplicates
from otn_dagster.web.site.visits import HEADERS, Answer, Stop, Visit, is_own, page, redirect

LARGEST_FILE, LARGEST_PART = 2 * 2**30, 16 * 2**20
LARGEST_IN_ONE = 64 * 2**20  # without a script, in one form
KEPT_SECONDS = 24 * 3600
MOST_UPLOADS = 20  # of one person at a time
LARGEST_REHEARSED = 32 * 2**20
TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
SCRIPT = Path(__file__).parents[2] / "templates" / "pages" / "submit.js"
# The one page with a script, which is its own: it sends a large file in parts.
WITH_SCRIPT = HEADERS | {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"] + "; script-src 'self'; connect-src 'self'"
}


@dataclass(frozen=True)
class Upload:
    """A file that somebody is sending, or has sent and not yet submitted."""

    folder: Path
    name: str
    size: int

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return self.folder / self.name

    @property
    def here(self) -> int:
        """How many bytes have come."""
        return self.path.stat().st_size if self.path.exists() else 0


def _root(visit: Visit) -> Path:
    return visit.service.settings.data / "uploads"


def _begin(visit: Visit, name: str, size: int) -> Upload:
    """A new upload of a person. Safe to repeat: each has a folder of its own."""
    person = visit.must_sign_in()
    root = _root(visit)
    root.mkdir(parents=True, exist_ok=True)
    mine = _sweep(root, person.email)
    if mine >= MOST_UPLOADS:
        raise Stop(429, f"You have {mine} files here already: submit or discard some first.")
    if not 0 < size <= LARGEST_FILE:
        raise Stop(413, f"A file may have up to {LARGEST_FILE / 2**30:g} GiB, and not be empty.")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name.replace("\\", "/")).name).lstrip(".")[-80:] or "file"
    folder = root / secrets.token_urlsafe(16)
    folder.mkdir()
    (folder / ".about.json").write_text(json.dumps({"name": plain, "size": size, "by": person.email}), encoding="utf-8")
    (folder / plain).touch()
    return Upload(folder, plain, size)


def _sweep(root: Path, email: str) -> int:
    """Discard what nobody submitted for a day; how many uploads a person has left."""
    mine = 0
    for folder in root.iterdir():
        about = folder / ".about.json"
        if not about.exists() or time.time() - about.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
        elif json.loads(about.read_text(encoding="utf-8"))["by"] == email:
            mine += 1
    return mine


def _upload(visit: Visit) -> Upload:
    """The visitor's upload of the path."""
    person, token = visit.must_sign_in(), visit.request.path_params["token"]
    about = _root(visit) / token / ".about.json"
    if not TOKEN.fullmatch(token) or not about.exists():
        raise Stop(404, "This file is not here any more: it was submitted or discarded, or it is older than a day.")
    said = json.loads(about.read_text(encoding="utf-8"))
    if said["by"] != person.email:
        raise Stop(404, "This file is not here any more: it was submitted or discarded, or it is older than a day.")
    return Upload(about.parent, said["name"], said["size"])


def _check_own(visit: Visit) -> None:
    visit.must_sign_in()
    if not is_own(visit.request):
        raise Stop(403, "This request is not of this site.")


@page
async def show(visit: Visit) -> Answer:
    """GET the page to drop a file on."""
    visit.must_sign_in()
    page_of = visit.page("submit", largest=LARGEST_IN_ONE)

    def made() -> Response:
        answer = page_of()
        assert isinstance(answer, Response)
        answer.headers["Content-Security-Policy"] = WITH_SCRIPT["Content-Security-Policy"]
        return answer

    return made


@page
async def script(visit: Visit) -> Response:
    """GET its script."""
    return Response(SCRIPT.read_text(encoding="utf-8"), 200, HEADERS, "text/javascript; charset=utf-8")


@page
async def begin(visit: Visit) -> Response:
    """POST the name and size of a file that comes in parts."""
    _check_own(visit)
    name, size = visit.parameter("name") or "file", visit.parameter("size") or ""
    if not re.fullmatch(r"[0-9]{1,12}", size):
        raise Stop(400, "The size of the file is missing.")
    upload = _begin(visit, name, int(size))
    return JSONResponse({"token": upload.folder.name, "offset": 0, "part": LARGEST_PART}, headers=HEADERS)


@page
async def offset(visit: Visit) -> Response:
    """GET how many bytes of a file have come: where to go on."""
    upload = _upload(visit)
    return JSONResponse({"offset": upload.here, "size": upload.size}, headers=HEADERS)


@page
async def part(visit: Visit) -> Response:
    """PUT the next part of a file, at the offset where the last one ended."""
    _check_own(visit)
    upload, at = _upload(visit), visit.parameter("offset") or ""
    if not re.fullmatch(r"[0-9]{1,12}", at) or int(at) != upload.here:
        return JSONResponse({"offset": upload.here, "size": upload.size}, 409, HEADERS)
    body = bytearray()
    try:
        async for piece in visit.request.stream():
            body += piece
            if len(body) > LARGEST_PART or int(at) + len(body) > upload.size:
                raise Stop(413, "The part is larger than it may be.")
    except ClientDisconnect:
        raise Stop(408, "The part did not come whole.") from None
    if int(at) != upload.here:  # another part came meanwhile
        return JSONResponse({"offset": upload.here, "size": upload.size}, 409, HEADERS)
    with upload.path.open("ab") as handle:
        handle.write(body)
    return JSONResponse({"offset": upload.here, "size": upload.size}, headers=HEADERS)


@page
async def whole(visit: Visit) -> Response:
    """POST a file in one form, for browsers without scripts."""
    _check_own(visit)
    length = visit.request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > LARGEST_IN_ONE:
        raise Stop(413, f"Without a script a file may have {LARGEST_IN_ONE / 2**20:g} MiB.")
    try:
        async with visit.request.form(max_files=1, max_fields=5) as form:
            file = form.get("file")
            if file is None or isinstance(file, str) or not file.size:
                raise Stop(400, "Choose a file that is not empty.")
            upload = _begin(visit, file.filename or "file", file.size)
            with upload.path.open("wb") as handle:
                shutil.copyfileobj(file.file, handle)
    except MultiPartException as error:
        raise Stop(400, f"The form cannot be read ({error.message}).") from None
    return redirect(f"/tracker/submit/{upload.folder.name}")


def _guess(connection: Connection, one: Preview, projects: list[dict[str, Any]]) -> str | None:
    """The project of a file: the one that it names, or whose receivers it has, or the only one there is."""
    codes = [project["code"] for project in projects]
    named = next((code for code in one.collections if code in codes), None)
    if named is None and one.receivers:
        named = board.project_of_receivers(connection, one.receivers, codes)
    return named or (codes[0] if len(codes) == 1 else None)


@page
async def look(visit: Visit) -> Answer:
    """GET the verdict on a file: what it is, every finding, what it would change."""
    upload = _upload(visit)
    if upload.here != upload.size:
        raise Stop(409, f"{upload.here:,} of {upload.size:,} bytes have come: send the rest first.")
    wanted_kind, wanted_code = visit.parameter("kind"), visit.parameter("project")

    def ask(connection: Connection) -> dict[str, Any]:
        def acts(code: str) -> bool:
            return visit.person is not None and visit.person.acts_for(known[code]["node"])

        projects = board.submits_for(connection, visit.person)
        known = {project["code"]: project for project in projects}
        receives = {code: visit.service.settings.node(project["node"]).receives for code, project in known.items()}
        code, kind = wanted_code if wanted_code in known else None, wanted_kind if wanted_kind in KINDS else None
        one = preview.look(upload.path, kind, code, accepts=receives.get(code or "", ()))
        if code is None:
            code = _guess(connection, one, projects)
            if code and (one.collections[:1] not in ([], [code]) or receives[code]):  # judged again as that project's
                one = preview.look(upload.path, kind, code, accepts=receives[code])
        change = None
        small = one.verdict == "ready" and one.kind in KINDS and upload.size <= LARGEST_REHEARSED
        # What follows from a list of fixes names other projects' animals, and who was told.
        if code and small and one.kind != "project" and (one.kind != "fix" or acts(code)):
            change = rehearsal.rehearse(visit.service.settings, upload.path, known[code]["node"], code, one.kind)
        return {"projects": projects, "one": one, "code": code, "change": change}

    found = await visit.ask(ask)
    return visit.page(
        "submitted",
        upload=upload,
        kinds=KINDS,
        law=law.sentence(found["one"].law),
        severities=Severity,
        **found,
    )


@page
async def send(visit: Visit) -> Response:
    """POST a file to its project: registered at once, with the number of its item as a receipt; the sensor loads it."""
    fields, upload = await visit.form_fields(), _upload(visit)
    kind, code, person = fields.get("kind", ""), fields.get("project", ""), visit.must_sign_in()
    if kind not in KINDS:
        raise Stop(400, "Say which kind of file it is.")
    if upload.here != upload.size:
        raise Stop(409, f"{upload.here:,} of {upload.size:,} bytes have come: send the rest first.")

    def ask(connection: Connection) -> int:
        known = {project["code"]: project for project in board.submits_for(connection, visit.person)}
        if code not in known:
            raise Stop(403, f"You do not submit for {code[:20]!r}.")
        settings = visit.service.settings
        numbers = {}
        for fed in kinds_fed(upload.path, kind):
            submission, _ = submissions.receive(connection, settings, known[code]["node"], code, fed, upload.path)
            numbers[fed] = follow_submissions.register(connection, submission, duplicates.RECEIPT).item_id
            submissions.note_submitter(connection, submission, person.email)
        return numbers[kind]

    item_id = await visit.ask(ask)
    shutil.rmtree(upload.folder, ignore_errors=True)
    return redirect(f"/tracker/items/{item_id}?receipt=1")


@page
async def discard(visit: Visit) -> Response:
    """POST that a file is not to be submitted: nothing of it stays."""
    await visit.form_fields()
    shutil.rmtree(_upload(visit).folder, ignore_errors=True)
    return redirect("/tracker/submit")


routes = [
    Route("/tracker/submit", show, methods=["GET"]),
    Route("/tracker/submit.js", script, methods=["GET"]),
    Route("/tracker/submit/begin", begin, methods=["POST"]),
    Route("/tracker/submit/whole", whole, methods=["POST"]),
    Route("/tracker/submit/{token}", look, methods=["GET"]),
    Route("/tracker/submit/{token}/offset", offset, methods=["GET"]),
    Route("/tracker/submit/{token}/part", part, methods=["PUT"]),
    Route("/tracker/submit/{token}/send", send, methods=["POST"]),
    Route("/tracker/submit/{token}/discard", discard, methods=["POST"]),
]
