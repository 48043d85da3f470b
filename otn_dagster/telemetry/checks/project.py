"""Checks of project metadata: P1 to P7. Source: node manager training, "Create and Update Projects"."""

import re
from urllib.parse import urlparse

from otn_dagster.telemetry.checks.registry import Evidence, NotEvaluated, Rows, check
from otn_dagster.telemetry.files.project_form import Project
from otn_dagster.telemetry.loading import project as loading_project

FORM, LIVE = "raw_project", "otn_resources"
ORDINARY = re.compile(r"^[\w\s.,;:'\"()\[\]/&%+–—-]*$")


def _form(evidence: Evidence) -> Project:
    return loading_project.form_of(evidence.connection, evidence.submission)


@check("P1", FORM, "No strange characters in code, title and abstract", "Retype the passage.", warns=True)
def strange_characters(evidence: Evidence) -> Rows:
    form = _form(evidence)
    texts = {"code": form.code or "", "title": form.title, "abstract": form.abstract}
    return [
        {"field": name, "found": "".join(sorted({c for c in text if not ORDINARY.match(c)}))}
        for name, text in texts.items()
        if not ORDINARY.match(text)
    ]


@check(
    "P2",
    FORM,
    "Every contact is readable, its affiliation known",
    "Complete the contact line, or add the institution.",
    warns=True,
)
def contacts(evidence: Evidence) -> Rows:
    form = _form(evidence)
    unread: Rows = [{"problem": "not readable", "line": line} for field, line in form.unread if field == "contacts"]
    known = {row["name"].lower() for row in evidence.rows("select institutioncode as name from obis.institution_codes")}
    # A node that keeps no list of institutions cannot say that one is unknown.
    unknown = {c.affiliation for c in form.contacts if known and c.affiliation and c.affiliation.lower() not in known}
    return unread + [{"problem": "affiliation is not in institution_codes", "line": name} for name in sorted(unknown)]


@check("P3", FORM, "The URL is well-formed", "Give it as https://...", warns=True)
def url(evidence: Evidence) -> Rows:
    found = _form(evidence).url
    good = found is None or (urlparse(found).scheme in ("http", "https") and "." in urlparse(found).netloc)
    return [] if good else [{"url": found}]


@check("P4", FORM, "Species are accepted taxa of WoRMS", "Use the accepted name.")
def species(evidence: Evidence) -> Rows:
    unread: Rows = [
        {"problem": "not readable", "line": line} for field, line in _form(evidence).unread if field == "species"
    ]
    if unread:
        return unread
    raise NotEvaluated("needs the WoRMS web service")


@check(
    "P5",
    FORM,
    "The form says where the project works",
    "Give the name of the place, or points as latitude/longitude.",
    warns=True,
)
def bounding_box(evidence: Evidence) -> Rows:
    form = _form(evidence)
    return [] if form.points or form.places else [{"points": 0, "places": ""}]


@check("P6", FORM, "Start and end dates are readable", "Write YYYY-MM-DD to YYYY-MM-DD, or to ongoing.")
def dates(evidence: Evidence) -> Rows:
    form = _form(evidence)
    unread: Rows = [{"dates": line} for field, line in form.unread if field == "dates"]
    backwards = form.start and form.end and form.end < form.start
    return unread + ([{"dates": f"{form.start} to {form.end}"}] if backwards else [])


@check(
    "P7",
    LIVE,
    "The project is complete and its code unique across all nodes",
    "Fill in the form; choose a free code.",
)
def complete_and_unique(evidence: Evidence) -> Rows:
    form = _form(evidence)
    missing: Rows = [{"field": name} for name in ("title", "abstract", "contacts") if not getattr(form, name)]
    others = evidence.rows(
        "select distinct node from platform.submissions where collectioncode = %s and node <> %s",
        evidence.code,
        evidence.submission.node,
    )
    return missing + [{"field": "code", "found": f"also submitted under node {row['node']}"} for row in others]
