"""Who people are: accounts, contacts, and whom a file is handed to."""

from pathlib import Path

import pytest

from otn_dagster.tracker.items import NotAllowed
from tests.support.node import Node
from tests.support.sheets import fill
from tests.support.site import Site
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
    from otn_dagster.tracker import people
    from tests.support.site import PASSWORD

    site.person("ann@example.net")
    with site.node.connect() as connection:
        people.disable(connection, "ann@example.net")
        people.invite(connection, "ann@example.net", "Ann", "analyst", [], "test")
    assert site.visitor().sign_in("ann@example.net", PASSWORD).status_code == 403


def test_handing_a_file_to_somebody_else_makes_no_second_person(node: Node, home: Path, configured: Path):
    from tests.support.site import configure

    configure(configured, second_look=["tags"])
    fill(node)
    load(node)
    owner = item_of(node, "tags.csv").owner or ""
    act(node, "tags.csv", "assign", "somebody@example.org", person=owner)
    with pytest.raises(NotAllowed, match="owns or owned"):
        act(node, "tags.csv", "sign", person=owner.upper())
