"""The gate of a push: what is on hold, not signed off or left out by somebody stays as the last push had it, and is named everywhere."""

import json
from pathlib import Path

import polars as pl
import pytest

from otn_dagster import decisions
from otn_dagster.cli.main import command
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.orchestration import headless
from otn_dagster.telemetry.push import exclusions, matching, snapshot
from otn_dagster.telemetry.push.extracts_list import LIST_FILE
from otn_dagster.telemetry.push.left_out import Scope
from otn_dagster.tracker import flows, gate, items
from otn_dagster.tracker.follow import deciding
from otn_dagster.tracker.items import Actor
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.once import Once, copied
from tests.support.sheets import deployments, tag_sheet, vue
from tests.support.site import configure, serving
from tests.support.tracking import act, finish, item_of, load

LATER_PUSH = "2027-06-17"
SECOND = {"ANIMAL_ID": "B", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "2"}


@pytest.fixture
def going_on(
    pushed_once: Once,
    server: EmbeddedServer,
    home: Path,
    configured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Node:
    """The node after its first push, on a data root that may be changed."""
    return copied(pushed_once, server, tmp_path, monkeypatch)


def push(node: Node, date: str = NEXT_PUSH) -> Path:
    """A real push through Dagster, after its cut-off; the push's folder."""
    year, month, day = date.split("-")
    node.clock(f"{year}-{month}-{int(day) + 2:02d}T00:00:00")
    outcome = headless.push(node.settings, date)
    assert outcome.good, outcome.error
    finish(node, date)
    return snapshot.push_folder(node.settings, date)


def matched(folder: Path) -> set[tuple[str, int]]:
    """(animal, detection) of all matches."""
    frozen = snapshot.Snapshot(folder / "snapshot", json.loads((folder / "snapshot" / "manifest.json").read_text()))
    rows = pl.read_parquet(matching.read(folder).buckets).join(
        frozen.table("tags").select("tag_key", "catalognumber"), on="tag_key"
    )
    return set(rows.select("catalognumber", "det_key").iter_rows())


def run(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        command(list(words))
    return int(ended.value.code or 0)


def hold_newest(node: Node, name: str) -> None:
    """The version of a file that is loaded now, on hold by a person."""
    loaded = "select submission_key from platform.submissions where state = 'loaded' and file_name = %s"
    with node.connect() as connection:
        item = items.find(connection, flows.SUBMISSION, node.value(loaded, name))
        assert item and item.state == "verified"
        items.hold(connection, item.item_id, "needs_researcher", Actor.person("ada@example.org"), "is it right?")


def new_things(node: Node) -> None:
    """A second animal, a second receiver, and detections of the one by the other and by the first."""
    node.drop("OTN/HFX/tags", "second.csv", tag_sheet(SECOND))
    node.drop(
        "OTN/HFX/deployments",
        "second_dep.csv",
        deployments("HFX,H2,2024-05-01T00:00:00,44.3,-63.1,VR2W,222,y,2024-12-01T00:00:00,"),
    )
    node.drop("OTN/HFX/detections", "b.csv", vue(*[f"2024-07-1{d}T10:00:00 VR2W-111 A69-1602-200" for d in (1, 2)]))
    node.drop("OTN/HFX/detections", "c.csv", vue(*[f"2024-07-2{d}T10:00:00 VR2W-222 A69-1602-100" for d in (1, 2, 3)]))
    load(node)
    for name in ("second.csv", "second_dep.csv", "b.csv", "c.csv"):
        assert item_of(node, name).state == "verified"


def test_a_submission_on_hold_stays_out_and_everybody_hears_of_it(going_on: Node):
    new_things(going_on)
    act(going_on, "second.csv", "hold", "needs_researcher")
    act(going_on, "c.csv", "hold", "waiting_data_files")
    folder = push(going_on)
    assert matched(folder) == matched(snapshot.push_folder(going_on.settings, PAST_PUSH))
    left = {
        one["file_name"]: (one["code"], one["rows"]) for one in snapshot.read(going_on.settings, NEXT_PUSH).left_out
    }
    assert left == {"second.csv": ("on_hold", 1), "c.csv": ("on_hold", 3)}
    counts = json.loads((folder / "certificate.json").read_text())["counts"]
    assert counts["left out"] == 2 and sum(counts["by reason"].values()) == 5
    report = (folder / "reports" / "HFX.md").read_text()
    assert (
        "Left out of this push: second.csv (tags, 1 row), because it is on hold (needs the researcher): because"
        in report
    )
    mails = going_on.rows(
        "select body_text from platform.outbox where event = 'extracts' and push_date = %s", NEXT_PUSH
    )
    assert mails and all("Left out of this push: c.csv (detections, 3 rows)" in text for (text,) in mails)
    assert (item_of(going_on, "second.csv").state, item_of(going_on, "b.csv").state) == ("verified", "published")
    act(going_on, "second.csv", "release")
    act(going_on, "c.csv", "release")
    later = push(going_on, LATER_PUSH)
    assert snapshot.read(going_on.settings, LATER_PUSH).left_out == []
    assert len(matched(later)) == 3 + 2 + 3
    assert item_of(going_on, "c.csv").state == "published"


def test_a_correction_that_nobody_signed_withdraws_nothing(going_on: Node, configured: Path):
    before = matched(snapshot.push_folder(going_on.settings, PAST_PUSH))
    configure(configured, second_look=["tags", "deployments"])
    going_on.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"UTC_RELEASE_DATE_TIME": "2024-07-02T12:00:00"}))
    corrected = deployments("HFX,H1,2024-07-02T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,")
    going_on.drop("OTN/HFX/deployments", "dep.csv", corrected)
    load(going_on)
    with going_on.connect() as connection:
        waiting = {one.why for one in gate.of_push(NEXT_PUSH)(connection)}
    assert waiting == {"it is not verified: it waits for a second person's look"}
    folder = push(going_on)
    assert matched(folder) == before and pl.read_parquet(folder / LIST_FILE).is_empty()
    frozen, earlier = (snapshot.read(going_on.settings, date) for date in (NEXT_PUSH, PAST_PUSH))
    for name in ("tags", "animals", "deployments", "station_tags"):
        assert frozen.table(name).equals(earlier.table(name)), name
    assert frozen.table("tags")["release_ms"][0] != going_on.value(
        "select extract(epoch from datecollected)*1000 from obis.otn_animals"
    )


def test_a_correction_of_detections_on_hold_leaves_what_was_pushed(going_on: Node, configured: Path):
    """Rows that went over to the new version are those of the old one in this push, and one that it added waits."""
    before = matched(snapshot.push_folder(going_on.settings, PAST_PUSH))
    configure(configured, quarantine={"dropped_keys_percent": 100, "changed_count_percent": 100})
    rows = [f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (1, 2, 3, 4)]
    going_on.drop("OTN/HFX/detections", "a.csv", vue(*rows))
    load(going_on)
    hold_newest(going_on, "a.csv")
    folder = push(going_on)
    assert len(before) == 3 and matched(folder) == before
    (left,) = snapshot.read(going_on.settings, NEXT_PUSH).left_out
    assert (left["file_name"], left["rows"]) == ("a.csv", 4)


def test_a_correction_on_hold_keeps_no_other_one_of_its_project_out(going_on: Node, configured: Path):
    """Two sheets of one project were pushed and both are corrected, one of them losing a row: only the one on hold stays as it was."""
    configure(configured, quarantine={"dropped_keys_percent": 100, "changed_count_percent": 100})
    third = {"ANIMAL_ID": "C", "TAG_ID_CODE": "300", "TAG_SERIAL_NUMBER": "3"}
    going_on.drop(
        "OTN/HFX/tags",
        "first.csv",
        tag_sheet({"ANIMAL_ID": "D", "TAG_ID_CODE": "400", "TAG_SERIAL_NUMBER": "4"}, third),
    )
    going_on.drop("OTN/HFX/tags", "second.csv", tag_sheet(SECOND))
    load(going_on)
    push(going_on)
    going_on.drop(
        "OTN/HFX/tags",
        "first.csv",
        tag_sheet({"ANIMAL_ID": "D", "TAG_ID_CODE": "400", "TAG_SERIAL_NUMBER": "4", "SEX": "M"}),
    )
    going_on.drop("OTN/HFX/tags", "second.csv", tag_sheet({**SECOND, "SEX": "M"}))
    load(going_on)
    with going_on.connect() as connection:
        for question in decisions.open_questions(connection):
            decisions.decide(connection, question.number, "accept", "Ada", "it was no animal of theirs")
    load(going_on)
    hold_newest(going_on, "first.csv")
    push(going_on, LATER_PUSH)
    animals = snapshot.read(going_on.settings, LATER_PUSH).table("animals")
    assert dict(animals.select("catalognumber", "sex").iter_rows()) == {
        "HFX-A": "F",
        "HFX-B": "M",
        "HFX-C": "F",
        "HFX-D": "F",
    }


def test_everything_new_left_out_is_the_push_before(going_on: Node):
    """Whatever was loaded since: without it a snapshot holds what the last one held, byte for byte."""
    new_things(going_on)
    with going_on.connect() as connection:
        exclusions.add(connection, going_on.settings, NEXT_PUSH, Scope.PROJECT, "HFX", "Ada", "its people ask for time")
    push(going_on)
    frozen, earlier = (snapshot.read(going_on.settings, date) for date in (NEXT_PUSH, PAST_PUSH))
    same = {
        name
        for name, entry in frozen.manifest["files"].items()
        if entry["sha256"] == earlier.manifest["files"].get(name, {}).get("sha256")
    }
    assert {"tags.parquet", "animals.parquet", "deployments.parquet", "station_tags.parquet"} <= same
    assert {name for name in frozen.manifest["files"] if name.startswith("detections/")} <= same
    assert {one["why"] for one in frozen.left_out} == {"Ada left it out: its people ask for time"}
    assert (
        "all that is new of the project"
        in (snapshot.push_folder(going_on.settings, NEXT_PUSH) / "reports" / "HFX.md").read_text()
    )


def test_a_tracker_is_left_out_and_taken_in_again(going_on: Node):
    new_things(going_on)
    with going_on.connect() as connection:
        args = (connection, going_on.settings, NEXT_PUSH, Scope.TRACKER, "HFX")
        for _ in range(2):
            exclusions.add(*args, "Ada", "a ticket is open")
        assert [(one.scope, one.why) for one in exclusions.of(connection, NEXT_PUSH)] == [
            ("tracker", "a ticket is open")
        ]
        exclusions.end(*args, "Ben", "it is closed")
        assert exclusions.of(connection, NEXT_PUSH) == []
        with pytest.raises(Unknown, match="not left out"):
            exclusions.end(*args, "Ben", "again")
        exclusions.add(*args, "Ada", "another one")
        with pytest.raises(Unknown, match="NOPE"):
            exclusions.add(connection, going_on.settings, NEXT_PUSH, Scope.TRACKER, "NOPE", "Ada", "x")
        with pytest.raises(Unusable, match="is frozen"):
            exclusions.add(connection, going_on.settings, PAST_PUSH, Scope.TRACKER, "HFX", "Ada", "too late")
    folder = push(going_on)
    assert {animal for animal, _ in matched(folder)} == {"HFX-A"} and len(matched(folder)) == 6


def test_the_commands_and_the_page_of_the_push_say_what_is_left_out(going_on: Node, capsys: pytest.CaptureFixture[str]):
    new_things(going_on)
    act(going_on, "c.csv", "hold", "waiting_data_files")
    who = ["--by", "Ada", "--why", "a ticket is open"]
    assert run("exclude", NEXT_PUSH, "tracker", "HFX", *who) == 0 == run("left-out", NEXT_PUSH)
    said = capsys.readouterr().out
    assert (
        "it is on hold (waits for data files): because" in said
        and "tracker HFX: Ada left it out: a ticket is open" in said
    )
    assert run("exclude", "soon", "tracker", "HFX", *who) == 2
    push(going_on)
    with serving(going_on) as site:
        page = site.person("analyst@example.org", "analyst").get(f"/tracker/pushes/{NEXT_PUSH}").text
    assert "Left out" in page and "c.csv (detections)" in page and "changes of its animals and tags" in page
    assert run("include", NEXT_PUSH, "tracker", "HFX", *who) == 2  # it is frozen


def test_every_extract_names_the_items_of_what_changed_it(going_on: Node):
    """Files with rows in it, and sheets of its project; nothing that an earlier push had."""
    links = "select extract_type, git_issue_link from obis.detection_extracts_list where push_date = %s"

    def named(date: str) -> dict[str, set[int]]:
        return {
            kind: {int(one.rsplit("/", 1)[-1]) for one in text.split()} for kind, text in going_on.rows(links, date)
        }

    def numbers(*names: str) -> set[int]:
        return {item_of(going_on, name).item_id for name in names}

    assert named(PAST_PUSH) == {"t": numbers("tags.csv", "a.csv")}
    going_on.drop("OTN/HFX/detections", "b.csv", vue("2024-07-11T10:00:00 VR2W-111 A69-1602-100"))
    going_on.drop("OTN/HFX/detections", "c.csv", vue("2024-07-12T10:00:00 VR2W-111 A69-1602-999"))
    load(going_on)
    push(going_on)
    assert named(NEXT_PUSH) == {"t": numbers("b.csv"), "u": numbers("c.csv")}


def vue_of(*days: int) -> bytes:
    return vue(*[f"2024-07-{day:02d}T10:00:00 VR2W-111 A69-1602-100" for day in days])


def published(node: Node, *names: str) -> list[str]:
    return [item_of(node, name).state for name in names]


def test_rows_that_another_file_gave_too_are_not_left_out(going_on: Node):
    """They were not loaded from it, because the file on hold had given them: in this push they are its own."""
    going_on.drop("OTN/HFX/detections", "c.csv", vue_of(21, 22, 23))
    load(going_on)
    act(going_on, "c.csv", "hold", "needs_researcher")
    going_on.drop("OTN/HFX/detections", "corrected.csv", vue_of(22, 23, 24))
    load(going_on)
    folder = push(going_on)
    assert len(matched(folder)) == 3 + 3 and published(going_on, "corrected.csv", "c.csv") == ["published", "verified"]
    (left,) = snapshot.read(going_on.settings, NEXT_PUSH).left_out
    assert (left["file_name"], left["rows"]) == ("c.csv", 1)
    act(going_on, "c.csv", "release")
    assert len(matched(push(going_on, LATER_PUSH))) == 3 + 4 and published(going_on, "c.csv") == ["published"]


def test_rows_of_a_file_of_the_wrong_project_go_out_with_the_right_one(going_on: Node):
    going_on.drop_form("NSBS")
    for code, name in (("NSBS", "wrong.csv"), ("HFX", "right.csv")):
        going_on.drop(f"OTN/{code}/detections", name, vue_of(21, 22, 23))
        load(going_on)
    for person in ("ada@example.org", "ben@example.org"):
        act(going_on, "wrong.csv", "withdraw", person=person)
    for date in (NEXT_PUSH, LATER_PUSH):
        assert len(matched(push(going_on, date))) == 6
    assert published(going_on, "right.csv") == ["published"]


def test_a_row_that_left_a_file_on_hold_for_another_one_stands_once(going_on: Node, configured: Path):
    configure(configured, quarantine={"dropped_keys_percent": 100, "changed_count_percent": 100})
    going_on.drop("OTN/HFX/detections", "a.csv", vue_of(1, 2))
    load(going_on)
    with going_on.connect() as connection:
        for question in decisions.open_questions(connection):
            decisions.decide(connection, question.number, "accept", "ada", "it moved to d.csv")
    load(going_on)
    hold_newest(going_on, "a.csv")
    going_on.drop("OTN/HFX/detections", "d.csv", vue_of(3, 4))
    load(going_on)
    assert len(matched(push(going_on))) == 4


def test_animals_that_a_verified_sheet_has_too_are_not_left_out(going_on: Node):
    going_on.drop("OTN/HFX/tags", "second.csv", tag_sheet(SECOND))
    load(going_on)
    act(going_on, "second.csv", "hold", "needs_researcher")
    third = {"ANIMAL_ID": "C", "TAG_ID_CODE": "300", "TAG_SERIAL_NUMBER": "3"}
    going_on.drop("OTN/HFX/tags", "third.csv", tag_sheet(SECOND, third))
    load(going_on)
    push(going_on)
    tags = snapshot.read(going_on.settings, NEXT_PUSH).table("tags")["catalognumber"].to_list()
    assert sorted(tags) == ["HFX-A", "HFX-B", "HFX-C"]


def events(start: str, end: str, seconds: int) -> bytes:
    """An export of events of one deployment; at its end the clock is so many seconds behind."""
    lines = ["Date and Time (UTC),Receiver,Description,Data,Units"]
    lines += [f"{start} 00:00:00,VR2W-111,{what}" for what in ("Initialization,,", f"PC Time,{start} 00:00:00,")]
    lines += [
        f"{end} 00:00:00,VR2W-111,{what}" for what in ("Data Upload,x.vrl,", f"PC Time,{end} 00:00:{seconds:02d},")
    ]
    return ("\n".join(lines) + "\n").encode()


def test_events_on_hold_take_no_clock_back_that_a_verified_file_gave(going_on: Node):
    going_on.drop("OTN/HFX/events", "e1.csv", events("2024-05-01", "2024-08-01", 50))
    going_on.drop("OTN/HFX/events", "e2.csv", events("2024-08-02", "2024-12-01", 30))
    load(going_on)
    act(going_on, "e2.csv", "hold", "needs_researcher")
    push(going_on)
    frozen = snapshot.read(going_on.settings, NEXT_PUSH)
    assert frozen.table("clock_segments").height >= 1
    assert [(one["file_name"], one["rows"]) for one in frozen.left_out] == [("e2.csv", 4)]


def test_the_form_of_a_new_project_is_in_and_named_though_nobody_signed_it(going_on: Node, configured: Path):
    configure(configured, second_look=["project"])
    going_on.drop_form("NSBS")
    load(going_on)
    push(going_on)
    frozen = snapshot.read(going_on.settings, NEXT_PUSH)
    assert frozen.table("projects")["collectioncode"].to_list() == ["HFX", "NSBS"]
    (left,) = frozen.left_out
    assert left["file_name"] == "NSBS.txt" and "its project is new" in left["why"]
    assert item_of(going_on, "NSBS.txt").state == "loading"


def test_what_the_last_push_has_cannot_be_left_out_of_the_next(going_on: Node):
    key = going_on.value("select submission_key from platform.submissions where file_name = 'a.csv'")
    with going_on.connect() as connection, pytest.raises(Unusable, match="the last push has"):
        exclusions.add(connection, going_on.settings, NEXT_PUSH, Scope.SUBMISSION, key, "Ada", "it is wrong")


def test_why_a_file_waits_is_for_its_own_node(going_on: Node):
    new_things(going_on)
    act(going_on, "c.csv", "hold", "needs_researcher")
    push(going_on)
    with serving(going_on) as site:
        page = f"/tracker/pushes/{NEXT_PUSH}"
        assert "c.csv" not in site.person("max@example.org", "manager", "MIGRAMAR").get(page).text
        assert "c.csv" in site.person("mia@example.org", "manager", "OTN").get(page).text


def test_what_was_loaded_just_before_the_cut_off_is_in_the_push(going_on: Node, monkeypatch: pytest.MonkeyPatch):
    """The tracker had not followed its loading when the cut-off came: the step that freezes does."""
    going_on.drop("OTN/HFX/detections", "b.csv", vue_of(11))
    with monkeypatch.context() as patch:
        patch.setattr(deciding, "_verified", lambda _: [])
        load(going_on)
    assert item_of(going_on, "b.csv").state == "loading"
    going_on.clock("2027-02-20T00:00:00")
    assert headless.push(going_on.settings, NEXT_PUSH).good
    assert snapshot.read(going_on.settings, NEXT_PUSH).left_out == []
    assert item_of(going_on, "b.csv").state == "extracted"
