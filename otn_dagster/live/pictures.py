"""Pictures of live datasets.

Belongs here: drawing. Does not belong here: encoding (``otn_dagster/figures.py``).
"""

import datetime as dt

from otn_dagster import figures
from otn_dagster.database import Connection

DAYS = 7
BINS = [dt.timedelta(seconds=seconds) for seconds in (1, 10, 60, 600, 3600)]
MOST_BINS = 168


def arrivals(connection: Connection, name: str, now: dt.datetime | None = None) -> bytes:
    """What came since the first arrival of the last seven days, taken and refused, in bins of a second to an hour, as PNG."""
    now = now or dt.datetime.now(dt.UTC)
    taken = _arrivals(connection, "records", "received_at", "platform.live_log", name, now)
    refused = _arrivals(connection, "1", "at", "platform.live_refused", name, now)
    first = min([*taken, *refused], default=now - dt.timedelta(days=DAYS))
    width = next((one for one in BINS if (now - first) / one <= MOST_BINS), BINS[-1])
    figure, axes = figures.figure(8, 2.4)
    for counts, colour, label in ((taken, figures.BLUE, "records"), (refused, figures.RED, "refused")):
        binned = _binned(counts, width)
        if binned:
            days = width / dt.timedelta(days=1)
            axes.bar(list(binned), list(binned.values()), width=days, align="edge", color=colour, label=label)
            axes.legend(frameon=False, fontsize=8)
    axes.set_xlim(first - 2 * width, now + 2 * width)
    axes.set_ylabel(f"in {width.total_seconds():g} s" if width < BINS[-1] else "an hour")
    axes.set_title(f"{name}: what came (UTC)", loc="left", fontsize=10)
    figure.autofmt_xdate()
    return figures.png(figure)


def _arrivals(
    connection: Connection, what: str, at: str, table: str, name: str, now: dt.datetime
) -> dict[dt.datetime, int]:
    """Counts by second."""
    rows = connection.execute(
        f"select date_trunc('second', {at}), sum({what}) from {table} where dataset = %s and {at} >= %s group by 1",  # noqa: S608  # pyright: ignore
        [name, now - dt.timedelta(days=DAYS)],
    )
    return {second: int(count) for second, count in rows}


def _binned(counts: dict[dt.datetime, int], width: dt.timedelta) -> dict[dt.datetime, int]:
    found: dict[dt.datetime, int] = {}
    start = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for at, count in counts.items():
        bin_ = start + (at - start) // width * width
        found[bin_] = found.get(bin_, 0) + count
    return found
