"""Innovasea's Fathom / VDAT csv, 1.0.0 and 2.0.0: one log of a receiver with detections, events, clock and settings together.

Belongs here: its record types. Does not belong here: exports of one record type (``delimited.py``).

The file says the columns of each record type itself, in ``*_DESC`` lines; versions differ in them. Lines are as short as their last
value. ``Device Time (UTC)`` is the receiver's clock, ``External Difference`` is true minus device. Events are named as VUE names them, so
that clocks are corrected by one rule.

Source: the glatos package's schema of both versions, the HR2 guide, genuine files.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from otn_dagster.telemetry.files.exports import Collector, Export
from otn_dagster.telemetry.files.refusals import BadFile, Code, Severity, Topic, Undecided
from otn_dagster.telemetry.files.tables import NotData
from otn_dagster.telemetry.files.text import Head, compact, frames, is_cut_off
from otn_dagster.telemetry.files.text_columns import Canonical, receiver_name, transmitter_name
from otn_dagster.telemetry.files.time_columns import iso, read_times

NAME = "Fathom / VDAT log"
SIGNATURE = re.compile(r"^VEMCO DATA LOG,(?P<schema>\d[\w.]*)(?:,(?P<writer>.*))?$")
DETECTION_TYPES = ("DET", "DET_SENS")
EVENT_TYPES = re.compile(r"^(EVENT|EVENT_\w+|CLOCK_REF|CLOCK_SET|CFG_\w+|XPND_EVENT)$")
COMMON = {"devicetimeutc", "time", "timeoffseth", "timecorrections", "model", "serialnumber"}
READ = {*COMMON, "fullid", "rawdata", "sensorvalue", "sensorunit", "transmitterserial", "stationname"}
OPEN_PROTOCOL_MENDED = "20240207"  # writers before it decoded Open Protocol tags wrongly (vdat 9.3.0)
Fields = dict[str, dict[str, int]]  # record type → compact name of a field → its place in the line


def recognises(head: Head) -> bool:
    """Whether a file is such a log."""
    return bool(head.lines) and SIGNATURE.match(head.lines[0].strip()) is not None


def fields_of(head: Head) -> Fields:
    """The fields of each record type, as the file says them."""
    found: Fields = {}
    for line in head.lines:
        parts = head.fields(line)
        if parts and parts[0].endswith("_DESC"):
            found[parts[0].removesuffix("_DESC")] = {compact(name): i for i, name in enumerate(parts) if i and name}
    if not found:
        raise BadFile(
            "the log does not say its record types (no *_DESC lines)",
            "Export it again with the manufacturer's software.",
            1,
        )
    return found


def read(head: Head, kind: str, target: Path, answers: Mapping[str, str]) -> Export:
    """The detections, or the events, of a log. Raises BadFile, and Undecided where the instrument reports errors in its data."""
    if is_cut_off(head):
        raise BadFile("the last line is cut off", "Wait until the file is copied completely, then send it again.")
    fields = fields_of(head)
    width = 1 + max(max(places.values(), default=0) for places in fields.values())
    with Collector(kind, NAME, target) as collector:
        readers = {"receiver": Canonical(receiver_name), "transmitter": Canonical(transmitter_name)}
        others: dict[str, int] = {}
        errors: list[str] = []
        for raw in frames(head, width):
            first = raw["row_number"][0] == 1
            record = pl.col("c0").str.strip_chars(" \ufeff") if first else pl.col("c0")
            _take(raw.with_columns(record=record), kind, fields, readers, collector, others, errors)
        _judge_errors(errors, answers, collector)
        _say_others(others, kind, collector)
        _say_old_writer(head, readers["transmitter"], collector)
        collector.columns([f"{record} records" for record in fields if _is_of(record, kind)], [])
        return collector.done()


def _is_of(record: str, kind: str) -> bool:
    return record in DETECTION_TYPES if kind == "detections" else EVENT_TYPES.match(record) is not None


def _take(
    raw: pl.DataFrame,
    kind: str,
    fields: Fields,
    readers: dict[str, Canonical],
    collector: Collector,
    others: dict[str, int],
    errors: list[str],
) -> None:
    counted = raw["record"].drop_nulls().value_counts()
    for name, height in counted.sort("record").iter_rows():
        if not (
            name.endswith("_DESC") or name in ("VEMCO DATA LOG", "RECORD TYPE", "DATA_ERROR") or _is_of(name, kind)
        ):
            others[name] = others.get(name, 0) + height
            collector.aside(NotData.OTHER_RECORD, height)
            continue
        rows = raw.filter(pl.col("record") == name)
        if name.endswith("_DESC") or name in ("VEMCO DATA LOG", "RECORD TYPE"):
            collector.aside(NotData.HEADER, rows.height)
        elif name == "DATA_ERROR":
            errors += [" ".join(str(v) for v in row[2:] if v is not None) for row in rows.drop("record").iter_rows()]
            collector.aside(NotData.OTHER_RECORD, rows.height)
        elif name not in fields:
            raise BadFile(
                f"the log has {name} records and does not say their fields",
                "Export it again.",
                int(rows["row_number"][0]),
            )
        elif kind == "detections":
            _detections(rows, fields[name], _kept(fields), readers, collector)
        else:
            _events(rows, name, fields[name], readers, collector)


def _common(rows: pl.DataFrame, places: dict[str, int], readers: dict[str, Canonical]) -> pl.DataFrame:
    model, serial, time = (_field(places, name) for name in ("model", "serialnumber", "devicetimeutc"))
    rows = rows.with_columns(raw_time=time, raw_receiver=pl.concat_str(model, serial, separator="-"))
    found, _ = read_times(rows["raw_time"], None)
    return rows.with_columns(datetime=found, receiver=readers["receiver"].of(rows["raw_receiver"]))


def _field(places: dict[str, int], name: str) -> pl.Expr:
    return pl.col(f"c{places[name]}").str.strip_chars() if name in places else pl.lit(None, pl.String)


def _kept(fields: Fields) -> list[str]:
    """Fields of detections that are not read: kept as they are."""
    names = dict.fromkeys(name for record in DETECTION_TYPES for name in fields.get(record, {}))
    read = READ - {"sensorvalue", "sensorunit"} if "rawdata" in names else READ
    return [name for name in names if name not in read]


def _detections(
    rows: pl.DataFrame, places: dict[str, int], kept: list[str], readers: dict[str, Canonical], collector: Collector
) -> None:
    rows = _common(rows, places, readers).with_columns(raw_transmitter=_field(places, "fullid"))
    raw_sensor = _field(places, "rawdata" if "rawdata" in places else "sensorvalue")
    number = raw_sensor.cast(pl.Float64, strict=False)
    rows = rows.with_columns(
        transmitter=readers["transmitter"].of(rows["raw_transmitter"]),
        sensor_value=number,
        sensor_unit=_field(places, "sensorunit")
        if "rawdata" not in places
        else pl.when(number.is_not_null()).then(pl.lit("ADC")),
        transmitter_name=pl.lit(None, pl.String),
        transmitter_serial=_field(places, "transmitterserial"),
        station_name=_field(places, "stationname"),
        other_sensor_text=pl.when(number.is_null()).then(raw_sensor),
        **{f"other_{name}": _field(places, name) for name in kept},
    )
    problems = {
        "time": (pl.col("datetime").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (pl.col("receiver").is_null(), "a receiver's model and serial number"),
        "transmitter": (pl.col("transmitter").is_null(), "a transmitter like A69-1602-12345"),
    }
    collector.add(rows, problems, ["other_sensor_text", *(f"other_{name}" for name in kept)])


def _rest(places: dict[str, int], read: set[str]) -> pl.Expr:
    """All other fields of a record as one text: ``signalstrengthdb=46; channel=1``."""
    parts = [pl.format(f"{name}={{}}", pl.col(f"c{i}")) for name, i in places.items() if name not in read]
    return (
        pl.concat_str(parts, separator="; ", ignore_nulls=True).replace("", None) if parts else pl.lit(None, pl.String)
    )


def _events(
    rows: pl.DataFrame, record: str, places: dict[str, int], readers: dict[str, Canonical], collector: Collector
) -> None:
    rows = _common(rows, places, readers)
    description, data = _named(record, places)
    rows = rows.with_columns(
        description=description, data=data, units=pl.lit(None, pl.String), other_fields=_rest(places, COMMON)
    )
    problems = {
        "time": (pl.col("datetime").is_null(), "a UTC time like 2022-08-29 14:05:00"),
        "receiver": (pl.col("receiver").is_null(), "a receiver's model and serial number"),
    }
    collector.add(rows, problems, ["other_fields"])


def _named(record: str, places: dict[str, int]) -> tuple[pl.Expr, pl.Expr]:
    """An event's description and data, as VUE would write them."""
    if record == "EVENT_INIT":
        return pl.lit("Initialization"), pl.lit(None, pl.String)
    if record == "EVENT_OFFLOAD":
        return pl.lit("Data Upload"), _field(places, "originalfile")
    if record == "CLOCK_REF":
        return pl.lit("PC Time"), pl.format(
            "{} UTC", _external("externaltimeutc", "externaldifferences", pl.col("datetime"), places)
        )
    if record == "CLOCK_SET":
        prior = iso(_field(places, "priordevicetimeutc"))
        true = _external("", "priordifferences", prior, places)
        return pl.lit("Clock Set"), pl.format("{} UTC at {}", true, prior.dt.strftime("%Y-%m-%d %H:%M:%S%.6f"))
    if record == "CFG_CHANNEL":
        return pl.lit("Map"), pl.coalesce(_field(places, "mapid"), _field(places, "ppmmapid"))
    if record == "EVENT":
        kind = pl.concat_str(
            [_field(places, n) for n in ("type", "subtype", "eventtype")], separator=" ", ignore_nulls=True
        )
        details = [_field(places, n) for n in ("description", "values", "eventdetails")]
        return pl.coalesce(kind.replace("", None), pl.lit(record)), pl.concat_str(
            details, separator=", ", ignore_nulls=True
        ).replace("", None)
    return pl.lit(record), _rest(places, COMMON)


def _external(time: str, difference: str, device: pl.Expr, places: dict[str, int]) -> pl.Expr:
    """True time as text: by the difference, which is finer, or else as the log says it."""
    seconds = _field(places, difference).cast(pl.Float64, strict=False)
    by_difference = device + pl.duration(microseconds=(seconds * 1_000_000).round(0).cast(pl.Int64))
    said = iso(_field(places, time)) if time else pl.lit(None, pl.Datetime("us"))
    return pl.coalesce(by_difference, said).dt.strftime("%Y-%m-%d %H:%M:%S%.6f")


def _judge_errors(errors: list[str], answers: Mapping[str, str], collector: Collector) -> None:
    if not errors:
        return
    if answers.get(Topic.DATA_ERRORS) != "accept":
        raise Undecided(
            Topic.DATA_ERRORS,
            f"the instrument's log reports {len(errors):,} errors in its data: detections may be missing. Offload and convert it again,"
            " or accept what there is.",
            errors[:20],
        )
    says = "no errors in the data; a person accepted the log as it is"
    collector.tell(Code.DATA_ERROR, Severity.LOOK, None, errors[0], says, "", [])


def _say_others(others: dict[str, int], kind: str, collector: Collector) -> None:
    if others:
        where = "events" if kind == "detections" else "detections"
        counted = ", ".join(f"{name} {count:,}" for name, count in sorted(others.items()))
        says = f"records that are not {kind}: those of {where} are loaded as a file of {where}, the others stay in the file"
        collector.tell(Code.NOT_DATA, Severity.NOTE, None, counted, says, "", [])


def _say_old_writer(head: Head, transmitters: Canonical, collector: Collector) -> None:
    found = SIGNATURE.match(head.lines[0].strip())
    built = re.search(r"-(20\d{6})\b", (found["writer"] or "") if found else "")
    if built and built[1] < OPEN_PROTOCOL_MENDED and any(text.startswith("OP") for text in transmitters.texts):
        says = "Open Protocol tags written by a vdat of February 2024 or later; earlier ones decoded them wrongly"
        collector.tell(
            Code.FORMAT_NOTE,
            Severity.DECIDE,
            None,
            built[0].strip("-"),
            says,
            "Convert the log again with a newer vdat.",
            [],
        )
