"""The same question at two dates on a page and on the command line: who may ask what, and what they see of others."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from otn_dagster.cli.main import command
from otn_dagster.embedded import EmbeddedServer
from tests.support.fixing import H1, network
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.once import Once, copied, made_once
from tests.support.sheets import deployments, tag_sheet, vue
from tests.support.site import serving


def _begin(node: Node) -> None:
    """Two pushes: between them a receiver of SHRK is known that heard HFX's animals, and SHRK uses a code of HFX, too."""
    node.clock("2026-10-01T00:00:00")
    network(node)
    assert set(node.load().values()) == {"loaded"}
    node.clock("2026-10-17T00:00:00")
    node.push(PAST_PUSH)
    node.clock("2026-10-20T00:00:00")
    moved = "SHRK,S2,2024-05-01T00:00:00,45.2,-62.2,VR2W,115,y,2024-12-01T00:00:00,"
    node.drop("OTN/SHRK/deployments", "moved.csv", deployments(moved))
    second = {
        "ANIMAL_ID": "T",
        "TAG_ID_CODE": "200",
        "TAG_SERIAL_NUMBER": "5",
        "UTC_RELEASE_DATE_TIME": "2024-07-15T00:00:00",
    }
    node.drop("OTN/SHRK/tags", "second.csv", tag_sheet(second))
    node.drop("OTN/HFX/detections", "new.csv", vue("2024-09-01T10:00:00 VR2W-112 A69-1602-100"))
    assert set(node.load().values()) == {"loaded"}
    node.clock("2027-02-20T00:00:00")
    node.push(NEXT_PUSH)
    for date in (PAST_PUSH, NEXT_PUSH):
        node.rows(
            "insert into platform.push_releases (push_date, released_by, why) values (%s, 'ada', 'fine') returning 1",
            date,
        )


@pytest.fixture(scope="module")
def begun(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, _begin)


@pytest.fixture
def twice(
    begun: Once, server: EmbeddedServer, home: Path, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
    """A network that was pushed twice."""
    return copied(begun, server, tmp_path, monkeypatch)


PERSON = (
    "select lower(email) from obis.contacts join obis.contacts_projects using (contact_pk)"
    " where collectioncode = 'HFX' and email is not null limit 1"
)
ASK = f"/tracker/compare?earlier={PAST_PUSH}&later={NEXT_PUSH}"


def test_people_of_a_project_ask_about_what_is_theirs(twice: Node):
    mail = twice.value(PERSON)
    twice.rows("delete from obis.contacts_projects where collectioncode = 'SHRK' returning 1")
    with serving(twice) as site:
        reader, analyst = site.person(mail), site.person("ana@example.org", "analyst")
        assert reader.get("/tracker/compare").status_code == 200
        found = reader.get(f"{ASK}&extract=HFX,2024,t").text
        assert "new.csv" in found and "moved.csv" not in found and "a file of SHRK" in found
        everything = analyst.get(f"{ASK}&extract=HFX,2024,t").text
        assert "moved.csv" in everything and "second.csv" in everything
        rows = reader.get(f"{ASK}&extract=HFX,2024,t&format=json").json()["compare-HFX"]
        whole = analyst.get(f"{ASK}&extract=HFX,2024,t&format=json").json()["compare-HFX"]
        assert len(rows) == len(whole) and {row["change"] for row in rows} == {"same", "added", "withdrawn"}
        for row in rows:
            named = {row["animal_before"], row["animal_after"]} - {None, "another project's"}
            assert all(name.startswith("HFX-") for name in named)
            if row["change"] == "withdrawn":  # where it is now is not theirs to know
                assert (
                    row["rcvrcatnumber_after"] is None and row["reason_after"] == "u2_ambiguous" and row["why"] == "tag"
                )
        assert reader.get(f"{ASK}&animal=SHRK-S").status_code == 404
        theirs, own = (
            twice.value(
                "select min(det_key) from obis.otn_detections where collectioncode = 'SHRK' and fieldnumber = %s", code
            )
            for code in ("A69-1602-300", "A69-1602-100")
        )
        for name in (f"HFX-{theirs}", f"SHRK-A69-1602-300-{theirs}"):  # whose it is, is not said by who types its name
            assert reader.get(f"{ASK}&detection={name}").status_code == 404, name
        heard = reader.get(f"{ASK}&detection=SHRK-A69-1602-100-{own}")  # heard by another's receiver, of an own animal
        assert heard.status_code == 200 and "HFX-A" in heard.text
        turned = reader.get(
            f"/tracker/compare?earlier={NEXT_PUSH}&later={PAST_PUSH}&extract=HFX,2024,t&format=json"
        ).json()
        assert turned["compare-HFX"] == rows
        assert reader.get(f"{ASK}&extract=hfx").status_code == 400
        assert site.visitor().get(f"{ASK}&animal=HFX-A").status_code in (302, 303, 401)
        alone = reader.get(f"/tracker/compare?later={NEXT_PUSH}&animal=HFX-A").text  # a link from one push
        assert "<h2>HFX-A</h2>" in alone and "new.csv" in alone


def test_a_push_that_is_not_released_is_compared_by_staff_alone(twice: Node):
    twice.rows("delete from platform.push_releases where push_date = %s returning 1", NEXT_PUSH)
    mail = twice.value(PERSON)
    with serving(twice) as site:
        reader, manager = site.person(mail), site.person("max@example.org", "manager", "OTN")
        assert reader.get(f"{ASK}&animal=HFX-A").status_code == 404
        assert manager.get(f"{ASK}&animal=HFX-A").status_code == 200


def test_the_command_says_the_same_and_writes_a_table(twice: Node, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    target = tmp_path / "rows.csv"
    arguments = ["compare", PAST_PUSH, NEXT_PUSH, "--extract", "HFX,2024,t", "--into", str(target)]
    assert command.main(arguments, standalone_mode=False) in (None, 0)
    said = capsys.readouterr().out
    assert "its file came since" in said and "new.csv" in said and "second.csv" in said
    with target.open() as handle:
        rows = list(csv.DictReader(handle))
    assert sum(row["change"] == "withdrawn" for row in rows) == sum("tag" in row["why"].split() for row in rows) > 0
    assert H1 in {row["rcvrcatnumber_before"] for row in rows}


def test_the_verification_is_for_staff_and_counts_what_it_does_not_show(twice: Node):
    from otn_dagster.telemetry.push import snapshot, verification
    from otn_dagster.telemetry.push.shared import Shared

    twice.rows("update hfx.otn_animals set length = 150 returning 1")
    folder = snapshot.push_folder(twice.settings, NEXT_PUSH)
    with twice.connect() as connection:
        frozen = snapshot.read(twice.settings, NEXT_PUSH)
        found = verification.verify(connection, twice.settings, Shared(frozen))
    many = [{"project": "HFX", "catalognumber": f"HFX-{n}"} for n in range(300)] + [
        {"project": "SHRK", "catalognumber": "SHRK-S"}
    ]
    found = [replace(one, passed=False, rows=many) if one.check.check_id == "T8" else one for one in found]
    verification.write(found, frozen, folder)
    address = f"/tracker/pushes/{NEXT_PUSH}/verification"
    with serving(twice) as site:
        analyst, manager = site.person("ana@example.org", "analyst"), site.person("max@example.org", "manager", "ACT")
        assert site.person(twice.value(PERSON)).get(address).status_code == 403
        text = analyst.get(address).text
        assert "301 row(s)" in text and "SHRK-S" in text and "and 251 more" in text
        assert "SHRK-S" not in manager.get(address).text  # another node's
