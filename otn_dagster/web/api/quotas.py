"""How much a key may send: requests in a second, records and bytes in a day (UTC).

Belongs here: counting in memory. Does not belong here: the durable count, which the log keeps with each push
(``platform.live_usage``) and from which this one starts again.
"""

import datetime as dt
import time
from dataclasses import dataclass

from otn_dagster.live.configuration import Limits
from otn_dagster.web.answers import Refused


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass
class _Day:
    date: dt.date
    records: int
    bytes: int


class Quotas:
    """The counts of every key."""

    def __init__(self):
        """Empty."""
        self._buckets: dict[str, _Bucket] = {}
        self._days: dict[str, _Day] = {}

    def request(self, kid: str, limits: Limits) -> None:
        """Count one request; raises Refused where they come too fast. A second's worth may come at once."""
        now, rate = time.monotonic(), limits.requests_per_second
        bucket = self._buckets.setdefault(kid, _Bucket(max(rate, 1), now))
        bucket.tokens = min(max(rate, 1), bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.tokens < 1:
            seconds = max(1, round((1 - bucket.tokens) / rate))
            raise Refused("quota", f"more than {rate:g} requests in a second", retry_after=seconds)
        bucket.tokens -= 1

    def knows(self, kid: str) -> bool:
        """Whether today's counts of a key are loaded."""
        return kid in self._days and self._days[kid].date == _today()

    def load(self, kid: str, records: int, size: int) -> None:
        """Start from the durable counts of today."""
        self._days[kid] = _Day(_today(), records, size)

    def take(self, kid: str, limits: Limits, records: int, size: int) -> None:
        """Count what is about to be kept; raises Refused where the day's share is used up."""
        day = self._days[kid]
        for name, used, wanted, most in (
            ("records", day.records, records, limits.records_per_day),
            ("bytes", day.bytes, size, int(limits.mb_per_day * 1_000_000)),
        ):
            if used + wanted > most:
                raise Refused(
                    "quota", f"{used:,} of {most:,} {name} a day are used", retry_after=_seconds_to_midnight()
                )
        day.records += records
        day.bytes += size

    def give_back(self, kid: str, records: int, size: int) -> None:
        """What was not kept after all."""
        self._days[kid].records -= records
        self._days[kid].bytes -= size


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _seconds_to_midnight() -> int:
    now = dt.datetime.now(dt.UTC)
    return 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
