"""Times in csv, against Python's own formatting."""

import datetime as dt

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from otn_dagster.telemetry.push.delivering import as_text


def _to_the_millisecond(at: dt.datetime) -> dt.datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


near = st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1)).map(_to_the_millisecond)
whole = st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1)).map(lambda at: at.replace(microsecond=0))
anywhere = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9000, 1, 1)).map(_to_the_millisecond)


@given(st.lists(st.none() | near | whole, max_size=12) | st.lists(st.none() | anywhere, max_size=12))
def test_times_are_written_as_python_writes_them(times: list[dt.datetime | None]):
    frame = pl.DataFrame(
        {"at": times, "dateLastModified": times}, schema=dict.fromkeys(["at", "dateLastModified"], pl.Datetime("ms"))
    )

    def text(at: dt.datetime | None) -> str | None:
        if at is None:
            return None
        return at.strftime("%Y-%m-%d %H:%M:%S") + (f".{at.microsecond // 1000:03d}" if at.microsecond else "")

    found = as_text(frame)
    assert found["at"].to_list() == [text(at) for at in times]
    assert found["dateLastModified"].to_list() == [at and at.strftime("%Y-%m-%d") for at in times]
