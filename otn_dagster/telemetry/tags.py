"""The tag metadata sheet: OTN template v4.1 (xlsx, xls, csv, with or without banner rows) and FACT's dialect of it.

Belongs here: a sheet to typed tag rows and refusals. Does not belong here: writing (``load_tags.py``) and judging rows
against each other or the database (``checks/tags.py``).

Source: node manager training, "Create and Load Tag Metadata": columns, mandatory columns and their exceptions.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otn_dagster.telemetry import names
from otn_dagster.telemetry.refusals import BadFile, Refusal
from otn_dagster.telemetry.sheets import (
    Column,
    Sheet,
    SheetRow,
    days,
    latitude,
    longitude,
    missing_columns,
    moment,
    number,
    printable,
    read_sheet,
    refuse,
    serial,
    text,
    typed_row,
)

COLUMNS = [
    Column("animal_id", serial),
    Column("tag_type", text),
    Column("tag_manufacturer", text),
    Column("tag_model", text),
    Column("tag_serial_number", serial),
    Column("tag_id_code", serial),
    Column("tag_code_space", text),
    Column("tag_implant_type", text),
    Column("tag_implant_method", text),
    Column("est_tag_life", days),
    Column("tagger", text),
    Column("tag_owner_pi", text),
    Column("tag_owner_organization", text),
    Column("common_name_e", text, mandatory=True),
    Column("scientific_name", text, mandatory=True),
    Column("capture_location", text),
    Column("capture_latitude", latitude),
    Column("capture_longitude", longitude),
    Column("wild_or_hatchery", text),
    Column("stock", text),
    Column("length", number),
    Column("weight", number),
    Column("length_type", text),
    Column("length2", number),
    Column("length2_type", text),
    Column("life_stage", text),
    Column("age", number),
    Column("age_units", text),
    Column("sex", text),
    Column("release_location", text, mandatory=True),
    Column("release_latitude", latitude, mandatory=True),
    Column("release_longitude", longitude, mandatory=True),
    Column("utc_release_date_time", moment, mandatory=True),
    Column("harvest_date", moment),
    Column("comments", text),
]
ALIASES = {
    "projectcode": "project_code",
    "utc_release_datetime": "utc_release_date_time",
    "comment": "comments",
}
# Which of the tag's own columns a type of tag may leave empty.
OPTIONAL_BY_TYPE = {
    "FLOY": {
        "tag_manufacturer",
        "tag_model",
        "tag_id_code",
        "tag_code_space",
        "est_tag_life",
        "tag_serial_number",
    },
    "SATELLITE": {"tag_id_code", "tag_code_space"},
}
TAG_COLUMNS = [
    "tag_manufacturer",
    "tag_model",
    "tag_serial_number",
    "tag_id_code",
    "tag_code_space",
    "est_tag_life",
]
FIRST_PLAUSIBLE = dt.datetime(1980, 1, 1)


@dataclass(frozen=True)
class TagSheet:
    """What a sheet holds: every row as submitted, the rows that can be used, the rows that cannot, and why."""

    sheet: Sheet
    raw: list[SheetRow]
    tags: list[dict[str, Any]]
    refused: list[Refusal]


def read_tags(path: Path, collectioncode: str, now: dt.datetime) -> TagSheet:
    """Typed rows of a tag sheet, each with ``row_number``, ``transmitter`` and ``catalognumber``.

    ``now`` is UTC without zone. Raises BadFile where the file is no tag sheet or misses a mandatory column.
    """
    sheet = read_sheet(path, [column.name for column in COLUMNS], ALIASES)
    missing = missing_columns(sheet, COLUMNS)
    missing += [name for name in ("tag_serial_number", "tag_id_code", "tag_code_space") if name not in sheet.headers]
    if missing:
        raise BadFile(
            f"mandatory columns are missing: {', '.join(missing).upper()}",
            "Use the tag metadata template of the node.",
            sheet.header_row,
        )
    tags, refused = [], []
    for row in sheet.rows:
        tag, refusal = _tag(row, collectioncode, now)
        if refusal is None:
            tags.append(tag)
        else:
            refused.append(refusal)
    return TagSheet(sheet, sheet.rows, tags, refused)


def _tag(row: SheetRow, collectioncode: str, now: dt.datetime) -> tuple[dict[str, Any], Refusal | None]:
    values, refusal = typed_row(row, COLUMNS)
    refusal = refusal or _incomplete(row, values) or _impossible(row, values, collectioncode, now)
    if refusal:
        return values, refusal
    known = {column.name for column in COLUMNS}
    values |= {
        "row_number": row.number,
        "transmitter": None,
        "catalognumber": names.animal_catalognumber(
            collectioncode, values["animal_id"], values["tag_serial_number"], values["utc_release_date_time"]
        ),
        "other": {name: cell for name, cell in printable(row.cells).items() if name not in known},
    }
    if values["tag_code_space"] and values["tag_id_code"]:
        values["tag_code_space"] = values["tag_code_space"].upper()
        values["transmitter"] = names.transmitter_id(values["tag_code_space"], values["tag_id_code"])
    return values, None


def _incomplete(row: SheetRow, values: dict[str, Any]) -> Refusal | None:
    tag_type = (values["tag_type"] or "ACOUSTIC").upper()
    optional = OPTIONAL_BY_TYPE.get(tag_type, set())
    for name in TAG_COLUMNS:
        if values[name] is None and name not in optional:
            expected = f"a value: mandatory for tags of type {tag_type}"
            return refuse(
                row,
                name,
                None,
                expected,
                "Fill in the cell; a serial may be 'unknown' only with an ANIMAL_ID.",
            )
    if (values["tag_serial_number"] or "unknown").lower() == "unknown" and not values["animal_id"]:
        expected = "an ANIMAL_ID, because the tag serial is unknown"
        return refuse(row, "animal_id", None, expected, "Give each animal an id of its own.")
    return None


def _impossible(row: SheetRow, values: dict[str, Any], collectioncode: str, now: dt.datetime) -> Refusal | None:
    project = text(row.cells.get("project_code"))
    if project and project.upper() != collectioncode:
        remedy = "Put the file into the folder of its own collection."
        return refuse(row, "project_code", project, f"{collectioncode}, the collection of this folder", remedy)
    released = values["utc_release_date_time"]
    if not FIRST_PLAUSIBLE <= released <= now:
        remedy = "Check the year, and that the cell is a date and not a number formatted as one."
        return refuse(row, "utc_release_date_time", released, f"a release between 1980 and {now:%Y-%m-%d}", remedy)
    if values["harvest_date"] and values["harvest_date"] < released:
        remedy = "Correct whichever of the two is wrong."
        return refuse(row, "harvest_date", values["harvest_date"], f"a date after the release on {released}", remedy)
    return None
