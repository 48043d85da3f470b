"""A file to the rows of its tables, whatever it is: workbooks (xlsx, xlsm, xls, xlsb, ods) and text in any usual encoding.

Belongs here: bytes to cells, row by row, with the numbers that the file gives them. Does not belong here: which row is the header and
what a column means (``tables.py``).

A cell is text, a number or nothing: what a database can keep as JSON and give back the same. Dates of a workbook become ISO text,
without a time of day where the cell has none. The size that a sheet says it has is not believed.
"""

import csv
import datetime as dt
import functools
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from otn_dagster.telemetry.files.cells import Cell
from otn_dagster.telemetry.files.refusals import BadFile

MAX_UNPACKED_BYTES = 256 * 2**20
MAX_COMPRESSION_RATIO = 200
MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 1_000_000, 500, 5_000_000
MAX_TEXT_BYTES = 256 * 2**20
LONGEST_WORD = 64  # that is kept while others are read
MAX_CELL = 32_767  # what a workbook's cell can hold
WORKBOOKS = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"}
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATIONS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
CELL_PLACE = re.compile(rb"""r=["']([A-Z]{1,3})(\d{1,7})["']""")  # begins with letters that are searched for quickly
ERROR_CELL = re.compile(rb' t="e"[^>]{0,240}>(?:<f[^>]{0,200}/>|<f[^>]{0,200}>[^<]{0,9000}</f>)?<v>(#[^<]{1,20})</v>')
ITS_PLACE = re.compile(rb'\br="([A-Z]{1,3})(\d{1,7})"')
SAVE_AGAIN = "Open it in Excel and save it again as .xlsx."


@dataclass(frozen=True)
class Sheet:
    """One table of a file: its name, and its rows, each with its number in the file (from 1) and its cells."""

    name: str
    rows: list[tuple[int, list[Cell]]]
    delimiter: str | None = None  # of a text table
    real_dates: dict[int, int] | None = None  # column → the highest day of month among its real date cells

    @property
    def filled(self) -> list[tuple[int, list[Cell]]]:
        """Rows that hold anything."""
        return [row for row in self.rows if any(cell is not None for cell in row[1])]


def read_sheets(path: Path) -> list[Sheet]:
    """All tables of a file, in order. Raises BadFile where it is none, or would unpack to more than this machine should read."""
    size = path.stat().st_size
    if size == 0:
        raise BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
    if size > MAX_TEXT_BYTES:
        raise BadFile(
            f"the file is larger than {MAX_TEXT_BYTES / 2**20:,.0f} MiB, which no sheet is", "Split the file."
        )
    with path.open("rb") as handle:
        start = handle.read(8)
    if start.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        return _workbook(path, start.startswith(b"PK"))
    if path.suffix.lower() in WORKBOOKS:
        raise BadFile("the name says Excel but the content is not a workbook", SAVE_AGAIN)
    return [text_table(decode(path.read_bytes()), path.stem)]


def sheet_names(path: Path) -> list[str]:
    """Names of a workbook's sheets in lower case; none where it is no workbook that can be opened."""
    from python_calamine import CalamineWorkbook

    with path.open("rb") as handle:
        if not handle.read(4).startswith(b"PK") or path.stat().st_size > MAX_TEXT_BYTES:
            return []
    try:
        _look_inside(path)
        return [name.strip().lower() for name in CalamineWorkbook.from_path(str(path)).sheet_names]
    except Exception:  # reading it will say what is wrong with it
        return []


def _workbook(path: Path, zipped: bool) -> list[Sheet]:
    from python_calamine import CalamineWorkbook, SheetTypeEnum

    try:
        if zipped:
            _look_inside(path)
        parts = _sheet_parts(path) if zipped else {}
        for name, xml in parts.items():
            _bound(name, xml)
        errors = {name: _error_cells(xml) for name, xml in parts.items()} if zipped else _error_cells_of_xls(path)
        workbook = CalamineWorkbook.from_path(str(path))
        names = [sheet.name for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        return [_sheet(workbook.get_sheet_by_name(name), name, errors.get(name, {})) for name in names]
    except BadFile:
        raise
    except (
        BaseException
    ) as error:  # the reader raises many kinds for one thing, panics of its Rust among them: this is no workbook
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadFile(f"the workbook cannot be read ({error})", SAVE_AGAIN) from error


def _look_inside(path: Path) -> None:
    """Refuse archives that unpack to far more than a data sheet holds, and XML that declares entities."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_COMPRESSION_RATIO * max(path.stat().st_size, 100_000):
            raise BadFile(
                f"the workbook unpacks to {unpacked / 2**20:,.0f} MiB, far more than a data sheet holds",
                "Delete empty formatted rows and embedded objects, or send it as csv.",
            )
        for member in archive.infolist():
            if member.filename.lower().endswith((".xml", ".rels")):
                with archive.open(member) as handle:
                    if b"<!DOCTYPE" in handle.read(2048):
                        raise BadFile(f"the workbook cannot be read ({member.filename} declares entities)", SAVE_AGAIN)


def _sheet_parts(path: Path) -> dict[str, bytes]:
    """The XML of each sheet of an xlsx, by its name."""
    with zipfile.ZipFile(path) as archive:
        parts = set(archive.namelist())
        if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= parts:
            raise BadFile("the workbook is not an xlsx (xlsb and ods are not read)", SAVE_AGAIN)
        relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
        targets = {str(r.get("Id")): str(r.get("Target")) for r in relations}
        found = {}
        for sheet in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter(f"{MAIN}sheet"):
            target = targets.get(sheet.get(f"{RELATIONS}id") or "", "")
            part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            if part in parts:
                found[str(sheet.get("name"))] = archive.read(part)
        return found


def _bound(name: str, xml: bytes) -> None:
    """Refuse a sheet whose cells lie further apart than any data does: the reader makes room for all that is between them."""
    places = CELL_PLACE.findall(xml)
    rows = max(({number for _, number in places}), key=int, default=b"0")
    columns = max(({letters for letters, _ in places}), key=_column, default=b"A")
    if int(rows) > MAX_ROWS or int(rows) * (_column(columns) + 1) > MAX_CELLS:
        raise BadFile(
            f"the sheet {name!r} reaches to column {columns.decode()} and row {int(rows):,}: more than {MAX_CELLS:,} cells",
            "Delete the rows and columns that hold nothing, or send it as csv.",
        )


def _error_cells(xml: bytes) -> dict[int, dict[int, str]]:
    """Cells that the spreadsheet could not compute (``#VALUE!``), by row and column: the reader gives them as empty."""
    if b't="e"' not in xml:
        return {}
    cells: dict[int, dict[int, str]] = {}
    for found in ERROR_CELL.finditer(xml):
        place = ITS_PLACE.search(xml, xml.rfind(b"<c", 0, found.start()), found.end())
        if place:
            cells.setdefault(int(place[2]), {})[_column(place[1])] = found[1].decode()
    return cells


def _error_cells_of_xls(path: Path) -> dict[str, dict[int, dict[int, str]]]:
    """The same of the old format, by sheet. None where its other reader cannot open the file: then nobody can name them."""
    import xlrd

    try:
        with path.open("rb") as handle, xlrd.open_workbook(file_contents=handle.read(), logfile=io.StringIO()) as book:
            return {sheet.name: _errors_of(sheet) for sheet in book.sheets()}
    except Exception:
        return {}


def _errors_of(sheet: Any) -> dict[int, dict[int, str]]:
    from xlrd import XL_CELL_ERROR, error_text_from_code

    found: dict[int, dict[int, str]] = {}
    for number in range(sheet.nrows):
        types = sheet.row_types(number)
        if XL_CELL_ERROR in types:
            values = sheet.row_values(number)
            found[number + 1] = {
                column: error_text_from_code.get(values[column], "#N/A")
                for column, kind in enumerate(types)
                if kind == XL_CELL_ERROR
            }
    return found


def _column(letters: bytes) -> int:
    """``A`` → 0, ``AA`` → 26."""
    column = 0
    for letter in letters:
        column = column * 26 + letter - 64
    return column - 1


def _sheet(sheet: Any, name: str, errors: dict[int, dict[int, str]]) -> Sheet:
    rows: list[tuple[int, list[Cell]]] = []
    real_dates: dict[int, int] = {}
    cells = 0
    for number, row in enumerate(sheet.to_python(skip_empty_area=False), start=1):
        cells += len(row)
        if number > MAX_ROWS or cells > MAX_CELLS:
            raise BadFile(f"more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells", "Split the file.")
        plain = _cells(row[:MAX_COLUMNS], real_dates)
        for column, said in errors.get(number, {}).items():
            if column < len(plain):
                plain[column] = said
        if len(row) > MAX_COLUMNS and any(cell not in (None, "") for cell in row[MAX_COLUMNS:]):
            raise BadFile(f"more than {MAX_COLUMNS} columns", "Delete what is not of the template.", number)
        rows.append((number, plain))
    return Sheet(name, rows, real_dates=real_dates)


def _cells(row: Sequence[Any], real_dates: dict[int, int]) -> list[Cell]:
    """A row's cells as data: most are empty, words and numbers."""
    found: list[Cell] = []
    for column, cell in enumerate(row):
        if type(cell) is str:
            found.append((_text(cell) if len(cell) > LONGEST_WORD else _word(cell)) if cell else None)
        elif type(cell) is float and -1e300 < cell < 1e300:
            found.append(cell)
        else:
            found.append(_rarer(cell, column, real_dates))
    return found


def _rarer(cell: Any, column: int, real_dates: dict[int, int]) -> Cell:
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, int | float):
        return cell if -1e300 < cell < 1e300 else str(cell)
    if cell is None:
        return None
    if isinstance(cell, dt.datetime | dt.date):
        real_dates[column] = max(real_dates.get(column, 0), cell.day)
    return (
        cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
    )  # a duration ([h]:mm) is text like 1 day, 2:00:00


def _text(cell: str) -> str | None:
    """A cell's text as JSON in a database can hold it."""
    if "\x00" in cell:
        cell = cell.replace("\x00", "")
    value = cell.strip()[:MAX_CELL]
    if not value:
        return None
    return value if value.isprintable() else value.encode("utf-8", "replace").decode("utf-8")


@functools.lru_cache(maxsize=16_384)
def _word(cell: str) -> str | None:
    """Short text: the same words stand in thousands of cells, and keeping them keeps no long ones in memory."""
    return _text(cell)


def text_table(text: str, name: str) -> Sheet:
    """A table of text, its delimiter found among comma, semicolon, tab and bar."""
    delimiter = sniff(text)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows, last = [], 0
        for row in _bounded(reader):
            if reader.line_num - last > 1 and _swallows(row, delimiter):
                raise BadFile(
                    f"a quotation mark that opens in line {last + 1:,} is closed {reader.line_num - last:,} lines later, or never: it would"
                    " swallow the rows between",
                    "Remove the quotation mark, or close it.",
                    last + 1,
                )
            rows.append((last + 1, [_text(cell) for cell in row]))
            last = reader.line_num
        return Sheet(name, rows, delimiter)
    except csv.Error as error:
        raise BadFile(f"the file is not a text table ({error})", "Save it as UTF-8 csv and send it again.") from error


def _swallows(row: Sequence[str], delimiter: str) -> bool:
    """Whether a cell of several lines holds what looks like rows: a remark may have lines, but not as many fields as a row."""
    least = max(2, len(row) // 4)
    return any(line.count(delimiter) >= least for cell in row if "\n" in cell for line in cell.splitlines())


def sniff(text: str, lines: int = 15) -> str:
    """The delimiter of a table: the one that parts most of the first lines into most fields."""
    head = text[:65_536].splitlines()[:lines]

    def parts(mark: str) -> tuple[int, int]:
        counts = [line.count(mark) for line in head]
        return sum(count >= 2 for count in counts), sum(counts)

    best = max(",;\t|", key=parts)
    return best if parts(best)[1] else ","


def _bounded(rows: Iterable[Sequence[str]]) -> Iterable[Sequence[str]]:
    cells = 0
    for number, row in enumerate(rows):
        cells += len(row)
        if number >= MAX_ROWS or cells > MAX_CELLS:
            raise BadFile(f"more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells", "Split the file.")
        if len(row) > MAX_COLUMNS:
            if any(cell.strip() for cell in row[MAX_COLUMNS:]):
                raise BadFile(f"more than {MAX_COLUMNS} columns", "Delete what is not of the template.", number + 1)
            row = row[:MAX_COLUMNS]
        yield row


def decode(data: bytes) -> str:
    """Text in UTF-8 (with or without BOM), UTF-16 or UTF-32 with BOM, or else Windows-1252, as people's programs write them.

    Raises BadFile where the bytes are no text at all.
    """
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        encoding = "utf-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise BadFile(
                f"the file begins like {encoding.upper()} and breaks off at byte {error.start:,}",
                "Save it as UTF-8 csv and send it again.",
            ) from error
    if b"\x00" in data:
        raise BadFile("the file is binary, not text", "Send the file that the instrument's software exports as csv.")
    return data.decode("cp1252", "replace")
