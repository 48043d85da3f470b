"""Pictures of live datasets.

Belongs here: drawing. Does not belong here: encoding (``otn_dagster/figures.py``).
"""

import datetime as dt

from otn_dagster import figures
from otn_dagster.database import Connection

HOURS = 7 * 24


def arrivals(connection: Connection, name: str, now: dt.datetime | None = None) -> bytes:
    """Records that came in each hour of the last seven days, and what was refused, as PNG."""
    now = now or dt.datetime.now(dt.UTC)
    start = now - dt.timedelta(hours=HOURS)
    taken = _by_hour(connection, "records", "received_at", "platform.live_log", name, start)
    refused = _by_hour(connection, "1", "at", "platform.live_refused", name, start)
    figure, axes = figures.figure(8, 2.4)
    for counts, colour, label in ((taken, figures.BLUE, "records"), (refused, figures.RED, "refused")):
        if counts:
            axes.bar(list(counts), list(counts.values()), width=1 / 24, align="edge", color=colour, label=label)
    axes.set_xlim(start, now)
    axes.set_ylabel("an hour")
    axes.set_title(f"{name}: what came in the last seven days (UTC)", loc="left", fontsize=10)
    if taken or refused:
        axes.legend(frameon=False, fontsize=8)
    figure.autofmt_xdate()
    return figures.png(figure)


def _by_hour(
    connection: Connection, what: str, at: str, table: str, name: str, start: dt.datetime
) -> dict[dt.datetime, int]:
    rows = connection.execute(
        f"select date_trunc('hour', {at}), sum({what}) from {table} where dataset = %s and {at} >= %s group by 1",  # noqa: S608  # pyright: ignore
        [name, start],
    )
    return {hour: int(count) for hour, count in rows}
