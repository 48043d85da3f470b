"""Eleven dressings of one sheet, each classified as what it is; new versions that take too much away wait for a person."""

import csv
import datetime as dt
import io
import random
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest

from otn_dagster.demo.files import TAG_HEADER
from otn_dagster.telemetry import submissions
from otn_dagster.tracker import acting, board, items
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.receipt import duplicates, prints, receipt
from tests.node import Node
from tests.telemetry.test_loading import tag_sheet, vue

ROWS = 500


def sheet() -> list[list[Any]]:
    """Header and rows of a tag sheet, as csv cells."""
    rows = tag_sheet(
        *[
            {
                "ANIMAL_ID": f"A{n}",
                "TAG_SERIAL_NUMBER": str(10_000 + n),
                "TAG_ID_CODE": str(n),
                "RELEASE_LATITUDE": round(44 + n / 7000, 6),
                "UTC_RELEASE_DATE_TIME": f"2024-06-{1 + n % 28:02d}T12:{n % 60:02d}:00",
                "LENGTH (m)": 1 + n / 100,
            }
            for n in range(ROWS)
        ]
    )
    return list(csv.reader(io.StringIO(rows.decode())))


HEAD = next(n for n, row in enumerate(sheet()) if "ANIMAL_ID" in "".join(row).upper())
COLUMN = {name.split("   ")[0]: number for number, name in enumerate(TAG_HEADER)}


def as_csv(rows: list[list[Any]], end: str = "\n") -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    return out.getvalue().encode()


def as_xlsx(rows: list[list[Any]]) -> bytes:
    """A workbook as a person makes one: numbers as numbers, dates as dates."""
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    for row in rows:
        page.append([_cell(value) for value in row])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _cell(value: str) -> Any:
    for make in (float, dt.datetime.fromisoformat):
        try:
            return make(value)
        except ValueError:
            continue
    return value or None


def changed(
    rows: list[list[Any]], name: str, make: Callable[[str], Any], which: Callable[[int], bool] = lambda n: True
) -> list[list[Any]]:
    column = COLUMN[name]
    return [
        [
            make(cell) if n > HEAD and number == column and which(n - HEAD - 1) else cell
            for number, cell in enumerate(row)
        ]
        for n, row in enumerate(rows)
    ]


def shuffled(rows: list[list[Any]]) -> list[list[Any]]:
    body = rows[HEAD + 1 :]
    random.Random(3).shuffle(body)
    return [*rows[: HEAD + 1], *body]


def other_columns(rows: list[list[Any]]) -> list[list[Any]]:
    order = list(range(len(rows[HEAD])))
    random.Random(4).shuffle(order)
    return [[row[n] if n < len(row) else "" for n in order] for row in rows]


def part(rows: list[list[Any]], some: slice) -> list[list[Any]]:
    return [*rows[: HEAD + 1], *rows[HEAD + 1 :][some]]


def more(rows: list[list[Any]]) -> list[list[Any]]:
    new = [
        [cell if n != COLUMN["ANIMAL_ID"] else f"N{cell}" for n, cell in enumerate(row)]
        for row in rows[HEAD + 1 : HEAD + 51]
    ]
    return [*rows, *new]


def date(cell: str) -> str:
    return dt.datetime.fromisoformat(cell).strftime("%Y/%m/%d %H:%M:%S")


DRESSINGS: dict[str, tuple[str, Callable[[list[list[Any]]], bytes], float]] = {
    "the same bytes": ("same_bytes", as_csv, 100),
    "other line ends": ("same_table", lambda rows: as_csv(rows, "\r\n"), 100),
    "a workbook": ("same_table", as_xlsx, 100),
    "other order of rows": ("same_table", lambda rows: as_csv(shuffled(rows)), 100),
    "other order of columns": ("same_table", lambda rows: as_csv(other_columns(rows)), 100),
    "dates written otherwise": ("same_table", lambda rows: as_csv(changed(rows, "UTC_RELEASE_DATE_TIME", date)), 100),
    "latitude rounded": (
        "same_table",
        lambda rows: as_csv(changed(rows, "RELEASE_LATITUDE", lambda cell: f"{float(cell):.5f}")),
        100,
    ),
    "a part": ("subset", lambda rows: as_csv(part(rows, slice(0, 300))), 60),
    "with more": ("superset", lambda rows: as_csv(more(rows)), 90.9),
    "one cell corrected": ("revision", lambda rows: as_csv(changed(rows, "SEX", lambda _: "M", lambda n: n == 7)), 100),
    "half of it, and others": (
        "overlap",
        lambda rows: as_csv(changed(rows, "ANIMAL_ID", lambda cell: f"X{cell}", lambda n: n >= 250)),
        33.3,
    ),
}


def receive(node: Node, name: str, content: bytes, code: str = "HFX", kind: str = "tags") -> items.Item:
    node.drop(f"OTN/{code}/{kind}", name, content)
    receipt.look(node.settings, {}, wait_for_stillness=False)
    with node.connect() as connection:
        found = [
            row["item_id"]
            for row in board.items(connection, board.ALL, board.Filter(collection=code, kind=kind), None)
            if row["title"] == name
        ]
        return items.get(connection, max(found))


def test_there_are_eleven():
    assert len(DRESSINGS) == 11


@pytest.mark.parametrize("dressing", DRESSINGS)
def test_a_dressing_is_what_it_is(node: Node, dressing: str):
    verdict, dress, overlap = DRESSINGS[dressing]
    first = receive(node, "tags.csv", as_csv(sheet()))
    # The same bytes in the same place are the same submission: they are sent to another project.
    again = receive(
        node,
        f"again.{'xlsx' if dressing == 'a workbook' else 'csv'}",
        dress(sheet()),
        "NSBS" if verdict == "same_bytes" else "HFX",
    )
    assert again.item_id != first.item_id
    with node.connect() as connection:
        (found,) = [one for one in duplicates.of(connection, again.item_id) if one["mine"]]
    assert (found["verdict"], found["item_id"]) == (verdict, first.item_id)
    assert found["overlap_percent"] == pytest.approx(overlap, abs=0.1)
    assert again.hold is None and submissions.sha256_of(node.settings.submissions / _path(node, again)) == again.sha256


def _path(node: Node, item: items.Item) -> str:
    return node.value("select stored_path from platform.submissions where submission_key = %s", item.subject)


def test_three_metres_are_not_the_same_place(node: Node):
    receive(node, "tags.csv", as_csv(sheet()))
    moved = changed(sheet(), "RELEASE_LATITUDE", lambda cell: f"{float(cell) + 0.00003:.6f}", lambda n: n == 7)
    again = receive(node, "again.csv", as_csv(moved))
    with node.connect() as connection:
        (found,) = duplicates.of(connection, again.item_id)
    assert found["verdict"] == "revision" and found["differing"] == 1
    assert list(found["difference"][0]["cells"]) == ["release_latitude"]


def test_a_revision_shows_which_cells_differ(node: Node):
    receive(node, "tags.csv", as_csv(sheet()))
    again = receive(node, "again.csv", as_csv(changed(sheet(), "SEX", lambda _: "M", lambda n: n == 7)))
    with node.connect() as connection:
        (found,) = duplicates.of(connection, again.item_id)
    assert found["difference"] == [{"key": "A7 A69-1602 7", "what": "differs", "cells": {"sex": ["F", "M"]}}]


def test_a_new_version_that_drops_too_many_keys_waits_for_a_person(node: Node):
    receive(node, "tags.csv", as_csv(sheet()))
    fewer = receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 470))))
    assert fewer.hold == "quarantined" and "drops 6.0 % of the keys" in (fewer.hold_why or "")
    with node.connect() as connection:
        assert fewer.subject not in {s.submission_key for s, _ in receipt.ready(connection)}
        (found,) = duplicates.of(connection, fewer.item_id)
        assert (found["dropped"], len([row for row in found["difference"] if row["what"] == "dropped"])) == (30, 30)
        acting.act(connection, TrackerSettings(), fewer.item_id, "release", "ada@example.org", "those animals died")
        ready = {s.submission_key: occasion for s, occasion in receipt.ready(connection)}
    assert "released" in ready[fewer.subject]


@pytest.mark.parametrize(("kept", "held"), [(slice(0, 480), None), (slice(0, 390), "quarantined")])
def test_little_may_go_and_much_may_not(node: Node, kept: slice, held: str | None):
    receive(node, "tags.csv", as_csv(sheet()))
    assert receive(node, "tags.csv", as_csv(part(sheet(), kept))).hold == held


def test_a_count_that_jumps_waits_for_a_person(node: Node):
    receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 400))))
    grown = receive(node, "tags.csv", as_csv(sheet()))
    assert grown.hold == "quarantined" and "500 rows instead of 400" in (grown.hold_why or "")


def test_detections_are_compared_by_receiver_and_time(node: Node):
    rows = [f"2024-06-{1 + n // 24:02d}T{n % 24:02d}:00:00 VR2W-111 A69-1602-{n}" for n in range(400)]
    receive(node, "a.csv", vue(*rows), kind="detections")
    part_of = receive(node, "b.csv", vue(*rows[:100]), kind="detections")
    other = receive(node, "c.csv", vue(*[row.replace("VR2W-111", "VR2W-222") for row in rows]), kind="detections")
    with node.connect() as connection:
        (found,) = [one for one in duplicates.of(connection, part_of.item_id) if one["mine"]]
        assert found["verdict"] == "subset" and found["overlap_percent"] == 25.0
        assert not duplicates.of(connection, other.item_id)


def test_what_is_no_table_is_left_to_loading(node: Node):
    item = receive(node, "tags.csv", b"\x00\x01 this is no table")
    assert item.hold is None
    with node.connect() as connection:
        assert item.subject in {s.submission_key for s, _ in receipt.ready(connection)}
        assert not duplicates.waiting(connection)


def test_a_table_prints_alike_whatever_the_order_of_its_rows():
    rows = prints._hashes(str(n) for n in range(1000))
    assert (rows == prints._hashes(str(n) for n in reversed(range(1000)))).all()
    assert len({prints.hash_of(str(n)) for n in range(1000)}) == 1000
