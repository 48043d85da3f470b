"""Detections and events of any format to one shape, block by block, into one Parquet file.

Belongs here: what all formats share: times of a whole column, canonical receivers and transmitters, the verdict on every row, the
columns that are kept as they are, the law. Does not belong here: which columns a format has (``delimited.py``, ``vdat.py``).

Shape of detections: row_number, datetime (device time, UTC, microseconds), receiver, transmitter, sensor_value, sensor_unit,
transmitter_name, transmitter_serial, station_name. Shape of events: row_number, datetime, receiver, description, data, units. After
them every other column that the file holds, as text.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from otn_dagster.telemetry import names
from otn_dagster.telemetry.files import codespaces
from otn_dagster.telemetry.files.cells import NULL_WORDS
from otn_dagster.telemetry.files.refusals import MOST_ROWS_NAMED, BadFile, Code, Finding, Refusal, Severity, Why
from otn_dagster.telemetry.files.tables import NotData
from otn_dagster.telemetry.files.times import FIRST_YEAR, LAST_YEAR, Order, Zone

DETECTIONS = {
    "row_number": pl.Int64,
    "datetime": pl.Datetime("us"),
    "receiver": pl.String,
    "transmitter": pl.String,
    "sensor_value": pl.Float64,
    **dict.fromkeys(["sensor_unit", "transmitter_name", "transmitter_serial", "station_name"], pl.String),
}
EVENTS = {
    "row_number": pl.Int64,
    "datetime": pl.Datetime("us"),
    **dict.fromkeys(["receiver", "description", "data", "units"], pl.String),
}
SHAPES = {"detections": DETECTIONS, "events": EVENTS}
MOST_REFUSALS_LISTED = 1_000
MOST_FINDINGS = 200
UNEDITED = "Send the manufacturer's export unedited."
SECOND, MILLISECOND, MICROSECOND = 1_000_000, 1_000, 1


@dataclass(frozen=True)
class Export:
    """What a file of detections or events held. ``rows`` is where its usable rows lie as Parquet, ``columns`` what became of columns.

    Law: container_rows = usable + refused_rows + what is not data. ``precision_us`` is the finest time that the file tells.
    """

    format: str
    path: Path
    usable: int
    refused_rows: int
    refused: list[Refusal]
    findings: list[Finding]
    not_data: dict[str, int]
    columns: dict[str, list[str]]
    receivers: list[str]
    precision_us: int
    first: dt.datetime | None
    last: dt.datetime | None

    @property
    def container_rows(self) -> int:
        """Lines of the file that hold anything."""
        return self.usable + self.refused_rows + sum(self.not_data.values())

    @property
    def rows(self) -> pl.DataFrame:
        """All usable rows; for small files and tests."""
        return pl.read_parquet(self.path)


@dataclass
class _Told:
    """A finding that grows while blocks are read."""

    severity: Severity
    expected: str
    remedy: str
    rows: list[int] = field(default_factory=list)
    count: int = 0


class Collector:
    """Takes typed blocks of one file and writes what is usable. Use as a context; nothing is left where it ends with an error."""

    def __init__(self, kind: str, format_name: str, target: Path):
        """``target`` is written aside and renamed: it is there whole or not at all."""
        self.kind, self.format, self.target = kind, format_name, target
        self._staging = target.with_name(f".{target.name}.{os.getpid()}")
        self._writer: pq.ParquetWriter | None = None
        self._told: dict[tuple[Code, str | None, str | None], _Told] = {}
        self._columns: dict[str, list[str]] = {"read": [], "kept": []}
        self.not_data: dict[str, int] = {}
        self.refused: list[Refusal] = []
        self.refused_rows = self.usable = 0
        self.receivers: set[str] = set()
        self.precision = SECOND
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None

    def __enter__(self) -> "Collector":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._staging.unlink(missing_ok=True)

    def aside(self, reason: NotData, rows: int) -> None:
        """Lines that are not data."""
        if rows:
            self.not_data[reason] = self.not_data.get(reason, 0) + rows

    def tell(
        self,
        code: Code,
        severity: Severity,
        column: str | None,
        found: str | None,
        expected: str,
        remedy: str,
        rows: Iterable[int],
    ) -> None:
        """A finding, together with what was found alike before."""
        key = (code, column, found)
        if key not in self._told and len(self._told) >= MOST_FINDINGS:
            key, expected = (code, column, "other values"), expected
        told = self._told.setdefault(key, _Told(severity, expected, remedy))
        numbers = list(rows)
        told.rows += numbers[: MOST_ROWS_NAMED - len(told.rows)]
        told.count += len(numbers)

    def columns(self, read: Iterable[str], kept: Iterable[str]) -> None:
        """Names of columns that hold anything."""
        for what, some in (("read", read), ("kept", kept)):
            self._columns[what] = list(dict.fromkeys([*self._columns[what], *some]))

    def add(self, frame: pl.DataFrame, problems: dict[str, tuple[pl.Expr, str]], kept: list[str]) -> None:
        """A typed block: columns of the shape, and ``kept`` text columns after them.

        problems: column → (whether it makes a row unusable, what was expected). Refused rows are listed up to a bound, and counted.
        """
        frame = frame.with_columns(
            datetime=pl.when(pl.col("datetime").dt.year().is_between(FIRST_YEAR, LAST_YEAR)).then("datetime")
        )
        which = pl.coalesce([pl.when(bad).then(pl.lit(column)) for column, (bad, _) in problems.items()])
        marked = frame.with_columns(which.alias("problem"))
        good = marked
        if marked["problem"].null_count() < marked.height:
            self._refuse(marked.filter(pl.col("problem").is_not_null()), problems)
            good = marked.filter(pl.col("problem").is_null())
        self._write(good.select([pl.col(n).cast(t) for n, t in SHAPES[self.kind].items()] + [pl.col(n) for n in kept]))

    def _refuse(self, bad: pl.DataFrame, problems: dict[str, tuple[pl.Expr, str]]) -> None:
        self.refused_rows += bad.height
        raw = [n for n in bad.columns if n not in ("problem", "datetime", "sensor_value", "row_number")]
        for (column,), group in bad.group_by(["problem"], maintain_order=True):
            shown = f"raw_{column}" if f"raw_{column}" in group.columns else str(column)
            values = group[shown].cast(pl.String).fill_null("(nothing)").unique(maintain_order=True)
            found = ", ".join(repr(v)[:60] for v in values.head(3)) + (", ..." if values.len() > 3 else "")
            expected = f"expected {problems[str(column)][1]}; not loaded"
            self.tell(
                Code.ROWS_REFUSED, Severity.ROWS_LOST, str(column), found, expected, UNEDITED, group["row_number"]
            )
        for row in bad.head(max(0, MOST_REFUSALS_LISTED - len(self.refused))).iter_rows(named=True):
            column = row["problem"]
            found = row.get(f"raw_{column}", row.get(column))
            cells = {n.removeprefix("raw_"): row[n] for n in raw if row[n] is not None}
            why = Why.MISSING if found is None else Why.UNREADABLE
            self.refused.append(Refusal(row["row_number"], column, found, problems[column][1], UNEDITED, cells, why))

    def _write(self, good: pl.DataFrame) -> None:
        self.usable += good.height
        table = good.to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._staging, table.schema, compression="zstd")
        if good.height:
            self._writer.write_table(table, row_group_size=122_880)
            self.receivers |= set(good["receiver"].unique())
            first, last = good["datetime"].min(), good["datetime"].max()
            assert isinstance(first, dt.datetime) and isinstance(last, dt.datetime)
            self.first = min(self.first or first, first)
            self.last = max(self.last or last, last)
            self._sharpen(good["datetime"])

    def _sharpen(self, times: pl.Series) -> None:
        if self.precision != MICROSECOND:
            microseconds = times.dt.microsecond()
            if (microseconds % MILLISECOND != 0).any():
                self.precision = MICROSECOND
            elif (microseconds != 0).any():
                self.precision = MILLISECOND

    def done(self) -> Export:
        """The export, its Parquet file in place. Raises BadFile where the file holds no row that could be used or refused."""
        if self._writer is None or not (self.usable or self.refused_rows):
            raise BadFile(
                "the export has a header and no rows", "Check that the receiver was offloaded before exporting.", 1
            )
        self._writer.close()
        self._writer = None
        self._staging.replace(self.target)
        findings = [
            Finding(code, told.severity, column, found, told.expected, told.remedy, tuple(told.rows), told.count)
            for (code, column, found), told in self._told.items()
        ]
        if self._columns["kept"]:
            says = "columns that are not read; their cells are kept as they are"
            findings.append(Finding(Code.COLUMN_KEPT, Severity.NOTE, None, ", ".join(self._columns["kept"]), says, ""))
        return Export(
            self.format,
            self.target,
            self.usable,
            self.refused_rows,
            self.refused,
            findings,
            self.not_data,
            self._columns,
            sorted(self.receivers),
            self.precision,
            self.first,
            self.last,
        )


# Times -------------------------------------------------------------------------------------------------------------


def time_text(column: str) -> pl.Expr:
    """A column's text, ready for ``parse_times``."""
    return pl.col(column).str.strip_chars()


def parse_times(text: pl.Expr, order: Order | None) -> pl.Expr:
    """Text as naive times: ISO with T or blank, fraction, Z; dates in numbers by the column's order."""
    iso = text.str.replace("T", " ", literal=True).str.strip_suffix("Z")
    formats = ["%Y-%m-%d %H:%M:%S%.f"]
    read = [iso.str.to_datetime(f, time_unit="us", strict=False) for f in formats]
    if order is not None:
        slashed = text.str.replace(r"^(\d{1,2})[.\-](\d{1,2})[.\-]", "$1/$2/").str.replace(r"/(\d\d)(\s|$)", "/20$1$2")
        first = "%d/%m/%Y" if order is Order.DAY_FIRST else "%m/%d/%Y"
        for clock in (" %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p"):
            read.append(slashed.str.to_datetime(first + clock, time_unit="us", strict=False))
    return pl.coalesce(read)


def rarer_times(text: pl.Expr) -> pl.Expr:
    """Text that ``parse_times`` leaves: without seconds, with slashes, with an offset of its own (applied)."""
    iso = text.str.replace("T", " ", literal=True).str.strip_suffix("Z").str.replace_all("/", "-", literal=True)
    offset = r"\s*([+-])(\d\d):?(\d\d)$"
    minutes = text.str.extract(offset, 2).cast(pl.Int64) * 60 + text.str.extract(offset, 3).cast(pl.Int64)
    signed = pl.when(text.str.extract(offset, 1) == "-").then(-minutes).otherwise(minutes)
    bare = iso.str.replace(offset, "")
    clocks = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    with_offset = pl.coalesce([bare.str.to_datetime(f, time_unit="us", strict=False) for f in clocks]) - pl.duration(
        minutes=signed
    )
    plain = [iso.str.to_datetime(f, time_unit="us", strict=False) for f in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")]
    return pl.coalesce(with_offset, *plain)


def to_utc(time: pl.Expr, zone: Zone | None) -> pl.Expr:
    """Local times as UTC; an hour that summer time doubles is the first of the two."""
    if zone is None or zone.is_utc:
        return time
    if zone.offset is not None:
        return time - zone.offset
    local = time.dt.replace_time_zone(zone.place, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


# Identifiers -------------------------------------------------------------------------------------------------------


class Canonical:
    """Texts in canonical form, each distinct text worked out once for a file."""

    def __init__(self, how: Callable[[str], str | None]):
        """``how`` gives None for what cannot be read."""
        self._how = how
        self._known: dict[str, str | None] = {}

    def of(self, column: pl.Series) -> pl.Series:
        """The column in canonical form."""
        distinct = column.unique().drop_nulls().to_list()
        for text in distinct:
            if text not in self._known:
                self._known[text] = self._how(text)
        changed = {text: self._known[text] for text in distinct if self._known[text] != text}
        if not changed:
            return column
        return column.replace_strict(list(changed), list(changed.values()), default=column, return_dtype=pl.String)

    @property
    def texts(self) -> list[str]:
        """All texts that were seen."""
        return list(self._known)

    @property
    def changed(self) -> dict[str, str]:
        """Texts that were written otherwise, with their canonical form."""
        return {text: known for text, known in self._known.items() if known is not None and known != text}


def receiver_name(text: str) -> str | None:
    """``VR2AR-69`` + serial and ``VR2W 109924`` as model and serial: ``VR2W-109924``; None for what names no receiver."""
    return names.receiver(text)


def transmitter_name(text: str) -> str | None:
    """A transmitter's full id in canonical form."""
    return codespaces.canonical_transmitter(text)


def nothing(text: pl.Expr) -> pl.Expr:
    """Text without words for nothing."""
    lowered = text.str.strip_chars().str.to_lowercase()
    return pl.when(lowered.is_in(list(NULL_WORDS)) | (lowered == "")).then(None).otherwise(text)
