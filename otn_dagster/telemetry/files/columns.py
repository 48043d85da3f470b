"""Columns of a table to values: each is of one of three classes, by what it decides.

Belongs here: reading a whole column (its commas, the order of its days, its unit, its zone) and what becomes of a cell that cannot be
read. Does not belong here: single cells (``cells.py``), which columns a template has (``tags.py``, ``deployments.py``).

What identifies, places or times a row may refuse it. What decides a tag's window marks it for a person. Everything else never costs a
row: the raw cell is kept, the value is null, and there is one finding for each column and value with its rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import repeat
from typing import Any

from otn_dagster.telemetry.files import times
from otn_dagster.telemetry.files.cells import (
    Cell,
    Quantity,
    Read,
    comma_of,
    degrees,
    is_error,
    is_null,
    points_are_decimal,
    storable,
    unit_of,
)
from otn_dagster.telemetry.files.refusals import Code, Finding, Severity, Topic, Undecided, finding
from otn_dagster.telemetry.files.tables import Header, Row, Table


class Decides(StrEnum):
    """What a column decides, and so what an unreadable cell of it costs."""

    ROW = "row"  # identifies, places or times: the row is refused
    WINDOW = "window"  # when a tag may be heard: marked for a person
    NOTHING = "nothing"  # null, with a finding


@dataclass(frozen=True)
class Column:
    """How one column of a template becomes a field: exactly one of ``cell``, ``quantity``, ``most_degrees``, ``time``."""

    name: str
    cell: Callable[[Cell], Read] | None = None
    quantity: Quantity | None = None
    most_degrees: float | None = None
    time: bool = False
    decides: Decides = Decides.NOTHING
    zone_columns: tuple[str, ...] = ()  # columns beside that say this one's zone
    unit_columns: tuple[str, ...] = ()  # ... or its unit
    local_if: str | None = None  # this column is local time: without a zone it is not used


@dataclass
class Values:
    """What columns became: values by row and column name, what was found, and which cells were lost."""

    rows: list[dict[str, Any]]
    findings: list[Finding] = field(default_factory=list)
    lost: dict[tuple[int, str], tuple[Cell, Read]] = field(default_factory=dict)  # (index of the row, column)

    def lost_of(self) -> dict[int, set[str]]:
        """Columns whose cells were lost, by row."""
        found: dict[int, set[str]] = {}
        for index, column in self.lost:
            found.setdefault(index, set()).add(column)
        return found

    day_only: dict[str, set[int]] = field(default_factory=dict)
    written: dict[str, list[Any]] = field(default_factory=dict)  # times as they stand in the file, before any zone


SEVERITY = {
    Code.VALUE_ADJUSTED: Severity.NOTE,
    Code.UNIT_CONVERTED: Severity.NOTE,
    Code.IDENTIFIER_CHANGED: Severity.NOTE,
    Code.ZONE_APPLIED: Severity.NOTE,
    Code.SERIAL_UNKNOWN: Severity.NOTE,
    Code.ZONE_SHIFT: Severity.LOOK,
}
REMEDY = {
    Code.VALUE_AMBIGUOUS: "Write the number with a decimal point and without commas.",
    Code.VALUE_OUT_OF_RANGE: "Check the value and its unit.",
    Code.UNIT_UNKNOWN: "Write the unit of the template.",
    Code.ZONE_SHIFT: "Give the time in UTC.",
}


def read_columns(table: Table, columns: Sequence[Column], answers: Mapping[str, str]) -> Values:
    """All columns of a table.

    answers: what a person answered by topic. Raises Undecided where days and months, or zones, of a column that decides about rows
    cannot be told and nobody answered.
    """
    values = Values([{} for _ in table.rows])
    for column in columns:
        header = table.headers.get(column.name)
        if header is None:
            for row in values.rows:
                row[column.name] = None
        elif column.time:
            _read_times(table, column, header, values, answers)
        else:
            _read_cells(table, column, header, values)
    return values


def _read_cells(table: Table, column: Column, header: Header, values: Values) -> None:
    name = column.name
    cells = [row.cells.get(name) for row in table.rows]
    units = [_unit(column, row) for row in table.rows] if column.unit_columns else repeat(None)
    keys = list(zip(map(type, cells), cells, units, strict=False))  # 1, 1.0 and TRUE are three
    distinct = [key for key in dict.fromkeys(keys) if key[1] is not None]
    reader = _reader(column, header, [cell for _, cell, _ in distinct], table.decimal_comma)
    reads = {key: _safe(reader, key[1], key[2]) for key in distinct if not is_null(key[1]) or is_error(key[1])}
    found = [reads.get(key) for key in keys]
    for row, read in zip(values.rows, found, strict=True):
        row[name] = None if read is None else read.value
    told: dict[tuple[Cell, Code], list[int]] = {}
    for i, read in enumerate(found):
        if read is not None and read.code is not None:
            if read.value is None and read.code != Code.SERIAL_UNKNOWN:
                values.lost[i, name] = (cells[i], read)
            told.setdefault((cells[i], read.code), []).append(i)
    for (cell, code), places in told.items():
        numbers = [table.rows[place].number for place in places]
        values.findings.append(_finding(column, cell, code, reads[keys[places[0]]], numbers))
    if (
        column.quantity is not None
        and header.strange_unit
        and column.quantity.unit
        and any(not is_null(c) for c in cells)
    ):
        _drop_strange_unit(table, column, header, values)


def _finding(column: Column, cell: Cell, code: Code, read: Read, rows: list[int]) -> Finding:
    severity = SEVERITY.get(code, Severity.LOOK)
    if read.value is None and code != Code.SERIAL_UNKNOWN:
        says = f"expected {read.says}; the value is not used"
        remedy = REMEDY.get(code, "Correct the cell, or leave it empty.")
        severity = Severity.DECIDE if column.decides is Decides.WINDOW else severity
    else:
        says, remedy = read.says, REMEDY.get(code, "")
    return finding(code, severity, column.name, cell, says, remedy, rows)


def _drop_strange_unit(table: Table, column: Column, header: Header, values: Values) -> None:
    """A unit that nobody knows makes every number of its column mean nothing."""
    rows = []
    for i, row in enumerate(table.rows):
        if values.rows[i][column.name] is not None:
            values.rows[i][column.name] = None
            rows.append(row.number)
    assert column.quantity is not None
    says = f"a unit that is known, or {column.quantity.unit}; the values are not used"
    values.findings.append(
        finding(Code.UNIT_UNKNOWN, Severity.LOOK, column.name, header.text, says, REMEDY[Code.UNIT_UNKNOWN], rows)
    )


def _unit(column: Column, row: Row) -> Cell:
    """What a column beside says of the unit."""
    if not column.unit_columns:
        return None
    return next((row.cells[name] for name in column.unit_columns if row.cells.get(name) is not None), None)


def _reader(column: Column, header: Header, cells: list[Cell], comma: bool | None) -> Callable[[Cell, Cell], Read]:
    if column.quantity is not None:
        quantity, unit = column.quantity, header.unit
        decimal_comma = comma_of(cells)
        if decimal_comma is None:
            decimal_comma = False if comma and points_are_decimal(cells) else comma

        def read_quantity(cell: Cell, said: Cell) -> Read:
            beside = unit_of(str(said)) if not is_null(said) else unit
            if beside is None and not is_null(said):
                return Read(None, Code.UNIT_UNKNOWN, f"a number in a unit that is known; {said!r} is not one")
            return quantity.read(cell, beside, decimal_comma)

        return read_quantity
    if column.most_degrees is not None:
        most = column.most_degrees
        return lambda cell, said: degrees(cell, most)
    assert column.cell is not None
    read = column.cell
    return lambda cell, said: read(cell)


def _safe(reader: Callable[[Cell, Cell], Read], cell: Cell, unit: Cell) -> Read:
    if is_error(cell):
        return Read(None, Code.VALUE_UNREADABLE, "a value; the spreadsheet could not compute this one")
    if isinstance(cell, str) and not storable(cell):
        return Read(None, Code.VALUE_UNREADABLE, "text that a database can hold")
    return reader(cell, unit)


@dataclass
class _TimeColumn:
    """A column of times while it is read: what its cells are, and what is to be said of them."""

    column: Column
    read: times.Times
    zone: times.Zone | None
    values: Values
    told: dict[tuple[Cell, Code], tuple[Read, list[int]]] = field(default_factory=dict)

    def tell(self, key: Cell, said: Read, row: Row) -> None:
        """Something to be said of a value, with the rows that have it."""
        self.told.setdefault((key, said.code or Code.VALUE_UNREADABLE), (said, []))[1].append(row.number)

    def take(self, index: int, row: Row) -> Any:
        """One cell: its UTC time into the values; its time as it is written, or None where it is none or is lost."""
        cell = row.cells.get(self.column.name)
        self.values.rows[index][self.column.name] = None
        if is_null(cell):
            return None
        moment = self.read.by_cell[cell]
        beside = next((row.cells[n] for n in self.column.zone_columns if not is_null(row.cells.get(n))), None)
        own = times.zone_of(beside) if beside is not None else self.zone
        why = self._unusable(moment, beside, own)
        if why or moment is None:
            lost = Read(None, Code.VALUE_UNREADABLE, why or times.EXPECTED)
            self.values.lost[index, self.column.name] = (cell, lost)
            self.tell(cell, lost, row)
            return None
        at, code, says = times.utc(moment, own)
        self.values.rows[index][self.column.name] = at
        if code is not None:
            named = (moment.zone or (own.text if own else None)) if code is Code.ZONE_APPLIED else cell
            self.tell(named, Read(at, code, says), row)
        if moment.day_only or self.read.all_midnight:
            self.values.day_only[self.column.name].add(index)
        return moment.at

    def _unusable(self, moment: times.Moment | None, beside: Cell, own: times.Zone | None) -> str | None:
        if moment is None:
            return times.EXPECTED
        if beside is not None and own is None:
            return f"a time zone; {beside!r} is not one"
        if self.column.local_if and own is None and not moment.zone:
            return f"its zone in {self.column.local_if.upper()}: the time is local"
        return None


def _read_times(table: Table, column: Column, header: Header, values: Values, answers: Mapping[str, str]) -> None:
    cells = [row.cells.get(column.name) for row in table.rows]
    answer = answers.get(Topic.DAY_ORDER)
    order = times.Order(answer) if answer in set(times.Order) else None
    read = _moments(column, header, cells, order)
    beside = any(name in table.headers for name in column.zone_columns)
    if header.is_local and header.zone is None and not beside and column.decides is Decides.ROW:
        _ask_for_zone(header, cells, answers)
    values.day_only[column.name] = set()
    reading = _TimeColumn(column, read, header.zone, values)
    values.written[column.name] = [reading.take(index, row) for index, row in enumerate(table.rows)]
    for (cell, code), (said, rows) in reading.told.items():
        values.findings.append(_finding(column, cell, code, said, rows))
    if read.order is not None:
        numbered = [row.number for cell, row in zip(cells, table.rows, strict=True) if cell and _numbers(read, cell)]
        how = "decided by the column" if order is None else "as a person answered"
        says = f"dates in numbers, their order {how}"
        words = read.order.value.replace("-", " ")
        values.findings.append(finding(Code.DAY_ORDER, Severity.NOTE, column.name, words, says, "", numbered))


def _moments(column: Column, header: Header, cells: Sequence[Cell], order: times.Order | None) -> times.Times:
    """Every distinct cell as a time; a column that cannot be told apart and decides about rows raises Undecided."""
    try:
        return times.read_times([cell for cell in cells if cell is not None], order, header.misread)
    except times.Undecidable as problem:
        if column.decides is Decides.ROW:
            details = [f"{header.text}: {cell}" for cell in problem.cells]
            raise Undecided(Topic.DAY_ORDER, f"column {header.text}: {problem.problem}.", details) from problem
        return times.Times({cell: None for cell in cells if not is_null(cell)}, None, False)


def _ask_for_zone(header: Header, cells: Sequence[Cell], answers: Mapping[str, str]) -> None:
    if answers.get(Topic.TIME_ZONE) != "accept":
        raise Undecided(
            Topic.TIME_ZONE,
            f"column {header.text}: the header says local time, and nothing says of which zone."
            " Send it in UTC or with its zone in the header; accepted, it is read as UTC.",
            [f"{header.text}: {cell}" for cell in cells if cell is not None][:5],
        )


def _numbers(read: times.Times, cell: Cell) -> bool:
    moment = read.by_cell.get(cell)
    return moment is not None and moment.numbers
