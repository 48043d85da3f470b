"""The list of datasets in a Google spreadsheet, for nodes that share one: rows are updated in place, by item.

Belongs here: which cells are written. Does not belong here: which rows (``board.py``).

Only the tab that is named is touched, and there only the columns of this list, from A on: what people keep to the right of them, their
order of rows, their filters and other tabs stay. Values are sent RAW, so that no text becomes a formula.

An optional extra (``pip install otn-dagster[google]``): credentials are those of Google's own library, from
``GOOGLE_APPLICATION_CREDENTIALS``.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from otn_dagster.explained import Explained
from otn_dagster.tracker import export

SHEETS = "https://sheets.googleapis.com/v4/spreadsheets"
SCOPE = "https://www.googleapis.com/auth/spreadsheets"
KEY = "item_id"


class NotOurs(Explained):
    """A tab that is not laid out as this list is; nothing was written."""


def authorised() -> httpx.Client:
    """A client with the credentials of the environment."""
    try:
        import google.auth  # pyright: ignore[reportMissingImports]
        from google.auth.transport.requests import Request  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Explained("Google Sheets needs the extra: pip install otn-dagster[google]") from error
    credentials, _ = google.auth.default(scopes=[SCOPE])
    credentials.refresh(Request())
    return httpx.Client(headers={"Authorization": f"Bearer {credentials.token}"}, timeout=60)


def update(
    client: httpx.Client, spreadsheet: str, tab: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> tuple[int, int]:
    """(rows that changed, rows that were added). Safe to repeat: rows that say the same already are not written.

    The tab must exist and be empty, or begin with this list's header; raises NotOurs otherwise.
    """
    if columns[0] != KEY:
        raise ValueError(f"the first column is {columns[0]}, expected {KEY}")
    last = _letter(len(columns))
    there = _get(client, spreadsheet, f"{_quoted(tab)}!A:{last}")
    header = list(columns)
    if there and [cell for cell in there[0] if cell != ""] and there[0][: len(columns)] != header:
        raise NotOurs(f"the tab {tab!r} begins with {there[0][:4]}, expected {header[:4]}; name an empty tab")
    known = {str(row[0]): number for number, row in enumerate(there[1:], start=2) if row and row[0] != ""}
    changes: list[dict[str, Any]] = []
    if not there or there[0][: len(columns)] != header:
        changes.append({"range": f"{_quoted(tab)}!A1:{last}1", "values": [header]})
    changed = added = 0
    following = max(len(there), 1) + 1
    for row in rows:
        cells = [_cell(row.get(name)) for name in columns]
        number = known.get(cells[0])
        if number is None:
            number, following, added = following, following + 1, added + 1
        elif _padded(there[number - 1], len(columns)) == cells:
            continue
        else:
            changed += 1
        changes.append({"range": f"{_quoted(tab)}!A{number}:{last}{number}", "values": [cells]})
    for first in range(0, len(changes), 500):
        body = {"valueInputOption": "RAW", "data": changes[first : first + 500]}
        client.post(f"{SHEETS}/{quote(spreadsheet, safe='')}/values:batchUpdate", json=body).raise_for_status()
    return changed, added


def _get(client: httpx.Client, spreadsheet: str, area: str) -> list[list[str]]:
    answer = client.get(f"{SHEETS}/{quote(spreadsheet, safe='')}/values/{quote(area, safe='')}")
    answer.raise_for_status()
    return [[str(cell) for cell in row] for row in answer.json().get("values", [])]


def _cell(value: Any) -> str:
    plain = export.plain(value)
    return "" if plain is None else str(plain)


def _padded(cells: Sequence[str], size: int) -> list[str]:
    return [*cells[:size], *[""] * (size - len(cells))]


def _quoted(tab: str) -> str:
    return "'" + tab.replace("'", "''") + "'"


def _letter(count: int) -> str:
    letters = ""
    while count:
        count, rest = divmod(count - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
