"""A project form into the node database: the project, its people, its species.

Belongs here: writing what ``files/project_form.py`` read. Does not belong here: judging it (``checks/project.py``).
"""

from psycopg import sql

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, readings, submissions
from otn_dagster.telemetry.files import project_form
from otn_dagster.telemetry.files.project_form import Contact, Project
from otn_dagster.telemetry.files.reading import guarded
from otn_dagster.telemetry.files.refusals import BadFile, Topic
from otn_dagster.telemetry.loading.merging import merge
from otn_dagster.telemetry.project_tables import ensure_project_tables
from otn_dagster.telemetry.readings import Reading
from otn_dagster.telemetry.submissions import Counts, Submission


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> Project:
    """Read the form once and keep what it says; raises BadFile where its code is not that of the folder. Safe to repeat."""
    with guarded(submission.path(settings)):
        project = project_form.read_project_form(submission.path(settings))
    if project.code and project.code.split(".")[-1].upper() != submission.collectioncode:
        raise BadFile(
            f"the form is of project {project.code!r}, the folder of {submission.collectioncode!r}",
            "Put the form into the folder of its own collection, or correct question 0.",
            column="code",
        )
    situation = readings.situation_of(connection, submission, project.bounding_box)
    kept = project_form.as_json(project)
    readings.keep(
        connection, submission, Reading("project metadata form", kept, readings.as_json(situation), 1, {}, {})
    )
    return project


def form_of(connection: Connection, submission: Submission) -> Project:
    """The form of a submission as its first step read it."""
    reading = readings.of(connection, submission.submission_key)
    if reading is None:
        raise LookupError(f"{submission.submission_key} was not read: run raw_project")
    return project_form.from_json(reading.kept)


def load(connection: Connection, settings: Settings, submission: Submission) -> None:
    """Write a project. Safe to repeat: one transaction, merged by natural key; a second time nothing changes.

    Raises LoadingLocked during a push, BadFile where the code belongs to another node, HeldForPerson where the form
    says less than the one before.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    project = form_of(connection, submission)
    owner = connection.execute(
        "select node from obis.otn_resources where collectioncode = %s", [submission.collectioncode]
    ).fetchone()
    if owner and owner[0] != submission.node:
        raise BadFile(
            f"P7: the code {submission.collectioncode} is taken by a project of node {owner[0]}",
            "Codes are unique across all nodes: choose another one.",
            column="code",
        )
    ensure_project_tables(connection, submission.collectioncode, "project")
    accepted = decisions.answer(connection, Topic.REMOVAL, submission.submission_key) == "accept"
    difference = merge(
        connection,
        sql.Identifier("obis", "otn_resources"),
        ["collectioncode"],
        [_row(project, submission)],
        submission.submission_key,
        removal_accepted=accepted,
    )
    gone = _people_gone(connection, project, submission.collectioncode)
    if (difference.removals or gone) and not accepted:
        raise decisions.HeldForPerson(Topic.REMOVAL, submission.submission_key, [*difference.removals, *gone])
    _write_people(connection, project, submission.collectioncode)
    _write_species(connection, project, submission.collectioncode)
    submissions.note_counts(connection, submission.submission_key, Counts(raw=1, loaded=1))
    submissions.move(connection, submission.submission_key, "loaded")
    submissions.supersede_earlier(connection, submission)


def _row(project: Project, submission: Submission) -> dict[str, object]:
    west, east, south, north = project.bounding_box or (None, None, None, None)
    pi = next((contact for contact in project.contacts if contact.role == "Principal Investigator"), None)
    return {
        "collectioncode": submission.collectioncode,
        "node": submission.node,
        "resource_full_name": project.title,
        "shortname": submission.collectioncode,
        "longname": project.title,
        "abstract": project.abstract or None,
        "citation": project.citation or assigned_citation(project),
        "website": project.url,
        "institutioncode": pi.affiliation if pi else None,
        "local_area": project.places[0] if project.places else None,
        "locality": "; ".join(project.places) or None,
        "status": "ongoing" if project.end is None else "completed",
        "westbl": west,
        "eastbl": east,
        "southbl": south,
        "northbl": north,
        "sdate": project.start,
        "edate": project.end,
        "submission_key": submission.submission_key,
    }


def assigned_citation(project: Project) -> str | None:
    """``Blue, N. 2013. Nova Scotia Blue Shark Tracking``: what is assigned where question 8 is left blank."""
    leaders = [contact for contact in project.contacts if contact.role == "Principal Investigator"]
    if not leaders or project.start is None:
        return None
    names = [f"{contact.name.split()[-1]}, {contact.name[0]}." for contact in leaders]
    return f"{', '.join(names)} {project.start.year}. {project.title}"


def _people_gone(connection: Connection, project: Project, collectioncode: str) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        "select name, coalesce(email, name), role from obis.contacts join obis.contacts_projects using (contact_pk)"
        " where collectioncode = %s",
        [collectioncode],
    ).fetchall()
    named = {((contact.email or contact.name).lower(), contact.role) for contact in project.contacts}
    return [(name, "contact", role) for name, email, role in rows if (email.lower(), role) not in named]


def _write_people(connection: Connection, project: Project, collectioncode: str) -> None:
    connection.execute("delete from obis.contacts_projects where collectioncode = %s", [collectioncode])
    for contact in project.contacts:
        connection.execute(
            "insert into obis.contacts_projects values (%s, %s, %s, %s) on conflict do nothing",
            [_contact_pk(connection, contact, collectioncode), collectioncode, contact.role, contact.point_of_contact],
        )


def _contact_pk(connection: Connection, contact: Contact, collectioncode: str) -> int:
    """A person is one row for all projects: no form renames somebody whom other projects name, too."""
    others = connection.execute(
        "select 1 from obis.contacts join obis.contacts_projects using (contact_pk)"
        " where lower(coalesce(email, name)) = lower(%s) and collectioncode <> %s limit 1",
        [contact.email or contact.name, collectioncode],
    ).fetchone()
    alone = others is None
    row = connection.execute(
        """insert into obis.contacts (name, email, affiliation, orcid) values (%s, %s, %s, %s)
           on conflict (lower(coalesce(email, name))) do update set
               name = case when %s then excluded.name else contacts.name end,
               affiliation = case when %s then coalesce(excluded.affiliation, contacts.affiliation) else contacts.affiliation end,
               orcid = coalesce(contacts.orcid, excluded.orcid)
           returning contact_pk""",
        [contact.name, contact.email, contact.affiliation, contact.orcid, alone, alone],
    ).fetchone()
    assert row is not None
    return row[0]


def _write_species(connection: Connection, project: Project, collectioncode: str) -> None:
    for common, scientific in project.species:
        connection.execute(
            "insert into obis.scientificnames (collectioncode, scientificname, commonname) values (%s, %s, %s)"
            " on conflict (collectioncode, scientificname) do update set commonname = excluded.commonname",
            [collectioncode, scientific, common],
        )
