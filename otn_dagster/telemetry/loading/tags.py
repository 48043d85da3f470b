"""A tag sheet into the upper tables: ``tag_cache`` → ``otn_animals`` and ``otn_transmitters``.

Belongs here: writing what ``files/tags.py`` typed. Does not belong here: the tables before (``staging.py``), the checks
(``checks/tags.py``).
"""

import datetime as dt
from typing import Any

from psycopg import sql

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, overrides, submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.files.tags import Window
from otn_dagster.telemetry.fixing import applying, corrections
from otn_dagster.telemetry.loading import staging
from otn_dagster.telemetry.loading.merging import Difference, merge
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.submissions import Submission


def load(connection: Connection, settings: Settings, submission: Submission) -> tuple[Difference, Difference]:
    """Animals and transmitters of a submission from ``tag_cache`` into the upper tables: (animals, transmitters).

    Safe to repeat: one transaction, merged by catalognumber. Raises LoadingLocked during a push and HeldForPerson where
    the corrected sheet would remove information.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    code = submission.collectioncode
    rows = staging.read_typed(connection, submission)
    accepted = decisions.answer(connection, Topic.REMOVAL, submission.submission_key) == "accept"
    ends = overrides.tag_ends(connection)
    life = _vendor_life(
        connection, [row for row in rows if row["window_code"] in (Window.LIFE_MISSING, Window.LIFE_UNREADABLE)]
    )
    fixes = applying.in_force(connection, code)
    animals = {tag["catalognumber"]: _animal(tag, submission) for tag in reversed(rows)}
    transmitters = staging.by_key(
        (_transmitter(tag, code, ends, life) for tag in rows if tag["transmitter"]), "catalognumber"
    )
    right = {
        "otn_animals": staging.fixed(connection, submission, "otn_animals", animals.values(), fixes),
        "otn_transmitters": staging.fixed(connection, submission, "otn_transmitters", transmitters.values(), fixes),
    }
    said = corrections.ends_set(fixes)
    for tag in right["otn_transmitters"]:
        name = tag["catalognumber"]
        if name in ends and name not in transmitters and name not in said:  # set since a fix renamed it
            tag |= {"enddatetime": ends[name], "window_code": None}
    before = staging.keys_before(
        connection,
        sql.SQL("select catalognumber, transmitter from {} where submission_key = %s").format(table(code, "tag_cache")),
        submissions.loaded_before(connection, submission),
    )
    after = {(tag["catalognumber"], tag["transmitter"]) for tag in rows}
    gone = {
        "otn_animals": [{"catalognumber": one} for one in {one for one, _ in before} - {one for one, _ in after}],
        "otn_transmitters": [
            {"catalognumber": transmitter_catalognumber(animal, tag), "relatedcatalogitem": animal, "fieldnumber": tag}
            for animal, tag in before - after
            if tag
        ],
    }
    results = []
    for name, merged in right.items():
        kept = {row["catalognumber"] for row in merged}
        absent = {row["catalognumber"] for row in corrections.corrected_rows(name, gone[name], fixes)} - kept
        results.append(
            merge(
                connection,
                table(code, name),
                ["catalognumber"],
                merged,
                submission.submission_key,
                [(key,) for key in sorted(absent)],
                accepted,
            )
        )
    removals = [removal for result in results for removal in result.removals]
    if removals and not accepted:
        raise decisions.HeldForPerson(Topic.REMOVAL, submission.submission_key, removals)
    staging.note_project_type(connection, code, "tracker")
    staging.finish(connection, submission)
    return results[0], results[1]


def _vendor_life(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Tag life in days by transmitter, from the manufacturer's specification sheets."""
    wanted = sorted({row["transmitter"] for row in rows if row["transmitter"]})
    found = connection.execute(
        "select vue_id, min(est_tag_life) from vendor.c_vemco_tags where vue_id = any(%s) and est_tag_life > 0 group by 1",
        [wanted],
    ).fetchall()
    return dict(found) if wanted else {}


def transmitter_catalognumber(animal: str, transmitter: str) -> str:
    """``NSBS-Hooker-A69-9002-6135``: one transmitter on one animal."""
    return f"{animal}-{transmitter}"


def _animal(tag: dict[str, Any], submission: Submission) -> dict[str, Any]:
    return {
        "basisofrecord": "HumanObservation",
        "institutioncode": tag["tag_owner_organization"],
        "collectioncode": submission.collectioncode,
        "catalognumber": tag["catalognumber"],
        "scientificname": tag["scientific_name"],
        "commonname": tag["common_name_e"],
        "collector": tag["tagger"],
        **corrections.released(tag["utc_release_date_time"]),
        "timezone": "UTC",
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


def _transmitter(
    tag: dict[str, Any], collectioncode: str, ends: dict[str, dt.datetime], vendor_life: dict[str, float]
) -> dict[str, Any]:
    """A transmitter on an animal. Its end is what a person set, its harvest, its life by the sheet or by the manufacturer."""
    released, harvested = tag["utc_release_date_time"], tag["harvest_date"]
    key = transmitter_catalognumber(tag["catalognumber"], tag["transmitter"])
    life = tag["est_tag_life"] if tag["est_tag_life"] is not None else vendor_life.get(tag["transmitter"])
    known = key in ends or (life is not None and tag["window_code"] in (Window.LIFE_MISSING, Window.LIFE_UNREADABLE))
    return {
        "basisofrecord": "TRANSMITTER",
        "institutioncode": tag["tag_owner_organization"],
        "collectioncode": collectioncode,
        "catalognumber": key,
        "relatedcatalogitem": tag["catalognumber"],
        "relationshiptype": "ANIMAL",
        "fieldnumber": tag["transmitter"],
        "instrumentmodel": tag["tag_model"],
        "instrumenttype": "trnm",
        "serialnumber": tag["tag_serial_number"],
        "startdatetime": released,
        "enddatetime": ends.get(key) or harvested or (released + dt.timedelta(days=life) if life is not None else None),
        "window_code": None if known else tag["window_code"],
        "harvestdatetime": harvested,
        "latitude": tag["release_latitude"],
        "longitude": tag["release_longitude"],
        "timezone": "UTC",
        "locality": tag["release_location"],
    }
