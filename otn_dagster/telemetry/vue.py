"""VUE's csv exports of detections and of receiver events.

Belongs here: an export to typed rows with line numbers, kept as one Parquet file. Does not belong here: duplicates
against what is loaded (``load_detections.py``), clocks (``clocks.py``).

Source: node manager training, "Load Detections" and "Load Events"; the column names are those of VUE 2.6 and later.
VUE must export UTC and raw sensor values.
"""

import datetime as dt
import os
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from otn_dagster.telemetry.refusals import BadFile, Refusal
from otn_dagster.telemetry.sheets import decode, normalise_header

DETECTION_COLUMNS = {
    "date_and_time": "datetime",
    "receiver": "receiver",
    "transmitter": "transmitter",
    "transmitter_name": "transmitter_name",
    "transmitter_serial": "transmitter_serial",
    "sensor_value": "sensor_value",
    "sensor_unit": "sensor_unit",
    "station_name": "station_name",
    "transmitter_type": "transmitter_type",
    "sensor_precision": "sensor_precision",
}
EVENT_COLUMNS = {
    "date_and_time": "datetime",
    "receiver": "receiver",
    "description": "description",
    "data": "data",
    "units": "units",
}
RECEIVER = r"^[A-Za-z][A-Za-z0-9-]*-\d+$"
TRANSMITTER = r"^[A-Z0-9]+-[A-Za-z0-9]+-[A-Za-z0-9-]+$"
FIRST_PLAUSIBLE = dt.datetime(1980, 1, 1)
UTC_REMEDY = "Export again from VUE with times in UTC (Options, Time zone)."


@dataclass(frozen=True)
class Export:
    """An export: its usable rows (``row_number`` counts from 1 as the file does, header included) and the refused ones."""

    rows: pl.DataFrame
    refused: list[Refusal]
    raw_rows: int


def read_detections(path: Path) -> Export:
    """Rows: row_number, datetime (UTC, as recorded), receiver, transmitter, sensor_value, sensor_unit, names.

    Raises BadFile where the file is no VUE detection export.
    """
    required = {"date_and_time", "receiver", "transmitter"}
    frame = _read(path, DETECTION_COLUMNS, required, "VUE detection export")
    typed = frame.with_columns(_time(), pl.col("sensor_value").cast(pl.Float64, strict=False).alias("sensor"))
    problems = {
        "datetime": (pl.col("time").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (
            ~pl.col("receiver").str.contains(RECEIVER).fill_null(False),
            "a receiver like VR2W-109924",
        ),
        "transmitter": (
            ~pl.col("transmitter").str.contains(TRANSMITTER).fill_null(False),
            "a transmitter like A69-1602-12345",
        ),
        "sensor_value": (
            pl.col("sensor").is_null() & pl.col("sensor_value").is_not_null(),
            "a number or nothing",
        ),
    }
    good, refused = _split(typed, problems)
    rows = good.select(
        "row_number",
        pl.col("time").alias("datetime"),
        "receiver",
        "transmitter",
        pl.col("sensor").alias("sensor_value"),
        *[
            name
            for name in DETECTION_COLUMNS.values()
            if name not in ("datetime", "receiver", "transmitter", "sensor_value")
        ],
    )
    return Export(rows, refused, frame.height)


def read_events(path: Path) -> Export:
    """Rows: row_number, datetime (device time), receiver, description, data, units."""
    frame = _read(path, EVENT_COLUMNS, {"date_and_time", "receiver", "description"}, "VUE event export")
    typed = frame.with_columns(_time())
    problems = {
        "datetime": (pl.col("time").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (
            ~pl.col("receiver").str.contains(RECEIVER).fill_null(False),
            "a receiver like VR2W-109924",
        ),
        "description": (pl.col("description").is_null(), "the name of an event"),
    }
    good, refused = _split(typed, problems)
    rows = good.select("row_number", pl.col("time").alias("datetime"), "receiver", "description", "data", "units")
    return Export(rows, refused, frame.height)


def keep_as_parquet(rows: pl.DataFrame, path: Path) -> None:
    """Write the raw rows once, beside the submitted file. Safe to repeat: same content, written aside and renamed."""
    if not path.exists():
        staging = path.with_name(f"{path.name}.{os.getpid()}")
        rows.write_parquet(staging, compression="zstd", statistics=True)
        staging.rename(path)


def _read(path: Path, columns: dict[str, str], required: set[str], what: str) -> pl.DataFrame:
    data = path.read_bytes()
    if not data:
        raise BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
    if data.startswith(b"PK") or (b"\x00" in data[:1000] and not data.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise BadFile(
            f"the file is binary, expected a {what} (csv)",
            "Convert the instrument's file with VUE and send the csv.",
        )
    text = decode(data)
    lines = text.splitlines()
    header = [name.strip().strip('"') for name in lines[0].split(",")]
    names = [normalise_header(name) for name in header]
    missing = required - set(names)
    if missing:
        raise BadFile(
            f"the columns {sorted(missing)} of a {what} are missing; the header is {lines[0][:120]!r}",
            "Is this the right kind of file for this folder? Detections and events go to folders of their own.",
            1,
        )
    time_header = header[names.index("date_and_time")]
    if "UTC" not in time_header.upper():
        raise BadFile(f"the time column is {time_header!r}, expected 'Date and Time (UTC)'", UTC_REMEDY, 1)
    if len(lines) < 2:
        raise BadFile(
            "the export has a header and no rows",
            "Check that the receiver was offloaded before exporting.",
            1,
        )
    last = next(line for line in reversed(lines) if line.strip())
    if last.count(",") < min(len(header), len(columns)) - 3 or "DATA ERRORS" in last:
        raise BadFile(
            f"the last line is cut off: {last[:80]!r}",
            "Wait until the file is copied completely, then send it again.",
            len(lines),
        )
    try:
        frame = pl.read_csv(
            text.encode(), has_header=True, infer_schema=False, truncate_ragged_lines=True, new_columns=names
        )
    except pl.exceptions.PolarsError as error:
        raise BadFile(f"the csv cannot be read ({error})", "Export it again from VUE.") from error
    frame = frame.with_row_index("row_number", offset=2).with_columns(pl.col("row_number").cast(pl.Int64))
    present = {name: field for name, field in columns.items() if name in names}
    absent = [pl.lit(None, pl.String).alias(field) for name, field in columns.items() if name not in names]
    blank = pl.selectors.string().str.strip_chars().replace("", None)
    return frame.select("row_number", *[pl.col(n).alias(f) for n, f in present.items()]).with_columns(blank, *absent)


def _time() -> pl.Expr:
    text = pl.col("datetime").str.replace("T", " ").str.strip_suffix("Z")
    return pl.coalesce(
        text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False),
        text.str.to_datetime("%Y-%m-%d %H:%M", time_unit="us", strict=False),
    ).alias("time")


def _split(frame: pl.DataFrame, problems: dict[str, tuple[pl.Expr, str]]) -> tuple[pl.DataFrame, list[Refusal]]:
    which = pl.coalesce([pl.when(bad).then(pl.lit(column)) for column, (bad, _) in problems.items()]).alias("problem")
    marked = frame.with_columns(which)
    refused = [
        Refusal(
            row["row_number"],
            row["problem"],
            row[row["problem"]],
            problems[row["problem"]][1],
            "Send the manufacturer's export unedited.",
            {
                name: value
                for name, value in row.items()
                if value is not None and name not in ("time", "sensor", "problem")
            }
            | ({"row_number": row["row_number"]}),
        )
        for row in marked.filter(pl.col("problem").is_not_null()).iter_rows(named=True)
    ]
    return marked.filter(pl.col("problem").is_null()), refused


def impossible_times(rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """Rows before 1980 or in the future (D2): the receiver's clock was not set."""
    return rows.filter((pl.col("datetime") < FIRST_PLAUSIBLE) | (pl.col("datetime") > now + dt.timedelta(days=1)))


def stop_at_impossible_times(rows: pl.DataFrame, now: dt.datetime) -> None:
    """Raise BadFile where any time cannot be; the whole file stops, because no time of that clock can be trusted."""
    bad = impossible_times(rows, now)
    if bad.height:
        first = bad.row(0, named=True)
        raise BadFile(
            f"D2: {bad.height:,} of {rows.height:,} times are before 1980 or in the future; the first is {first['datetime']}",
            "The receiver's clock was not set. Correct it with the manufacturer's software and export again.",
            first["row_number"],
            "Date and Time (UTC)",
        )


PC_TIME = re.compile(r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)\s*UTC\s*(?:([+-]\d\d):?(\d\d))?$")


def pc_time(data: str) -> dt.datetime | None:
    """UTC of a PC Time event: ``2011-03-07 10:10:43 UTC-05:00`` → 15:10:43; None for what is not one."""
    found = PC_TIME.match((data or "").strip())
    if not found:
        return None
    hours, minutes = int(found[2] or 0), int(found[3] or 0)
    offset = dt.timedelta(hours=hours, minutes=minutes if hours >= 0 else -minutes)
    return dt.datetime.fromisoformat(found[1]) - offset
