"""Positions that cannot be where they say: latitude and longitude swapped, or a sign lost.

Belongs here: the judgement of one position against where a project works. Source: checks T8, R1 and R7.
"""

from collections.abc import Iterable
from statistics import median
from typing import Any

MARGIN_DEGREES = 10.0  # a project's form gives a few points, not the extent of its animals

Box = tuple[float, float, float, float]  # west, east, south, north


def box_of(rows: Iterable[dict[str, Any]], latitude: str, longitude: str) -> Box | None:
    """The middle of a sheet's own positions, where the form gives none."""
    points = [
        (row[latitude], row[longitude]) for row in rows if row[latitude] is not None and row[longitude] is not None
    ]
    if len(points) < 3:
        return None
    middle_latitude, middle_longitude = (median(values) for values in zip(*points, strict=True))
    return middle_longitude, middle_longitude, middle_latitude, middle_latitude


def inside(box: Box, latitude: float, longitude: float, margin: float = MARGIN_DEGREES) -> bool:
    """Whether a position lies in a box widened by a margin in degrees."""
    west, east, south, north = box
    return west - margin <= longitude <= east + margin and south - margin <= latitude <= north + margin


def mistake(box: Box | None, latitude: float | None, longitude: float | None) -> str | None:
    """What is wrong with a position, if changing just that would bring it into the box; None where nothing is known."""
    if box is None or latitude is None or longitude is None or inside(box, latitude, longitude):
        return None
    if inside(box, longitude, latitude):
        return "latitude and longitude are swapped"
    if inside(box, latitude, -longitude):
        return "the longitude has the wrong sign (west is negative)"
    if inside(box, -latitude, longitude):
        return "the latitude has the wrong sign (south is negative)"
    return None
