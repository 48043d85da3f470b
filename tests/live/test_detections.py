"""Detections that receivers push take the path of files, and so take part in the push."""

import datetime as dt
from typing import Any

import pytest

from otn_dagster.live import detections
from tests.support.livenode import LiveNode
from tests.support.node import Node

DATASET: dict[str, Any] = {
    "kind": "detections",
    "node": "OTN",
    "collectioncode": "LIVE",
    "key": ["receiver", "time", "transmitter"],
    "fields": {
        "time": "time",
        "receiver": "text",
        "transmitter": "text",
        "sensor_value": "number",
        "sensor_unit": "text",
        "station_name": "text",
    },
}
TODAY = dt.date(2026, 3, 3)


def heard(
    minute: int, day: int = 1, tag: str = "A69-1602-100", receiver: str = "VR2W-109924", **more: Any
) -> dict[str, Any]:
    return {"time": f"2026-03-0{day}T10:{minute:02d}:00Z", "receiver": receiver, "transmitter": tag, **more}


@pytest.fixture
def api(live: LiveNode):
    live.configure("modem", **DATASET)
    with live.serve() as api:
        api.token = live.key("modem")
        yield api


def submit(live: LiveNode, today: dt.date = TODAY) -> list[tuple[str, str, int]]:
    live.apply("modem")
    with live.connect() as connection:
        written = detections.submit(connection, live.settings, live.dataset("modem"), today)
    return [(w.receiver, w.day.isoformat(), w.rows) for w in written]


def test_each_receiver_and_day_that_ended_is_a_submission_that_is_loaded(api: Any, live: LiveNode):
    node = Node(live.settings)
    node.drop_form("LIVE")
    node.load()
    items = (
        [heard(m) for m in range(5)]
        + [heard(1, 2, sensor_value=17.5, sensor_unit="ADC")]
        + [heard(1, receiver="VR4-7")]
    )
    api.push([*items, heard(1, 3)], "modem")
    assert submit(live) == [
        ("VR2W-109924", "2026-03-01", 5),
        ("VR2W-109924", "2026-03-02", 1),
        ("VR4-7", "2026-03-01", 1),
    ]
    assert submit(live) == []
    assert set(node.load().values()) == {"loaded"}
    assert node.value("select count(*) from live_data.modem") == 8
    assert node.value("select count(*) from live.detections_2026") == 7
    rows = node.rows("select datetime, sensor_value from live.detections_2026 where sensor_value is not null")
    assert [(row[0].isoformat()[:19], float(row[1])) for row in rows] == [("2026-03-02T10:01:00", 17.5)]
    assert submit(live, TODAY + dt.timedelta(days=1)) == [("VR2W-109924", "2026-03-03", 1)]


def test_what_comes_late_makes_a_corrected_file_and_what_goes_waits_for_a_person(api: Any, live: LiveNode):
    node = Node(live.settings)
    node.drop_form("LIVE")
    api.push([heard(m) for m in range(5)], "modem")
    submit(live)
    node.load()
    api.push([heard(30)], "modem")  # late
    api.push([heard(1)], "modem")  # the same again
    assert submit(live) == [("VR2W-109924", "2026-03-01", 6)]
    node.load()
    assert node.value("select count(*) from live.detections_2026") == 6
    api.delete([heard(30)], "modem")
    assert submit(live) == [("VR2W-109924", "2026-03-01", 5)]
    states = node.load()
    assert list(states.values()) == ["held"] and node.value("select count(*) from live.detections_2026") == 6


def test_a_record_whose_time_is_corrected_leaves_its_old_day(live: LiveNode):
    live.configure("modem", **{**DATASET, "key": ["receiver", "transmitter"]})
    with live.serve() as api:
        api.token = live.key("modem")
        api.push([heard(1), heard(2, tag="A69-1602-101")], "modem")
        assert submit(live) == [("VR2W-109924", "2026-03-01", 2)]
        api.push([heard(1, 2)], "modem")
        assert submit(live) == [("VR2W-109924", "2026-03-01", 1), ("VR2W-109924", "2026-03-02", 1)]


def test_a_dataset_of_detections_says_where_its_files_go(live: LiveNode):
    from otn_dagster.config import BadConfiguration

    for missing in ("node", "collectioncode"):
        with pytest.raises(BadConfiguration, match="needs node and collectioncode"):
            live.configure("modem", **{**DATASET, missing: None})
    with pytest.raises(BadConfiguration, match="needs a field receiver of type text"):
        live.configure("modem", **{**DATASET, "key": [], "fields": {"time": "time", "transmitter": "text"}})


def test_detections_that_a_replay_gives_become_a_submission(live: LiveNode):
    live.configure("modem", **DATASET)
    with live.serve() as api:
        api.token = live.key("modem")
        api.push([heard(1), heard(2, battery=3.6)], "modem", params={"mode": "partial"})
        assert submit(live) == [("VR2W-109924", "2026-03-01", 1)]
        live.configure("modem", **{**DATASET, "fields": {**DATASET["fields"], "battery": "number"}})
        live.replay("modem", dry_run=False)
        assert submit(live) == [("VR2W-109924", "2026-03-01", 2)]
        assert submit(live) == []
