"""What is missing of a project: the four states of its deployments, its detections without one, the page, the tables, the mail."""

import csv
import datetime as dt
import io

import pytest

from otn_dagster.telemetry import missing_files
from otn_dagster.telemetry.missing_files import Deployed, State
from tests.support.node import Node
from tests.support.sheets import deployments, vue
from tests.support.site import serving

DAY = dt.timedelta(days=1)
START, END = dt.datetime(2024, 5, 1), dt.datetime(2024, 12, 1)


def deployed(
    end: dt.datetime | None = END,
    ind: str = "y",
    uploaded: dt.datetime | None = None,
    events: int = 0,
    detections: int = 0,
) -> State:
    return Deployed("H1-VR2W-1-x", "H1", "1", START, end, ind, uploaded, events, detections).state


def test_the_states_of_a_deployment():
    assert deployed(uploaded=END + 20 * DAY) == State.ALL_THERE == deployed(uploaded=END - 6 * DAY)
    assert deployed(uploaded=END - 8 * DAY) == State.SOME_MISSING == deployed(events=3)
    assert deployed(detections=5) == State.EVENTS_MISSING and deployed() == State.ALL_MISSING
    assert deployed(end=None, ind="n") == State.NOT_DUE and deployed(end=None, ind="y", detections=3) == State.UNDATED
    assert {deployed(ind="l"), deployed(end=None, ind="l"), deployed(ind="failed", detections=3)} == {State.LOST}


def events(receiver: str, *times: str) -> bytes:
    head = "Date and Time (UTC),Receiver,Description,Data,Units"
    rows = [
        f"{at.replace('T', ' ')},{receiver},{what},,"
        for at, what in zip(times, ["Initialization", "Data Upload"], strict=False)
    ]
    return ("\r\n".join([head, *rows]) + "\r\n").encode()


@pytest.fixture
def project(node: Node, configured, home) -> Node:
    """A deployment in each state, and one of a receiver that went down again on the day of its recovery.

    Two receivers heard something when nobody had deployed them.
    """
    node.drop_form("HFX")
    rows = [
        "HFX,WHOLE,2024-05-01T00:00:00,44.1,-63.1,VR2W,1,y,2024-12-01T00:00:00,",
        "HFX,PART,2024-05-01T00:00:00,44.2,-63.1,VR2W,2,y,2024-12-01T00:00:00,",
        "HFX,HEARD,2024-05-01T00:00:00,44.3,-63.1,VR2W,3,y,2024-12-01T00:00:00,",
        "HFX,NOTHING,2024-05-01T00:00:00,44.4,-63.1,VR2W,4,y,2024-12-01T00:00:00,",
        "HFX,WATER,2024-05-01T00:00:00,44.5,-63.1,VR2W,5,n,,",
        "HFX,GONE,2024-05-01T00:00:00,44.6,-63.1,VR2W,6,l,,",
        "HFX,AGAIN,2024-12-01T12:00:00,44.7,-63.1,VR2W,1,y,2025-06-01T00:00:00,",
    ]
    node.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    heard = [f"2024-07-0{d}T10:00:00 VR2W-{receiver} A69-1602-100" for d in (1, 2) for receiver in (1, 3)]
    early = [f"2024-02-{1 + n % 28:02d}T{n % 24:02d}:00:00 VR2W-4 A69-1602-{n}" for n in range(120)]
    node.drop("OTN/HFX/detections", "a.csv", vue(*heard, *early, "2024-07-01T10:00:00 VR2W-9 A69-1602-100"))
    node.drop("OTN/HFX/events", "whole.csv", events("VR2W-1", "2024-04-01T00:00:00", "2024-12-01T10:00:00"))
    node.drop("OTN/HFX/events", "part.csv", events("VR2W-2", "2024-05-01T00:00:00", "2024-09-01T10:00:00"))
    assert set(node.load().values()) == {"loaded"}
    return node


def test_the_page_says_what_is_missing_and_asks_for_it(project: Node):
    with project.connect() as connection:
        found = {one.station: one.state for one in missing_files.report(connection, "HFX")}
    assert found == {
        "WHOLE": State.ALL_THERE, "PART": State.SOME_MISSING, "HEARD": State.EVENTS_MISSING,
        "NOTHING": State.ALL_MISSING, "WATER": State.NOT_DUE, "GONE": State.LOST, "AGAIN": State.ALL_MISSING,
    }  # fmt: skip
    mail = project.value("select lower(email) from obis.contacts where email is not null order by contact_pk limit 1")
    address = "/tracker/projects/HFX/missing"
    with serving(project) as site:
        reader, manager = site.person(mail), site.person("max@example.org", "manager", "OTN")
        stranger = site.person("eve@example.org")
        assert stranger.get(address).status_code == 404
        text = reader.get(address).text
        assert "2 without detections and events" in text and text.count('<rect class="sent') == 7
        assert "VR2W-4" in text and "before deployments" in text and "no known deployment" in text
        assert "Mail this" not in text and reader.post(f"{address}/ask", "/tracker").status_code == 403
        assert reader.get(f"{address}?to=2023").text.count('<rect class="sent') == 0
        assert "fake" not in reader.get(f"{address}?asked=fake").text
        rows = list(csv.DictReader(io.StringIO(reader.get(f"{address}?list=files&format=csv").text)))
        assert {row["station"]: row["state"] for row in rows} == {name: str(state) for name, state in found.items()}
        rows = reader.get(f"{address}?list=metadata&format=json").json()["hfx-missing-metadata"]
        assert [(row["receiver"], row["position"], row["detections"]) for row in rows] == [
            ("VR2W-4", "before deployments", 120),
            ("VR2W-9", "no known deployment", 1),
        ]
        asked = manager.post(f"{address}/ask", address)
        assert asked.status_code == 303 and "asked=" in asked.headers["location"]
        again = manager.post(f"{address}/ask", address)
        assert again.status_code == 409 and "They were asked today" in again.text
    mails = project.rows("select recipient, title, body_text from platform.outbox where event = 'missing' order by 1")
    assert mail in {recipient for recipient, _, _ in mails}
    assert all(
        "HEARD, 3, 2024-05-01 to 2024-12-01: detections are there; send the events" in body for _, _, body in mails
    )
    assert all(
        "VR2W-4 missing 120 detections (0 transceiver tags, 120 animal tags, 0 test tags) (before deployments)" in b
        for _, _, b in mails
    )
    assert all("VR2W-9" not in body for _, _, body in mails)  # a single one is below the field's threshold


def test_a_project_of_which_nothing_is_missing_is_not_asked(node: Node, configured, home):
    node.drop_form("SHRK")
    assert set(node.load().values()) == {"loaded"}
    with serving(node) as site:
        manager = site.person("max@example.org", "manager", "OTN")
        address = "/tracker/projects/SHRK/missing"
        text = manager.get(address).text
        assert "has deployed no receivers" in text and "Every detection has its deployment" in text
        refused = manager.post(f"{address}/ask", address)
        assert refused.status_code == 409 and "Nothing is missing" in refused.text
