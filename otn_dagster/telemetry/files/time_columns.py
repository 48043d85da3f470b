"""Times of a whole column of an export: text to naive times, then to UTC.

Belongs here: what many rows share, so that a million of them are read at once. Does not belong here: a single cell of a sheet
(``times.py``).

Each way of writing is tried only on what the ways before it left: an export is written in one way, and the first one is quick.
"""

from collections.abc import Callable, Iterator

import polars as pl

from otn_dagster.telemetry.files.times import Order, Zone

USUAL = "%Y-%m-%d %H:%M:%S"
WITH_FRACTION = "%Y-%m-%d %H:%M:%S%.f"
Way = Callable[[pl.Expr], pl.Expr]


def read_times(text: pl.Series, order: Order | None) -> tuple[pl.Series, pl.Series]:
    """(naive times in microseconds, the places of those that are written in rarer ways, so perhaps without seconds).

    Read are ISO with T or blank, fraction, Z; dates in numbers by the column's order; then ISO without seconds, with slashes, with an
    offset of its own, which is applied. Null is what none of them reads.
    """
    found = text.str.to_datetime(USUAL, time_unit="us", strict=False, cache=False)
    for way in (iso, *_in_numbers(order)):
        found, _ = _filled(found, text, way)
    return _filled(found, text, _rarer)


def _filled(found: pl.Series, text: pl.Series, way: Way) -> tuple[pl.Series, pl.Series]:
    """Times with those that a way reads of what is left, and their places."""
    left = (found.is_null() & text.is_not_null()).arg_true()
    if not left.len():
        return found, left
    read = pl.select(way(pl.lit(text.gather(left)).str.strip_chars())).to_series()
    places = left.filter(read.is_not_null())
    return found.scatter(places, read.drop_nulls()) if places.len() else found, places


def iso(text: pl.Expr) -> pl.Expr:
    """``2022-08-29 14:05:00.5`` and ``2022-08-29T14:05:00Z`` as times; null for anything else."""
    plain = text.str.replace("T", " ", literal=True).str.strip_suffix("Z")
    return pl.coalesce(_with_fraction(plain), _as(plain, WITH_FRACTION))


def _with_fraction(text: pl.Expr) -> pl.Expr:
    whole, rest = _as(text.str.slice(0, 19), USUAL), text.str.slice(19)
    digits = rest.str.extract(r"^\.(\d{1,6})\d*$").str.pad_end(6, "0").cast(pl.Int64)
    return whole + pl.duration(microseconds=pl.when(rest == "").then(0).otherwise(digits))


def _in_numbers(order: Order | None) -> Iterator[Way]:
    """Ways of ``29/08/2022``, each with one clock."""
    if order is None:
        return
    date = "%d/%m/%Y" if order is Order.DAY_FIRST else "%m/%d/%Y"
    for clock in (" %H:%M:%S", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p"):
        yield lambda text, format=date + clock: _as(_slashed(text), format)


def _slashed(text: pl.Expr) -> pl.Expr:
    return text.str.replace(r"^(\d{1,2})[.\-](\d{1,2})[.\-]", "$1/$2/").str.replace(r"/(\d\d)(\s|$)", "/20$1$2")


def _rarer(text: pl.Expr) -> pl.Expr:
    iso = text.str.replace("T", " ", literal=True).str.strip_suffix("Z").str.replace_all("/", "-", literal=True)
    offset = r"\s*([+-])(\d\d):?(\d\d)$"
    minutes = text.str.extract(offset, 2).cast(pl.Int64) * 60 + text.str.extract(offset, 3).cast(pl.Int64)
    signed = pl.when(text.str.extract(offset, 1) == "-").then(-minutes).otherwise(minutes)
    bare = iso.str.replace(offset, "")
    formats = (WITH_FRACTION, "%Y-%m-%d %H:%M")
    with_offset = pl.coalesce([_as(bare, f) for f in formats]) - pl.duration(minutes=signed)
    return pl.coalesce(with_offset, *[_as(iso, f) for f in formats])


def _as(text: pl.Expr, format: str) -> pl.Expr:
    return text.str.to_datetime(format, time_unit="us", strict=False, cache=False)


def to_utc(time: pl.Expr, zone: Zone | None) -> pl.Expr:
    """Local times as UTC; an hour that summer time doubles is the first of the two."""
    if zone is None or zone.is_utc:
        return time
    if zone.offset is not None:
        return time - zone.offset
    local = time.dt.replace_time_zone(zone.place, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
