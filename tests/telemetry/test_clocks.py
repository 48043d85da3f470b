"""Clock drift: the field's worked example, pieces, and what is not believed."""

import datetime as dt

import pytest

from otn_dagster.telemetry.clocks import Event, clock_segments, pc_time


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


WORKED = [
    Event(at("2011-03-07 15:10:43"), "Initialization"),
    Event(at("2011-03-07 15:10:43"), "PC Time", "2011-03-07 10:10:43 UTC-05:00"),
    Event(at("2011-07-18 18:04:18"), "Data Upload", "VR2W_109924_20110718_1.vrl"),
    Event(at("2011-07-18 18:04:18"), "PC Time", "2011-07-18 14:02:24 UTC-04:00"),
]


@pytest.mark.parametrize(
    ("device", "true"),
    [
        ("2011-04-11 20:17:49", "2011-04-11 20:17:18.845"),
        ("2011-06-18 17:45:24", "2011-06-18 17:43:55.702"),
        ("2011-07-18 16:20:12", "2011-07-18 16:18:18.062"),
    ],
)
def test_the_worked_timestamps_to_the_millisecond(device: str, true: str):
    (segment,) = clock_segments(WORKED)
    assert abs(segment.corrected(at(device)) - at(true)) < dt.timedelta(milliseconds=0.5)
    assert segment.offset_end == 114 and segment.factor == pytest.approx(9.911651537e-06, abs=1e-14)


def test_the_order_of_events_in_a_file_does_not_matter():
    assert clock_segments(reversed(WORKED)) == clock_segments(WORKED) == clock_segments(WORKED * 2)


def upload(device: str, true: str) -> list[Event]:
    return [Event(at(device), "Data Upload"), Event(at(device), "PC Time", f"{true} UTC")]


def test_several_offloads_are_pieces_not_one_line():
    first, second = clock_segments(
        [
            Event(at("2020-01-01 00:00:00"), "Initialization"),
            *upload("2020-02-01 00:00:10", "2020-02-01 00:00:00"),
            *upload("2020-03-01 00:00:10", "2020-03-01 00:00:00"),
        ]
    )
    assert (first.offset_start, first.offset_end) == (0, 10)
    assert (second.offset_start, second.offset_end) == (10, 10) and second.start == first.end
    middle = at("2020-02-15 00:00:10")
    assert second.corrected(middle) == at("2020-02-15 00:00:00")


def test_a_new_initialization_begins_anew_and_nothing_is_corrected_between():
    first, second = clock_segments(
        [
            Event(at("2020-01-01 00:00:00"), "Initialization"),
            *upload("2020-02-01 00:00:10", "2020-02-01 00:00:00"),
            Event(at("2020-04-01 00:00:00"), "Initialization"),
            *upload("2020-05-01 00:00:05", "2020-05-01 00:00:00"),
        ]
    )
    assert first.end == at("2020-02-01 00:00:10") and second.start == at("2020-04-01 00:00:00")
    assert second.offset_start == 0


def test_an_offload_without_the_pc_s_time_is_no_anchor():
    assert clock_segments([Event(at("2020-01-01"), "Initialization"), Event(at("2020-02-01"), "Data Upload")]) == []


@pytest.mark.parametrize(
    ("data", "utc"),
    [
        ("2011-03-07 10:10:43 UTC-05:00", "2011-03-07 15:10:43"),
        ("2020-07-01 12:00:00 UTC+09:30", "2020-07-01 02:30:00"),
        ("2020-07-01 12:00:00 UTC-03:30", "2020-07-01 15:30:00"),
        ("2020-07-01 12:00:00 UTC", "2020-07-01 12:00:00"),
        ("noon", None),
    ],
)
def test_pc_time(data: str, utc: str | None):
    assert pc_time(data) == (at(utc) if utc else None)
