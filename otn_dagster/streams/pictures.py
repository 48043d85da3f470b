"""Plots of streams: when there are data, where they are missing, which flags they have.

Belongs here: what is drawn of a store. Does not belong here: making figures (``otn_dagster/figures.py``).
"""

from typing import Any

import numpy as np
import polars as pl

from otn_dagster.figures import BLUE, GREY, ORANGE, RED, figure, png
from otn_dagster.streams import arrays, timeaxis
from otn_dagster.streams.group import Group
from otn_dagster.streams.refresh import span

COLUMNS = 240
FLAG_COLOURS = {1: BLUE, 2: GREY, 3: ORANGE, 4: RED, 9: "#e4e7ea"}
FLAG_NAMES = {1: "pass", 2: "not evaluated", 3: "suspect", 4: "fail", 9: "missing"}


def availability(group: Group, title: str, gaps: pl.DataFrame | None = None) -> bytes:
    """Rows in even pieces of the stream's time, empty pieces hollow; missing bins of its source in red where known."""
    first, last = span(group)
    edges = np.linspace(first, last + 1, COLUMNS + 1).astype(np.int64)
    rows = np.diff(arrays.seek_many(group, edges))
    made, axes = figure(8, 1.6)
    when = timeaxis.datetimes(edges)
    axes.bar(when[:-1], rows, width=np.diff(when), align="edge", color=BLUE, linewidth=0)
    axes.set_ylabel("rows", fontsize=7)
    if gaps is not None:
        for start, end in (
            gaps.filter((pl.col("kind") == "bin") & (pl.col("missing") > 0)).select("start", "end").iter_rows()
        ):
            axes.axvspan(start.replace(tzinfo=None), end.replace(tzinfo=None), color=RED, alpha=0.35, linewidth=0)
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=6)
    return png(made)


def last_days(data: Group, flags: Group, name: str, rows: int = 20_000) -> bytes:
    """The last rows of a variable, each in the colour of its flag."""
    total = arrays.rows_of(data)
    start = max(0, total - rows)
    times = timeaxis.datetimes(np.asarray(arrays.array_of(data, "time")[start:]))
    values = np.asarray(arrays.array_of(data, name)[start:], np.float64)
    flag: Any = np.asarray(arrays.array_of(flags, f"{name}_qartod_aggregate")[start:])
    made, axes = figure(8, 2)
    for code, colour in FLAG_COLOURS.items():
        chosen = flag == code
        if chosen.any():
            axes.plot(
                times[chosen],
                values[chosen],
                ".",
                ms=1.5 if code == 1 else 4,
                color=colour,
                label=f"{FLAG_NAMES[code]} ({int(chosen.sum()):,})",
            )
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title(f"{name}, last {total - start:,} rows", fontsize=8)
    axes.tick_params(labelsize=6)
    return png(made)
