"""How bad input is named: the file, the row, the column, what was found, what was expected, what to do.

Belongs here: the two shapes in which input is refused. Does not belong here: deciding that it is bad.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """One row of a file that is kept aside and not loaded. ``row_number`` counts as a spreadsheet does, from 1."""

    row_number: int
    column: str | None
    found: str | None
    expected: str
    remedy: str
    cells: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        where = f"row {self.row_number}" + (f", column {self.column}" if self.column else "")
        return f"{where}: found {self.found!r}, expected {self.expected}. {self.remedy}"


class BadFile(ValueError):
    """A file that cannot be taken at all: nothing of it is loaded, and the file itself is kept."""

    def __init__(self, problem: str, remedy: str, row_number: int | None = None, column: str | None = None):
        """``problem`` says what was found and what was expected; ``remedy`` what a person should do."""
        self.problem, self.remedy, self.row_number, self.column = problem, remedy, row_number, column
        where = "".join([f"row {row_number}: " if row_number else "", f"column {column}: " if column else ""])
        super().__init__(f"{where}{problem}. {remedy}")


class MissingProject(BadFile):
    """A file whose collection has no project yet: it waits for the project's form."""
