"""Delimited exports, one record a line: found by their columns, read block by block.

Belongs here: a dialect's lines to the common shape. Does not belong here: which columns a dialect has (``dialects.py``), logs of many
record types (``vdat.py``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from otn_dagster.telemetry.files import times
from otn_dagster.telemetry.files.dialects import DIALECTS, Dialect
from otn_dagster.telemetry.files.exports import Collector, Export
from otn_dagster.telemetry.files.refusals import BadFile, Code, Severity, Topic, Undecided
from otn_dagster.telemetry.files.tables import Header, NotData
from otn_dagster.telemetry.files.text import HEAD_LINES, Head, compact, frames, is_cut_off
from otn_dagster.telemetry.files.text_columns import Canonical, numbers, receiver_name, something
from otn_dagster.telemetry.files.time_columns import read_times, to_utc

SAID_ZONE = re.compile(
    r"\((?:[^)]*[+-]\s*\d{1,2}[^)]*|local[^)]*|[A-Z]{2,4}T|[A-Za-z]+/[A-Za-z_]+|Eastern|Central|Mountain|Pacific|Atlantic)\)",
    re.IGNORECASE,
)
UTC_REMEDY = "Export again with times in UTC."


@dataclass(frozen=True)
class Layout:
    """How one file is laid out: its dialect, the line of its header (from 1), the names in it, the place of each of our columns."""

    dialect: Dialect
    header_line: int
    names: list[str]
    places: dict[str, int]
    delimiter: str = ","

    def place(self, column: str) -> str | None:
        """The frame's column of one of ours."""
        return f"c{self.places[column]}" if column in self.places else None


def layout_of(head: Head, kind: str | None = None) -> Layout | None:
    """The layout of a file, its header searched in the first lines; None where it is of no dialect (of this kind)."""
    for number, line in enumerate(head.lines[:HEAD_LINES], start=1):
        names = head.fields(line)
        keys = [compact(SAID_ZONE.sub(" ", name)) for name in names]
        for dialect in DIALECTS:
            if (kind is None or dialect.kind == kind) and all(
                any(n in keys for n in needed) for needed in dialect.needs
            ):
                places = {}
                for column, known in dialect.fields.items():
                    found = next((keys.index(name) for name in known if name in keys), None)
                    if found is not None:
                        places[column] = found
                return Layout(dialect, number, names, places, head.delimiter)
    return None


def read(head: Head, layout: Layout, target: Path, answers: Mapping[str, str]) -> Export:
    """All lines of a file, its usable rows written to ``target``. Raises BadFile and Undecided."""
    if is_cut_off(head):
        raise BadFile("the last line is cut off", "Wait until the file is copied completely, then send it again.", None)
    dialect = layout.dialect
    with Collector(dialect.kind, dialect.name, target) as collector:
        clock = _Clock(head, layout, answers, collector)
        readers = {"receiver": Canonical(_receiver_of(dialect)), "transmitter": Canonical(dialect.full_id)}
        for raw in frames(head, len(layout.names)):
            rows = _records(raw, layout, collector)
            if rows.height:
                typed = clock.read(_columns(rows, layout, collector))
                if dialect.kind == "detections":
                    _detections(typed, layout, readers, collector)
                else:
                    _events(typed, layout, readers, collector)
        _say_identifiers(readers, collector)
        return collector.done()


def _receiver_of(dialect: Dialect):
    if not dialect.receiver_prefix:
        return receiver_name
    return lambda text: receiver_name(f"{dialect.receiver_prefix}-{text}" if text.strip().isdigit() else text)


def _records(raw: pl.DataFrame, layout: Layout, collector: Collector) -> pl.DataFrame:
    """Lines that are records: not blank, not above the header, not the header again."""
    number = pl.col("row_number")
    above, header = number < layout.header_line, number == layout.header_line
    fields = [c for c in raw.columns if c != "row_number"]
    place = next(i for i, name in enumerate(layout.names) if name)
    first, name = pl.col(f"c{place}"), layout.names[place]
    again = first.str.contains(name, literal=True) & (first.str.strip_chars(' "\ufeff') == name)
    if raw["row_number"][0] <= layout.header_line:
        filled = pl.any_horizontal(pl.col(fields).is_not_null())
        collector.aside(NotData.BANNER, raw.filter(above & filled).height)
        collector.aside(NotData.HEADER, raw.filter(header).height)
        raw = raw.filter(number > layout.header_line)
    same = raw.filter(again.fill_null(False))
    if same.height:
        collector.aside(NotData.HEADER, same.height)
        raw = raw.filter(~again.fill_null(False))
    key = [f"c{i}" for i in set(layout.places.values())]
    if raw.height and raw.select(pl.all_horizontal(pl.col(key).is_null()).any()).item():
        empty = pl.all_horizontal(pl.col(key).is_null())
        odd = raw.filter(empty & pl.any_horizontal(pl.col(fields).is_not_null()))
        if odd.height:
            collector.aside(NotData.EMPTY, odd.height)
            collector.tell(
                Code.NOT_DATA,
                Severity.NOTE,
                None,
                None,
                "lines that hold none of the columns that are read",
                "",
                odd["row_number"],
            )
        raw = raw.filter(~empty)
    return raw


def _columns(rows: pl.DataFrame, layout: Layout, collector: Collector) -> pl.DataFrame:
    """Our columns by name, every other named column by its own name, as text; what stands beyond the header is told."""
    width = len(layout.names)
    beyond = [c for c in rows.columns[1 + width :] if rows[c].null_count() < rows.height]
    if beyond:
        odd = rows.filter(pl.any_horizontal(pl.col(beyond).is_not_null()))
        found = " ".join(str(v) for v in odd.select(beyond).row(0) if v is not None)
        says = "as many fields as the header names; a comma that nobody quoted may have moved the fields behind it"
        collector.tell(
            Code.FORMAT_NOTE, Severity.LOOK, None, found, says, "Export the file again, unedited.", odd["row_number"]
        )
    ours = {f"c{i}": f"raw_{column}" for column, i in layout.places.items()}
    read, kept, renamed = [], [], dict(ours)
    for i, name in enumerate(layout.names):
        column = f"c{i}"
        if rows[column].null_count() == rows.height:
            renamed.setdefault(column, _kept_name(layout, i))
            continue
        (read if column in ours else kept).append(name or f"column {i + 1}")
        renamed.setdefault(column, _kept_name(layout, i))
    collector.columns(read, kept)
    rows = rows.with_columns(moved=pl.any_horizontal(pl.col(beyond).is_not_null()) if beyond else pl.lit(False))
    return rows.select("row_number", "moved", *[f"c{i}" for i in range(width)]).rename(renamed)


def _kept_name(layout: Layout, i: int) -> str:
    return f"other_{compact(layout.names[i]) or i + 1}_{i + 1}"


class _Clock:
    """Times of one file: the order of its days, its zone, one column or two."""

    def __init__(self, head: Head, layout: Layout, answers: Mapping[str, str], collector: Collector):
        self.layout, self.collector = layout, collector
        self.apart = "time" not in layout.places
        column = "date" if self.apart else "time"
        self.header = layout.names[layout.places[column]]
        self.zone = self._zone(answers)
        self.order = self._order(head, answers)
        self.order_told = False

    def _zone(self, answers: Mapping[str, str]) -> times.Zone | None:
        zone = Header("time", self.header).zone or times.header_zone([self.header.replace("_", " ").replace(".", " ")])
        if zone is None and "utc" in compact(self.header):
            return times.zone_of("UTC")
        if zone is None and self.layout.dialect.name in ("ETN detections", "IMOS detections"):
            return times.zone_of("UTC")
        if zone is None and "local" in self.header.lower() and answers.get(Topic.TIME_ZONE) != "accept":
            raise Undecided(
                Topic.TIME_ZONE,
                f"the column {self.header!r} is local time, and nothing says of which zone. {UTC_REMEDY} Accepted, it is read as UTC.",
                [self.header],
            )
        if zone is None:
            says = "UTC or another zone in the header; the times are read as UTC, as the software exports them unless told otherwise"
            self.collector.tell(Code.ZONE_ASSUMED, Severity.LOOK, "time", self.header, says, UTC_REMEDY, [])
        elif not zone.is_utc:
            says = f"UTC; the times are in {zone.text}, and were converted"
            self.collector.tell(Code.ZONE_APPLIED, Severity.LOOK, "time", self.header, says, UTC_REMEDY, [])
        return zone

    def _order(self, head: Head, answers: Mapping[str, str]) -> times.Order | None:
        """The order of day and month, by the whole column; looked for only where the first dates are written in numbers."""
        column = self.layout.place("date" if self.apart else "time")
        if not any(times.NUMBERS.match(field) for field in self._first_times(head)):
            return None
        answer = answers.get(Topic.DAY_ORDER)
        if answer in set(times.Order):
            return times.Order(answer)
        assert column is not None
        parts = r"^\s*(\d{1,2})[-/.](\d{1,2})[-/.]\d{2,4}\b"
        shown: dict[str, str] = {}
        for frame in frames(head, len(self.layout.names)):
            found = frame.select(
                pl.col(column),
                a=pl.col(column).str.extract(parts, 1).cast(pl.Int32),
                b=pl.col(column).str.extract(parts, 2).cast(pl.Int32),
            ).drop_nulls("a")
            a, b = pl.col("a"), pl.col("b")
            for name, rule in (
                ("day", (a > 12) & (b <= 12)),
                ("month", (b > 12) & (a <= 12)),
                ("open", (a <= 12) & (b <= 12) & (a != b)),
            ):
                if name not in shown and (hit := found.filter(rule)).height:
                    shown[name] = str(hit[column][0])
        if "day" in shown and "month" in shown:
            self._ask("some dates have the day first and some the month", [shown["day"], shown["month"]])
        if "day" in shown or "month" in shown:
            return times.Order.DAY_FIRST if "day" in shown else times.Order.MONTH_FIRST
        if "open" in shown:
            self._ask("day and month cannot be told apart: no date of the file has a number above 12", [shown["open"]])
        return times.Order.DAY_FIRST

    def _first_times(self, head: Head) -> list[str]:
        place = self.layout.places["date" if self.apart else "time"]
        lines = [head.fields(line) for line in head.lines[self.layout.header_line :]]
        return [fields[place] for fields in lines if len(fields) > place]

    def _ask(self, problem: str, cells: list[str]) -> None:
        raise Undecided(
            Topic.DAY_ORDER, f"column {self.header}: {problem}.", [f"{self.header}: {cell}" for cell in cells]
        )

    def read(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The same with ``datetime``; ``raw_time`` is as the file has it."""
        if self.apart:
            rows = rows.with_columns(raw_time=pl.concat_str("raw_date", "raw_clock", separator=" "))
        found, rare = read_times(rows["raw_time"], self.order)
        rows = rows.with_columns(datetime=found)
        self._say_coarse(rows[rare].filter(~pl.col("raw_time").str.contains(r":\d\d:")))
        if self.order is not None and not self.order_told:
            self.order_told = True
            says = "dates in numbers, their order decided by the whole column"
            self.collector.tell(Code.DAY_ORDER, Severity.NOTE, "time", self.order.value, says, "", [])
        rows = rows.with_columns(datetime=to_utc(pl.col("datetime"), self.zone))
        return _with_fractions(rows)

    def _say_coarse(self, rows: pl.DataFrame) -> None:
        if rows.height:
            says = "seconds; the file gives minutes only, as a spreadsheet saves them"
            remedy = "Send the export itself, unedited."
            self.collector.tell(Code.FORMAT_NOTE, Severity.LOOK, "time", None, says, remedy, rows["row_number"])


def _with_fractions(rows: pl.DataFrame) -> pl.DataFrame:
    """Milliseconds from a column of their own, as Thelma's older export has them."""
    if "raw_millisecond" not in rows.columns:
        return rows
    milliseconds = pl.col("raw_millisecond").str.strip_chars().cast(pl.Int64, strict=False).fill_null(0)
    whole = pl.col("datetime").dt.truncate("1s")
    return rows.with_columns(datetime=whole + pl.duration(milliseconds=milliseconds))


def _detections(rows: pl.DataFrame, layout: Layout, readers: dict[str, Canonical], collector: Collector) -> None:
    rows = _with_receiver(rows, readers["receiver"])
    if "raw_transmitter" not in rows.columns:
        space, code = pl.col("raw_code_space").str.strip_chars(), pl.col("raw_id_code").str.strip_chars()
        rows = rows.with_columns(raw_transmitter=pl.concat_str(space, code, separator="-"))
    rows = rows.with_columns(transmitter=readers["transmitter"].of(rows["raw_transmitter"]))
    rows = _with_sensor(rows, collector, layout.delimiter)
    for column in ("sensor_unit", "transmitter_name", "transmitter_serial", "station_name"):
        said = f"raw_{column}" in rows.columns
        value = Canonical(something).of(rows[f"raw_{column}"]) if said else pl.lit(None, pl.String)
        rows = rows.with_columns(value.alias(column))
    problems = {
        "time": (pl.col("datetime").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (pl.col("receiver").is_null(), "a receiver like VR2W-109924"),
        "transmitter": (pl.col("transmitter").is_null(), "a transmitter like A69-1602-12345"),
    }
    collector.add(rows, problems, _kept(rows))


def _with_receiver(rows: pl.DataFrame, reader: Canonical) -> pl.DataFrame:
    if "raw_receiver" not in rows.columns:
        rows = rows.with_columns(raw_receiver=pl.concat_str("raw_model", "raw_serial", separator="-"))
    return rows.with_columns(receiver=reader.of(rows["raw_receiver"]))


def _with_sensor(rows: pl.DataFrame, collector: Collector, layout_delimiter: str) -> pl.DataFrame:
    if "raw_sensor_value" not in rows.columns or rows["raw_sensor_value"].null_count() == rows.height:
        return rows.with_columns(sensor_value=pl.lit(None, pl.Float64), other_sensor_text=pl.lit(None, pl.String))
    value, said = numbers(rows["raw_sensor_value"], decimal_comma=layout_delimiter == ";")
    moved = rows["moved"] & value.is_not_null()  # which field is the sensor's cannot be told: it is kept, not used
    value, said = value.set(moved, None), said.zip_with(~moved, rows["raw_sensor_value"])
    rows = rows.with_columns(sensor_value=value, other_sensor_text=said)
    if said.null_count() < said.len():
        says = "expected a number; the detection is loaded without it"
        lost = rows.filter(said.is_not_null())
        collector.tell_each(Code.VALUE_UNREADABLE, "sensor_value", lost["other_sensor_text"], lost["row_number"], says)
    return rows


def _events(rows: pl.DataFrame, layout: Layout, readers: dict[str, Canonical], collector: Collector) -> None:
    rows = _with_receiver(rows, readers["receiver"])
    for column in ("description", "data", "units"):
        raw = f"raw_{column}"
        value = pl.col(raw).str.strip_chars().replace("", None) if raw in rows.columns else pl.lit(None, pl.String)
        rows = rows.with_columns(value.alias(column))
    problems = {
        "time": (pl.col("datetime").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (pl.col("receiver").is_null(), "a receiver like VR2W-109924"),
        "description": (pl.col("description").is_null(), "the name of an event"),
    }
    collector.add(rows, problems, _kept(rows))


def _kept(rows: pl.DataFrame) -> list[str]:
    return [c for c in rows.columns if c.startswith("other_")]


def _say_identifiers(readers: dict[str, Canonical], collector: Collector) -> None:
    for column, reader in readers.items():
        for written, known in list(reader.changed.items())[:50]:
            if written.strip().upper() != known:
                collector.tell(Code.IDENTIFIER_CHANGED, Severity.NOTE, column, written, f"read as {known}", "", [])
