"""When pushes are: the announced dates, the rule that fills the rest, and the instant of a cut-off.

Belongs here: pure date arithmetic on ``config/pushes.yaml``. Does not belong here: locks (``telemetry/cutoffs.py``) or
schedules (``sensors/push_calendar.py``).

Source of the rule: OTN node manager training, "Data Push": three a year, the third Thursday of February, June and
October is the cut-off for loading. Announced dates are what the network said; they win.
"""

import datetime as dt
from zoneinfo import ZoneInfo

from otn_dagster.config import PushCalendarSettings, PushRule

WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
REMINDER_DAYS = (20, 7)


def rule_date(rule: PushRule, year: int, month: int) -> dt.date:
    """The nth given weekday of a month."""
    first = dt.date(year, month, 1)
    offset = (WEEKDAYS.index(rule.weekday) - first.weekday()) % 7
    return first + dt.timedelta(days=offset + 7 * (rule.nth - 1))


def push_dates(calendar: PushCalendarSettings, today: dt.date) -> list[str]:
    """All push dates as ISO text, from the rule's first year to the end of next year, oldest first.

    An announced date replaces the rule's date of the same year and month.
    """
    dates = {
        (year, month): rule_date(calendar.rule, year, month)
        for year in range(calendar.rule.first_year, today.year + 2)
        for month in calendar.rule.months
    }
    for entry in calendar.announced:
        date = dt.date.fromisoformat(entry.date)
        dates[(date.year, date.month)] = date
    return [date.isoformat() for date in sorted(dates.values())]


def cutoff(push_date: str, time_zone: str) -> dt.datetime:
    """The instant at which loading for a push ends: the end of that day in the node's time zone, as UTC."""
    midnight = dt.datetime.combine(dt.date.fromisoformat(push_date) + dt.timedelta(days=1), dt.time())
    return midnight.replace(tzinfo=ZoneInfo(time_zone)).astimezone(dt.UTC)
