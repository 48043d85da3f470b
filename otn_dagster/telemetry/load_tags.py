"""A tag sheet into the node database: ``c_tag_meta`` → ``tag_cache`` → ``otn_animals`` and ``otn_transmitters``.

Belongs here: writing what ``tags.py`` read. Does not belong here: judging it (``checks/tags.py``).
"""

import datetime as dt
import json
from typing import Any

from psycopg import sql

from otn_dagster import pushes
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import decisions, positions, submissions
from otn_dagster.telemetry.merging import Difference, merge
from otn_dagster.telemetry.project_tables import ensure_project_tables, table
from otn_dagster.telemetry.refusals import Refusal
from otn_dagster.telemetry.sheets import SheetRow, printable, refuse
from otn_dagster.telemetry.submissions import Counts, Submission
from otn_dagster.telemetry.tags import COLUMNS, TagSheet, read_tags

CACHE_COLUMNS = [column.name for column in COLUMNS]


def read(connection: Connection, settings: Settings, submission: Submission) -> TagSheet:
    """The sheet of a submission, with rows refused whose position is plainly a slip, or that repeat another row."""
    sheet = read_tags(submission.path(settings), submission.collectioncode, _now(connection))
    by_number = {row.number: row for row in sheet.raw}
    box = positions.project_box(connection, submission.collectioncode)
    box = box or positions.box_of(sheet.tags, "release_latitude", "release_longitude")
    good, refused, seen = [], list(sheet.refused), {}
    for tag in sheet.tags:
        row = by_number[tag["row_number"]]
        refusal = _misplaced(row, tag, box) or _repeated(row, tag, seen)
        if refusal:
            refused.append(refusal)
        else:
            good.append(tag)
    return TagSheet(sheet.sheet, sheet.raw, good, refused)


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> TagSheet:
    """Keep the rows as submitted. Safe to repeat: replaces the rows of this submission in one transaction."""
    submissions.require_project(connection, submission)
    sheet = read(connection, settings, submission)
    ensure_project_tables(connection, submission.collectioncode, "tags")
    keep_raw_rows(connection, submission, "c_tag_meta", sheet.raw)
    submissions.keep_refusals(connection, submission.submission_key, sheet.refused)
    return sheet


def keep_raw_rows(connection: Connection, submission: Submission, name: str, rows: list[SheetRow]) -> None:
    """Rows of a sheet as they stand, into a raw table of the project."""
    target = table(submission.collectioncode, name)
    connection.execute(sql.SQL("delete from {} where submission_key = %s").format(target), [submission.submission_key])
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("insert into {} (submission_key, row_number, cells) values (%s, %s, %s)").format(target),
            [(submission.submission_key, row.number, json.dumps(printable(row.cells))) for row in rows],
        )


def load_cache(connection: Connection, settings: Settings, submission: Submission) -> list[dict[str, Any]]:
    """The typed rows into ``tag_cache``. Safe to repeat: replaces the rows of this submission."""
    tags = read(connection, settings, submission).tags
    keep_typed_rows(connection, submission, "tag_cache", tags)
    return tags


def keep_typed_rows(connection: Connection, submission: Submission, name: str, rows: list[dict[str, Any]]) -> None:
    """Typed rows of a sheet into an intermediate table of the project."""
    target = table(submission.collectioncode, name)
    connection.execute(sql.SQL("delete from {} where submission_key = %s").format(target), [submission.submission_key])
    if not rows:
        return
    own = {"submission_key": submission.submission_key, "collectioncode": submission.collectioncode}
    full = [{**row, **own, "other": json.dumps(row["other"])} for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL("insert into {} ({}) values ({})").format(
                target,
                sql.SQL(", ").join(map(sql.Identifier, full[0])),
                sql.SQL(", ").join(sql.Placeholder(column) for column in full[0]),
            ),
            full,
        )


def load(connection: Connection, settings: Settings, submission: Submission) -> tuple[Difference, Difference]:
    """Animals and transmitters of a submission into the upper tables: (animals, transmitters).

    Safe to repeat: one transaction, merged by catalognumber. Raises LoadingLocked during a push and HeldForPerson where
    the corrected sheet would remove information.
    """
    pushes.loading_allowed(connection, settings, submission.node)
    sheet = read(connection, settings, submission)
    code = submission.collectioncode
    accepted = decisions.answer(connection, "removal", submission.submission_key) == "accept"
    animals = {tag["catalognumber"]: _animal(tag, submission) for tag in reversed(sheet.tags)}
    transmitters = {
        row["catalognumber"]: row for row in (_transmitter(tag, code) for tag in sheet.tags if tag["transmitter"])
    }
    before = _keys_of(connection, submissions.loaded_before(connection, submission), code)
    after = {(tag["catalognumber"], tag["transmitter"]) for tag in sheet.tags}
    gone_animals = {animal for animal, _ in before} - {animal for animal, _ in after}
    gone_tags = {transmitter_catalognumber(animal, tag) for animal, tag in before - after if tag}
    results = []
    for name, rows, absent in (
        ("otn_animals", animals, gone_animals),
        ("otn_transmitters", transmitters, gone_tags),
    ):
        results.append(
            merge(
                connection,
                table(code, name),
                ["catalognumber"],
                rows.values(),
                submission.submission_key,
                absent=[(key,) for key in sorted(absent)],
                removal_accepted=accepted,
            )
        )
    removals = [removal for result in results for removal in result.removals]
    if removals and not accepted:
        raise decisions.HeldForPerson("removal", submission.submission_key, removals)
    note_project_type(connection, code, "tracker")
    submissions.supersede_earlier(connection, submission)
    counts = Counts(raw=len(sheet.raw), loaded=len(sheet.tags), refused=len(sheet.refused))
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    return results[0], results[1]


def note_project_type(connection: Connection, collectioncode: str, part: str) -> None:
    """A project is of type tracker, deployment, or data where it is both; what it submits says which."""
    connection.execute(
        "update obis.otn_resources set projecttype = case when projecttype is null or projecttype = %s then %s else 'data' end"
        " where collectioncode = %s and projecttype is distinct from 'data'",
        [part, part, collectioncode],
    )


def transmitter_catalognumber(animal: str, transmitter: str) -> str:
    """``NSBS-Hooker-A69-9002-6135``: one transmitter on one animal."""
    return f"{animal}-{transmitter}"


def _animal(tag: dict[str, Any], submission: Submission) -> dict[str, Any]:
    released: dt.datetime = tag["utc_release_date_time"]
    return {
        "basisofrecord": "HumanObservation",
        "institutioncode": tag["tag_owner_organization"],
        "collectioncode": submission.collectioncode,
        "catalognumber": tag["catalognumber"],
        "scientificname": tag["scientific_name"],
        "commonname": tag["common_name_e"],
        "collector": tag["tagger"],
        "datecollected": released,
        "timezone": "UTC",
        "yearcollected": f"{released:%Y}",
        "monthcollected": f"{released:%m}",
        "daycollected": f"{released:%d}",
        "julianday": released.timetuple().tm_yday,
        "timeofday": (released - dt.datetime.combine(released, dt.time())).total_seconds() / 3600,
        "latitude": tag["release_latitude"],
        "longitude": tag["release_longitude"],
        "locality": tag["release_location"],
        "fieldnumber": tag["tag_serial_number"],
        "stock": tag["stock"],
        "wild_ind": tag["wild_or_hatchery"],
        "sex": tag["sex"],
        "observedweight": tag["weight"],
        "length": tag["length"],
        "lengthtype": tag["length_type"],
        "length2": tag["length2"],
        "length2type": tag["length2_type"],
        "age": tag["age"],
        "ageunit": tag["age_units"],
        "lifestage": tag["life_stage"],
        "notes": tag["comments"],
        "organism_id": tag["catalognumber"],
    }


def _transmitter(tag: dict[str, Any], collectioncode: str) -> dict[str, Any]:
    released, life, harvested = tag["utc_release_date_time"], tag["est_tag_life"], tag["harvest_date"]
    return {
        "basisofrecord": "TRANSMITTER",
        "institutioncode": tag["tag_owner_organization"],
        "collectioncode": collectioncode,
        "catalognumber": transmitter_catalognumber(tag["catalognumber"], tag["transmitter"]),
        "relatedcatalogitem": tag["catalognumber"],
        "relationshiptype": "ANIMAL",
        "fieldnumber": tag["transmitter"],
        "instrumentmodel": tag["tag_model"],
        "instrumenttype": "trnm",
        "serialnumber": tag["tag_serial_number"],
        "startdatetime": released,
        "enddatetime": harvested or (released + dt.timedelta(days=life) if life is not None else None),
        "harvestdatetime": harvested,
        "latitude": tag["release_latitude"],
        "longitude": tag["release_longitude"],
        "timezone": "UTC",
        "locality": tag["release_location"],
    }


def _misplaced(row: SheetRow, tag: dict[str, Any], box: positions.Box | None) -> Refusal | None:
    slip = positions.mistake(box, tag["release_latitude"], tag["release_longitude"])
    if slip is None:
        return None
    found = f"{tag['release_latitude']}, {tag['release_longitude']}"
    return refuse(
        row,
        "release_latitude, release_longitude",
        found,
        f"a position where the project works: {slip}",
        "Correct it.",
    )


def _repeated(row: SheetRow, tag: dict[str, Any], seen: dict[Any, int]) -> Refusal | None:
    key = (tag["catalognumber"], tag["transmitter"])
    first = seen.setdefault(key, tag["row_number"])
    if first == tag["row_number"]:
        return None
    expected = f"one row for each animal and transmitter; row {first} has the same"
    return refuse(row, "tag_id_code", tag["transmitter"], expected, "Remove one of the two rows.")


def _keys_of(connection: Connection, submission_key: str | None, collectioncode: str) -> set[tuple[str, str | None]]:
    if submission_key is None:
        return set()
    rows = connection.execute(
        sql.SQL("select catalognumber, transmitter from {} where submission_key = %s").format(
            table(collectioncode, "tag_cache")
        ),
        [submission_key],
    ).fetchall()
    return set(rows)


def _now(connection: Connection) -> dt.datetime:
    return pushes.now(connection).replace(tzinfo=None)
