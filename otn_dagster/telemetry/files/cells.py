"""One cell to one value: words for nothing, numbers with units, identifiers, positions.

Belongs here: what a single cell says, given what its column is. Does not belong here: what a whole column decides (``columns.py``),
times (``times.py``).

A cell is text, a number or nothing, as ``container.py`` gives it: dates are ISO text there. Each function takes a cell that holds
something and returns ``Read``. Source of the rules: what two dozen real sheets of seven networks hold.
"""

import datetime as dt
import functools
import itertools
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from otn_dagster.telemetry.files.refusals import Code

Cell = str | int | float | None

NULL_WORDS = frozenset(
    [
        "-",
        "--",
        "---",
        "–",
        "—",
        ".",
        "..",
        "?",
        "??",
        "???",
        "na",
        "n/a",
        "n.a.",
        "n.a",
        "nan",
        "null",
        "none",
        "nil",
        "unk",
        "unk.",
        "unkn",
        "unknown",
        "unspecified",
        "undetermined",
        "tbd",
        "tba",
        "missing",
        "blank",
        "#n/a",
        "#n/a!",
        "#na",
        "#value!",
        "#ref!",
        "#div/0!",
        "#name?",
        "#num!",
        "#null!",
        "00-jan-00",
        "0-jan-00",
        "1900-01-00",
        "1900-01-00t00:00:00",
        "<na>",
        "nat",
    ]
) | {"not recorded", "not available", "not applicable", "not known", "no data", "to be determined"}
LONGEST_NULL_WORD = 60  # blanks around it included
WHITE = re.compile(r"[\s\u00a0\u2000-\u200b\u202f\ufeff]+")
SUPERSCRIPTS = re.compile("[\u00b2\u00b3\u00b9\u2070-\u2079]")  # marks of footnotes, not digits
LONGEST_TEXT = 2_000
LONGEST_IDENTIFIER = 80
LONGEST_READ = 200  # no number, time or identifier is longer, and nothing longer is searched for one
FIRST_PLAUSIBLE = dt.datetime(1980, 1, 1)


@dataclass(frozen=True)
class Read:
    """What a cell became. With a code, something is to be said: ``says`` is what was expected or done."""

    value: Any
    code: Code | None = None
    says: str = ""


def lost(says: str, code: Code = Code.VALUE_UNREADABLE) -> Read:
    """A cell that is not used."""
    return Read(None, code, says)


def plain(cell: Cell) -> str:
    """A cell as text without odd blanks; whole numbers lose their ``.0``, as serial numbers typed into Excel need."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return WHITE.sub(" ", str(cell)).strip()


def is_null(cell: Cell) -> bool:
    """Whether a cell is empty, or holds a word for nothing."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.isspace() if len(cell) > LONGEST_NULL_WORD else _says_nothing(cell)
    return isinstance(cell, float) and math.isnan(cell)


@functools.lru_cache(maxsize=65_536)  # the same words stand in thousands of cells
def _says_nothing(cell: str) -> bool:
    word = WHITE.sub(" ", cell).strip().lower()
    return not word or word in NULL_WORDS


def is_error(cell: Cell) -> bool:
    """Whether a spreadsheet could not compute a cell: ``#VALUE!``. Such a cell is empty, and somebody should hear of it."""
    return isinstance(cell, str) and cell.startswith("#") and cell.strip().lower() in NULL_WORDS


def storable(text: str) -> bool:
    """Whether a database can hold a text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def text(cell: Cell) -> Read:
    """Text in ordinary blanks."""
    value = plain(cell)
    if len(value) > LONGEST_TEXT:
        return Read(value[:LONGEST_TEXT], Code.VALUE_ADJUSTED, f"at most {LONGEST_TEXT:,} characters; the rest was cut")
    return Read(value)


def name(cell: Cell) -> Read:
    """The name of a station, an animal, a species: short text."""
    value = plain(cell)
    if len(value) > LONGEST_IDENTIFIER:
        return lost(f"a name of at most {LONGEST_IDENTIFIER} characters")
    return Read(value)


def animal_name(cell: Cell) -> Read:
    """A researcher's id of an animal: a name, or digits that are no placeholder."""
    read = name(_whole(cell))
    return (
        Read(None, Code.SERIAL_UNKNOWN, "an id; this one means unknown")
        if read.value and placeholder(read.value)
        else read
    )


def identifier(cell: Cell) -> Read:
    """A serial number or code in canonical form: NFKC, upper case, no blanks inside, Excel's ``1.166129E6`` whole again."""
    if len(str(cell)) > LONGEST_READ:
        return lost(f"an identifier of at most {LONGEST_IDENTIFIER} characters")
    whole = _whole(cell)
    if _is_rounded(whole):
        return lost("all digits; the spreadsheet rounded this number")
    value = WHITE.sub("", unicodedata.normalize("NFKC", SUPERSCRIPTS.sub("", plain(whole)))).upper()
    if len(value) > LONGEST_IDENTIFIER:
        return lost(f"an identifier of at most {LONGEST_IDENTIFIER} characters")
    return Read(value or None)


def serial(cell: Cell) -> Read:
    """A tag's serial number; all-equal or ascending digits (0, 9999999, 1234567) mean unknown."""
    read = identifier(cell)
    if read.value and placeholder(read.value):
        return Read(None, Code.SERIAL_UNKNOWN, "a serial number; this one means unknown")
    return read


def placeholder(value: str) -> bool:
    """Whether digits are what people type for nothing: 0, 99999, 1234567. Short numbers (11, 123) are real names."""
    if not (value.isascii() and value.isdigit()):
        return False
    if int(value) == 0:
        return True
    ascending = all(int(b) - int(a) == 1 for a, b in itertools.pairwise(value))
    return len(value) >= 5 and (len(set(value)) == 1 or ascending)


def _whole(cell: Cell) -> Cell:
    """Excel's ways of writing a long number: ``1166129.0`` and ``1.166129E6`` as text are whole numbers."""
    if isinstance(cell, str):
        value = cell.strip()
        found = re.fullmatch(r"(\d{1,18})\.0+|(\d)\.(\d{1,15})[eE]\+?(\d{1,2})", value)
        if found and found[1]:
            return found[1]
        if found and len(found[3].rstrip("0")) <= int(found[4]) <= len(found[3]):
            return str(int(float(value)))
    return cell


def _is_rounded(cell: Cell) -> bool:
    """Whether a spreadsheet wrote a long number with fewer digits than it has: ``1.17E+06`` for 1166129."""
    return isinstance(cell, str) and re.fullmatch(r"\d(\.\d{1,15})?[eE]\+\d{1,2}", cell.strip()) is not None


UNIT_SIZES: dict[str, dict[str, float]] = {
    "m": {"m": 1.0, "cm": 0.01, "mm": 0.001, "dm": 0.1, "km": 1000.0, "ft": 0.3048, "in": 0.0254, "fathom": 1.8288},
    "kg": {"kg": 1.0, "g": 0.001, "mg": 1e-6, "lb": 0.45359237, "oz": 0.028349523125, "t": 1000.0},
    "days": {"days": 1.0, "weeks": 7.0, "months": 365.25 / 12, "years": 365.25, "hours": 1 / 24},
}
UNIT_WORDS = {
    **{"meter": "m", "metre": "m", "meters": "m", "metres": "m", "mtr": "m", "m.": "m"},
    **{"centimeter": "cm", "centimetre": "cm", "centimeters": "cm", "centimetres": "cm", "cms": "cm", "cm.": "cm"},
    **{"millimeter": "mm", "millimetre": "mm", "millimeters": "mm", "millimetres": "mm", "mm.": "mm"},
    **{"feet": "ft", "foot": "ft", "ft.": "ft", "'": "ft", "inch": "in", "inches": "in", "in.": "in", '"': "in"},
    **{"fathoms": "fathom", "fm": "fathom", "fms": "fathom", "fth": "fathom"},
    **{"kgs": "kg", "kilo": "kg", "kilos": "kg", "kilogram": "kg", "kilograms": "kg", "kg.": "kg"},
    **{
        "gr": "g",
        "gram": "g",
        "grams": "g",
        "gm": "g",
        "gms": "g",
        "g.": "g",
        "lbs": "lb",
        "pound": "lb",
        "pounds": "lb",
        "lb.": "lb",
    },
    **{"ounce": "oz", "ounces": "oz", "tonne": "t", "tonnes": "t"},
    **{"d": "days", "day": "days", "d.": "days", "wk": "weeks", "week": "weeks", "wks": "weeks"},
    **{
        "mo": "months",
        "month": "months",
        "mos": "months",
        "y": "years",
        "yr": "years",
        "yrs": "years",
        "year": "years",
    },
    **{"h": "hours", "hr": "hours", "hrs": "hours", "hour": "hours"},
}
ALL_UNITS = {unit for sizes in UNIT_SIZES.values() for unit in sizes}
NUMBER = re.compile(
    r"""^(?P<about>[~<>≈≤≥*=]+|ca\.?|approx\.?|about|est\.?)?\s*
        (?P<digits>[+-]?\s?(?:\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?|\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d{1,3})?)\s*
        (?P<unit>[^\d\s(\[*]+)?\s*
        (?P<note>\(.*\)|\[.*\]|\*+.*)?$""",
    re.VERBOSE | re.IGNORECASE,
)


def unit_of(word: str | None) -> str | None:
    """The unit that a word stands for (``Metres`` → ``m``), or None where it is no unit that is known."""
    if not word:
        return None
    key = word.strip().lower()
    return key if key in ALL_UNITS else UNIT_WORDS.get(key)


@dataclass(frozen=True)
class Quantity:
    """A number with the unit and the range of its template: ``low < value <= high`` (low itself too where ``zero``)."""

    unit: str | None = None
    low: float = -math.inf
    high: float = math.inf
    zero: bool = True

    def read(self, cell: Cell, header_unit: str | None, decimal_comma: bool | None) -> Read:
        """A cell as this quantity. decimal_comma: what the column's other cells say of ``1,234``; None: nothing."""
        if isinstance(cell, int | float):
            return self._in_range(float(cell), header_unit, None)
        found = NUMBER.match(WHITE.sub(" ", str(cell)).strip()) if len(str(cell)) <= LONGEST_READ else None
        if not found:
            return lost(self._expected("a number"))
        value = decimal(found["digits"], decimal_comma)
        if value is None:
            says = "a number without doubt: is its comma a decimal point, or does it part thousands?"
            ambiguous = "," in found["digits"] or "." in found["digits"]
            return lost(says, Code.VALUE_AMBIGUOUS) if ambiguous else lost(self._expected("a number"))
        unit = unit_of(found["unit"])
        if found["unit"] and (unit is None or self.unit is None or unit not in UNIT_SIZES[self.unit]):
            return lost(self._expected(f"a number; {found['unit']!r} is not a unit of it"), Code.UNIT_UNKNOWN)
        remark = f"read as {value:g}" if found["about"] or found["note"] else None
        return self._in_range(value, unit or header_unit, remark)

    def _in_range(self, value: float, unit: str | None, remark: str | None) -> Read:
        if not math.isfinite(value):
            return lost(self._expected("a number"))
        converted = value
        if unit and self.unit and unit != self.unit:
            converted = round(value * UNIT_SIZES[self.unit][unit], 9)
            remark = f"converted from {unit} to {self.unit}"
        if not (self.low < converted <= self.high or (self.zero and converted == self.low)):
            return lost(self._expected(f"a number from {self.low:g} to {self.high:g}"), Code.VALUE_OUT_OF_RANGE)
        if remark is None:
            return Read(converted)
        changed = unit and self.unit and unit != self.unit
        return Read(converted, Code.UNIT_CONVERTED if changed else Code.VALUE_ADJUSTED, remark)

    def _expected(self, what: str) -> str:
        return f"{what} in {self.unit}" if self.unit else what


def comma_of(cells: list[Cell]) -> bool | None:
    """Whether commas of a column are decimal points: True, False, or None where no cell tells.

    ``1.234,5`` and ``12,5`` say yes; ``1,234.5`` and ``1,234,567`` say no; contradictory columns say nothing.
    """
    yes = no = False
    for cell in cells:
        if isinstance(cell, str) and "," in cell and len(cell) <= LONGEST_READ:
            found = NUMBER.match(WHITE.sub(" ", cell).strip())
            digits = re.sub(r"[\s'+-]", "", found["digits"]) if found else ""
            no = no or bool(re.fullmatch(r"\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,}", digits))
            yes = yes or bool(re.fullmatch(r"\d{1,3}(\.\d{3})+,\d+|\d*,(\d{1,2}|\d{4,})|0,\d+|\d{4,},\d{3}", digits))
    return None if yes == no else yes


def points_are_decimal(cells: list[Cell]) -> bool:
    """Whether a column writes decimal points: ``0.95``, ``12.5``; then commas of its file part fields of other columns only."""
    return any(
        isinstance(cell, str) and re.fullmatch(r"[+-]?\d*\.(\d{1,2}|\d{4,})|[+-]?0\.\d+", cell.strip())
        for cell in cells
    )


def decimal(digits: str, decimal_comma: bool | None) -> float | None:
    """A number's digits as a float; None where a comma (or a point beside decimal commas) leaves it open."""
    clean = re.sub(r"[\s']", "", digits)
    if len(clean) > 40:
        return None
    mantissa = re.sub(r"[eE].*$", "", clean.lstrip("+-"))
    if "," not in mantissa:
        if decimal_comma and re.fullmatch(r"[1-9]\d{0,2}(\.\d{3})+", mantissa):
            return None
        return _float(clean)
    if re.fullmatch(r"\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,}", mantissa):
        return _float(clean.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(\.\d{3})+,\d+", mantissa):
        return _float(clean.replace(".", "").replace(",", "."))
    if mantissa.count(",") > 1 or "." in mantissa:
        return None
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", mantissa):
        if decimal_comma is None:
            return None
        return _float(clean.replace(",", "." if decimal_comma else ""))
    return _float(clean.replace(",", "."))


def _float(digits: str) -> float | None:
    try:
        return float(digits)
    except ValueError:
        return None


_END = r"(?=\s*[NSEWO]?$)"
DEGREES = re.compile(
    rf"""^(?P<before>[NSEWO])?\s*(?P<sign>[+-])?\s*(?P<d>\d{{1,3}}(?:[.,]\d+)?)(?:\s*[°º]\s*|\s*deg\.?\s*|\s+|{_END})
        (?:(?P<m>\d{{1,2}}(?:[.,]\d+)?)(?:\s*['′’]\s*|\s*min\.?\s*|\s+|{_END}))?
        (?:(?P<s>\d{{1,2}}(?:[.,]\d+)?)(?:\s*(?:"|″|”|''|sec\.?)\s*|{_END}))?\s*(?P<after>[NSEWO])?$""",
    re.VERBOSE | re.IGNORECASE,
)


def degrees(cell: Cell, most: float) -> Read:
    """Decimal degrees, north and east positive: ``-63.28``, ``63,28 W``, ``44° 12.5' N``; most: 90 or 180."""
    what = "a latitude" if most == 90 else "a longitude"
    expected = f"{what} in decimal degrees, {-most:g} to {most:g}"
    if isinstance(cell, int | float):
        value, changed = float(cell), False
    else:
        found = DEGREES.match(WHITE.sub(" ", str(cell)).strip()) if len(str(cell)) <= LONGEST_READ else None
        if not found:
            return lost(expected)
        if (found["m"] and not found["d"].isdigit()) or (found["s"] and not found["m"].isdigit()):
            return lost(expected)
        parts = [float((found[part] or "0").replace(",", ".")) for part in "dms"]
        letter = (found["before"] or found["after"] or "").upper()
        if (letter and (letter in "NS") != (most == 90)) or parts[1] >= 60 or parts[2] >= 60:
            return lost(expected)
        value = parts[0] + parts[1] / 60 + parts[2] / 3600
        if found["sign"] == "-" or letter in ("S", "W", "O"):
            value = -value
        changed = bool(letter or found["m"] or "," in str(cell))
        value = round(value, 7) if found["m"] else value
    if not math.isfinite(value) or abs(value) > most:
        return lost(f"{expected} (are latitude and longitude swapped?)", Code.VALUE_OUT_OF_RANGE)
    return Read(value, Code.VALUE_ADJUSTED, f"read as {value:g}") if changed else Read(value)
