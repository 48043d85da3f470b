"""Who people are: accounts, contacts, and whom a file is handed to."""

import datetime as dt
import re
from pathlib import Path

import pytest

from otn_dagster.tracker import people
from otn_dagster.tracker.configuration import MailSettings, TrackerSettings, load_tracker
from otn_dagster.tracker.items import NotAllowed
from otn_dagster.tracker.mail import notices, sending
from tests.support.mailserver import MailServer
from tests.support.node import Node
from tests.support.sheets import fill
from tests.support.site import PASSWORD, Site, configure, serving
from tests.support.tracking import act, item_of, load


def test_no_form_renames_somebody_whom_other_projects_name_too(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop_form("NSBS")
    load(node)
    before = node.rows("select name, email from obis.contacts order by 1")
    with node.connect() as connection:
        from otn_dagster.telemetry.files.project_form import Contact
        from otn_dagster.telemetry.loading.project import _contact_pk

        email = next(email for _, email in before if email)
        _contact_pk(connection, Contact("Somebody Else", "Evil Inc", "Technician", email), "EVIL")
    assert node.rows("select name, email from obis.contacts order by 1") == before


def test_a_contact_whose_name_is_a_message_is_not_read(node: Node):
    from otn_dagster.telemetry.files.project_form import _contacts

    unread: list[tuple[str, str]] = []
    lines = [
        "Your account was closed. Log in at https://evil.example/otn, X, Principal Investigator, victim@anywhere.org",
        "pi@b.org, Uni, Technician",
        "Nadia Blue, Dalhousie University, principal investigator, nadia.blue@example.org",
    ]
    assert [contact.name for contact in _contacts(lines, unread)] == ["Nadia Blue"] and len(unread) == 2


def test_a_disabled_account_does_not_come_back_with_its_old_password(site: Site):
    site.person("ann@example.net")
    with site.node.connect() as connection:
        people.disable(connection, "ann@example.net")
        people.invite(connection, "ann@example.net", "Ann", "analyst", [], "test")
    assert site.visitor().sign_in("ann@example.net", PASSWORD).status_code == 403


def test_handing_a_file_to_somebody_else_makes_no_second_person(node: Node, home: Path, configured: Path):
    configure(configured, second_look=["tags"])
    fill(node)
    load(node)
    owner = item_of(node, "tags.csv").owner or ""
    act(node, "tags.csv", "assign", "somebody@example.org", person=owner)
    with pytest.raises(NotAllowed, match="owns or owned"):
        act(node, "tags.csv", "sign", person=owner.upper())


CODE = re.compile(r"/tracker/invitation#(\S+)")


def ask_for_link(site: Site, email: str) -> str:
    """The page after asking, less what is new in every form."""
    answer = site.visitor().post("/tracker/password", "/tracker/password", email=email)
    assert answer.status_code == 200
    return re.sub(r'value="[^"]*"', "", answer.text)


def test_whoever_a_form_names_or_has_an_account_is_mailed_a_link_that_works_once(pushed: Node, configured: Path):
    """The answer tells nobody which addresses are known; the code is kept as a hash alone; nobody gets a copy."""
    person = pushed.value(
        "select lower(email) from obis.contacts join obis.contacts_projects using (contact_pk) where point_of_contact"
    )
    with MailServer() as mail:
        configure(configured, mail={"mode": "live", "smtp_port": mail.port, "cc": ["copies@example.org"]})
        with serving(pushed) as site:
            said = {ask_for_link(site, email) for email in (person.upper(), "nobody@example.org", "bad", person)}
            assert len(said) == 1 and "a mail with a link is on its way" in said.pop()
            assert [to for (to,) in pushed.rows("select recipient from platform.outbox where event = 'password'")] == [
                person
            ]
            sending.send_due(pushed.settings, load_tracker().mail)
            (message,) = mail.inbox.messages
            assert message["Cc"] is None and person in str(message["To"])
            code = CODE.findall(message.get_payload()[0].get_payload(decode=True).decode())[0]
            assert code not in str(
                pushed.rows("select body_text, body_html from platform.outbox where event = 'password'")
            )
            visitor = site.visitor()
            chosen = {"token": code, "password": PASSWORD, "again": PASSWORD}
            assert visitor.post("/tracker/invitation", "/tracker/invitation", **chosen).status_code in (200, 303)
            assert (
                visitor.post("/tracker/invitation", "/tracker/invitation", **chosen).status_code == 400
            )  # it is used up
            assert visitor.sign_in(person).status_code in (200, 303)
            assert "HFX" in visitor.get("/tracker/projects").text


def test_a_forgotten_password_is_mended_and_the_old_one_works_until_then(pushed: Node, configured: Path):
    with serving(pushed) as site:
        site.person("max@example.org", "manager", "OTN")
        with pushed.connect() as connection:
            code = people.code_of(connection, "max@example.org") or ""
            assert people.code_of(connection, "nobody@example.org") is None
        assert site.visitor().sign_in("max@example.org").status_code in (200, 303)
        visitor = site.visitor()
        new = "another good password"
        visitor.post("/tracker/invitation", "/tracker/invitation", token=code, password=new, again=new)
        assert visitor.sign_in("max@example.org").status_code == 403
        assert visitor.sign_in("max@example.org", new).status_code in (200, 303)
        assert [role for _, _, role, _, _ in everybody(pushed) if role == "manager"]  # who has a role keeps it
        with pushed.connect() as connection:
            people.disable(connection, "max@example.org")
            assert people.code_of(connection, "max@example.org") is None


def everybody(node: Node) -> list[tuple]:
    with node.connect() as connection:
        return people.everybody(connection)


def test_three_links_a_day_and_none_where_no_mail_is_sent(pushed: Node, configured: Path):
    settings = TrackerSettings(mail=MailSettings(mode="live"))
    person = pushed.value(
        "select lower(email) from obis.contacts join obis.contacts_projects using (contact_pk) where point_of_contact"
    )
    with pushed.connect() as connection:
        hours = [dt.datetime(2026, 11, 28, hour, tzinfo=dt.UTC) for hour in (1, 1, 2, 3, 4)]
        written = [len(notices.password(connection, settings, person, at)) for at in hours]
    assert written == [1, 0, 1, 1, 0]
    with serving(pushed) as site:
        assert "sends no mails at the moment" in site.visitor().get("/tracker/password").text
