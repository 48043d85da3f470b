"""The spreadsheet that people share: our rows are updated in place, and nothing else is touched."""

import json
import re
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from otn_dagster.tracker import google_sheets
from otn_dagster.tracker.google_sheets import NotOurs

COLUMNS = ["item_id", "title", "state"]


class Spreadsheet:
    """A spreadsheet behind Google's calls: tabs of cells by place."""

    def __init__(self) -> None:
        self.tabs: dict[str, dict[tuple[int, str], str]] = {"datasets": {}, "notes": {(1, "A"): "mine"}}
        self.writes: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.raw_path.decode())
        assert path.startswith("/v4/spreadsheets/BOOK/values")
        if request.method == "GET":
            tab, last = re.findall(r"/values/'(.*)'!A:([A-Z])$", path)[0]
            cells = self.tabs[tab]
            rows = [
                [cells.get((n, chr(c)), "") for c in range(65, ord(last) + 1)]
                for n in range(1, max([0, *[n for n, _ in cells]]) + 1)
            ]
            return httpx.Response(200, json={"values": [self._short(row) for row in rows]} if rows else {})
        body = json.loads(request.content)
        assert body["valueInputOption"] == "RAW"
        for change in body["data"]:
            tab, number, last, again = re.findall(r"^'(.*)'!A(\d+):([A-Z])(\d+)$", change["range"])[0]
            assert number == again and len(change["values"]) == 1
            self.writes.append(change["range"])
            for offset, value in enumerate(change["values"][0]):
                assert chr(65 + offset) <= last
                self.tabs[tab][int(number), chr(65 + offset)] = value
        return httpx.Response(200, json={})

    def _short(self, row: list[str]) -> list[str]:
        """Google leaves out empty cells at the end of a row."""
        while row and row[-1] == "":
            row = row[:-1]
        return row

    def update(self, *rows: Any, tab: str = "datasets") -> tuple[int, int]:
        self.writes.clear()
        client = httpx.Client(transport=httpx.MockTransport(self.answer))
        return google_sheets.update(
            client, "BOOK", tab, COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        )

    def row(self, number: int) -> list[str]:
        return [self.tabs["datasets"].get((number, letter), "") for letter in "ABCDE"]


def test_rows_are_updated_in_place_by_item_and_people_keep_what_is_theirs():
    book = Spreadsheet()
    assert book.update((1, "a", "received"), (2, "b", None)) == (0, 2)
    book.tabs["datasets"][2, "E"] = "ask Nadia"
    first, second = book.row(2), book.row(3)  # somebody sorts the rows
    for letter, one, two in zip("ABCDE", first, second, strict=True):
        book.tabs["datasets"][3, letter], book.tabs["datasets"][2, letter] = one, two
    assert book.update((1, "a", "verified"), (2, "b", None), (3, "=c", "received")) == (1, 1)
    assert book.row(3) == ["1", "a", "verified", "", "ask Nadia"] and book.row(2)[:3] == ["2", "b", ""]
    assert book.row(4)[:3] == ["3", "=c", "received"]
    assert book.update((1, "a", "verified"), (2, "b", None), (3, "=c", "received")) == (0, 0) and book.writes == []
    assert book.tabs["notes"] == {(1, "A"): "mine"}


def test_a_tab_of_somebody_else_is_not_written():
    book = Spreadsheet()
    with pytest.raises(NotOurs, match="begins with"):
        book.update((1, "a", "received"), tab="notes")
    assert book.writes == []
