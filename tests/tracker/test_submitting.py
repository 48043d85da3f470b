"""The page to drop a file on: looked at within seconds, submitted or discarded, with a number as a receipt."""

import re
from pathlib import Path

from tests.support.sheets import tag_sheet
from tests.support.site import Site, Visitor

ODD = tag_sheet(
    {"ANIMAL_ID": "NEW1", "TAG_ID_CODE": "901", "AGE": "Unknown", "LENGTH (m)": "tall"},
    {"ANIMAL_ID": "NEW2", "TAG_ID_CODE": None},
)


def send(visitor: Visitor, name: str, data: bytes) -> str:
    """Send a file in one form; the address of its page."""
    answer = visitor.client.post("/tracker/submit/whole", files={"file": (name, data)})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def code_of(site: Site) -> str:
    return site.node.value("select collectioncode from obis.otn_resources order by 1 limit 1")


def test_a_file_is_looked_at_row_by_row_and_submitted(site: Site):
    code = code_of(site)
    analyst = site.person("ada@example.org", "analyst")
    where = send(analyst, "odd tags.csv", ODD)
    page = analyst.get(f"{where}?project={code}").text
    assert "of kind tags" in page and "1 of 2 rows can be loaded" in page
    assert "tall" in page and "TAG_ID_CODE" in page and "an acoustic tag is known by its id code" in page
    assert "would be loaded" in page and "Nothing that is loaded would change" in page
    before = site.node.value("select count(*) from obis.otn_animals")
    answer = analyst.post(f"{where}/send", page=f"{where}?project={code}")
    assert answer.status_code == 303
    number = re.findall(r"/tracker/items/(\d+)", answer.headers["location"])[0]
    receipt = analyst.get(answer.headers["location"]).text
    assert f"its number is {number}" in receipt
    row = site.node.rows(
        "select collectioncode, kind, state, submitted_by from platform.submissions order by submission_no desc limit 1"
    )
    assert row == [(code, "tags", "received", "ada@example.org")]
    assert (
        site.node.value("select count(*) from obis.otn_animals") == before
    )  # looking and submitting loaded nothing yet
    assert set(site.node.load().values()) == {"loaded"}
    loaded = analyst.get(f"/tracker/items/{number}").text
    assert "What became of its rows" in loaded and "1 loaded" in loaded and "tall" in loaded


def test_what_would_change_is_shown_and_taken_back(site: Site):
    analyst = site.person("ada@example.org", "analyst")
    code, name, animal = site.node.rows(
        "select s.collectioncode, s.file_name, a.catalognumber from platform.submissions s join obis.otn_animals a using (collectioncode)"
        " where s.kind = 'tags' order by 1 limit 1"
    )[0]
    path = Path(
        site.node.value("select stored_path from platform.submissions where file_name = %s and kind = 'tags'", name)
    )
    text = (site.node.settings.submissions / path).read_bytes()
    where = send(analyst, name, text.replace(b"blue shark", b"mako shark"))
    page = analyst.get(f"{where}?project={code}").text
    if b"blue shark" in text:
        assert "values that are loaded would change" in page and "mako shark" in page
    assert site.node.value("select count(*) from obis.otn_animals where commonname = 'mako shark'") == 0
    assert site.node.value("select count(*) from platform.submissions where submission_key like 'rehearsal%%'") == 0
    assert animal


def test_a_large_file_comes_in_parts_and_goes_on_where_it_broke(site: Site):
    analyst = site.person("ada@example.org", "analyst")
    begun = analyst.client.post(f"/tracker/submit/begin?name=big.csv&size={len(ODD)}").json()
    path = f"/tracker/submit/{begun['token']}"
    first = analyst.client.put(f"{path}/part?offset=0", content=ODD[:100]).json()
    assert first == {"offset": 100, "size": len(ODD)}
    wrong = analyst.client.put(f"{path}/part?offset=50", content=ODD[50:])
    assert wrong.status_code == 409 and wrong.json()["offset"] == 100
    assert analyst.client.get(f"{path}/offset").json()["offset"] == 100
    assert analyst.client.get(path).status_code == 409  # not whole yet
    analyst.client.put(f"{path}/part?offset=100", content=ODD[100:])
    assert "of kind tags" in analyst.get(path).text


def test_nobody_else_finds_it_and_what_is_discarded_is_gone(site: Site):
    analyst, other = site.person("ada@example.org", "analyst"), site.person("eve@example.org", "analyst")
    where = send(analyst, "t.csv", ODD)
    assert other.get(where).status_code == 404
    assert site.visitor().get(where).status_code in (303, 401, 404)
    assert analyst.post(f"{where}/discard", page=where).status_code == 303
    assert analyst.get(where).status_code == 404


def test_a_reader_submits_for_projects_of_theirs_only(site: Site):
    code = code_of(site)
    stranger = site.person("stranger@example.org")
    where = send(stranger, "t.csv", ODD)
    assert code not in re.findall(r'<option value="([^"]+)"', stranger.get(where).text)
    forged = stranger.client.post(f"{where}/send", data={**hidden(stranger, where), "project": code, "kind": "tags"})
    assert forged.status_code == 403


def hidden(visitor: Visitor, page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', visitor.get(page).text))


def test_names_of_files_lead_nowhere(site: Site):
    analyst = site.person("ada@example.org", "analyst")
    where = send(analyst, "../../etc/passwd", ODD)
    folder = site.node.settings.data / "uploads" / where.rsplit("/", 1)[-1]
    assert sorted(path.name for path in folder.iterdir()) == [".about.json", "passwd"]
    assert analyst.get("/tracker/submit/..%2F..%2Fx").status_code == 404
