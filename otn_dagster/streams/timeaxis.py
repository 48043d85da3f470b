"""The time axis of every store: whole microseconds since 1900-01-01 UTC, as int64.

Belongs here: turning other times into these and back. Does not belong here: the order of rows (``plan.py``).

OOI's float64 seconds since 1900 resolve about half a microsecond, so the same instant comes as slightly different floats
from different files: only after rounding are equal instants equal.
"""

import datetime as dt
import re

import numpy as np

EPOCH = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
UNITS = "microseconds since 1900-01-01T00:00:00Z"
SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH64 = np.datetime64("1900-01-01T00:00:00", "us")
_PER_UNIT = {"second": SECOND, "minute": 60 * SECOND, "hour": 3600 * SECOND, "day": DAY, "millisecond": 1000}
_UNITS = re.compile(r"^\s*(\w+?)s?\s+since\s+(.+?)\s*$")
MISSING = np.iinfo(np.int64).min


class BadTimeUnits(ValueError):
    """Units of a time variable that are not of the form ``<unit>s since <date>``."""


def micros(instant: dt.datetime) -> int:
    """Microseconds since 1900 of an aware datetime."""
    return (instant - EPOCH) // dt.timedelta(microseconds=1)


def instant(value: int | np.integer) -> dt.datetime:
    """The datetime (UTC) of microseconds since 1900."""
    return EPOCH + dt.timedelta(microseconds=int(value))


def text(value: int | np.integer) -> str:
    """ISO 8601 text of microseconds since 1900."""
    return instant(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(value: str) -> dt.datetime:
    """An aware datetime from ISO 8601; a time without zone means UTC."""
    parsed = dt.datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    return parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed.astimezone(dt.UTC)


def decode(values: np.ndarray, units: str) -> np.ndarray:
    """Numbers in CF units as int64 microseconds since 1900; NaN, infinite and absurd ones become ``MISSING``."""
    found = _UNITS.match(units)
    unit = found.group(1).lower() if found else ""
    if not found or unit not in _PER_UNIT:
        raise BadTimeUnits(f"time units are {units!r}, expected e.g. 'seconds since 1900-01-01 0:0:0'")
    per, offset = _PER_UNIT[unit], micros(_epoch_of(found.group(2)))
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64) * per + offset
    scaled = values.astype(np.float64) * per
    good = np.isfinite(scaled) & (np.abs(scaled) < 2**62)
    out = np.full(values.shape, MISSING, np.int64)
    out[good] = np.rint(scaled[good]).astype(np.int64) + offset
    return out


def datetimes(values: np.ndarray) -> np.ndarray:
    """Microseconds since 1900 as datetime64[us]."""
    return _EPOCH64 + values.astype("timedelta64[us]")


def _epoch_of(text: str) -> dt.datetime:
    numbers = [int(n) for n in re.findall(r"\d+", text.split(".")[0])]
    if len(numbers) < 3:
        raise BadTimeUnits(f"the epoch {text!r} is no date")
    return dt.datetime(*[*numbers, 0, 0, 0][:6], tzinfo=dt.UTC)  # type: ignore[misc]
