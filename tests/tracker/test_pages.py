"""What people see: the board, an item, a push, a project; in every form."""

import datetime as dt

import icalendar

from tests.support.node import PAST_PUSH
from tests.support.site import Site


def test_pages_show_what_happened(site: Site):
    ada = site.person("ada@example.org", "analyst")
    board = ada.get("/tracker")
    assert board.status_code == 200, board.text
    for path in (
        "/tracker/items/1",
        "/tracker/items/4",
        "/tracker/items/4/rows",
        f"/tracker/pushes/{PAST_PUSH}",
        "/tracker/pushes",
        "/tracker/projects",
        "/tracker/projects/HFX",
        "/tracker/outbox",
        "/tracker/outbox/1",
        "/tracker?q=x&state=published",
    ):
        page = ada.get(path)
        assert page.status_code == 200, (path, page.text)
    for path in (
        "/tracker",
        "/tracker/items/1",
        "/tracker/items/4/rows",
        f"/tracker/pushes/{PAST_PUSH}",
        "/tracker/pushes",
        "/tracker/projects",
        "/tracker/outbox",
    ):
        for form in ("json", "csv", "xlsx"):
            assert ada.get(path, params={"format": form}).status_code == 200, (path, form)


def test_the_calendar_is_one_that_calendar_programs_read(site: Site):
    """Whole days, stable names, reminders; the cut-off of every node; the same bytes whenever it is asked for."""
    answer = site.visitor().get("/tracker/pushes.ics")  # nobody signs in from a calendar program
    assert answer.headers["content-type"].startswith("text/calendar")
    events = {event["uid"]: event for event in icalendar.Calendar.from_ical(answer.content).walk("VEVENT")}
    event = events["push-2027-02-18@otn-dagster"]
    assert event["dtstart"].dt == dt.date(2027, 2, 18) and len(event.walk("VALARM")) == 2
    assert "OTN: loading closes 2027-02-19 04:00 UTC" in event["description"]
    assert answer.content == site.visitor().get("/tracker/pushes.ics").content
