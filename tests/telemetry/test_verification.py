"""Every check of a push's verification: it passes on a network in which nothing is wrong, and names what somebody broke."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otn_dagster.checks import Outcome, Verdict
from otn_dagster.config import BadConfiguration
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.telemetry.push import snapshot, verification
from otn_dagster.telemetry.push.shared import Shared
from tests.support.fixing import network
from tests.support.node import NEXT_PUSH, Node
from tests.support.once import Once, copied, made_once
from tests.support.sheets import tag_sheet, vue

EVENTS = """Date and Time (UTC),Receiver,Description,Data,Units
2024-05-01 00:00:00,VR2W-111,Initialization,,
2024-12-01 10:00:00,VR2W-111,Data Upload,x.vrl,
""".replace("\n", "\r\n")


def _begin(node: Node) -> None:
    network(node)
    node.drop("OTN/HFX/events", "e.csv", EVENTS.encode())
    assert set(node.load().values()) == {"loaded"}


@pytest.fixture(scope="module")
def begun(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, _begin)


@pytest.fixture
def whole(begun: Once, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A network of two projects in which nothing is wrong."""
    return copied(begun, server, tmp_path, monkeypatch)


def verify(node: Node, looked_at: dict[str, list[str]] | None = None) -> dict[str, Outcome]:
    with node.connect() as connection:
        frozen = snapshot.freeze(connection, node.settings, NEXT_PUSH)
        found = verification.verify(connection, node.settings, Shared(frozen), looked_at)
    verification.write(found, frozen, snapshot.push_folder(node.settings, NEXT_PUSH))
    return {one.check.check_id: one for one in found}


class Broken(NamedTuple):
    """What somebody did (SQL, or nothing where a file does it), and a row that says so."""

    how: str
    row: dict[str, Any]


RECEIVER, OTHER = "H1-VR2W-111-2024_05_01T00", "H2-VR2W-112-2024_05_01T00"
BROKEN = {
    "S1": Broken("drop table shrk.tag_cache", {"project": "SHRK", "missing_table": "tag_cache"}),
    "S2": Broken(
        "alter table shrk.c_tag_meta no inherit platform.c_tag_meta; alter table shrk.c_tag_meta alter cells drop not null;"
        " insert into pg_inherits values ('shrk.c_tag_meta'::regclass, 'platform.c_tag_meta'::regclass, 1, false)",
        {"project": "SHRK", "table_name": "c_tag_meta", "column_name": "cells"},
    ),
    "S3": Broken(
        "alter table shrk.rcvr_locations no inherit platform.rcvr_locations",
        {"project": "SHRK", "table_without_parent": "rcvr_locations"},
    ),
    "S4": Broken(
        "grant insert on shrk.moorings to public",
        {"project": "SHRK", "table_name": "moorings", "may_write": "everybody"},
    ),
    "S5": Broken("grant select on shrk.stations to public", {"project": "SHRK", "table_name": "stations"}),
    "S6": Broken("create table shrk.moorings_old (a int)", {"project": "SHRK", "unexpected_table": "moorings_old"}),
    "S7": Broken(
        "alter table shrk.otn_animals add note text",
        {"project": "SHRK", "table_name": "otn_animals", "unexpected_column": "note"},
    ),
    "S8": Broken(
        "update shrk.otn_animals set commonname = ' shark ', notes = ''",
        {"project": "SHRK", "table": "otn_animals", "row": "SHRK-S", "column": "commonname", "found": "' shark '"},
    ),
    "S9": Broken(
        "update hfx.otn_animals set monthcollected = '6' where catalognumber = 'HFX-B'",
        {"project": "HFX", "catalognumber": "HFX-B"},
    ),
    "S10": Broken(
        "update hfx.moorings set latitude = 144.2 where catalognumber = 'H2'",
        {"project": "HFX", "name": "H2", "latitude": 144.2},
    ),
    "P7": Broken(
        "update platform.submissions set node = 'ACT' where collectioncode = 'SHRK' and kind = 'tags'",
        {"project": "SHRK", "node": "ACT"},
    ),
    "R6": Broken(
        "update hfx.moorings set collectornumber = '114' where catalognumber like 'H1%%2024%%' and basisofrecord = 'RECEIVER';"
        " update hfx.moorings set enddatetime = '2025-06-01' where catalognumber like 'H1%%2024%%' and basisofrecord = 'RECEIVER'",
        {"project": "HFX", "rcvrcatnumber": RECEIVER},
    ),
    "R7": Broken(
        "update shrk.moorings set latitude = 10 where basisofrecord = 'RECEIVER'", {"project": "SHRK", "latitude": 10.0}
    ),
    "R11": Broken(
        "update hfx.stations set latitude = 44.2, longitude = -63.2 where station_name = 'H1'",
        {"project": "HFX", "station_name": "H1, H2", "problem": "at one place: 44.2, -63.2"},
    ),
    "R14": Broken(
        "update hfx.moorings set instrumenttype = null where catalognumber = 'H2-VR2W-112-2024_05_01T00'",
        {"project": "HFX", "catalognumber": OTHER, "problem": "no type of instrument: its model is not known"},
    ),
    "R15": Broken(
        "update shrk.moorings set collectornumber = '112' where basisofrecord = 'RECEIVER'",
        {"project": "HFX", "rcvrcatnumber": OTHER, "other_collectioncode": "SHRK"},
    ),
    "T8": Broken("update shrk.otn_animals set latitude = 10", {"project": "SHRK", "catalognumber": "SHRK-S"}),
    "T9": Broken(
        "update shrk.otn_transmitters set fieldnumber = 'A69-1602-200'",
        {"project": "HFX", "catalognumber": "HFX-B", "other_trackercode": "SHRK"},
    ),
    "T15": Broken(
        "update hfx.otn_transmitters set fieldnumber = 'A69-1602-200' where catalognumber like '%%-101'",
        {"project": "HFX", "catalognumber": "HFX-A", "other_catalognumber": "HFX-B"},
    ),
    "T16": Broken(
        "update hfx.otn_transmitters set fieldnumber = 'A69-1602-200', serialnumber = '77' where catalognumber like '%%-101'",
        {"project": "HFX", "transmitter": "A69-1602-200", "serialnumber": "77"},
    ),
    "T19": Broken(
        "update hfx.otn_animals set length = 150 where catalognumber = 'HFX-B'",
        {"project": "HFX", "catalognumber": "HFX-B", "problem": "length 150.0"},
    ),
    "T20": Broken(
        "update hfx.otn_transmitters set enddatetime = '2020-01-01' where relatedcatalogitem = 'HFX-B'",
        {"project": "HFX", "catalognumber": "HFX-B", "problem": "the tag ends before it begins"},
    ),
    "T21": Broken(
        "update shrk.otn_transmitters set serialnumber = '1'; update hfx.otn_transmitters set serialnumber = '1'",
        {"project": "SHRK", "catalognumber": "SHRK-S", "serialnumber": "1"},
    ),
    "D12": Broken(
        "drop index hfx.detections_2024_key; insert into hfx.detections_2024 select * from hfx.detections_2024"
        " where det_key = (select min(det_key) from hfx.detections_2024);"
        " update platform.partition_versions set version = version + 1",
        {"project": "HFX", "detections": 1},
    ),
    "D17": Broken(
        "update hfx.otn_detections_2024 set sensorraw = 7",
        {"project": "HFX", "rcv_serial_no": "111", "accepted": 0, "promoted": 18},
    ),
    "D18": Broken(
        "delete from hfx.otn_detections_2024 where collectornumber = '111' and fieldnumber like '%%-100'",
        {"project": "HFX", "rcv_serial_no": "111", "accepted": 18, "inside_a_deployment": 18, "promoted": 15},
    ),
    "D19": Broken(
        "update hfx.otn_detections_2024 set julianday = 1 where fieldnumber like '%%-100'",
        {"project": "HFX", "year": 2024, "rows": 6},
    ),
    "D20": Broken("", {"project": "HFX", "year": 2024, "rows": 1}),
    "D24": Broken("", {"project": "HFX"}),
    "D25": Broken("", {"project": "HFX", "rcv_serial_no": "113", "detections": 1}),
    "E5": Broken(
        "update platform.submissions set raw_rows = raw_rows + 1 where kind = 'events'",
        {"project": "HFX", "raw_rows": 3, "loaded_rows": 2},
    ),
    "E6": Broken("update hfx.events set receiver = 'ZZ9-111'", {"project": "HFX", "receiver": "ZZ9-111"}),
    "E7": Broken("update hfx.events set receiver = 'VR2W-11X'", {"project": "HFX", "receiver": "VR2W-11X"}),
    "E8": Broken(
        "update hfx.events set datetime = '2024-01-01' where description = 'Data Upload'",
        {"project": "HFX", "receiver": "VR2W-111"},
    ),
}


def test_nothing_is_found_where_nothing_is_wrong(whole: Node):
    found = verify(whole)
    assert {check_id: (one.rows, one.why) for check_id, one in found.items() if one.verdict != Verdict.PASSED} == {
        "D24": ((), found["D24"].why)
    }
    assert list(found) == [one.check_id for one in verification.CHECKS] and set(found) == set(BROKEN)
    assert verify(whole, {})["D24"].passed


@pytest.mark.parametrize("check_id", [check_id for check_id, broken in BROKEN.items() if broken.how])
def test_what_somebody_broke_is_named(whole: Node, check_id: str):
    how, wanted = BROKEN[check_id]
    with whole.connect() as connection:
        for statement in how.split(";"):
            connection.execute(statement.replace("%%", "%"))  # type: ignore[arg-type]
    one = verify(whole)[check_id]
    assert one.verdict == Verdict.FAILED
    assert any({name: row.get(name) for name in wanted} == wanted for row in one.rows), one.rows
    assert one.check.hint and not one.why


def test_rows_that_two_projects_sent_and_files_that_nobody_looked_at_are_named(whole: Node):
    whole.drop("OTN/HFX/detections", "theirs.csv", vue("2024-06-01T10:00:00 VR2W-113 A69-1602-100"))
    whole.load()
    keys = [
        key
        for (key,) in whole.rows("select submission_key from platform.submissions where state = 'loaded' order by 1")
    ]
    found = verify(whole, {keys[0]: [], keys[1]: ["bob"]})
    assert [dict(row) for row in found["D24"].rows] == [{"project": "HFX", "submission": keys[0]}]
    for check_id in ("D24", "D25"):
        wanted = BROKEN[check_id].row
        assert any({name: row.get(name) for name in wanted} == wanted for row in found[check_id].rows), found[
            check_id
        ].rows


def test_a_node_says_which_findings_stop_its_push(whole: Node):
    whole.drop("OTN/HFX/tags", "b.csv", tag_sheet({"ANIMAL_ID": "C", "TAG_ID_CODE": "200"}))
    whole.load()
    assert verification.why_it_stops(verify(whole).values()) is None
    pushes = whole.settings.pushes.model_copy(update={"stops": ["T15"]})
    strict = replace_settings(whole, pushes)
    says = verification.why_it_stops(verify(strict).values())
    assert says and "T15 (No tag is live twice on this project)" in says and "HFX-C" in says
    stored = {one["id"]: one for one in verification.read(snapshot.push_folder(whole.settings, NEXT_PUSH))}
    assert stored["T15"]["stops"] and stored["T15"]["rows"][0]["project"] == "HFX" and not stored["R15"]["stops"]
    with pytest.raises(BadConfiguration, match=r"stops: found 'X1', expected some of S1"):
        verify(replace_settings(whole, pushes.model_copy(update={"stops": ["X1"]})))


def replace_settings(node: Node, pushes: Any) -> Node:
    return Node(node.settings.model_copy(update={"pushes": pushes}))
