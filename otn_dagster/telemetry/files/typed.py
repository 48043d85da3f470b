"""What the rows of a sheet became: loaded, repeated, refused; and the law that nothing else happened to any of them.

Belongs here: the result that every sheet's reader gives, and what they share. Does not belong here: any one template.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otn_dagster.telemetry.files.cells import Cell, is_null, plain
from otn_dagster.telemetry.files.columns import Column, Decides, Values
from otn_dagster.telemetry.files.positions import Box
from otn_dagster.telemetry.files.refusals import Code, Finding, Refusal, Severity, Topic, Undecided, Why, finding
from otn_dagster.telemetry.files.tables import Row, Table

ONE_MINUTE = dt.timedelta(minutes=1)
CORRECT = "Correct the cell and send the file again."


@dataclass(frozen=True)
class Situation:
    """What a file is judged against, frozen when it was received: judging it again later gives the same.

    received_at is naive UTC; box is where its project works; answers are what a person said, by topic.
    """

    collectioncode: str
    received_at: dt.datetime
    box: Box | None = None
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Typed:
    """Rows of a file by what became of them. ``rows`` are dictionaries with ``sheet``, ``row_number`` and ``part``."""

    rows: list[dict[str, Any]]
    refused: list[Refusal]
    repeated: int
    findings: list[Finding]
    columns: dict[str, list[str]] = field(default_factory=dict)  # read, kept: columns that hold anything

    @property
    def loaded(self) -> int:
        """Rows of the file that are loaded; one row may hold two transmitters."""
        return len({(row["sheet"], row["row_number"]) for row in self.rows})


def refuse(row: Row, column: str | None, found: object, expected: str, remedy: str, why: Why) -> Refusal:
    """A refusal of this row, with all its cells kept."""
    return Refusal(
        row.number, column, None if found is None else str(found), expected, remedy, dict(row.cells), why, row.sheet
    )


def moved(row: Row) -> Refusal | None:
    """The refusal of a row of a text table that has more fields than its header: which field is which cannot be told."""
    if row.beyond is None:
        return None
    remedy = "Put cells that hold a comma in quotation marks, or send the sheet as xlsx; name every column."
    return refuse(row, None, f"{row.beyond} more", "as many fields as the header names", remedy, Why.UNREADABLE)


def first_loss(row: Row, index: int, values: Values, columns: Sequence[Column]) -> Refusal | None:
    """The refusal of a row whose cell of a column that decides about rows was lost."""
    for column in columns:
        if column.decides is Decides.ROW and (index, column.name) in values.lost:
            cell, read = values.lost[index, column.name]
            return refuse(row, column.name, cell, read.says, CORRECT, Why.UNREADABLE)
    return None


def without_refused(findings: Iterable[Finding], columns: Sequence[Column]) -> list[Finding]:
    """Findings without those that refusals say already: unreadable cells of columns that decide about rows."""
    deciding = {column.name for column in columns if column.decides is Decides.ROW}
    unread = {Code.VALUE_UNREADABLE, Code.VALUE_OUT_OF_RANGE, Code.VALUE_AMBIGUOUS, Code.UNIT_UNKNOWN}
    return [f for f in findings if not (f.column in deciding and f.code in unread)]


def refused_summary(refused: Sequence[Refusal]) -> list[Finding]:
    """Refused rows as findings: one for each column and reason."""
    groups: dict[tuple[str | None, str, str], list[Refusal]] = {}
    for refusal in refused:
        groups.setdefault((refusal.column, refusal.expected, refusal.remedy), []).append(refusal)
    return [
        finding(
            Code.ROWS_REFUSED,
            Severity.ROWS_LOST,
            column,
            ", ".join(dict.fromkeys("nothing" if r.found is None else r.found for r in rows[:3])),
            f"expected {expected}; not loaded",
            remedy,
            [r.row_number for r in rows],
        )
        for (column, expected, remedy), rows in groups.items()
    ]


def column_law(tables: Sequence[Table], known: Iterable[str]) -> tuple[dict[str, list[str]], list[Finding]]:
    """Columns that hold anything, by what became of them, and a finding that names those that are kept only."""
    wanted = set(known)
    read: dict[str, None] = {}
    kept: dict[str, None] = {}
    for table in tables:
        for name, header in table.headers.items():
            if any(not is_null(row.cells.get(name)) for row in table.rows):
                (read if name in wanted else kept)[header.text] = None
    said = []
    if kept:
        says = "columns that the template does not use; their cells are kept as they are"
        said.append(finding(Code.COLUMN_KEPT, Severity.NOTE, None, ", ".join(kept), says, ""))
    return {"read": list(read), "kept": list(kept)}, said


def empty_mandatory(table: Table, columns: Iterable[str], skip: set[int]) -> list[Finding]:
    """Columns that the template calls mandatory and that a row may lack all the same, where cells are empty."""
    said = []
    for name in columns:
        rows = [row.number for i, row in enumerate(table.rows) if i not in skip and is_null(row.cells.get(name))]
        if rows:
            what = "a value: the template calls this column mandatory"
            said.append(
                finding(Code.COLUMN_MISSING, Severity.NOTE, name, None, what, "Fill it in when it is known.", rows)
            )
    return said


def other_collection(
    table: Table, column: str, situation: Situation, indices: Iterable[int], hold: bool
) -> tuple[list[Finding], None]:
    """Rows that name another collection than the folder's. Where ``hold``, the file waits for a person.

    A node's prefix (``OTN.HFX``) and blanks do not make another collection.
    """
    named: dict[str, list[int]] = {}
    for i in indices:
        cell: Cell = table.rows[i].cells.get(column)
        if not is_null(cell) and plain(cell).upper().split(".")[-1] != situation.collectioncode:
            named.setdefault(plain(cell), []).append(table.rows[i].number)
    if named and hold and situation.answers.get(Topic.OTHER_COLLECTION) != "accept":
        details = [f"{len(rows):,} rows name {name} in {table.headers[column].text}" for name, rows in named.items()]
        raise Undecided(
            Topic.OTHER_COLLECTION,
            f"the sheet is of another collection than its folder, {situation.collectioncode}: its animals would be registered there."
            " Move the file to the folder of its own collection, or accept it as it is.",
            details,
        )
    says = f"{situation.collectioncode}, the collection of this folder; the rows are loaded there"
    remedy = "If the rows belong to another collection, send them to its folder."
    severity = Severity.DECIDE if hold else Severity.LOOK
    return [
        finding(Code.OTHER_COLLECTION, severity, column, name, says, remedy, rows) for name, rows in named.items()
    ], None


def is_wrong_sign(written: dt.datetime, true: dt.datetime, utc_column: dt.datetime) -> bool:
    """Whether a UTC column is local time with its offset applied the wrong way round (19:34 in UTC-4 as 15:34)."""
    offset = written - true
    return bool(offset) and abs(utc_column - (written + offset)) <= ONE_MINUTE


def wrong_sign_finding(column: str, rows: Sequence[int]) -> Finding:
    """The finding of a UTC column that is not used for that reason."""
    says = "UTC; the column has the zone applied with the wrong sign, and the local time beside it is used"
    return finding(Code.ZONE_APPLIED, Severity.LOOK, column, None, says, "Correct the column, or leave it empty.", rows)


def hold_contradictions(contradictions: Sequence[str], rows: int, what: str, situation: Situation) -> None:
    """Raise Undecided where two columns of one time are not the same instant and nobody accepted that."""
    if contradictions and situation.answers.get(Topic.TIME_ZONE) != "accept":
        raise Undecided(
            Topic.TIME_ZONE,
            f"{len(contradictions):,} of {rows:,} rows give their {what} in two columns that are not the same instant:"
            " a zone or an adjustment is wrong. Accepted, the time with its zone stands.",
            list(contradictions[:20]),
        )
