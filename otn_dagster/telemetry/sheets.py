"""Reading tables that people make: xlsx, xls and csv, with banner rows, strange headers and strange cells.

Belongs here: files to rows of cells with line numbers, and cells to typed values. Does not belong here: what a column
means (``tags.py``, ``deployments.py``).
"""

import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otn_dagster.telemetry.refusals import BadFile, Refusal

MAX_UNPACKED_BYTES = 256 * 2**20
MAX_COMPRESSION_RATIO = 200
MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 1_000_000, 500, 20_000_000
MAX_TEXT_BYTES = 256 * 2**20
BANNER_ROWS = 15  # a header is looked for in this many first rows

Cell = str | int | float | bool | dt.datetime | dt.date | dt.time | None


@dataclass(frozen=True)
class SheetRow:
    """One row: its number in the file, counted from 1, and its cells by normalised header."""

    number: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Sheet:
    """A table found in a file: the normalised headers, the number of the header row, the rows that hold anything."""

    headers: list[str]
    header_row: int
    rows: list[SheetRow]


def normalise_header(header: object) -> str:
    """``LENGTH (m)`` → ``length``, ``Harvest_Date `` → ``harvest_date``: no brackets, no case, spaces as underscores."""
    name = re.sub(r"\(.*?\)|\(.*$", " ", str(header or ""))
    return re.sub(r"[\s_]+", "_", name.strip()).strip("_").lower()


def read_sheet(path: Path, expected: Iterable[str], aliases: dict[str, str] | None = None) -> Sheet:
    """The table of a workbook or csv whose header row holds most of the expected (normalised) names.

    Raises BadFile where there is none, the file is no table, or it would unpack to more than this machine should read.
    """
    wanted, aliases = set(expected), aliases or {}
    best: tuple[int, int, list[Sequence[Cell]]] | None = None
    for rows in _tables(path):
        for index, row in enumerate(rows[:BANNER_ROWS]):
            names = {aliases.get(name, name) for name in map(normalise_header, row)}
            score = len(wanted & names)
            if best is None or score > best[0]:
                best = (score, index, rows)
    if best is None or best[0] < 3:
        found = [str(cell) for cell in (best[2][best[1]] if best else []) if cell is not None][:8]
        raise BadFile(
            f"no header row among the first {BANNER_ROWS} rows; expected columns like {sorted(wanted)[:6]}, found {found}",
            "Is this the right kind of file for this folder? Use the template of the node and keep its header row.",
        )
    return _with_header(best[2], best[1], aliases)


def _with_header(rows: list[Sequence[Cell]], index: int, aliases: dict[str, str]) -> Sheet:
    headers = [aliases.get(name, name) for name in map(normalise_header, rows[index])]
    named = [name for name in headers if name]
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        raise BadFile(
            f"the columns {repeated} stand more than once in the header",
            "Remove or rename the repeated columns.",
            index + 1,
        )
    body = []
    for number, row in enumerate(rows[index + 1 :], start=index + 2):
        cells = {name: _clean(cell) for name, cell in zip(headers, row, strict=False) if name}
        if any(cell is not None for cell in cells.values()):
            body.append(SheetRow(number, cells))
    if not body:
        raise BadFile("the table has a header and no rows", "Check that the file was saved with its data.", index + 1)
    return Sheet(named, index + 1, body)


def _clean(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return cell.replace("\x00", "").strip() or None
    return cell


def _tables(path: Path) -> list[list[Sequence[Cell]]]:
    if path.stat().st_size == 0:
        raise BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise BadFile(
            f"the file is larger than {MAX_TEXT_BYTES / 2**20:,.0f} MiB, which no sheet is", "Split the file."
        )
    start = path.open("rb").read(8)
    if start.startswith(b"PK"):
        return _xlsx(path)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        return _xls(path)
    if path.suffix.lower() in {".xlsx", ".xls", ".xlsm"}:
        raise BadFile(
            "the name says Excel but the content is not a workbook",
            "Open it in Excel and save it again as .xlsx.",
        )
    return [_csv(path)]


def _xlsx(path: Path) -> list[list[Sequence[Cell]]]:
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_COMPRESSION_RATIO * max(path.stat().st_size, 100_000):
            raise BadFile(
                f"the workbook unpacks to {unpacked / 2**20:,.0f} MiB, far more than a data sheet holds",
                "Delete empty formatted rows and embedded objects, or send it as csv.",
            )
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = [
            _bounded(sheet.iter_rows(max_col=MAX_COLUMNS + 1, values_only=True))  # type: ignore[arg-type]
            for sheet in workbook.worksheets
        ]
        return [[tuple(row) for row in sheet] for sheet in sheets]
    except BadFile:
        raise
    except Exception as error:  # openpyxl and zipfile raise many kinds for one thing: this is no workbook
        raise BadFile(
            f"the workbook cannot be read ({error})", "Open it in Excel and save it again as .xlsx."
        ) from error


def _xls(path: Path) -> list[list[Sequence[Cell]]]:
    import xlrd

    try:
        workbook = xlrd.open_workbook(str(path))
    except Exception as error:
        raise BadFile(f"the old Excel file cannot be read ({error})", "Save it as .xlsx and send it again.") from error

    def value(cell: Any) -> Cell:
        if cell.ctype == xlrd.XL_CELL_DATE:
            return xlrd.xldate_as_datetime(cell.value, workbook.datemode)
        return None if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK, xlrd.XL_CELL_ERROR) else cell.value

    try:
        return [
            list(_bounded(tuple(map(value, sheet.row(i))) for i in range(sheet.nrows))) for sheet in workbook.sheets()
        ]
    except (ValueError, OverflowError, xlrd.XLDateError) as error:
        raise BadFile(f"a cell cannot be read ({error})", "Save it as .xlsx and send it again.") from error


def _csv(path: Path) -> list[Sequence[Cell]]:
    text = decode(path.read_bytes())
    head = "\n".join(text.splitlines()[:BANNER_ROWS])
    delimiter = max(",;\t", key=head.count)
    try:
        return list(_bounded(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
    except csv.Error as error:
        raise BadFile(f"the file is no table of text ({error})", "Save it as UTF-8 csv and send it again.") from error


def decode(data: bytes) -> str:
    """Text of a file in UTF-8 (with or without BOM), UTF-16 with BOM, or else ISO-8859-1, as instruments write them."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


def _bounded(rows: Iterable[Sequence[Cell]]) -> Iterable[Sequence[Cell]]:
    cells = 0
    for number, row in enumerate(rows):
        cells += len(row)
        if number >= MAX_ROWS or cells > MAX_CELLS:
            raise BadFile(f"more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells", "Split the file.")
        if len(row) > MAX_COLUMNS:
            if any(cell not in (None, "") for cell in row[MAX_COLUMNS:]):
                raise BadFile(f"more than {MAX_COLUMNS} columns", "Delete what is not of the template.", number + 1)
            row = row[:MAX_COLUMNS]
        yield row


# Cells to values. Each returns None for a blank and raises ValueError(expected) for what it cannot take.


def text(cell: Cell) -> str | None:
    """Text; whole numbers lose their ``.0``, as serial numbers typed into Excel need."""
    if cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        return cell.isoformat()
    return re.sub(r"\s+", " ", str(cell)).strip() or None


def serial(cell: Cell) -> str | None:
    """A serial number or id code: text in which Excel's ``1166129.0`` and ``1.166129E6`` are whole numbers again."""
    value = text(cell)
    if value and re.fullmatch(r"\d+\.0+|\d(\.\d+)?[eE]\+?\d+", value) and float(value).is_integer():
        return str(int(float(value)))
    return value


def number(cell: Cell) -> float | None:
    """A finite number."""
    if cell is None:
        return None
    try:
        value = float(str(cell).replace(",", ".")) if not isinstance(cell, dt.date | dt.time) else float("nan")
    except ValueError:
        raise ValueError("a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("a number")
    return value


def days(cell: Cell) -> float | None:
    """A duration in days: ``3650``, ``3650 days``."""
    value = text(cell)
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(d|days?)?", value, re.IGNORECASE)
    if not found:
        raise ValueError("a number of days, like 3650 or 3650 days")
    return float(found[1])


EXCEL_EPOCH = dt.datetime(1899, 12, 30)  # with 1900-02-29 that never was
FORMATS = ["%Y-%m-%d", "%Y/%m/%d", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S"]


def moment(cell: Cell) -> dt.datetime | None:
    """A UTC time: ISO text (``T`` or space, fraction, ``Z``), an Excel date, or an Excel serial number, even as text."""
    expected = "a date like 2022-08-29T14:05:00 (UTC) or an Excel date"
    if cell is None:
        return None
    if isinstance(cell, dt.datetime):
        return cell.replace(tzinfo=None) if cell.tzinfo is None else cell.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(cell, dt.date):
        return dt.datetime.combine(cell, dt.time())
    value = str(cell).strip()
    if re.fullmatch(r"\d{4,6}(\.\d+)?", value) and 1000 <= float(value) < 100_000:
        whole = EXCEL_EPOCH + dt.timedelta(days=float(value))
        return (whole + dt.timedelta(milliseconds=0.5)).replace(microsecond=0) if whole.microsecond > 999_000 else whole
    try:
        parsed = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
        return parsed if parsed.tzinfo is None else parsed.astimezone(dt.UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(expected) from None
    except ValueError:
        for pattern in FORMATS:
            try:
                return dt.datetime.strptime(value, pattern)
            except ValueError:
                continue
    raise ValueError(expected)


def latitude(cell: Cell) -> float | None:
    """Decimal degrees north, -90 to 90."""
    value = number(cell)
    if value is not None and not -90 <= value <= 90:
        raise ValueError("a latitude in decimal degrees, -90 to 90 (are latitude and longitude swapped?)")
    return value


def longitude(cell: Cell) -> float | None:
    """Decimal degrees east, -180 to 180."""
    value = number(cell)
    if value is not None and not -180 <= value <= 180:
        raise ValueError("a longitude in decimal degrees, -180 to 180")
    return value


@dataclass(frozen=True)
class Column:
    """How one column of a sheet becomes a field."""

    name: str
    parse: Callable[[Cell], Any]
    mandatory: bool = False


def typed_row(row: SheetRow, columns: Sequence[Column]) -> tuple[dict[str, Any], Refusal | None]:
    """Typed values of a row by column name, and the first reason to refuse it, if there is one."""
    values: dict[str, Any] = {}
    for column in columns:
        cell = row.cells.get(column.name)
        try:
            values[column.name] = column.parse(cell)
        except ValueError as error:
            return values, refuse(row, column.name, cell, str(error), "Correct the cell and send the file again.")
        if column.mandatory and values[column.name] is None:
            return values, refuse(row, column.name, None, "a value: this column is mandatory", "Fill in the cell.")
    return values, None


def refuse(row: SheetRow, column: str | None, found: object, expected: str, remedy: str) -> Refusal:
    """A refusal of this row, with all its cells kept."""
    return Refusal(row.number, column, None if found is None else str(found), expected, remedy, printable(row.cells))


def printable(cells: dict[str, Cell]) -> dict[str, Any]:
    """Cells as JSON can hold them: what was in the sheet, times as ISO text."""
    return {
        name: cell.isoformat() if isinstance(cell, dt.datetime | dt.date | dt.time) else cell
        for name, cell in cells.items()
        if cell is not None
    }


def missing_columns(sheet: Sheet, columns: Sequence[Column]) -> list[str]:
    """Mandatory columns that the header does not have."""
    return [column.name for column in columns if column.mandatory and column.name not in sheet.headers]
