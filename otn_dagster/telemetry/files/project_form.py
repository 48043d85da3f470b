"""The project metadata form: text between ``===FORM START===`` and ``===FORM END===``, fields 0 to 8.

Belongs here: a form to a typed project. Does not belong here: writing (``loading/project.py``) and judging
(``checks/project.py``).

Source: node manager training, "Create and Update Projects".
"""

import datetime as dt
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from otn_dagster.telemetry.files.container import decode
from otn_dagster.telemetry.files.refusals import BadFile

ROLES = ["Principal Investigator", "Technician", "Researcher", "Student", "Collaborator"]
FIELDS = ["code", "title", "abstract", "contacts", "url", "species", "locations", "dates", "citation"]
LONGEST_NAME = 80
REMEDY = "Fill in the node's project metadata form and keep its question lines."


@dataclass(frozen=True)
class Contact:
    """One person of a project."""

    name: str
    affiliation: str | None
    role: str
    email: str | None
    orcid: str | None = None
    point_of_contact: bool = False


@dataclass(frozen=True)
class Project:
    """What a project's form says; lines that could not be read stand in ``unread`` with their field."""

    code: str | None
    title: str
    abstract: str
    contacts: list[Contact]
    url: str | None
    species: list[tuple[str, str]]  # (common name, scientific name)
    places: list[str]
    points: list[tuple[float, float]]  # (latitude, longitude)
    start: dt.date | None
    end: dt.date | None
    citation: str | None
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def bounding_box(self) -> tuple[float, float, float, float] | None:
        """West, east, south, north of the points given, or None where there are none."""
        if not self.points:
            return None
        latitudes, longitudes = zip(*self.points, strict=True)
        return min(longitudes), max(longitudes), min(latitudes), max(latitudes)


def read_project_form(path: Path) -> Project:
    """The project of a form; raises BadFile where the file is no form or has no title."""
    if path.stat().st_size == 0:
        raise BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
    if path.stat().st_size > 2**20:
        raise BadFile("the file is larger than 1 MiB, which no project form is", REMEDY)
    content = decode(path.read_bytes())
    found = re.search(r"===\s*FORM START\s*===(.*?)===\s*FORM END\s*===", content, re.DOTALL)
    if not found:
        raise BadFile("no text between ===FORM START=== and ===FORM END===", REMEDY)
    answers = _answers(found[1])
    if not answers["title"]:
        raise BadFile("question 1 (title) has no answer", REMEDY, column="title")
    unread: list[tuple[str, str]] = []
    start, end = _dates(answers["dates"], unread)
    places, points = _locations(answers["locations"])
    return Project(
        code=(answers["code"] or [None])[0],
        title=" ".join(answers["title"]),
        abstract=" ".join(answers["abstract"]),
        contacts=_contacts(answers["contacts"], unread),
        url=(answers["url"] or [None])[0],
        species=_species(answers["species"], unread),
        places=places,
        points=points,
        start=start,
        end=end,
        citation=" ".join(answers["citation"]) or None,
        unread=unread,
    )


def as_json(project: Project) -> dict[str, Any]:
    """A form as JSON keeps it."""
    kept = asdict(project)
    return {
        **kept,
        "start": project.start and project.start.isoformat(),
        "end": project.end and project.end.isoformat(),
    }


def from_json(kept: dict[str, Any]) -> Project:
    """The form again, as it was read."""
    dates = {name: dt.date.fromisoformat(kept[name]) if kept[name] else None for name in ("start", "end")}
    pairs = {name: [tuple(pair) for pair in kept[name]] for name in ("species", "points", "unread")}
    return Project(**{**kept, **dates, **pairs, "contacts": [Contact(**contact) for contact in kept["contacts"]]})


def _answers(form: str) -> dict[str, list[str]]:
    """Answer lines by field: what stands between a question with its ``format:`` hint and the next question."""
    answers: dict[str, list[str]] = {name: [] for name in FIELDS}
    current: str | None = None
    for line in form.splitlines():
        question = re.match(r"^\s*([0-8])\.\s+\S", line)
        if question:
            current = FIELDS[int(question[1])]
        elif current and line.strip() and not re.match(r"^\s*format\s*:", line, re.IGNORECASE):
            answers[current].append(line.strip())
    return answers


def _contacts(lines: list[str], unread: list[tuple[str, str]]) -> list[Contact]:
    contacts = []
    for line in lines:
        parts = [part.strip() for part in line.split(",") if part.strip()]
        role = next((role for part in parts for role in ROLES if part.lower() == role.lower()), None)
        if len(parts) < 3 or role is None or not _is_name(parts[0]):
            unread.append(("contacts", line))
            continue
        at = [part.lower() for part in parts].index(role.lower())
        rest = parts[at + 1 :]
        orcid = next((part for part in rest if re.fullmatch(r"(https?://orcid\.org/)?[\dX-]{16,19}", part)), None)
        contacts.append(
            Contact(
                name=parts[0],
                affiliation=", ".join(parts[1:at]) or None,
                role=role,
                email=next((part for part in rest if "@" in part), None),
                orcid=orcid,
                point_of_contact=any(part.lower() == "point of contact" for part in rest),
            )
        )
    return contacts


def _is_name(text: str) -> bool:
    """A name goes into mails and lists: it is short, and no address."""
    return len(text) <= LONGEST_NAME and not re.search(r"[@<>]|://|www\.", text)


def _species(lines: list[str], unread: list[tuple[str, str]]) -> list[tuple[str, str]]:
    species = []
    for line in lines:
        found = re.fullmatch(r"(.+?)\s*\(\s*([A-Za-z][^()]+?)\s*\)\.?", line)
        if found:
            species.append((found[1], found[2]))
        else:
            unread.append(("species", line))
    return species


def _locations(lines: list[str]) -> tuple[list[str], list[tuple[float, float]]]:
    places, points = [], []
    for line in lines:
        found = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*/\s*([+-]?\d+(?:\.\d+)?)", line)
        if found and abs(float(found[1])) <= 90 and abs(float(found[2])) <= 180:
            points.append((float(found[1]), float(found[2])))
        else:
            places.append(line)
    return places, points


def _dates(lines: list[str], unread: list[tuple[str, str]]) -> tuple[dt.date | None, dt.date | None]:
    if not lines:
        return None, None
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})\s+to\s+(\d{4}-\d{2}-\d{2}|ongoing)", lines[0], re.IGNORECASE)
    try:
        if found:
            end = None if found[2].lower() == "ongoing" else dt.date.fromisoformat(found[2])
            return dt.date.fromisoformat(found[1]), end
    except ValueError:
        pass
    unread.append(("dates", lines[0]))
    return None, None
