"""What a fix does to a row of the upper tables, as a pure function: of the row as its sheet gives it, the row as it should be.

Belongs here: one function for each kind of list. Does not belong here: finding what a fix is about (``resolving.py``), writing.

The same functions change what is loaded when a fix is applied, and every row that a sheet gives later: what people set right stands until
they take it back, whatever a sheet that is sent again says.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from otn_dagster.telemetry import names
from otn_dagster.telemetry.files.fixes import What

Row = dict[str, Any]
# Tables of a project in which rows may be set right, each with the column that stays whatever a fix changes: by it a row is found again.
NUMBERS = {
    "otn_animals": "animal_key",
    "otn_transmitters": "mooring_key",
    "moorings": "mooring_key",
    "stations": "station_name",
}


@dataclass(frozen=True)
class Correction:
    """One thing set right. ``subject`` is its name as it was loaded; ``given`` is plain JSON: what is right, and what was there."""

    what: What
    subject: str
    given: Mapping[str, Any]


def corrected(table: str, row: Row, corrections: Iterable[Correction]) -> Row | None:
    """A row of one of these tables after these corrections, in their order; None where one deletes it."""
    for one in corrections:
        if one.what is What.DELETION:
            if _is_deleted(table, row, one):
                return None
        else:
            row = row | {name: value for name, value in _CHANGES[one.what](table, row, one).items() if name in row}
    return row


def corrected_rows(table: str, rows: Iterable[Row], corrections: Iterable[Correction]) -> list[Row]:
    """Rows that a sheet gives, after these corrections; those that one deletes are left out."""
    every = list(corrections)
    found = (corrected(table, row, every) for row in rows) if every else rows
    return [row for row in found if row is not None]


def renamed(correction: Correction) -> str:
    """What the subject is called afterwards."""
    given = correction.given
    match correction.what:
        case What.SERIAL:
            return names.with_serial(correction.subject, given["serial"])
        case What.ANIMAL_ID:
            return given["catalognumber"]
        case What.TAG_CODE:
            return f"{given['animal']}-{given['code']}"
        case _:
            return correction.subject


def _serial(table: str, row: Row, one: Correction) -> Row:
    serial, name = one.given["serial"], renamed(one)
    if table == "moorings" and _is_receiver(row, one.subject):
        return {"catalognumber": name, "collectornumber": serial, "serialnumber": serial}
    if table == "moorings" and _hangs_on(row, one.subject):
        related = {"relatedcatalogitem": name} if row.get("relatedcatalogitem") == one.subject else {}
        renewed = row["catalognumber"].replace(one.subject, name)
        return {"catalognumber": renewed, "collectornumber": serial, **related}
    return {}


def _tag_dates(table: str, row: Row, one: Correction) -> Row:
    start, end = (_time(one.given[name]) for name in ("start", "end"))
    if table == "otn_transmitters" and row["catalognumber"] == one.subject:
        ended = {"enddatetime": end, "window_code": None} if end else {}
        return ({"startdatetime": start} if start else {}) | ended
    if table == "otn_animals" and start and one.given["with_release"] and row["catalognumber"] == one.given["animal"]:
        return released(start)
    return {}


def _station_position(table: str, row: Row, one: Correction) -> Row:
    place = {"latitude": one.given["latitude"], "longitude": one.given["longitude"]}
    if table == "stations":
        return place if row["station_name"] == one.subject else {}
    if table != "moorings":
        return {}
    if row["basisofrecord"] == "STATION":
        return place if row["catalognumber"] == one.subject else {}
    # Which deployments stood there was decided when the fix was made; what hangs on them goes with them.
    moved = any(_is_receiver(row, name) or _hangs_on(row, name) for name in one.given["receivers"])
    return place if moved and row.get("latitude") is not None else {}


def _receiver_position(table: str, row: Row, one: Correction) -> Row:
    place = {"latitude": one.given["latitude"], "longitude": one.given["longitude"]}
    if table != "moorings":
        return {}
    there = row.get("latitude") is not None
    return place if _is_receiver(row, one.subject) or (there and _hangs_on(row, one.subject)) else {}


def _animal_id(table: str, row: Row, one: Correction) -> Row:
    name = renamed(one)
    if table == "otn_animals" and row["catalognumber"] == one.subject:
        return {"catalognumber": name, "organism_id": name}
    if table == "otn_transmitters" and row["relatedcatalogitem"] == one.subject:
        return {
            "relatedcatalogitem": name,
            "catalognumber": name + row["catalognumber"].removeprefix(one.subject),
        }
    return {}


def _tag_code(table: str, row: Row, one: Correction) -> Row:
    if table == "otn_transmitters" and row["catalognumber"] == one.subject:
        return {"fieldnumber": one.given["code"], "catalognumber": renamed(one)}
    return {}


_CHANGES: dict[What, Callable[[str, Row, Correction], Row]] = {
    What.SERIAL: _serial,
    What.TAG_DATES: _tag_dates,
    What.STATION_POSITION: _station_position,
    What.RECEIVER_POSITION: _receiver_position,
    What.ANIMAL_ID: _animal_id,
    What.TAG_CODE: _tag_code,
}


def _is_deleted(table: str, row: Row, one: Correction) -> bool:
    if one.given["of"] == "receiver":
        return table == "moorings" and (_is_receiver(row, one.subject) or _hangs_on(row, one.subject))
    if one.given["of"] == "animal" and table == "otn_transmitters":
        return row["relatedcatalogitem"] == one.subject
    return table == ("otn_animals" if one.given["of"] == "animal" else "otn_transmitters") and (
        row["catalognumber"] == one.subject
    )


def _is_receiver(row: Row, name: str) -> bool:
    return row["basisofrecord"] == "RECEIVER" and row["catalognumber"] == name


def _hangs_on(row: Row, receiver: str) -> bool:
    """Whether a row is a download of a deployment of a receiver, or the transmitter that went down with it."""
    if row["basisofrecord"] == "DOWNLOAD":
        return row["relatedcatalogitem"] == receiver
    return row["basisofrecord"] == "TRANSMITTER" and row["catalognumber"].endswith(f"-{receiver}")


def ends_set(corrections: Iterable[Correction]) -> set[str]:
    """Catalognumbers, as they are now, of the tags whose end fixes say."""
    found: set[str] = set()
    for one in corrections:
        if one.what is What.TAG_DATES and one.given["end"]:
            found.add(one.subject)
        elif one.what is What.TAG_CODE and one.subject in found:
            found = (found - {one.subject}) | {renamed(one)}
        elif one.what is What.ANIMAL_ID:
            found = {
                renamed(one) + name.removeprefix(one.subject) if name.startswith(f"{one.subject}-") else name
                for name in found
            }
    return found


def released(at: dt.datetime) -> Row:
    """The columns of ``otn_animals`` that say when an animal was released (UTC)."""
    return {
        "datecollected": at,
        "yearcollected": f"{at:%Y}",
        "monthcollected": f"{at:%m}",
        "daycollected": f"{at:%d}",
        "julianday": at.timetuple().tm_yday,
        "timeofday": (at - dt.datetime.combine(at, dt.time())).total_seconds() / 3600,
    }


def _time(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
