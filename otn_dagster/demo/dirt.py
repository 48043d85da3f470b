"""Sheets as people dress them: words for nothing, units, commas, zones, example rows, drag-filled columns. The truth stays.

Belongs here: what changes how a sheet looks and not what it says. Does not belong here: faults that lose rows (``files.py``).

Each dress takes a header and rows and returns others that must be read the same: tests try every dress on sheets whose truth is known,
and the demo's own sheets wear some.
"""

import datetime as dt
import random
from collections.abc import Callable

Rows = list[list[object]]
Dress = Callable[[list[str], Rows], tuple[list[str], Rows]]
NOTHING = ["Unknown", "unk", "NA", "n/a", "-", "?", "#N/A", "TBD", "not recorded", "None"]


def _column(header: list[str], start: str) -> int | None:
    return next((i for i, name in enumerate(header) if name.upper().startswith(start)), None)


def _map(header: list[str], rows: Rows, start: str, change: Callable[[object], object]) -> Rows:
    i = _column(header, start)
    if i is None:
        return rows
    return [[change(cell) if n == i and cell not in (None, "") else cell for n, cell in enumerate(row)] for row in rows]


def words_for_nothing(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Empty descriptive cells say so in ten ways."""
    draw = random.Random(3)
    told = {
        i
        for i in (_column(header, n) for n in ("AGE", "WEIGHT", "LENGTH2", "STOCK", "BOTTOM", "RISER", "CODE_SET"))
        if i is not None
    }
    return header, [
        [draw.choice(NOTHING) if n in told and cell in (None, "") else cell for n, cell in enumerate(row)]
        for row in rows
    ]


def centimetres_and_feet(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Lengths in centimetres and depths in feet, as the header says."""
    rows = _map(header, rows, "LENGTH (", lambda v: _scaled(v, 100, 6))
    rows = _map(header, rows, "BOTTOM_DEPTH", lambda v: _scaled(v, 1 / 0.3048, 9))
    renamed = [
        name.replace("LENGTH (m)", "LENGTH (cm)").replace("BOTTOM_DEPTH", "BOTTOM_DEPTH (ft)") for name in header
    ]
    return renamed, rows


def _scaled(cell: object, factor: float, decimals: int) -> object:
    try:
        return round(float(str(cell)) * factor, decimals)
    except ValueError:
        return cell


def units_in_cells(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """``1460 days``, ``1.2 m``, ``~12 kg``."""
    rows = _map(header, rows, "EST_TAG_LIFE", lambda v: f"{v} days" if str(v).isdigit() else v)
    rows = _map(header, rows, "LENGTH (", lambda v: f"~{v} m")
    return header, _map(header, rows, "BOTTOM_DEPTH", lambda v: f"{v}m")


def odd_identifiers(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Leading zeros, lower case, blanks, the model before the serial."""
    rows = _map(header, rows, "TAG_ID_CODE", lambda v: f"0{v}" if str(v).isdigit() else v)
    rows = _map(header, rows, "TAG_CODE_SPACE", lambda v: f" {str(v).lower()} ")
    return header, _map(header, rows, "INS_SERIAL_NO", lambda v: f"VR2W-{v}")


def full_id_in_one_cell(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """The whole transmitter id where its code belongs."""
    code, space = _column(header, "TAG_ID_CODE"), _column(header, "TAG_CODE_SPACE")
    if code is None or space is None:
        return header, rows
    return header, [
        [f"{row[space]}-{cell}" if n == code and cell and row[space] else cell for n, cell in enumerate(row)]
        for row in rows
    ]


def local_time(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Times of the zone that the header names."""
    renamed = list(header)
    for start in ("UTC_RELEASE_DATE_TIME", "DEPLOY_DATE_TIME", "RECOVER_DATE_TIME"):
        i = _column(header, start)
        if i is not None:
            rows = _map(header, rows, start, _five_hours_west)
            renamed[i] = f"{start} (UTC-05:00)"
    return renamed, rows


def _five_hours_west(cell: object) -> object:
    at = cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(str(cell).replace("Z", ""))
    return f"{at - dt.timedelta(hours=5):%Y-%m-%dT%H:%M:%S}"


def days_first(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """Dates as most of the world writes them; at least one cell of the column must have a day above 12."""
    for start in ("UTC_RELEASE_DATE_TIME", "DEPLOY_DATE_TIME"):
        i = _column(header, start)
        if i is not None and any(_moment(row[i]).day > 12 for row in rows if row[i]):
            rows = _map(header, rows, start, lambda v: f"{_moment(v):%d/%m/%Y %H:%M:%S}")
    return header, rows


def _moment(cell: object) -> dt.datetime:
    return cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(str(cell).replace("Z", ""))


def example_row(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """The template's own example stands above the data, and empty rows with a dragged column below."""
    sample: list[object] = ["Sample Data" if i == 0 else "example" for i in range(len(header))]
    dragged: list[object] = [None] * len(header)
    kind = _column(header, "TAG_TYPE")
    if kind is not None:
        dragged[kind] = "ACOUSTIC"
    return header, [sample, *rows, dragged, dragged]


def notes_and_repeats(header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """A column of one's own, the same row twice."""
    return [*header, "MY NOTES", ""], [[*row, "seen", None] for row in [*rows, *rows[:1]]]


DRESSES: dict[str, Dress] = {
    dress.__name__: dress
    for dress in (
        words_for_nothing,
        centimetres_and_feet,
        units_in_cells,
        odd_identifiers,
        full_id_in_one_cell,
        local_time,
        days_first,
        example_row,
        notes_and_repeats,
    )
}


def dressed(code: str, header: list[str], rows: Rows) -> tuple[list[str], Rows]:
    """A sheet in two dresses that its collection's code chooses: always the same for one code."""
    draw = random.Random(code)
    for name in draw.sample(["words_for_nothing", "centimetres_and_feet", "odd_identifiers", "example_row"], 2):
        header, rows = DRESSES[name](header, rows)
    return header, rows
