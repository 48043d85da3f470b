"""How bad input is named: the file, the row, the column, what was found, what was expected, what to do.

Belongs here: the shapes in which input is refused, held or remarked upon, and their codes. Does not belong here: deciding that it is
bad.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

MOST_ROWS_NAMED = 20


class Severity(IntEnum):
    """How much a finding matters; a list of findings begins with the lowest number."""

    ROWS_LOST = 1  # rows are not loaded
    DECIDE = 2  # a person should decide: the outcome of matching may be wrong
    LOOK = 3  # a value was not used, or was changed to be used
    NOTE = 4  # nothing is wrong: what was done is said


class Why(StrEnum):
    """Why a row is refused."""

    MISSING = "missing"  # what identifies, places or times it is not there
    UNREADABLE = "unreadable"  # ... or cannot be read
    IMPOSSIBLE = "impossible"  # ... or cannot be: a release in the future
    MISPLACED = "misplaced"  # a position that is plainly a slip: swapped, a sign lost
    UNJOINED = "unjoined"  # a recovery without its deployment
    CONTRADICTS = "contradicts"  # a second recovery of a deployment, that says something else


class Code(StrEnum):
    """What a finding says. Prose is for people; programs read this."""

    ROWS_REFUSED = "rows_refused"
    VALUE_UNREADABLE = "value_unreadable"
    VALUE_AMBIGUOUS = "value_ambiguous"  # 1,234: a thousand, or one and a bit
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    VALUE_ADJUSTED = "value_adjusted"  # '~12', '12 (est)', '3650 days' in another unit: the number was taken
    UNIT_CONVERTED = "unit_converted"
    UNIT_UNKNOWN = "unit_unknown"
    WINDOW_UNKNOWN = "window_unknown"  # tag life or harvest missing, unreadable or contradictory
    IDENTIFIER_CHANGED = "identifier_changed"  # written in its canonical form
    TWO_IDENTIFIERS = "two_identifiers"
    SERIAL_UNKNOWN = "serial_unknown"
    NAME_TAKEN = "name_taken"  # two animals, or deployments, of one name: made unique
    REPEATED = "repeated"
    REPEATED_DIFFERS = "repeated_differs"
    RELEASE_POSITION = "release_position"
    RECOVERY = "recovery"
    OTHER_COLLECTION = "other_collection"
    ZONE_APPLIED = "zone_applied"
    ZONE_ASSUMED = "zone_assumed"
    ZONE_SHIFT = "zone_shift"  # an hour that the change of the clocks doubled or skipped
    DAY_ORDER = "day_order"  # 05/11/2014: which is the day was decided by the column
    DAY_ONLY = "day_only"
    NOT_DATA = "not_data"
    COLUMN_MISSING = "column_missing"
    COLUMN_KEPT = "column_kept"
    COLUMN_REPEATED = "column_repeated"
    FORMAT_NOTE = "format_note"
    FIXED = "fixed"  # a list of fixes says otherwise, and stands
    DATA_ERROR = "data_error"


class Topic(StrEnum):
    """What a person is asked about a file before it is loaded, or about a clock; ``ANSWERS`` has what may be answered."""

    REMOVAL = "removal"
    CLOCK_DRIFT = "clock_drift"
    DAY_ORDER = "day_order"
    TIME_ZONE = "time_zone"
    OTHER_COLLECTION = "other_collection"
    DATA_ERRORS = "data_errors"
    MOSTLY_REFUSED = "mostly_refused"
    FIX = "fix"  # what a list of fixes would change


ANSWERS: dict[Topic, tuple[str, ...]] = {topic: ("accept", "reject") for topic in Topic} | {
    Topic.DAY_ORDER: ("day-first", "month-first", "reject")
}


@dataclass(frozen=True)
class Refusal:
    """One row of a file that is kept aside and not loaded. ``row_number`` counts as a spreadsheet does, from 1."""

    row_number: int
    column: str | None
    found: str | None
    expected: str
    remedy: str
    cells: dict[str, Any] = field(default_factory=dict)
    why: Why = Why.UNREADABLE
    sheet: int = 0

    def __str__(self) -> str:
        where = f"row {self.row_number}" + (f", column {self.column}" if self.column else "")
        return f"{where}: found {self.found!r}, expected {self.expected}. {self.remedy}"


@dataclass(frozen=True)
class Finding:
    """Something about a file that costs no row, once for each column and value; ``rows`` names the first rows, ``count`` all."""

    code: Code
    severity: Severity
    column: str | None
    found: str | None
    expected: str
    remedy: str
    rows: tuple[int, ...] = ()
    count: int = 0

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.rows[:5])) + (", ..." if self.count > 5 else "")
        where = f"{self.count:,} row{'s' if self.count != 1 else ''} ({shown})" if self.rows else "the file"
        column = f", column {self.column.upper()}" if self.column else ""
        found = f": {self.found!r}" if self.found is not None else ""
        return f"{where}{column}{found}: {self.expected}. {self.remedy}".rstrip()


def finding(
    code: Code,
    severity: Severity,
    column: str | None,
    found: object,
    expected: str,
    remedy: str,
    rows: Iterable[int] = (),
) -> Finding:
    """A finding over these rows."""
    numbers = sorted(rows)
    text = None if found is None else str(found)[:200]
    return Finding(code, severity, column, text, expected, remedy, tuple(numbers[:MOST_ROWS_NAMED]), len(numbers))


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The most important first, and of those the ones that concern most rows."""
    return sorted(findings, key=lambda f: (f.severity, -f.count, f.column or "", f.found or ""))


class BadFile(ValueError):
    """A file that cannot be taken at all: nothing of it is loaded, and the file itself is kept."""

    def __init__(
        self,
        problem: str,
        remedy: str,
        row_number: int | None = None,
        column: str | None = None,
        rows: int | None = None,
    ):
        """``problem`` says what was found and what was expected; ``remedy`` what to do; ``rows`` how many rows were seen."""
        self.problem, self.remedy, self.row_number, self.column, self.rows = problem, remedy, row_number, column, rows
        where = "".join([f"row {row_number}: " if row_number else "", f"column {column}: " if column else ""])
        super().__init__(f"{where}{problem}. {remedy}")


class MissingProject(BadFile):
    """A file whose collection has no project yet: it waits for the project's form."""


class Undecided(RuntimeError):
    """A file that means one thing or another, and does not say which: nothing of it is loaded until a person says.

    ``details`` are the cells that show it, one line each.
    """

    def __init__(self, topic: Topic, problem: str, details: list[Any]):
        """``problem`` is one sentence: what cannot be told and why it matters."""
        self.topic, self.problem, self.details = topic, problem, details
        super().__init__(f"{problem} The first: {details[0]}" if details else problem)
