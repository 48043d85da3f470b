"""Detections and events of any format to one shape, block by block, into one Parquet file.

Belongs here: what all formats share: the verdict on every row, the columns that are kept as they are, the law. Does not belong here:
which columns a format has (``delimited.py``, ``vdat.py``), what their texts mean (``time_columns.py``, ``text_columns.py``).

Shape of detections: row_number, datetime (device time, UTC, microseconds), receiver, transmitter, sensor_value, sensor_unit,
transmitter_name, transmitter_serial, station_name. Shape of events: row_number, datetime, receiver, description, data, units. After
them every other column that the file holds, as text.
"""

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from otn_dagster.telemetry.files.refusals import MOST_ROWS_NAMED, BadFile, Code, Finding, Refusal, Severity, Why
from otn_dagster.telemetry.files.tables import NotData
from otn_dagster.telemetry.files.times import FIRST_YEAR, LAST_YEAR

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
RISING = dict.fromkeys(["row_number", "datetime"], "DELTA_BINARY_PACKED")  # smaller and quicker where values rise
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

    def tell_each(self, code: Code, column: str, found: pl.Series, rows: pl.Series, says: str) -> None:
        """One finding a value, for those that come first; the rest together: their number costs nothing."""
        frame = pl.DataFrame({"found": found.str.slice(0, 80), "row": rows})
        named = frame["found"].unique(maintain_order=True).head(MOST_FINDINGS).to_list()
        first = frame.filter(pl.col("found").is_in(named)).group_by("found", maintain_order=True).agg("row")
        for value, numbers in first.iter_rows():
            self.tell(code, Severity.LOOK, column, value, says, "", numbers)
        rest = frame.filter(~pl.col("found").is_in(named))["row"]
        if rest.len():
            self.tell(code, Severity.LOOK, column, "other values", says, "", rest)

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
        raw = [n for n in bad.columns if n not in ("problem", "datetime", "sensor_value", "row_number", "moved")]
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
        table = good.to_arrow(compat_level=pl.CompatLevel.newest())
        if self._writer is None:
            repeated: Any = [
                name for name in good.columns if name not in RISING
            ]  # pyarrow takes names too; its types do not say so
            self._writer = pq.ParquetWriter(
                self._staging, table.schema, compression="zstd", use_dictionary=repeated, column_encoding=RISING
            )
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
