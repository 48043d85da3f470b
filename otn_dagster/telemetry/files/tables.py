"""Rows of a file as a table: where its header is, what its columns are called, and what in the file is not data.

Belongs here: from rows of cells to rows by column name, nothing judged. Does not belong here: what a cell means (``columns.py``).

Law: every row of the file that holds anything is a row of a table or is named as not data, with its reason.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from otn_dagster.telemetry.files import times
from otn_dagster.telemetry.files.cells import WHITE, Cell, is_null, unit_of
from otn_dagster.telemetry.files.container import MAX_COLUMNS, Sheet
from otn_dagster.telemetry.files.refusals import BadFile, Code, Finding, Severity, finding

BANNER_ROWS = 15  # a header is looked for in this many first rows
LEAST_NAMES = 3  # a row with so many of a template's names is its header
# Words in a header's brackets that are no units: kinds of length, small words, formats.
NO_UNITS = frozenset(
    "fl tl sl pcl cl cw dw ml std lt of the to y n y/n utc yyyy fork total standard nearest units unit est max min".split()  # noqa: SIM905
)
BEYOND = "beyond_the_header"  # a column of ours: how many fields a row of a text table has beyond its header
EXAMPLE = re.compile(r"^\s*(example\b|as in\s*:|e\.g\.|sample(\s+data|\s+row)?\s*$)", re.IGNORECASE)


class NotData(StrEnum):
    """Why rows of a file are not data."""

    BANNER = "above the header"
    HEADER = "header"
    EXAMPLE = "example rows of the template"
    EMPTY = "rows that name no station, animal, time or tag"
    OTHER_SHEET = "sheets of another kind"
    OTHER_RECORD = "records of another kind"


@dataclass(frozen=True)
class Header:
    """One column as the file names it; ``latest_day`` is the highest day of month among its real date cells."""

    name: str
    text: str
    latest_day: int | None = None

    @property
    def hints(self) -> list[str]:
        """What stands in brackets."""
        return [a or b for a, b in re.findall(r"\(([^)]*)\)?|\[([^\]]*)\]?", self.text)]

    @property
    def unit(self) -> str | None:
        """The unit that the header says, if it is one that is known: ``LENGTH (cm)``, ``depth_ft``."""
        tail = re.split(r"[\s_]+", re.sub(r"[(\[].*", "", self.text).strip())[-1:]
        for hint in self.hints:
            words = [word for word in re.findall(r"[A-Za-z'\"%µ°]+", hint) if word.lower() not in NO_UNITS]
            units = {unit_of(word) for word in words if word.lower() != "in" or len(words) == 1} - {None}
            if len(units) == 1:
                return units.pop()
        return next((unit for word in tail if len(word) > 1 and (unit := unit_of(word))), None)

    @property
    def strange_unit(self) -> str | None:
        """A word in the header's brackets that looks like a unit and is none that is known."""
        for hint in self.hints:
            word = hint.strip()
            if re.fullmatch(r"[A-Za-zµ°]{1,4}\.?", word) and unit_of(word) is None and word.lower() not in NO_UNITS:
                return word
        return None

    @property
    def zone(self) -> times.Zone | None:
        """The zone that the header says."""
        tail = re.findall(r"\b(?:UTC|GMT)\s*[+-]\s*\d{1,2}(?::?\d{2})?", self.text)
        return times.header_zone([*self.hints, *tail])

    @property
    def is_local(self) -> bool:
        """Whether the header says that its times are local."""
        return "local" in self.text.lower()

    @property
    def misread(self) -> bool:
        """Whether all real dates of the column have days up to 12, as where a spreadsheet took the day for the month."""
        return self.latest_day is not None and self.latest_day <= 12


@dataclass(frozen=True)
class Row:
    """One row: its sheet (0 the first that was read), its number in it, its cells by column name; empty cells left out."""

    sheet: int
    number: int
    cells: Mapping[str, Cell]

    @property
    def beyond(self) -> Cell:
        """How many fields a row of a text table has beyond its header: a comma that nobody quoted moved those behind it."""
        return self.cells.get(BEYOND)


@dataclass(frozen=True)
class Table:
    """A table of a template found in a file."""

    sheet: int
    sheet_name: str
    role: str  # which of the template's tables it is: a GLATOS workbook has several
    header_row: int
    headers: dict[str, Header]
    rows: list[Row]
    decimal_comma: bool | None = None  # what the container says: a table parted by semicolons has decimal commas


@dataclass(frozen=True)
class Names:
    """The column names of one table of a template: those by which it is recognised, and others' names for them."""

    role: str
    columns: frozenset[str]
    telling: frozenset[str]  # of which at least two must be there
    aliases: Mapping[str, str] = field(default_factory=dict)
    least: int = LEAST_NAMES


@dataclass(frozen=True)
class Found:
    """What was found in a file: its tables, what is not data (reason → rows), and what is to be said of either."""

    tables: list[Table]
    not_data: dict[str, int]
    findings: list[Finding]

    @property
    def rows(self) -> int:
        """Rows of the tables."""
        return sum(len(table.rows) for table in self.tables)

    @property
    def container_rows(self) -> int:
        """Rows of the file that hold anything."""
        return self.rows + sum(self.not_data.values())


@functools.lru_cache(maxsize=4_096)
def normalise_header(header: object) -> str:
    """``LENGTH (m)`` → ``length``, ``Harvest_Date `` → ``harvest_date``, ``Recovered?`` → ``recovered``: no brackets, no case."""
    name = re.sub(r"\(.*?\)|\(.*$|\[.*?\]|\[.*$", " ", WHITE.sub(" ", str(header or "")))
    return re.sub(r"[\s_./?:#-]+", "_", name.strip()).strip("_").lower()


def canonical(header: object, names: Names) -> str:
    """A header as its template calls it: ``RECEIVER_NUMBER`` → ``ins_serial_no``, ``LENGTH_CM`` → ``length``."""
    name = normalise_header(header)
    name = names.aliases.get(name, name)
    if name in names.columns or "_" not in name:
        return name
    base, tail = name.rsplit("_", 1)
    base = names.aliases.get(base, base)
    return base if base in names.columns and unit_of(tail) and len(tail) > 1 else name


def find_tables(sheets: Sequence[Sheet], templates: Sequence[Names], what: str) -> Found:
    """The tables of these templates in a file, every sheet that has one.

    what: the kind of file, for words. Raises BadFile where no sheet has a header of it.
    """
    tables: list[Table] = []
    not_data: dict[str, int] = {}
    findings: list[Finding] = []
    best: list[Cell] = []
    for sheet in sheets:
        filled = sheet.filled
        if not filled:
            continue
        place = _header(filled[:BANNER_ROWS], templates)
        if place is None:
            best = max(
                best, *(row for _, row in filled[:BANNER_ROWS]), key=lambda row: sum(isinstance(c, str) for c in row)
            )
            _count(not_data, NotData.OTHER_SHEET, len(filled))
            says = f"the sheet {sheet.name!r} has no header of {what}; its {len(filled):,} rows are kept with the file only"
            findings.append(finding(Code.NOT_DATA, Severity.NOTE, None, sheet.name, says, ""))
            continue
        index, names = place
        _count(not_data, NotData.BANNER, index)
        for part, its_names in _stacked(filled[index:], names, templates):
            tables.append(_table(sheet, len(tables), part, its_names, not_data, findings))
    if not tables:
        found = [str(cell) for cell in best if cell is not None][:8]
        wanted = sorted(templates[0].telling)[:6]
        raise BadFile(
            f"no header row of {what} among the first {BANNER_ROWS} rows; expected columns like {wanted}, found {found}",
            "Is this the right kind of file for this folder? Use the template of the node and keep its header row.",
        )
    return Found(tables, not_data, findings)


def _count(counts: dict[str, int], reason: NotData, rows: int) -> None:
    if rows:
        counts[reason] = counts.get(reason, 0) + rows


def _header(rows: Sequence[tuple[int, list[Cell]]], templates: Sequence[Names]) -> tuple[int, Names] | None:
    """(index, template) of the row that has most of a template's names."""
    best: tuple[int, int, Names] | None = None
    for index, (_, row) in enumerate(rows):
        for names in templates:
            present = {canonical(cell, names) for cell in row if isinstance(cell, str)}
            score = len(names.columns & present)
            # The first row that is a header is the header: a later one belongs to a table below, unless it has far more names.
            better = best is None or (score > best[0] if index == best[1] else score > 2 * best[0])
            if score >= names.least and len(names.telling & present) >= 2 and better:
                best = (score, index, names)
    return (best[1], best[2]) if best else None


def _stacked(
    filled: Sequence[tuple[int, list[Cell]]], names: Names, templates: Sequence[Names]
) -> list[tuple[Sequence[tuple[int, list[Cell]]], Names]]:
    """The tables that stand below each other in one sheet, each from its own header; a header that comes again parts nothing."""
    known = {name for template in templates for name in (*template.columns, *template.aliases)}
    starts, header = [(0, names)], _said(filled[0][1])
    for place, (_, row) in enumerate(filled[1:], start=1):
        words = [cell for cell in row if isinstance(cell, str)][:LEAST_NAMES]
        if len(words) == LEAST_NAMES and any(normalise_header(word) in known for word in words):
            found = _header([filled[place]], templates)
            if found and not _is_again(row, header):
                starts.append((place, found[1]))
                header = _said(row)
    ends = [*(place for place, _ in starts[1:]), len(filled)]
    return [(filled[start:end], its_names) for (start, its_names), end in zip(starts, ends, strict=True)]


def _said(cells: Sequence[Cell]) -> list[str | None]:
    """Cells of a header for comparing."""
    return [str(cell).strip().lower() if cell is not None else None for cell in cells]


def _table(
    sheet: Sheet,
    position: int,
    filled: Sequence[tuple[int, list[Cell]]],
    names: Names,
    not_data: dict[str, int],
    findings: list[Finding],
) -> Table:
    (header_row, header_cells), body = filled[0], filled[1:]
    _count(not_data, NotData.HEADER, 1)
    headers, columns = _columns(sheet, header_cells, body, names, findings)
    widest = _widest(sheet, header_cells, body)
    if any(len(cells) > widest for _, cells in body):
        headers[BEYOND] = Header(BEYOND, "fields beyond the header")
    again = _said(header_cells)
    first = next(i for i, cell in enumerate(again) if cell)
    rows = []
    for number, cells in body:
        if len(cells) > first and str(cells[first]).strip().lower() == again[first] and _is_again(cells, again):
            _count(not_data, NotData.HEADER, 1)
            continue
        named = {n: cells[i] for i, n in columns if i < len(cells) and cells[i] is not None}
        if len(cells) > widest:
            named[BEYOND] = len(cells) - len(header_cells)
        rows.append(Row(position, number, named))
    return Table(position, sheet.name, names.role, header_row, headers, rows, True if sheet.delimiter == ";" else None)


def _widest(sheet: Sheet, header: Sequence[Cell], body: Sequence[tuple[int, list[Cell]]]) -> int:
    """How many fields a row of a text table may have: as many as the header, and one that every line ends with and is empty."""
    if sheet.delimiter is None:
        return MAX_COLUMNS
    ended = all(len(cells) > len(header) and cells[-1] is None for _, cells in body)
    return len(header) + ended


def _is_again(cells: Sequence[Cell], header: Sequence[str | None]) -> bool:
    """Whether a row is the header once more."""
    said = _said(cells)
    return said[: len(header)] == list(header)[: len(said)]


def _columns(
    sheet: Sheet,
    header_cells: Sequence[Cell],
    body: Sequence[tuple[int, list[Cell]]],
    names: Names,
    findings: list[Finding],
) -> tuple[dict[str, Header], list[tuple[int, str]]]:
    """Headers by name, and (position, name) of every column that holds anything, named or not."""
    width = max([len(header_cells), *(len(row) for _, row in body)])
    by_column = zip_longest(*(row for _, row in body))
    filled = [sum(count for cell, count in Counter(cells).items() if not is_null(cell)) for cells in by_column]
    filled += [0] * (width - len(filled))
    by_name: dict[str, list[int]] = {}
    for i in range(width):
        text = header_cells[i] if i < len(header_cells) else None
        by_name.setdefault(canonical(text, names) if text is not None else "", []).append(i)
    headers: dict[str, Header] = {}
    columns: list[tuple[int, str]] = []

    def add(i: int, name: str) -> None:
        days = (sheet.real_dates or {}).get(i)
        text = header_cells[i] if i < len(header_cells) else None
        headers[name] = Header(name, str(text) if text is not None else f"column {i + 1}, without a name", days)
        columns.append((i, name))

    for name, places in by_name.items():
        if not name:
            for i in places:
                if filled[i]:
                    add(i, f"column_{i + 1}")
            continue
        first = max(places, key=lambda i: (filled[i], -i))
        add(first, name)
        for i in places:
            if i != first and filled[i]:
                add(i, f"{name} (column {i + 1})")
                findings.append(
                    finding(
                        Code.COLUMN_REPEATED,
                        Severity.DECIDE if name in names.telling else Severity.LOOK,
                        name,
                        str(header_cells[i]),
                        f"one column of this name; column {first + 1}, which holds most, is read and column {i + 1} is kept as it is",
                        "Remove or rename one of the two.",
                    )
                )
    return headers, columns


def set_aside(found: Found, telling: Iterable[str]) -> Found:
    """The same without a template's example rows and without rows in which nothing tells of data, both counted and named."""
    not_data, findings, tables = dict(found.not_data), list(found.findings), []
    wanted = list(telling)
    for table in found.tables:
        examples = [r for r in table.rows if any(EXAMPLE.match(str(r.cells.get(n, ""))) for n in wanted)]
        numbers = {r.number for r in examples}
        empty = [
            r for r in table.rows if r.number not in numbers and not any(not is_null(r.cells.get(n)) for n in wanted)
        ]
        numbers |= {r.number for r in empty}
        for reason, rows in ((NotData.EXAMPLE, examples), (NotData.EMPTY, empty)):
            if rows:
                _count(not_data, reason, len(rows))
                shown = "; ".join(f"{n}: {c}" for n, c in list(rows[0].cells.items())[:4])
                says = f"{reason}: not loaded"
                findings.append(finding(Code.NOT_DATA, Severity.NOTE, None, shown, says, "", [r.number for r in rows]))
        kept = [r for r in table.rows if r.number not in numbers]
        tables.append(Table(**{**vars(table), "rows": kept}))
    return Found(tables, not_data, findings)


def require(found: Found, missing: Sequence[str], remedy: str) -> Found:
    """The same; raises BadFile where it has no rows, or lacks columns without which no row can be read."""
    header = found.tables[0].header_row
    if not found.rows:
        raise BadFile("the table has a header and no rows", "Check that the file was saved with its data.", header)
    if missing:
        problem = f"mandatory columns are missing: {', '.join(missing).upper()}; {found.rows:,} rows were seen"
        raise BadFile(problem, remedy, header, rows=found.rows)
    return found


def as_json(found: Found) -> dict[str, Any]:
    """What is kept of a file beside its rows, so that they can be typed later as they would have been now."""
    return {
        "tables": [
            {
                "sheet": t.sheet,
                "sheet_name": t.sheet_name,
                "role": t.role,
                "header_row": t.header_row,
                "decimal_comma": t.decimal_comma,
                "headers": [[h.name, h.text, h.latest_day] for h in t.headers.values()],
            }
            for t in found.tables
        ],
        "not_data": found.not_data,
    }


def from_json(kept: dict[str, Any], rows: Iterable[Row]) -> list[Table]:
    """The tables again, from what ``as_json`` kept and their rows."""
    by_sheet: dict[int, list[Row]] = {}
    for row in rows:
        by_sheet.setdefault(row.sheet, []).append(row)
    return [
        Table(
            t["sheet"],
            t["sheet_name"],
            t["role"],
            t["header_row"],
            {name: Header(name, text, day) for name, text, day in t["headers"]},
            by_sheet.get(t["sheet"], []),
            t["decimal_comma"],
        )
        for t in kept["tables"]
    ]
