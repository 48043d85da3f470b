"""Lists as files that people open: csv and xlsx.

Belongs here: cells, so that no text of a file that came in is a formula or breaks the sheet. Does not belong here: which rows
(``board.py``).

A text that begins like a formula gets a quote before it in csv (OWASP: CSV injection); in xlsx it is written as text.
"""

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from otn_dagster import files
from otn_dagster.tracker import flows

SHEET = "datasets"
COLOURS = {
    "received": "FFDDEBF7",
    "loading": "FFFFF2CC",
    "verified": "FFE2EFDA",
    "matched": "FFC6E0B4",
    "extracted": "FFA9D08E",
    "published": "FF70AD47",
    "rejected": "FFF8CBAD",
    "withdrawn": "FFF8CBAD",
    "failed": "FFF8CBAD",
    "expired": "FFF8CBAD",
    "silent": "FFF8CBAD",
    "superseded": "FFD9D9D9",
    "skipped": "FFD9D9D9",
    "closed": "FFD9D9D9",
    "active": "FFA9D08E",
    "expected": "FFDDEBF7",
    "external": "FFEDEDED",
    "requested": "FFDDEBF7",
    "ready": "FFFFF2CC",
    "ingested": "FFE2EFDA",
    "checked": "FFC6E0B4",
}
_FORMULA = re.compile(r"^\s*[=+\-@\t\r\n|%＝＋－＠−]")
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
LONGEST_CELL = 32_000


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as csv, harmless in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([harmless(name) for name in columns])
    for row in rows:
        writer.writerow([harmless(plain(row.get(name))) for name in columns])
    return out.getvalue()


def harmless(value: Any) -> Any:
    """A cell of a csv that no spreadsheet takes for a formula. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = _NOT_IN_XML.sub("", value).replace("\r", " ").replace("\n", " ").replace("\t", " ")
    return f"'{text}" if _FORMULA.match(value) or _FORMULA.match(text) else text


def plain(value: Any) -> Any:
    """A value as text, number or nothing."""
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    return value


def as_xlsx(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], as_of: dt.datetime) -> bytes:
    """One sheet, always of the same name: header frozen, filters on, states coloured, the moment of the data in the first row."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font, PatternFill

    book = Workbook(write_only=True)
    sheet = book.create_sheet(SHEET)
    sheet.freeze_panes = "A3"
    bold = Font(bold=True)
    fills = {state: PatternFill("solid", fgColor=colour) for state, colour in COLOURS.items()}

    def cell(value: Any, name: str = "") -> Any:
        made = WriteOnlyCell(sheet, _NOT_IN_XML.sub("", value)[:LONGEST_CELL] if isinstance(value, str) else value)
        if isinstance(value, str):
            made.data_type = "s"  # never a formula
        if name == "state" and value in fills:
            made.fill = fills[value]
        return made

    title = cell(f"as of {as_of.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC")
    sheet.append([title])
    header = [cell(name) for name in columns]
    for one in header:
        one.font = bold
    for number, name in enumerate(columns):
        sheet.column_dimensions[_letter(number)].width = 40 if name in ("title", "blocker", "hold_why") else 16
    sheet.append(header)
    count = 0
    for row in rows:
        sheet.append([cell(plain(row.get(name)), name) for name in columns])
        count += 1
    sheet.auto_filter.ref = f"A2:{_letter(len(columns) - 1)}{count + 2}"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """The workbook as a file. Safe to repeat and to kill: it is written aside and renamed."""
    files.write(path, as_xlsx(columns, rows, dt.datetime.now(dt.UTC)))


def _letter(number: int) -> str:
    from openpyxl.utils import get_column_letter

    return get_column_letter(number + 1)


assert set(COLOURS) == {state for states in flows.STATES.values() for state in states}
