"""The push calendar as people subscribe to it: ``/tracker/pushes.ics``.

Belongs here: events of RFC 5545. Does not belong here: dates (``otn_dagster/calendar.py``). It tells nothing that is not announced, so that a
calendar program may read it without signing in.
"""

import datetime as dt

import icalendar
from starlette.responses import Response
from starlette.routing import Route

from otn_dagster import calendar
from otn_dagster.config import Settings
from otn_dagster.web.site.visits import HEADERS, Visit, page


def feed(settings: Settings, web_url: str, today: dt.date) -> bytes:
    """All push dates that are known, each with its reminders' days and the cut-offs of all nodes. The same bytes for the same calendar."""
    made = icalendar.Calendar()
    made.add("prodid", "-//otn_dagster//push calendar//EN")
    made.add("version", "2.0")
    made.add("x-wr-calname", "Data pushes")
    for date in calendar.push_dates(settings.pushes, today):
        day = dt.date.fromisoformat(date)
        cutoffs = [(calendar.cutoff(date, node.time_zone), node.code) for node in settings.nodes]
        event = icalendar.Event()
        event.add("uid", f"push-{date}@otn-dagster")
        event.add(
            "dtstamp", dt.datetime(day.year, 1, 1, tzinfo=dt.UTC)
        )  # of no moment: the same bytes whenever it is asked for
        event.add("dtstart", day)
        event.add("dtend", day + dt.timedelta(days=1))
        event.add("summary", f"Data push: last day for loading ({date})")
        event.add("url", f"{web_url}/tracker/pushes/{date}")
        lines = [f"{node}: loading closes {at:%Y-%m-%d %H:%M} UTC" for at, node in sorted(cutoffs)]
        event.add("description", "\n".join(lines))
        event.add("transp", "TRANSPARENT")
        for days in calendar.REMINDER_DAYS:
            alarm = icalendar.Alarm()
            alarm.add("action", "DISPLAY")
            alarm.add("description", f"Data push in {days} days")
            alarm.add("trigger", dt.timedelta(days=-days))
            event.add_component(alarm)
        made.add_component(event)
    return made.to_ical()


@page
async def show(visit: Visit) -> Response:
    """GET the calendar."""
    text = feed(visit.service.settings, visit.settings.web_url, dt.datetime.now(dt.UTC).date())
    return Response(text, 200, HEADERS, "text/calendar; charset=utf-8")


routes = [Route("/tracker/pushes.ics", show, methods=["GET"])]
