"""Eleven dressings of one sheet, each classified as what it is; new versions that take too much away wait for a person."""

import datetime as dt
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from otn_dagster import files
from otn_dagster.demo.files import TAG_HEADER
from otn_dagster.telemetry import submissions
from otn_dagster.tracker import acting, items
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.receipt import duplicates, prints, receipt
from tests.support.node import Node
from tests.support.sheets import tag_sheet, vue
from tests.support.tracking import HEAD, as_csv, item_of, load, part, receive, sheet

COLUMN = {name.split("   ")[0]: number for number, name in enumerate(TAG_HEADER)}


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
    assert again.hold is None and files.sha256_of(node.settings.submissions / _path(node, again)) == again.sha256


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


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("tags", tag_sheet({"UTC_RELEASE_DATE_TIME": "0001-01-01T00:00:00+10:00"})),
        ("tags", tag_sheet({"UTC_RELEASE_DATE_TIME": "9999-12-31T23:59:59-05:00"})),
        ("detections", b"\xef\xbb\xbf"),
        ("project", b"PK\x03\x04\x00\x00\x00 a document\nwith lines\n"),
    ],
)
def test_a_file_that_cannot_be_compared_stops_no_others(node: Node, home: Path, kind: str, content: bytes):
    node.drop(f"OTN/BAD/{kind}", "first", content)
    node.drop(f"OTN/BAD/{kind}", "second", content + b"\n")
    node.drop_form("HFX")
    load(node)
    assert node.value("select state from platform.submissions where collectioncode = 'HFX'") == "loaded"
    assert node.value("select count(*) from platform.tracker_prints") == 3


def test_an_error_while_comparing_is_told_and_the_file_is_loaded(node: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prints, "of_file", lambda *_: 1 / 0)
    node.drop_form("HFX")
    found = receipt.look(node.settings, node.config.tracker.quarantine, {}, wait_for_stillness=False)
    assert "could not be compared" in found.problems[0]
    with node.connect() as connection:
        assert len(receipt.ready(connection)) == 1


def test_a_form_with_two_corrected_lines_is_not_quarantined(node: Node):
    lines = [f"line {n}" for n in range(20)]
    receive(node, "form.txt", "\n".join(lines).encode(), kind="project")
    changed = "\n".join(["other", "lines", *lines[2:]]).encode()
    assert receive(node, "form.txt", changed, kind="project").hold is None


def test_a_version_is_compared_with_what_was_loaded_not_with_what_was_quarantined(node: Node, home: Path):
    node.drop_form("HFX")
    receive(node, "tags.csv", as_csv(sheet()))
    load(node)
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 200)))).hold == "quarantined"
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(1, 200)))).hold == "quarantined"  # the same again
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 495)))).hold is None
    load(node)
    left = {state for (state,) in node.rows("select state from platform.submissions where kind = 'tags'")}
    assert left <= {"superseded", "loaded", "held", "received"}


def test_ids_that_changed_en_masse_are_shown(node: Node):
    receive(node, "tags.csv", as_csv(sheet()))
    other = [[cell if n != 0 else f"Z{cell}" for n, cell in enumerate(row)] for row in sheet()[1:]]
    changed = receive(node, "tags.csv", as_csv([sheet()[0], *other]))
    assert changed.hold == "quarantined"
    from otn_dagster.tracker.receipt import duplicates

    with node.connect() as connection:
        (found,) = duplicates.of(connection, changed.item_id)
    assert found["dropped"] == 500 and found["difference"]


def test_an_older_version_does_not_come_back(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    load(node)
    first = item_of(node, "tags.csv")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"SEX": "M"}))
    load(node)
    with node.connect() as connection, pytest.raises(follow_submissions.OnHold):
        follow_submissions.begin(connection, submissions.get(connection, first.subject), Actor.run("load_tags", "r"))
