"""What two pushes say of one thing, and which file, fix or person made them differ."""

import datetime as dt
from collections.abc import Iterator

import polars as pl
import pytest

from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.telemetry import overrides, submissions
from otn_dagster.telemetry.loading import fixes
from otn_dagster.telemetry.push import because, two_dates
from otn_dagster.telemetry.push.two_dates import Subject
from tests.support.fixing import H1, SHARK, accept, network, send
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.once import Once, copied, made_once
from tests.support.sheets import deployments, tag_sheet, vue


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
def pushed(begun: Once, server: EmbeddedServer, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Two projects that were pushed once."""
    return copied(begun, server, tmp_path, monkeypatch)


def ask(node: Node, **subject: str) -> tuple[two_dates.Answer, list[because.Because]]:
    answer = two_dates.compare(node.settings, PAST_PUSH, NEXT_PUSH, Subject(**subject))
    with node.connect() as connection:
        return answer, because.causes(connection, answer)


def explained(causes: list[because.Because]) -> set[tuple[str, str, int]]:
    return {(one.why, one.subject.split("/")[-1].split("@")[0], one.detections) for one in causes}


def test_nothing_differs_where_nothing_happened(pushed: Node):
    pushed.push(NEXT_PUSH)
    answer, causes = ask(pushed, extract="HFX,2024,t")
    assert set(answer.counts) == {"same"} and answer.counts["same"] == answer.frame.height > 0 and causes == []


def test_a_fix_a_file_a_sheet_and_a_person_are_each_named_with_what_they_changed(pushed: Node):
    key = send(pushed, "serial.csv", f"receiver_catalognumber,correct_serial\n{H1},115\n")
    assert accept(pushed, key) == "loaded"
    pushed.drop("OTN/HFX/detections", "new.csv", vue("2024-09-01T10:00:00 VR2W-112 A69-1602-200"))
    (detection,) = pushed.rows(
        "select 'HFX-' || fieldnumber || '-' || det_key from obis.otn_detections where fieldnumber = 'A69-1602-101' and"
        " collectornumber = '112' order by det_key limit 1"
    )
    with pushed.connect() as connection:
        overrides.unmatch(connection, detection[0], "ada", "too fast")
    pushed.drop(
        "OTN/SHRK/tags",
        "tags.csv",
        tag_sheet({"ANIMAL_ID": "S", "TAG_ID_CODE": "300", "TAG_SERIAL_NUMBER": "4", "SCIENTIFIC_NAME": "Lamna nasus"}),
    )
    assert set(pushed.load().values()) == {"loaded"}
    pushed.push(NEXT_PUSH)
    answer, causes = ask(pushed, extract="HFX,2024,t")
    # Receivers 111 and 115 heard three codes of HFX in three months, each once, one of 111 before its release; one row came, one was taken.
    assert answer.counts == {"added": 10, "withdrawn": 9, "same": answer.frame.height - 19}
    assert explained(causes) == {("deployment", "serial.csv", 17), ("came", "new.csv", 1), ("decided", detection[0], 1)}
    assert [one.says for one in causes if one.why == "decided"] == ["ada took it from its animal: too fast"]
    answer, causes = ask(pushed, animal="SHRK-S")
    assert explained(causes) == {("deployment", "serial.csv", 6), ("tag", "tags.csv", 6)}
    assert answer.counts == {"added": 3, "withdrawn": 3, "changed": 6}
    answer, causes = ask(pushed, detection=detection[0])
    ((row,),) = [
        answer.frame.select("animal_before", "animal_after", "reason_before", "reason_after", "change", "why").rows()
    ]
    assert row == (SHARK, None, "matched_own", "u6_unmatched", "changed", ["decided"])
    with pushed.connect() as connection:
        fixes.undo(connection, submissions.get(connection, key), "ada", "it was right")
    pushed.push(NEXT_PUSH)
    _, causes = ask(pushed, extract="HFX,2024,t")
    assert explained(causes) == {("came", "new.csv", 1), ("decided", detection[0], 1)}


def test_a_second_animal_with_a_code_and_a_corrected_file_are_named(pushed: Node):
    pushed.drop(
        "OTN/SHRK/tags", "second.csv", tag_sheet({"ANIMAL_ID": "T", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "5"})
    )
    pushed.drop(
        "OTN/SHRK/deployments",
        "moved.csv",
        deployments("SHRK,S2,2024-05-01T00:00:00,45.2,-62.2,VR2W,115,y,2024-12-01T00:00:00,"),
    )
    assert set(pushed.load().values()) == {"loaded"}
    pushed.push(NEXT_PUSH)
    answer, causes = ask(pushed, animal="HFX-B")
    assert explained(causes) == {("tag", "second.csv", 9)} and answer.counts == {"withdrawn": 9}
    assert set(answer.frame["reason_after"]) == {"u2_ambiguous"}
    answer, causes = ask(pushed, animal=SHARK)
    assert explained(causes) == {("deployment", "moved.csv", 6)}
    new = answer.frame.filter(pl.col("change") == "added")
    assert set(new["collectioncode_after"]) == {"SHRK"} and set(new["reason_before"]) == {"no_receiver"}


def test_what_a_person_set_a_station_s_tag_and_a_file_that_changed_nothing(pushed: Node):
    with pushed.connect() as connection:
        overrides.end_tag(connection, "HFX-A-A69-1602-100", dt.datetime(2024, 7, 1), "ada", "eaten")
    same = "HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,"
    pushed.drop("OTN/HFX/deployments", "same.csv", deployments(same))
    pushed.drop("OTN/HFX/deployments", "short.csv", deployments(same.replace("2024-12-01", "2024-08-01")))
    declared = "SHRK,S9,2024-05-01T00:00:00,45.3,-62.3,VR2W,199,y,2024-12-01T00:00:00,A69-1602-999"
    pushed.drop("OTN/SHRK/deployments", "sentinel.csv", deployments(declared))
    assert set(pushed.load().values()) == {"loaded"}
    pushed.push(NEXT_PUSH)
    answer, causes = ask(pushed, animal=SHARK)
    decided = [one for one in causes if one.why == "decided"]
    assert [one.says for one in decided] == ["ada set the end of the tag: eaten"] and decided[0].detections > 0
    assert {one.subject.split("/")[-1].split("@")[0] for one in causes if one.why == "deployment"} == {"short.csv"}
    assert "tag" not in {one.why for one in causes}
    for extract, change in (("HFX,2024,u", "withdrawn"), ("HFX,2024,s", "added")):
        answer, causes = ask(pushed, extract=extract)
        sentinel = [one for one in causes if one.why == "station_tag"]
        assert [one.subject.split("/")[-1].split("@")[0] for one in sentinel] == ["sentinel.csv"]
        assert answer.counts[change] >= sentinel[0].detections > 0


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ({"extract": "hfx,2024"}, "write it like HFX,2024,t"),
        ({"detection": "HFX-A"}, "give unqDetecID"),
        ({}, "ask about one thing"),
        ({"animal": "HFX-A", "extract": "HFX,2024,t"}, "ask about one thing"),
    ],
)
def test_what_cannot_be_asked_is_said(subject: dict[str, str], says: str):
    with pytest.raises(Unusable, match=says):
        Subject(**subject)


def test_what_neither_push_knows_is_said(pushed: Node):
    with pytest.raises(Unknown, match=f"there is no push of {NEXT_PUSH}"):
        two_dates.compare(pushed.settings, PAST_PUSH, NEXT_PUSH, Subject(animal="HFX-A"))
    pushed.push(NEXT_PUSH)
    with pytest.raises(Unknown, match="says anything of HFX-Z"):
        two_dates.compare(pushed.settings, PAST_PUSH, NEXT_PUSH, Subject(animal="HFX-Z"))
