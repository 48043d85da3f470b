"""Fixes of what is loaded: shown first, applied by a second person, true in every number, undone to the bit."""

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from otn_dagster import decisions
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unusable
from otn_dagster.telemetry import overrides, submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.loading import fixes
from otn_dagster.telemetry.push import matching, snapshot
from tests.support.effort import times
from tests.support.fixing import H1, H2, SHARK, TAG, accept, consequences, listed, network, send, shown, state
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node, hashes, table_dump
from tests.support.once import Once, copied, made_once
from tests.support.sheets import deployments, tag_sheet, vue

UPPER = ["obis.otn_animals", "obis.moorings", "platform.stations", "obis.otn_detections"]
LISTS = {
    "serial": f"receiver_catalognumber,correct_serial\n{H1},115\n",
    "tag dates": f"tag_catalognumber,correct_start_date,correct_end_date\n{TAG},,2024-07-01\n",
    "release": "tag_catalognumber,correct_start_date,correct_end_date\nHFX-B-A69-1602-200,2024-08-02T00:00:00,\n",
    "station": "station_name,correct_latitude,correct_longitude\nH1,44.5,-63.5\n",
    "receiver": f"receiver_catalognumber,correct_latitude,correct_longitude\n{H2},44.6,-63.6\n",
    "animal": f"animal_catalognumber,correct_animal_id\n{SHARK},Hooker\n",
    "code": f"tag_catalognumber,correct_code\n{TAG},A69-1602-999\n",
    "receiver deleted": f"catalognumber,delete_reason\n{H2},it was never there\n",
    "animal deleted": f"catalognumber,delete_reason\n{SHARK},entered twice\n",
}


def _begin(node: Node) -> None:
    node.clock("2026-10-01T00:00:00")
    network(node)
    assert set(node.load().values()) == {"loaded"}
    node.clock("2026-10-17T00:00:00")
    node.push(PAST_PUSH)
    node.clock("2026-10-20T00:00:00")


@pytest.fixture(scope="module")
def begun(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, _begin)


@pytest.fixture
def pushed(begun: Once, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Two projects that were pushed once."""
    return copied(begun, server, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", LISTS)
def test_what_a_fix_shows_is_what_the_next_push_lists_and_undone_nothing_is_left_of_it(pushed: Node, name: str):
    before = table_dump(pushed, *UPPER)
    key = send(pushed, "fix.csv", LISTS[name])
    assert state(pushed, key)[0] == "held" and table_dump(pushed, *UPPER) == before
    lines = shown(pushed, key)
    assert accept(pushed, key) == "loaded"
    found = consequences(pushed, key)
    folder = pushed.push(NEXT_PUSH)
    assert found["extracts"] == listed(folder) != []
    assert f"{found['detections']:,} detection(s) change" in "\n".join(lines)
    was, now = (matching.read(snapshot.push_folder(pushed.settings, date)) for date in (PAST_PUSH, NEXT_PUSH))
    assert differing(was, now) == found["detections"] > 0
    undo(pushed, key)
    assert table_dump(pushed, *UPPER) == before and state(pushed, key)[0] == "undone"
    undo(pushed, key)


def differing(*both: matching.Matches) -> int:
    """Detections that two pushes say otherwise, by rows as text."""
    was, now = (
        {(row["det_key"], str(row)) for path in one.buckets for row in pl.read_parquet(path).drop("min_lag").to_dicts()}
        for one in both
    )
    return len({number for number, _ in was ^ now})


def undo(node: Node, key: str) -> None:
    with node.connect() as connection:
        fixes.undo(connection, submissions.get(connection, key), "ada", "it was right before")


def test_a_fix_stands_whatever_a_sheet_says_that_is_sent_again(pushed: Node):
    for name in ("serial", "station", "animal deleted"):
        key = send(pushed, f"{name.replace(' ', '_')}.csv", LISTS[name])
        assert accept(pushed, key) == "loaded"
    key = send(
        pushed, "dates.csv", "tag_catalognumber,correct_start_date,correct_end_date\nHFX-B-A69-1602-200,,2025-01-01\n"
    )
    assert accept(pushed, key) == "loaded"
    before = table_dump(pushed, *UPPER)
    rows = [
        "HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,",
        "HFX,H1,2025-05-01T00:00:00,44.1,-63.1,VR2W,114,y,2025-12-01T00:00:00,",
        "HFX,H2,2024-05-01T00:00:00,44.2,-63.2,VR2W,112,y,2024-12-01T00:00:00,A69-1601-9001",
        "",
    ]
    pushed.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    again = tag_sheet(
        *[{"TAG_ID_CODE": code, "TAG_SERIAL_NUMBER": n, "LENGTH (m)": 1.6} for code, n in (("100", "1"), ("101", "2"))],
        {"ANIMAL_ID": "B", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "3"},
    )
    pushed.drop("OTN/HFX/tags", "tags.csv", again)
    assert set(pushed.load().values()) == {"loaded"}
    assert table_dump(pushed, *UPPER) == before
    said = pushed.rows(
        "select step, column_name, found from platform.findings where code = 'fixed' order by step, found"
    )
    assert ("fixed moorings", "latitude, longitude", "H1-VR2W-114-2025_05_01T00") in said
    (columns,) = [columns for step, columns, found in said if (step, found) == ("fixed moorings", H1)]
    assert set(columns.split(", ")) == {"catalognumber", "collectornumber", "serialnumber", "latitude", "longitude"}
    assert ("fixed otn_animals", "the whole row, which is deleted", SHARK) in said
    assert ("fixed otn_transmitters", "enddatetime", "HFX-B-A69-1602-200") in said


def test_a_sheet_that_has_it_right_at_last_removes_nothing(pushed: Node):
    key = send(pushed, "fix.csv", LISTS["serial"])
    assert accept(pushed, key) == "loaded"
    before = table_dump(pushed, *UPPER)
    rows = [
        "HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,115,y,2024-12-01T00:00:00,",
        "HFX,H1,2025-05-01T00:00:00,44.1,-63.1,VR2W,114,y,2025-12-01T00:00:00,",
        "HFX,H2,2024-05-01T00:00:00,44.2,-63.2,VR2W,112,y,2024-12-01T00:00:00,A69-1601-9001",
    ]
    pushed.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    assert set(pushed.load().values()) == {"loaded"}
    assert table_dump(pushed, *UPPER) == before


def test_a_row_that_cannot_be_applied_is_named_and_costs_no_other(pushed: Node):
    text = f"receiver_catalognumber,correct_serial\nH1-VR2W,115\n{H2},112\n{H1},115\n{H1.replace('111', '115')},117\n"
    key = send(pushed, "fix.csv", text)
    lines = "\n".join(shown(pushed, key))
    assert (
        "Not applied: row 2, column receiver_catalognumber: found 'H1-VR2W'" in lines and f"Did you mean {H1}" in lines
    )
    assert accept(pushed, key) == "loaded"
    counts = pushed.rows(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions where submission_key = %s",
        key,
    )
    assert counts == [(4, 2, 1, 1)]
    assert pushed.value("select count(*) from obis.moorings where catalognumber = %s", H1.replace("111", "117")) == 1


REFUSED = [
    ("receiver_catalognumber,correct_serial\nnope,1\n", "none of its rows can be applied"),
    (f"receiver_catalognumber,correct_serial\n{H1},113\n", "would be one thing in two places"),
    (
        "tag_catalognumber,correct_code\nHFX-B-A69-1602-200,A69-1602-300\n",
        "HFX-B of HFX and SHRK-S of SHRK would be one thing in two places",
    ),
    (
        "tag_catalognumber,correct_code\nHFX-A-A69-1602-100,A69-1602-101\n",
        "a name that is free; HFX-A-A69-1602-101 is there",
    ),
    (f"animal_catalognumber,correct_animal_id\n{SHARK},B\n", "a name that is free; HFX-B is there"),
    (
        f"tag_catalognumber,correct_end_date,correct_start_date\n{TAG},2023-01-01,\n",
        "a tag that ends after it begins",
    ),
    ("catalognumber,delete_reason\nH1,wrong\n", "a deployment of a receiver, an animal, or a transmitter"),
    ("station_name,correct_latitude,correct_longitude\nh1,44,-63\n", "Did you mean H1?"),
    ("receiver_catalognumber,correct_latitude\nH1,44\n", "CORRECT_LONGITUDE"),
]


def test_what_cannot_be_is_refused_in_words(pushed: Node):
    before = table_dump(pushed, *UPPER)
    for number, (text, says) in enumerate(REFUSED):
        key = send(pushed, f"fix{number}.csv", text)
        found, reason = state(pushed, key)
        assert found == "refused" and says in (reason or ""), (text, reason)
    assert table_dump(pushed, *UPPER) == before


def test_what_was_accepted_must_be_what_happens(pushed: Node):
    """Detections that came in between are shown, too, before anything is applied."""
    key = send(pushed, "fix.csv", LISTS["serial"])
    first = shown(pushed, key)
    with pushed.connect() as connection:
        decisions.settle(connection, Topic.FIX, key, "accept", "bob", "fine")
    pushed.drop("OTN/HFX/detections", "more.csv", vue("2024-09-01T10:00:00 VR2W-111 A69-1602-100"))
    pushed.load()
    assert state(pushed, key)[0] == "held" and shown(pushed, key) != first
    assert accept(pushed, key) == "loaded"


def test_what_was_changed_since_is_not_undone(pushed: Node):
    first, second = send(pushed, "one.csv", LISTS["serial"]), "receiver_catalognumber,correct_serial\n{},116\n"
    accept(pushed, first)
    later = send(pushed, "two.csv", second.format(H1.replace("111", "115")))
    accept(pushed, later)
    before = table_dump(pushed, *UPPER)
    with pytest.raises(Unusable, match=later.replace(".", r"\.")):
        undo(pushed, first)
    assert table_dump(pushed, *UPPER) == before
    undo(pushed, later)
    undo(pushed, first)
    assert pushed.value("select count(*) from obis.moorings where catalognumber = %s", H1) == 1


def test_names_may_be_swapped_and_several_lists_may_be_in_one_workbook(pushed: Node, tmp_path: Path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "animals"
    for row in (["animal_catalognumber", "correct_animal_id"], [SHARK, "X"], ["HFX-B", "A"], ["HFX-X", "B"]):
        book.active.append(row)
    serials = book.create_sheet("serials")
    for row in (
        ["receiver_catalognumber", "correct_serial"],
        [H1, "VR2W-115"],
    ):  # the model stands before it, as on the receiver
        serials.append(row)
    book.save(tmp_path / "fix.xlsx")
    before = table_dump(pushed, *UPPER)
    pushed.drop("OTN/HFX/fix", "fix.xlsx", tmp_path / "fix.xlsx")
    (key,) = pushed.load()
    assert accept(pushed, key) == "loaded"
    tags = dict(pushed.rows("select catalognumber, fieldnumber from hfx.otn_transmitters"))
    assert tags == {
        "HFX-B-A69-1602-100": "A69-1602-100",
        "HFX-B-A69-1602-101": "A69-1602-101",
        "HFX-A-A69-1602-200": "A69-1602-200",
    }
    assert (
        pushed.value("select collectornumber from hfx.moorings where catalognumber = %s", H1.replace("111", "115"))
        == "115"
    )
    with pushed.connect() as connection:  # again by hand: what was applied is left alone
        submission = submissions.get(connection, key)
    counts = (
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions where submission_key = %s"
    )
    once = pushed.rows(counts, key)
    assert pushed.load_one(submission) == "loaded" and pushed.rows(counts, key) == once == [(4, 4, 0, 0)]
    undo(pushed, key)
    assert table_dump(pushed, *UPPER) == before
    with pushed.connect() as connection:
        submission = submissions.get(connection, key)
    assert pushed.load_one(submission) == "undone" and table_dump(pushed, *UPPER) == before


def test_undoing_leaves_nothing_in_two_places(pushed: Node):
    """What was freed by a fix was taken by a later one: that is undone first."""
    first = send(pushed, "one.csv", LISTS["serial"])
    accept(pushed, first)
    second = send(pushed, "two.csv", f"receiver_catalognumber,correct_serial\n{H2},111\n")
    accept(pushed, second)
    third, fourth = (
        f"animal_catalognumber,correct_animal_id\n{SHARK},Hooker\n",
        "animal_catalognumber,correct_animal_id\nHFX-B,A\n",
    )
    keys = [send(pushed, name, text) for name, text in (("three.csv", third),)]
    accept(pushed, keys[0])
    keys.append(send(pushed, "four.csv", fourth))
    accept(pushed, keys[1])
    before = table_dump(pushed, *UPPER)
    with pytest.raises(Unusable, match="would be one thing in two places"):
        undo(pushed, first)
    with pytest.raises(Unusable, match=r"HFX-A is another's name now, by OTN/HFX/fix/four\.csv"):
        undo(pushed, keys[0])
    assert table_dump(pushed, *UPPER) == before


def test_what_is_not_shown_is_accepted_as_it_is_or_shown_anew(pushed: Node):
    stations = [
        f"HFX,S{n},2024-05-01T00:00:00,44.{n:02d},-63.1,VR2W,{200 + n},y,2024-12-01T00:00:00," for n in range(40)
    ]
    pushed.drop("OTN/HFX/deployments", "many.csv", deployments(*stations))
    pushed.load()
    rows = [f"S{n}-VR2W-{200 + n}-2024_05_01T00,45.{n:02d},-62" for n in range(40)]
    key = send(pushed, "fix.csv", "\n".join(["receiver_catalognumber,correct_latitude,correct_longitude", *rows, ""]))
    first = shown(pushed, key)
    assert any("All 80 changes and what follows have the fingerprint" in line for line in first)
    with pushed.connect() as connection:
        decisions.settle(connection, Topic.FIX, key, "accept", "bob", "fine")
    stations[39] = stations[39].replace("44.39", "44.38")
    pushed.drop("OTN/HFX/deployments", "many.csv", deployments(*stations))
    pushed.load()
    assert state(pushed, key)[0] == "held" and shown(pushed, key) != first


def test_a_station_that_was_moved_takes_its_deployments_with_it_wherever_a_sheet_puts_them(pushed: Node):
    assert accept(pushed, send(pushed, "fix.csv", LISTS["station"])) == "loaded"
    rows = [
        "HFX,H1,2024-05-01T00:00:00,44.15,-63.1,VR2W,111,y,2024-12-01T00:00:00,",
        "HFX,H1,2025-05-01T00:00:00,44.1,-63.1,VR2W,114,y,2025-12-01T00:00:00,",
        "HFX,H2,2024-05-01T00:00:00,44.2,-63.2,VR2W,112,y,2024-12-01T00:00:00,A69-1601-9001",
    ]
    pushed.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    assert set(pushed.load().values()) == {"loaded"}
    assert set(pushed.rows("select latitude, longitude from hfx.moorings where relatedcatalogitem = 'H1'")) == {
        (44.5, -63.5)
    }


def test_a_tag_s_end_is_what_was_said_last(pushed: Node):
    assert accept(pushed, send(pushed, "code.csv", f"tag_catalognumber,correct_code\n{TAG},A69-1602-999\n")) == "loaded"
    name = "HFX-A-A69-1602-999"
    with pushed.connect() as connection:
        overrides.end_tag(connection, name, dt.datetime(2025, 1, 1), "ada", "eaten")
    text = f"tag_catalognumber,correct_start_date,correct_end_date\n{name},,2024-12-01\n"
    assert accept(pushed, send(pushed, "end.csv", text)) == "loaded"
    again = [{"TAG_ID_CODE": c, "TAG_SERIAL_NUMBER": n, "LENGTH (m)": 1.6} for c, n in (("100", "1"), ("101", "2"))]
    pushed.drop("OTN/HFX/tags", "again.csv", tag_sheet(*again))
    pushed.load()
    assert pushed.value("select enddatetime from hfx.otn_transmitters where catalognumber = %s", name) == dt.datetime(
        2024, 12, 1
    )
    with pushed.connect() as connection, pytest.raises(Unusable, match=f"a list of fixes says when {name} ends"):
        overrides.end_tag(connection, name, dt.datetime(2025, 1, 1), "ada", "eaten")


def test_a_sheet_that_loads_meanwhile_waits_and_lands_on_the_renamed_animal(pushed: Node):
    key = send(pushed, "fix.csv", LISTS["animal"])
    with pushed.connect() as connection:
        decisions.settle(connection, Topic.FIX, key, "accept", "bob", "fine")
    rows = [{"TAG_ID_CODE": c, "TAG_SERIAL_NUMBER": n, "LENGTH (m)": 1.9} for c, n in (("100", "1"), ("101", "2"))]
    pushed.drop("OTN/HFX/tags", "new.csv", tag_sheet(*rows))
    pushed.look()
    with pushed.connect() as connection:
        sheet = next(s for s in submissions.by_state(connection, ["received"]) if s.file_name == "new.csv")
        fix = submissions.get(connection, key)
    with ThreadPoolExecutor(1) as pool, pushed.connect() as applying:
        assert fixes.load(applying, pushed.settings, fix)[0].loaded == 1
        later = pool.submit(pushed.load_one, sheet)
        time.sleep(1)
        assert not later.done()
        applying.commit()
        assert later.result(30) == "loaded"
    assert pushed.rows("select catalognumber, length from hfx.otn_animals order by 1") == [
        ("HFX-B", Decimal("1.5")),
        ("HFX-Hooker", Decimal("1.9")),
    ]
    assert pushed.value("select count(*) from hfx.otn_transmitters") == 3


NUMBER = itertools.count()
NAMES = {
    "receiver": "select catalognumber from hfx.moorings where basisofrecord = 'RECEIVER' order by 1",
    "tag": "select catalognumber from hfx.otn_transmitters order by 1",
    "animal": "select catalognumber from hfx.otn_animals order by 1",
    "station": "select station_name from hfx.stations order by 1",
}
WRONG = {
    "receiver_catalognumber,correct_serial": ("receiver", st.sampled_from(["111", "112", "115", "116", "7"])),
    "tag_catalognumber,correct_start_date": (
        "tag",
        st.datetimes(dt.datetime(2024, 5, 1), dt.datetime(2024, 9, 1)).map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}"),
    ),
    "tag_catalognumber,correct_end_date": ("tag", st.dates(dt.date(2024, 6, 5), dt.date(2024, 9, 1)).map(str)),
    "station_name,correct_latitude,correct_longitude": (
        "station",
        st.sampled_from(["44.1,-63.1", "43,-62", "10.5,20"]),
    ),
    "receiver_catalognumber,correct_latitude,correct_longitude": (
        "receiver",
        st.sampled_from(["44.1,-63.1", "43,-62"]),
    ),
    "animal_catalognumber,correct_animal_id": ("animal", st.sampled_from(["A", "B", "Hooker", "x-y"])),
    "tag_catalognumber,correct_code": (
        "tag",
        st.sampled_from(["A69-1602-999", "A69-1602-100", "A69-1601-9001", "A69-1-1"]),
    ),
    "catalognumber,delete_reason": ("any", st.just("wrong")),
}


@st.composite
def lists(draw: st.DrawFn, names: dict[str, list[str]]) -> str:
    head = draw(st.sampled_from(sorted(WRONG)))
    of, right = WRONG[head]
    known = names[of] if of != "any" else names["receiver"] + names["animal"] + names["tag"]
    rows = draw(st.lists(st.tuples(st.sampled_from(known or ["none"]), right), min_size=1, max_size=3))
    return "\n".join([f"{head},note", *(f"{subject},{value},{next(NUMBER)}" for subject, value in rows), ""])


def dump(node: Node) -> list:
    """Upper tables and what a snapshot would freeze, to the bit."""
    with node.connect() as connection:
        frames = snapshot.tables_of(connection, node.settings)
    kept = {
        name: frame.rows()
        for name, frame in frames.items()
        if name not in ("submissions", "receivers", "transmitters", "findings")
    }
    return [table_dump(node, *UPPER), kept]


@trying(max_examples=times(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_lists_are_what_they_show_and_undone_leave_nothing(pushed: Node, data: st.DataObject):
    before, applied = dump(pushed), []
    try:
        for number in range(data.draw(st.integers(1, 3))):
            names = {of: [name for (name,) in pushed.rows(query)] for of, query in NAMES.items()}
            key = send(pushed, f"fix{next(NUMBER)}.csv", data.draw(lists(names)))
            if state(pushed, key)[0] == "held":
                assert accept(pushed, key) == "loaded"
                applied.append(key)
                if number == 0:
                    quick = hashes(pushed.push(NEXT_PUSH) / "matches")
                    folder = snapshot.push_folder(pushed.settings, NEXT_PUSH)
                    assert listed(folder) == consequences(pushed, key)["extracts"]
                    assert hashes(pushed.push(NEXT_PUSH, full=True) / "matches") == quick
    finally:
        for key in reversed(applied):
            undo(pushed, key)
    assert dump(pushed) == before
