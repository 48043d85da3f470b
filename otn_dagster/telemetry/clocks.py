"""How a receiver's clock drifted: linear pieces between its initialization and each of its offloads.

Belongs here: events to clock segments. Does not belong here: applying them to detections (``rules.corrected_time``).

Source: node manager training, detections-2b: correct linearly between each initialization and each offload; several
offloads in one file are pieces between consecutive offloads, not one line from end to end.
"""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

INITIALIZATION, OFFLOAD, PC_TIME, CLOCK_SET = "Initialization", "Data Upload", "PC Time", "Clock Set"
PC_TIME_DATA = re.compile(
    r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)\s*(?:UTC)?\s*(?:([+-]\d\d):?(\d\d))?(?:\s+at\s+(.+))?$"
)


@dataclass(frozen=True)
class Event:
    """One line of a receiver's event log, in device time."""

    datetime: dt.datetime
    description: str
    data: str | None = None


@dataclass(frozen=True)
class ClockSegment:
    """One linear piece: device times from start to end, offsets (device minus true, seconds) at both."""

    start: dt.datetime
    end: dt.datetime
    offset_start: float
    offset_end: float

    @property
    def factor(self) -> float:
        """Seconds of drift per second of device time."""
        return (self.offset_end - self.offset_start) / (self.end - self.start).total_seconds()

    @property
    def seconds_per_day(self) -> float:
        """Drift in seconds per day, signed; positive where the device's clock is fast and getting faster."""
        return self.factor * 86_400

    def corrected(self, device_time: dt.datetime) -> dt.datetime:
        """True time of a device time in this segment (the plain form of ``rules.corrected_time``)."""
        elapsed = (device_time - self.start).total_seconds()
        return device_time - dt.timedelta(seconds=self.offset_start + self.factor * elapsed)


def pc_time(data: str) -> dt.datetime | None:
    """UTC of a PC Time event: ``2011-03-07 10:10:43 UTC-05:00`` → 15:10:43; None for what is not one."""
    found = PC_TIME_DATA.match((data or "").strip())
    if not found:
        return None
    hours, minutes = int(found[2] or 0), int(found[3] or 0)
    negative = (found[2] or "").startswith("-")
    return dt.datetime.fromisoformat(found[1]) - dt.timedelta(hours=hours, minutes=-minutes if negative else minutes)


def clock_set(data: str) -> tuple[dt.datetime, dt.datetime] | None:
    """(device time just before a clock was set, true time then) of a Clock Set event: ``<true> UTC at <device>``."""
    found, true = PC_TIME_DATA.match((data or "").strip()), pc_time(data)
    if not found or not found[4] or true is None:
        return None
    try:
        return dt.datetime.fromisoformat(found[4]), true
    except ValueError:
        return None


def clock_segments(events: Iterable[Event]) -> list[ClockSegment]:
    """Segments of one receiver, in order, from its events in any order.

    An anchor is an initialization or an offload that has a PC Time event at the same device time. An initialization
    without one has offset 0 (it sets the clock from the PC); an offload without one is no anchor. Where a clock was set, the piece
    before ends with what it was off by, and the next begins with nothing. Nothing is corrected before a receiver's first
    initialization or after its last offload.
    """
    events = sorted(set(events), key=lambda event: (event.datetime, event.description, event.data or ""))
    pc_times = {event.datetime: pc_time(event.data or "") for event in events if event.description == PC_TIME}
    segments: list[ClockSegment] = []
    last: tuple[dt.datetime, float] | None = None
    for event in events:
        true_time = pc_times.get(event.datetime)
        offset = (event.datetime - true_time).total_seconds() if true_time else None
        if event.description == INITIALIZATION:
            last = (event.datetime, offset or 0.0)
        elif event.description == CLOCK_SET:
            before = clock_set(event.data or "")
            if before and last is not None and before[0] > last[0]:
                segments.append(ClockSegment(last[0], before[0], last[1], (before[0] - before[1]).total_seconds()))
            last = (event.datetime, 0.0)
        elif event.description == OFFLOAD and offset is not None:
            if last is not None and event.datetime > last[0]:
                segments.append(ClockSegment(last[0], event.datetime, last[1], offset))
            if last is not None:
                last = (event.datetime, offset)
    return segments
