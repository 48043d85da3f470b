"""Push dates, announced and by rule, and the instant of a cut-off."""

import datetime as dt

import pytest

from otn_dagster import calendar
from otn_dagster.config import load_settings

ANNOUNCED_TO_2026 = [
    "2022-02-17",
    "2022-06-23",
    "2022-10-20",
    "2023-02-16",
    "2023-06-15",
    "2023-10-19",
    "2024-02-15",
    "2024-06-20",
    "2024-10-17",
    "2025-02-20",
    "2025-06-19",
    "2025-10-16",
    "2026-02-19",
    "2026-06-18",
    "2026-10-15",
]


def dates(today: str = "2026-11-20") -> list[str]:
    return calendar.push_dates(load_settings().pushes, dt.date.fromisoformat(today))


def test_past_dates_never_change():
    assert dates()[: len(ANNOUNCED_TO_2026)] == ANNOUNCED_TO_2026


def test_the_rule_fills_to_the_end_of_next_year():
    assert dates()[len(ANNOUNCED_TO_2026) :] == ["2027-02-18", "2027-06-17", "2027-10-21"]


def test_an_announced_date_beats_the_rule():
    rule = load_settings().pushes.rule
    assert calendar.rule_date(rule, 2022, 6) == dt.date(2022, 6, 16)
    assert "2022-06-23" in dates() and "2022-06-16" not in dates()


@pytest.mark.parametrize(
    ("date", "zone", "utc"),
    [
        ("2027-02-18", "America/Halifax", "2027-02-19T04:00"),  # standard time
        ("2027-06-17", "America/Halifax", "2027-06-18T03:00"),  # summer time
        ("2027-02-18", "Africa/Johannesburg", "2027-02-18T22:00"),
    ],
)
def test_the_cutoff_is_the_end_of_the_day_where_the_node_is(date: str, zone: str, utc: str):
    assert calendar.cutoff(date, zone) == dt.datetime.fromisoformat(f"{utc}+00:00")
