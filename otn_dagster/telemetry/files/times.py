"""A column of times to UTC: which part is the day, which zone, whether there is a time of day at all.

Belongs here: times as people write them. Does not belong here: clocks of receivers (``clocks.py``).

The order of day and month is decided by the whole column and never guessed: ``05/11/2014`` alone says nothing, one ``23/11/2014``
decides for all. A zone that is said (in the header, the cell or a column beside) is applied; a zone that is said otherwise twice
is a contradiction, and the file waits.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from otn_dagster.telemetry.files.cells import LONGEST_READ, WHITE, Cell, is_null
from otn_dagster.telemetry.files.refusals import Code

EXCEL_EPOCH = dt.datetime(1899, 12, 30)  # with 1900-02-29 that never was
FIRST_YEAR, LAST_YEAR = 1900, 2200
MONTHS = {
    m: n for n, m in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
CLOCK = r"(?:[T\s,]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?P<F>[.,]\d{1,9})?)?\s*(?P<ampm>[ap]\.?m\.?)?)?"
OFFSET = r"\s*(?P<zone>Z|(?:UTC|GMT)?\s*[+\-−]\d{1,2}(?::?\d{2})?|[A-Z]{2,5})?"
ISO = re.compile(rf"^(?P<y>\d{{4}})[-/.](?P<mo>\d{{1,2}})[-/.](?P<d>\d{{1,2}}){CLOCK}{OFFSET}$", re.IGNORECASE)
COMPACT = re.compile(r"^(?P<y>(?:19|20)\d\d)(?P<mo>\d\d)(?P<d>\d\d)(?:T?(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)?)?Z?$")
NUMBERS = re.compile(
    rf"^(?P<a>\d{{1,2}})[-/.](?P<b>\d{{1,2}})[-/.](?P<y>\d{{4}}|\d{{2}}){CLOCK}{OFFSET}$", re.IGNORECASE
)
NAMED = re.compile(
    rf"^(?:(?P<d>\d{{1,2}})[-/.\s]*(?P<mon>[A-Z]{{3,9}})|(?P<mon2>[A-Z]{{3,9}})[-/.\s]*(?P<d2>\d{{1,2}}))[-/.,\s]+(?P<y>\d{{4}}|\d{{2}}){CLOCK}{OFFSET}$",
    re.IGNORECASE,
)
# Words for zones as people write them in sheets. Those with a city follow the summer time of that city; the others are fixed.
ZONES = {
    **{"utc": "UTC", "gmt": "UTC", "z": "UTC", "zulu": "UTC", "ut": "UTC", "universal": "UTC"},
    **{
        "eastern": "America/New_York",
        "central": "America/Chicago",
        "mountain": "America/Denver",
        "pacific": "America/Los_Angeles",
    },
    **{
        "atlantic": "America/Halifax",
        "newfoundland": "America/St_Johns",
        "alaska": "America/Anchorage",
        "hawaii": "Pacific/Honolulu",
    },
    **{"arizona": "America/Phoenix"},
}
FIXED_ZONES = {
    **{"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7, "ast": -4, "adt": -3},
    **{
        "nst": -3.5,
        "ndt": -2.5,
        "akst": -9,
        "akdt": -8,
        "hst": -10,
        "wet": 0,
        "west": 1,
        "cet": 1,
        "cest": 2,
        "eet": 2,
        "eest": 3,
    },
    **{
        "aest": 10,
        "aedt": 11,
        "acst": 9.5,
        "acdt": 10.5,
        "awst": 8,
        "nzst": 12,
        "nzdt": 13,
        "sast": 2,
        "brt": -3,
        "bst": 1,
    },
}
EXPECTED = "a date like 2022-08-29T14:05:00 (UTC) or an Excel date"


class Order(StrEnum):
    """Which comes first where a date is written in numbers."""

    DAY_FIRST = "day-first"
    MONTH_FIRST = "month-first"


class Undecidable(ValueError):
    """A column whose days and months cannot be told apart, or that contradicts itself."""

    def __init__(self, problem: str, cells: list[str]):
        """``cells`` show it."""
        self.problem, self.cells = problem, cells
        super().__init__(problem)


@dataclass(frozen=True)
class Moment:
    """A cell's time: naive UTC, or local where ``zone`` says so; ``day_only`` where it has no time of day."""

    at: dt.datetime
    day_only: bool = False
    zone: str | None = None  # as the cell says it
    numbers: bool = False  # read by the column's order


@dataclass(frozen=True)
class Zone:
    """A zone: a fixed offset, or a place with summer time."""

    text: str
    offset: dt.timedelta | None = None
    place: str | None = None

    @property
    def is_utc(self) -> bool:
        """Whether times in it are UTC as they stand."""
        return self.offset == dt.timedelta(0)

    def to_utc(self, local: dt.datetime) -> tuple[dt.datetime, bool]:
        """(UTC, whether the local hour was doubled or skipped by a change of the clocks)."""
        if self.offset is not None:
            return local - self.offset, False
        assert self.place is not None
        zone = ZoneInfo(self.place)
        first, second = (
            local.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC).replace(tzinfo=None) for fold in (0, 1)
        )
        return first, first != second


def zone_of(text: object) -> Zone | None:
    """The zone that a word says: ``UTC``, ``UTC-05:00``, ``-4``, ``Eastern``, ``EST``, ``US/Central``; None for what is no zone."""
    word = WHITE.sub(" ", str(text)).strip().replace("−", "-")
    key = word.lower().removesuffix(" time").removesuffix(" standard").removesuffix(" daylight").strip()
    if key in ("local", ""):
        return None
    if key in ZONES:
        return Zone(word, dt.timedelta(0)) if ZONES[key] == "UTC" else Zone(word, place=ZONES[key])
    if key in FIXED_ZONES:
        return Zone(word, dt.timedelta(hours=FIXED_ZONES[key]))
    found = re.fullmatch(r"(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?(\d{2}))?(?:\.0+)?", key)
    if found and int(found[2]) <= 14 and int(found[3] or 0) < 60:
        minutes = int(found[2]) * 60 + int(found[3] or 0)
        return Zone(word, dt.timedelta(minutes=minutes if found[1] == "+" else -minutes))
    if "/" in word:
        try:
            ZoneInfo(word)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
        return Zone(word, dt.timedelta(0)) if word in ("Etc/UTC", "Etc/GMT") else Zone(word, place=word)
    return None


def header_zone(hints: Iterable[str]) -> Zone | None:
    """The zone that a header says in brackets or as its last word: ``(UTC-05:00)``, ``[EST]``; None where it says none."""
    for hint in hints:
        for word in (
            hint,
            *re.findall(r"(?:UTC|GMT)\s*[+-]\s*\d{1,2}(?::?\d{2})?", hint, re.IGNORECASE),
            *hint.split(),
        ):
            zone = zone_of(word) if re.search(r"[A-Za-z]", word) else None
            if zone is not None:
                return zone
    return None


def parse(cell: Cell, order: Order | None) -> Moment | None:
    """One cell, given the column's order; None where it is no time."""
    if isinstance(cell, int | float):
        return _serial(float(cell))
    value = WHITE.sub(" ", str(cell)).strip() if len(str(cell)) <= LONGEST_READ else ""
    if re.fullmatch(r"\d{4,6}(\.\d+)?", value):
        return _serial(float(value))
    for pattern in (ISO, COMPACT, NAMED, NUMBERS):
        found = pattern.match(value)
        if found:
            return _moment(found.groupdict(), order)
    return None


def _serial(number: float) -> Moment | None:
    """An Excel serial: days since 1899-12-30, to the second where it is within a millisecond of one."""
    if not 1000 <= number < 100_000:
        return None
    whole = EXCEL_EPOCH + dt.timedelta(days=number)
    near = (whole + dt.timedelta(milliseconds=0.5)).replace(microsecond=0)
    return Moment(near if abs(near - whole) < dt.timedelta(milliseconds=1) else whole, number.is_integer())


def _moment(parts: Mapping[str, str | None], order: Order | None) -> Moment | None:
    year = int(parts["y"] or 0)
    if len(parts["y"] or "") == 2:
        year += 2000 if year < 70 else 1900
    numbers = "a" in parts
    if numbers:
        if order is None and parts["a"] != parts["b"]:
            return None
        first, second = int(parts["a"] or 0), int(parts["b"] or 0)
        day, month = (first, second) if order is Order.DAY_FIRST else (second, first)
    elif "mon" in parts:
        word = (parts["mon"] or parts["mon2"] or "").lower()
        month, day = MONTHS.get(word[:3], 0), int(parts["d"] or parts["d2"] or 0)
    else:
        month, day = int(parts["mo"] or 0), int(parts["d"] or 0)
    hour = int(parts.get("H") or 0)
    half = (parts.get("ampm") or "").lower().replace(".", "")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    fraction = (parts.get("F") or ".0")[1:]
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        at = dt.datetime(
            year, month, day, hour, int(parts.get("M") or 0), int(parts.get("S") or 0), int(fraction[:6].ljust(6, "0"))
        )
    except ValueError:
        return None
    zone = (parts.get("zone") or "").strip() or None
    if zone and zone_of(zone) is None:
        return None
    return Moment(at, parts.get("H") is None, zone, numbers)


def order_of(cells: Iterable[Cell], misread: bool = False) -> Order | None:
    """How a column writes dates in numbers: from every cell that can be read one way only. None where no cell is written so.

    misread: the column's real dates all have days up to 12. Raises Undecidable where cells contradict each other, where all could
    be read both ways, or where only dates above the 12th stayed text beside such real dates: a spreadsheet that reads the other
    order turns 05/11 into May and leaves 23/11 alone.
    """
    pairs = []
    for cell in cells:
        if isinstance(cell, str):
            value = WHITE.sub(" ", cell).strip()
            found = NUMBERS.match(value)
            if found:
                pairs.append((int(found["a"]), int(found["b"]), value))
    day_first = [text for a, b, text in pairs if a > 12 >= b]
    month_first = [text for a, b, text in pairs if b > 12 >= a]
    if day_first and month_first:
        raise Undecidable("some dates have the day first and some the month", [day_first[0], month_first[0]])
    open_dates = [text for a, b, text in pairs if a <= 12 and b <= 12 and a != b]
    decisive = day_first or month_first
    if open_dates and not decisive:
        raise Undecidable(
            "day and month cannot be told apart: no date of the column has a number above 12", open_dates[:5]
        )
    if decisive and misread and not open_dates:
        raise Undecidable(
            "only dates that have a number above 12 are text, the others are real dates: a spreadsheet may have taken the day for the month",
            decisive[:5],
        )
    if not decisive:
        return None
    return Order.DAY_FIRST if day_first else Order.MONTH_FIRST


@dataclass(frozen=True)
class Times:
    """A column of times as UTC by cell, with what is to be said of a cell; order as it was decided."""

    by_cell: dict[Cell, Moment | None]
    order: Order | None
    all_midnight: bool


def read_times(cells: Iterable[Cell], order: Order | None = None, misread: bool = False) -> Times:
    """All distinct cells of a column (those that hold something). order: what a person answered, where the column does not say.

    Raises Undecidable.
    """
    distinct = [cell for cell in dict.fromkeys(cells) if not is_null(cell)]
    decided = order or order_of(distinct, misread)
    by_cell = {cell: parse(cell, decided) for cell in distinct}
    found = [moment for moment in by_cell.values() if moment]
    midnight = bool(found) and all(moment.at.time() == dt.time() for moment in found)
    return Times(by_cell, decided, midnight)


def utc(moment: Moment, zone: Zone | None) -> tuple[dt.datetime, Code | None, str]:
    """A moment as naive UTC, with what is to be said of it. The cell's own zone beats ``zone``."""
    own = zone_of(moment.zone) if moment.zone else zone
    if own is None or own.is_utc:
        return moment.at, None, ""
    at, shifted = own.to_utc(moment.at)
    if shifted:
        return at, Code.ZONE_SHIFT, f"an hour that {own.text} has once; the change of the clocks doubled or skipped it"
    return at, Code.ZONE_APPLIED, f"{own.text} applied: UTC"
