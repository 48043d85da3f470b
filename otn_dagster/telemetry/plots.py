"""Plots where people would rather look than read, as small PNG pictures.

Belongs here: drawing. Does not belong here: choosing what is drawn for whom (``push/report.py``, ``assets/``).
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from otn_dagster.figures import BLUE, GREY, ORANGE, figure, png

MANY_ANIMALS, MANY_ARRAYS = 60, 10
OTHERS = "other arrays"


def abacus(days: pl.DataFrame, title: str) -> bytes:
    """Animals against time, a dot a day, coloured by the arrays that heard most: frame with catalogNumber, day, detectedBy."""
    animals = (
        days.group_by("catalogNumber")
        .len()
        .sort("len", "catalogNumber", descending=[True, False])
        .head(MANY_ANIMALS)["catalogNumber"]
        .sort()
    )
    days = days.filter(pl.col("catalogNumber").is_in(animals.to_list()))
    often = days.group_by("detectedBy").len().sort("len", "detectedBy", descending=[True, False])["detectedBy"]
    if len(often) > MANY_ARRAYS:
        named = often.head(MANY_ARRAYS - 1).to_list()
        days = days.with_columns(
            pl.when(pl.col("detectedBy").is_in(named)).then("detectedBy").otherwise(pl.lit(OTHERS))
        )
    made, axes = figure(8, max(1.5, 0.18 * len(animals) + 1))
    row = {animal: index for index, animal in enumerate(animals)}
    arrays = sorted(days["detectedBy"].unique().to_list(), key=lambda array: (array == OTHERS, array))
    for index, array in enumerate(arrays):
        part = days.filter(pl.col("detectedBy") == array)
        axes.scatter(
            part["day"].to_list(),
            [row[a] for a in part["catalogNumber"]],
            s=9,
            label=array,
            color=f"C{index % 10}",
        )
    axes.set_yticks(range(len(animals)), list(animals), fontsize=6)
    axes.set_title(title, fontsize=10)
    axes.tick_params(axis="x", labelsize=7)
    if days.height:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), title="heard by", title_fontsize=6)
    axes.grid(axis="x", alpha=0.3)
    return png(made)


def receiver_map(stations: pl.DataFrame, title: str) -> bytes:
    """Stations by position, size by detections, hollow where silent: frame with longitude, latitude, detections."""
    made, axes = figure(6, 5)
    silent, heard = stations.filter(pl.col("detections") == 0), stations.filter(pl.col("detections") > 0)
    axes.scatter(
        silent["longitude"].to_list(),
        silent["latitude"].to_list(),
        s=12,
        facecolors="none",
        edgecolors=GREY,
        label="silent",
    )
    sizes = [12 + 6 * count**0.5 for count in heard["detections"]]
    axes.scatter(
        heard["longitude"].to_list(),
        heard["latitude"].to_list(),
        s=sizes,
        color=BLUE,
        alpha=0.6,
        label="detections",
    )
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("longitude", fontsize=8)
    axes.set_ylabel("latitude", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return png(made)


def bars(counts: Mapping[str, int], title: str) -> bytes:
    """Counts as horizontal bars, the first at the top."""
    made, axes = figure(6, max(1.2, 0.3 * len(counts) + 0.6))
    names = list(counts)[::-1]
    drawn = axes.barh(names, [counts[name] for name in names], color=BLUE)
    axes.bar_label(drawn, fmt="{:,.0f}", fontsize=7, padding=3)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    return png(made)


def clock_drift(segments: list[Any], title: str) -> bytes:
    """Offset of clocks over time: a line a segment, refused ones in orange. Items have receiver, segment, accepted."""
    made, axes = figure(6, 3)
    for drift in segments:
        piece = drift.segment
        color = BLUE if drift.accepted else ORANGE
        axes.plot([piece.start, piece.end], [piece.offset_start, piece.offset_end], marker="o", ms=3, color=color)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("device minus true time (s)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    return png(made)
