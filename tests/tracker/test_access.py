"""Who sees what: without signing in nothing that a project did not open, by any path, in any form; forms; foreign words."""

import datetime as dt
import io
import re
import zipfile
from pathlib import Path

import httpx
import openpyxl
import pytest
from starlette.routing import Route

from otn_dagster.tracker import export, items, people
from otn_dagster.tracker.items import Actor
from tests.support.node import PAST_PUSH, Node
from tests.support.site import PASSWORD, Site, Visitor, configure, serving

SECRETS = ["tags.csv", "dep.csv", "Project HFX", "HFX", "@example.org", "matched", "published"]
HOSTILE = "<script>alert(1)</script>\"'><a href=javascript:alert(2)>x</a>"
FORMULA = '=HYPERLINK("http://evil","x")'
VALUES = {
    "item_id": ["1", "2", "3", "4", "999", "0", "-1", "1 or 1=1", "9" * 30, "%00"],
    "push_date": [PAST_PUSH, "2027-02-18", "../../etc", "2026-13-40"],
    "code": ["HFX", "hfx", "NSBS", "..", "HFX%00"],
    "name": [
        "hfx_qualified_detections_2024.zip",
        "hfx_unqualified_detections_2024.parquet",
        "..%2f..%2fmanifest.json",
        "manifest.json",
    ],
    "kind": ["abacus", "map", "x"],
    "mail_no": ["1", "2", "x"],
    "token": ["a" * 22, "..%2f..%2fetc", "x"],
}


def paths(app) -> list[str]:
    """Every page there is, with every value that its path may have."""
    found = []
    for route in app.routes:
        if isinstance(route, Route) and route.path.startswith("/tracker") and "GET" in (route.methods or set()):
            made = [route.path]
            for name in re.findall(r"\{([a-z_]+)\}", route.path):
                made = [path.replace(f"{{{name}}}", value) for path in made for value in VALUES[name]]
            found += made
    assert len(found) > 60
    return found


def says_nothing(visitor: Visitor, path: str, **query: str) -> None:
    answer = visitor.get(path, params=query)
    text = text_of(answer)
    text = re.sub(r'"GET [^"]*"', "", text.replace(path, ""))
    for asked in re.findall(r'(?:value|href)="([^"]*)"', answer.text):  # what the visitor wrote himself
        text = text.replace(asked, "")
    leaked = [secret for secret in SECRETS if secret in text.replace("HFX is", "").replace("of HFX are", "")]
    if answer.status_code == 200 and path in ("/tracker", f"/tracker/pushes/{PAST_PUSH}"):
        leaked = [
            secret for secret in leaked if secret not in ("matched", "published")
        ]  # states to filter by; the network's sums are every manager's
    assert answer.status_code in (200, 303, 400, 401, 403, 404), (path, answer.status_code)
    assert not leaked or path.endswith(("style.css", "sign-in", "invitation")), (path, query, leaked, answer.text)
    assert "attachment" not in answer.headers.get("content-disposition", "") or query, path


def text_of(answer: httpx.Response) -> str:
    """What an answer says, whatever its form."""
    if not answer.content.startswith(b"PK"):
        return answer.text
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    return "\n".join(str(cell.value) for row in book.active.iter_rows() for cell in row)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "who", ["nobody", "reader of nothing", "manager of another node", "disabled", "signed out", "too late"]
)
def test_nothing_is_readable_without_the_right(site: Site, who: str):
    visitor = site.visitor()
    if who == "reader of nothing":
        visitor = site.person("eve@example.net")
    elif who == "manager of another node":
        visitor = site.person("mia@example.net", "manager", "FACT")
    elif who != "nobody":
        visitor = site.person("ann@example.net", "analyst")
        assert "tags.csv" in visitor.get("/tracker").text
        if who == "signed out":
            assert visitor.post("/tracker/sign-out", page="/tracker").status_code == 303
        else:
            with site.node.connect() as connection:
                if who == "disabled":
                    people.disable(connection, "ann@example.net")
                else:
                    connection.execute("update platform.sign_ins set until = clock_timestamp() - interval '1 second'")
    for path in paths(site.app):
        for form in ({}, {"format": "json"}, {"format": "csv"}, {"format": "xlsx"}):
            says_nothing(visitor, path, **form)
        says_nothing(visitor, path + "/")


def test_what_a_project_opened_is_readable_and_no_more(pushed: Node, configured: Path):
    configure(configured, access={"open_projects": ["HFX"]})
    with serving(pushed) as site:
        nobody = site.visitor()
        assert "tags.csv" in nobody.get("/tracker").text
        item = nobody.get("/tracker/items/2")
        assert item.status_code == 200 and "@" not in re.sub(r"A69|@media", "", item.text)  # no addresses
        assert "@" not in nobody.get("/tracker", params={"format": "csv"}).text
        project = nobody.get("/tracker/projects/HFX")
        assert project.status_code == 200 and "@" not in project.text and ".zip" not in project.text
        for path in (
            "/tracker/items/2/file",
            "/tracker/items/2/rows",
            f"/tracker/pushes/{PAST_PUSH}/extracts/HFX/hfx_qualified_detections_2024.zip",
        ):
            assert nobody.get(path).status_code == 303, path


def test_a_project_s_people_see_it_and_have_its_files(site: Site):
    email = site.node.value("select email from obis.contacts where email is not null limit 1")
    harriet = site.person(email)
    assert "tags.csv" in harriet.get("/tracker").text
    page = harriet.get("/tracker/projects/HFX")
    assert email in page.text
    links = re.findall(r'href="(/tracker/pushes/[^"]+\.zip)"', page.text)
    assert links
    answer = harriet.get(links[0])
    assert answer.status_code == 200 and zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
    assert (
        answer.headers["content-disposition"].startswith("attachment")
        and "sandbox" in answer.headers["content-security-policy"]
    )
    received = site.node.value("select sha256 from platform.tracker_items where item_id = 2")
    import hashlib

    assert hashlib.sha256(harriet.get("/tracker/items/2/file").content).hexdigest() == received
    assert harriet.get("/tracker/items/2/rows", params={"format": "csv"}).text.startswith('"row",')
    assert harriet.act(2, "hold", choice="needs_researcher").status_code == 403  # a reader acts on nothing
    assert harriet.get("/tracker/outbox").status_code == 403


def test_a_manager_acts_for_his_node_and_a_withdrawal_needs_two(site: Site):
    mia, ann = site.person("mia@example.net", "manager", "OTN"), site.person("ann@example.net", "analyst")
    assert mia.act(2, "withdraw", reason="a wrong animal").status_code == 303
    assert mia.act(2, "withdraw", reason="once more").status_code == 303
    assert state(site, 2) == "published"
    assert ann.act(2, "withdraw", reason="agreed").status_code == 303
    assert state(site, 2) == "withdrawn"
    with site.node.connect() as connection:
        last = items.history(connection, 2)[-1]
    assert last.evidence["signed by"] == ["mia@example.net"] and last.actor == "ann@example.net"
    refused = ann.act(2, "hold", choice="quarantined")
    assert refused.status_code == 409 and "nothing is left to hold" in refused.text


def state(site: Site, item: int) -> str:
    return site.node.value("select state from platform.tracker_items where item_id = %s", item)


def test_a_form_of_another_site_or_of_another_session_does_nothing(site: Site):
    ann, other = site.person("ann@example.net", "analyst"), site.person("bob@example.net", "analyst")
    form = ann.get("/tracker/items/2").text
    token = re.findall(r'name="form_token" value="([^"]+)"', form)[0]
    version = re.findall(r'name="version" value="([^"]+)"', form)[0]
    fields = {"reason": "because", "choice": "quarantined", "version": version}
    url = "/tracker/items/2/withdraw"
    assert ann.client.post(url, data=fields).status_code == 403
    assert ann.client.post(url, data={**fields, "form_token": ""}).status_code == 403
    assert other.client.post(url, data={**fields, "form_token": token}).status_code == 403
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
    ):
        assert ann.client.post(url, data={**fields, "form_token": token}, headers=headers).status_code == 403, headers
    assert ann.client.post(url, json={**fields, "form_token": token}).status_code == 415
    assert ann.client.get(url).status_code == 405
    assert not site.node.rows("select 1 from platform.tracker_signatures")
    own = {"Origin": "http://otn.test", "Sec-Fetch-Site": "same-origin"}
    assert ann.client.post(url, data={**fields, "form_token": token}, headers=own).status_code == 303
    assert site.node.rows("select 1 from platform.tracker_signatures")


def test_signing_in(site: Site):
    with site.node.connect() as connection:
        token = people.invite(connection, "Ann@Example.net", "Ann", "reader", [], "test")
    visitor = site.visitor()
    short = visitor.post("/tracker/invitation", token=token, password="short", again="short")
    assert short.status_code == 400 and "12 to" in short.text
    assert visitor.post("/tracker/invitation", token="made up", password=PASSWORD, again=PASSWORD).status_code == 400
    assert visitor.post("/tracker/invitation", token=token, password=PASSWORD, again=PASSWORD).status_code == 303
    assert (
        visitor.post("/tracker/invitation", token=token, password=PASSWORD, again=PASSWORD).status_code == 400
    )  # used
    assert visitor.sign_in("ann@example.net", "wrong wrong wrong").status_code == 403
    assert visitor.sign_in("nobody@example.net").text.count("do not belong together") == 1
    answer = visitor.post("/tracker/sign-in", email="ANN@example.net", password=PASSWORD, next="https://evil.example/")
    assert answer.headers["location"] == "/tracker"
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("otn_session"))
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    kept = site.node.rows("select password, invitation_sha256 from platform.people")[0]
    assert PASSWORD not in kept[0] and kept[0].startswith("scrypt$")
    secret = answer.cookies["otn_session"]
    assert secret.encode() not in b"".join(
        row[0] for row in site.node.rows("select token_sha256 from platform.sign_ins")
    )


@pytest.mark.parametrize(
    "next_page",
    [
        "//evil.example",
        "/\\evil.example",
        "/tracker/../..//evil",
        "javascript:alert(1)",
        "/v1/x",
        "/tracker//evil.example",
    ],
)
def test_signing_in_leads_nowhere_else(site: Site, next_page: str):
    with site.node.connect() as connection:
        people.accept(connection, people.invite(connection, "ann@example.net", "Ann", "reader", [], "test"), PASSWORD)
    answer = site.visitor().post("/tracker/sign-in", email="ann@example.net", password=PASSWORD, next=next_page)
    assert answer.headers["location"] == "/tracker"


def test_who_guesses_has_to_wait(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(people, "_SCRYPT", (1, 8, 1))
    site.person("ann@example.net")
    visitor = site.visitor()
    for _ in range(people.MOST_FAILURES):
        with pytest.raises(people.BadSignIn, match="do not belong"), site.node.connect() as connection:
            people.sign_in(connection, "ann@example.net", "guess", 1, "testclient")
    with pytest.raises(people.BadSignIn, match="Too many"), site.node.connect() as connection:
        people.sign_in(connection, "ann@example.net", PASSWORD, 1, "testclient")
    with site.node.connect() as connection:
        assert people.sign_in(connection, "ann@example.net", PASSWORD, 1, "elsewhere")  # a stranger locks nobody out
        connection.rollback()
    assert "Too many" in visitor.sign_in("ann@example.net").text


def test_words_from_files_become_neither_markup_nor_links_nor_formulas(site: Site):
    with site.node.connect() as connection:
        connection.execute(
            "update obis.otn_resources set resource_full_name = %s, abstract = %s, website = 'javascript:x'",
            [HOSTILE, FORMULA],
        )
        connection.execute("update obis.contacts set name = %s, affiliation = %s", [HOSTILE, FORMULA])
        connection.execute(
            "update platform.tracker_items set title = %s, owner = %s, blocker = %s, blocker_code = 'other'",
            [HOSTILE, FORMULA, HOSTILE],
        )
        items.note(connection, 2, Actor("receipt"), HOSTILE, {HOSTILE: FORMULA})
        connection.execute(
            "insert into platform.refused_rows values ((select subject from platform.tracker_items where item_id = 2), 1, %s, %s, %s, %s)",
            [HOSTILE] * 4,
        )
    ann = site.person("ann@example.net", "analyst")
    for path in (
        "/tracker",
        "/tracker/items/2",
        "/tracker/projects",
        "/tracker/projects/HFX",
        f"/tracker/pushes/{PAST_PUSH}",
    ):
        text = ann.get(path).text
        assert "<script" not in text and "javascript:" not in re.sub(
            r"&lt;a href=javascript:alert\(2\)&gt;", "", text
        ), path
        assert "default-src 'none'" in ann.get(path).headers["content-security-policy"]
    table = ann.get("/tracker", params={"format": "csv"}).text
    assert "'=HYPERLINK" in table and ",=HYPERLINK" not in table and ',"=HYPERLINK' not in table
    book = openpyxl.load_workbook(io.BytesIO(ann.get("/tracker", params={"format": "xlsx"}).content))
    cells = [cell for row in book[export.SHEET].iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f" or cell.hyperlink]
    assert FORMULA in [cell.value for cell in cells]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", " =1", "\r=1", "|cmd", "%1"])
def test_no_text_begins_a_formula(text: str):
    assert export.as_csv(["a"], [{"a": text}]).splitlines()[1].lstrip('"').startswith("'")
    assert export.harmless(-1) == -1


def test_the_workbook_has_one_sheet_with_a_frozen_header_filters_and_colours():
    rows = [
        {"title": "a\x0bb", "state": "published", "push_date": dt.date(2026, 10, 15)},
        {"title": "b", "state": "rejected"},
    ]
    book = openpyxl.load_workbook(
        io.BytesIO(export.as_xlsx(["title", "state", "push_date"], rows, dt.datetime.now(dt.UTC)))
    )
    assert book.sheetnames == ["datasets"]
    sheet = book["datasets"]
    assert sheet.freeze_panes == "A3" and sheet.auto_filter.ref == "A2:C4"
    assert str(sheet["A1"].value).startswith("as of ") and [cell.value for cell in sheet[2]] == [
        "title",
        "state",
        "push_date",
    ]
    assert sheet["A3"].value == "ab"
    assert sheet["B3"].fill.fgColor.rgb == export.COLOURS["published"] != sheet["B4"].fill.fgColor.rgb
