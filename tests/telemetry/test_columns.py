"""Columns of exports: whatever a row is written like, it is read as it would be alone."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otn_dagster.telemetry.files import preview, text
from otn_dagster.telemetry.files.text_columns import numbers
from otn_dagster.telemetry.files.time_columns import read_times
from otn_dagster.telemetry.files.times import Order

MOMENTS = st.datetimes(dt.datetime(1985, 1, 1), dt.datetime(2090, 1, 1))
ISO = {
    "usual": lambda t: (t.replace(microsecond=0), f"{t:%Y-%m-%d %H:%M:%S}"),
    "t and z": lambda t: (t.replace(microsecond=0), f"{t:%Y-%m-%dT%H:%M:%S}Z"),
    "fraction": lambda t: (t, f"{t:%Y-%m-%d %H:%M:%S.%f}"),
    "tenths": lambda t: (
        t.replace(microsecond=t.microsecond // 100_000 * 100_000),
        f"{t:%Y-%m-%d %H:%M:%S}.{t.microsecond // 100_000}",
    ),
    "blanks around": lambda t: (t.replace(microsecond=0), f"  {t:%Y-%m-%d %H:%M:%S} "),
    "minutes": lambda t: (t.replace(second=0, microsecond=0), f"{t:%Y-%m-%d %H:%M}"),
    "offset": lambda t: (t.replace(microsecond=0), f"{t - dt.timedelta(hours=3, minutes=30):%Y-%m-%d %H:%M:%S}-03:30"),
    "slashes": lambda t: (t.replace(microsecond=0), f"{t:%Y/%m/%d %H:%M:%S}"),
    "nothing": lambda t: (None, None),
    "junk": lambda t: (None, f"{t:%Y-%m-%d %H:%M:%S} or so"),
    "no such day": lambda t: (None, f"{t:%Y}-02-30 {t:%H:%M:%S}"),
    "exponent": lambda t: (None, f"{t:%Y-%m-%d %H:%M:%S}.1e3"),
}
IN_NUMBERS = ISO | {
    "day first": lambda t: (t.replace(microsecond=0), f"{t:%d/%m/%Y %H:%M:%S}"),
    "dots": lambda t: (t.replace(microsecond=0), f"{t:%d.%m.%Y %H:%M:%S}"),
    "half day": lambda t: (t.replace(microsecond=0), f"{t:%d/%m/%Y %I:%M:%S %p}"),
    "minutes of a day": lambda t: (t.replace(second=0, microsecond=0), f"{t:%d/%m/%Y %H:%M}"),
}


@pytest.mark.parametrize(("ways", "order"), [(ISO, None), (IN_NUMBERS, Order.DAY_FIRST)])
@given(data=st.data())
def test_times_of_a_column_are_read_row_by_row_whatever_stands_beside_them(ways, order, data: st.DataObject):
    written = data.draw(st.lists(st.tuples(st.sampled_from(sorted(ways)), MOMENTS), min_size=1, max_size=12))
    pairs = [ways[way](moment) for way, moment in written]
    found, rare = read_times(pl.Series("time", [said for _, said in pairs], pl.String), order)
    assert found.to_list() == [expected for expected, _ in pairs]
    assert {written[i][0] for i in rare} <= {"minutes", "offset", "slashes"}


def test_numbers_of_a_column_with_what_is_said_instead():
    said = ["77", " 77 ", "1,5", "NA", "", None, "high", "inf", "nan", "-0.25", "1e3"]
    value, instead = numbers(pl.Series("sensor", said, pl.String), decimal_comma=True)
    assert value.to_list() == [77, 77, 1.5, None, None, None, None, None, None, -0.25, 1000]
    assert instead.drop_nulls().to_list() == ["high", "inf"]
    value, instead = numbers(pl.Series("sensor", said, pl.String), decimal_comma=False)
    assert value[2] is None and instead.drop_nulls().to_list() == ["1,5", "high", "inf"]


HEADER = "Date and Time (UTC),Receiver,Transmitter,Sensor Value\n"


def test_a_line_with_a_field_too_many_is_told_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 300)
    lines = [f"2023-05-01 12:{i:02}:00,VR2W-109000,A69-1602-100,5" for i in range(30)]
    lines[25] += ",a,b"
    (tmp_path / "v.csv").write_text(HEADER + "\n".join(lines) + "\n")
    one = preview.look(tmp_path / "v.csv")
    (told,) = [f for f in one.findings if "as many fields" in f.expected]
    assert told.rows == (27,) and told.found == "a b" and one.law["usable"] == 30


def test_a_million_kinds_of_nonsense_are_counted_and_the_first_are_named(tmp_path: Path):
    lines = [
        f"2023-05-01 {i // 3600:02}:{i // 60 % 60:02}:{i % 60:02},VR2W-109000,A69-1602-100,x{i}" for i in range(3_000)
    ]
    (tmp_path / "v.csv").write_text(HEADER + "\n".join(lines) + "\n")
    one = preview.look(tmp_path / "v.csv")
    told = [f for f in one.findings if f.column == "sensor_value"]
    assert sum(f.count for f in told) == 3_000 == one.law["usable"]
    assert len(told) <= 202 and {"x0", "other values"} <= {f.found for f in told}
