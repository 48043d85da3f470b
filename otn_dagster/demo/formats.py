"""The same detections in every format that a node receives: VUE of all ages, Fathom, Thelma, pooled tables.

Belongs here: writing a format from plain detections. Does not belong here: what is in the water (``network.py``), reading.

Tests write one truth in every format and ask that the same detections come back; the benchmark of loading writes millions of rows.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """One detection: device time, receiver's model and serial, transmitter, raw sensor value."""

    at: dt.datetime
    model: str
    serial: str
    transmitter: str
    sensor: float | None = None


def _time(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond:06d}".rstrip("0") if at.microsecond else "")


def _sensor(one: Heard) -> str:
    return "" if one.sensor is None else f"{one.sensor:g}"


def vue(heard: Sequence[Heard]) -> bytes:
    """VUE 2: ten columns, UTF-8 with BOM, CRLF."""
    header = "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit,Station Name,Latitude,Longitude"
    lines = [
        f"{_time(h.at)},{h.model}-{h.serial},{h.transmitter},,,{_sensor(h)},{'ADC' if h.sensor is not None else ''},,+0,+0"
        for h in heard
    ]
    return ("\ufeff" + "\r\n".join([header, *lines]) + "\r\n").encode()


def vue_short(heard: Sequence[Heard]) -> bytes:
    """VUE 2 of early versions: trailing empty fields left out, LF, no line end at the end."""
    header = "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit,Station Name,Latitude,Longitude"
    lines = [
        f"{_time(h.at)},{h.model}-{h.serial},{h.transmitter}" + (f",,,{_sensor(h)},ADC" if h.sensor is not None else "")
        for h in heard
    ]
    return "\n".join([header, *lines]).encode()


def vue_apart(heard: Sequence[Heard]) -> bytes:
    """Date and time in columns of their own, in UTF-16 as a spreadsheet saves it."""
    header = "Date(UTC)\tTime(UTC)\tReceiver\tTransmitter\tTransmitterName\tTransmitterSerial\tSensorValue\tSensorUnit"
    lines = [
        "\t".join([*_time(h.at).split(" "), f"{h.model}-{h.serial}", h.transmitter, "", "", _sensor(h), ""])
        for h in heard
    ]
    return "\r\n".join([header, *lines, ""]).encode("utf-16")


def vue_1(heard: Sequence[Heard]) -> bytes:
    """VUE 1: code space and id apart, no zone in the header."""
    header = (
        "Date/Time,Code Space,ID,Sensor 1,Units 1,Sensor 2,Units 2,Transmitter Name,Transmitter S/N,Receiver Name,Receiver S/N,"
        "Station Name,Station Latitude,Station Longitude"
    )
    lines = []
    for h in heard:
        space, code = h.transmitter.rsplit("-", 1)
        lines.append(f"{_time(h.at)},{space},{code},{_sensor(h)},,,,,,{h.model}-{h.serial},{h.serial},Haven,0,0")
    return "\n".join([header, *lines, ""]).encode()


def vue_1_from_a_spreadsheet(heard: Sequence[Heard]) -> bytes:
    """VUE 1, saved again with days first and semicolons; at least one day must be above 12."""
    header = "Date/Time;Code Space;ID;Sensor 1;Units 1;Receiver Name"
    lines = []
    for h in heard:
        space, code = h.transmitter.rsplit("-", 1)
        lines.append(f"{h.at:%d/%m/%Y %H:%M:%S};{space};{code};{_sensor(h)};;{h.model}-{h.serial}")
    return "\r\n".join([header, *lines, ""]).encode()


def pooled_by_r(heard: Sequence[Heard]) -> bytes:
    """A pooled table that R wrote: quotes, NA, dots in the names, a first column without a name."""
    header = '"","Date.and.Time..UTC.","Receiver","Transmitter","Transmitter.Name","Sensor.Value","Sensor.Unit"'
    lines = [
        f'"{i}","{_time(h.at)}","{h.model}-{h.serial}","{h.transmitter}",NA,{_sensor(h) or "NA"},NA'
        for i, h in enumerate(heard, 1)
    ]
    return "\n".join([header, *lines, ""]).encode()


def in_local_time(heard: Sequence[Heard]) -> bytes:
    """VUE 2 whose header says another zone than UTC."""
    header = (
        "Date and Time (UTC-05:00),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit"
    )
    lines = [
        f"{_time(h.at - dt.timedelta(hours=5))},{h.model}-{h.serial},{h.transmitter},,,{_sensor(h)}," for h in heard
    ]
    return "\n".join([header, *lines, ""]).encode()


_COMMON = "Device Time (UTC),Time,Time Offset (h),Time Correction (s),Model,Serial Number"


def fathom_2(heard: Sequence[Heard]) -> bytes:
    """Fathom / VDAT 2.0.0: model with its frequency, raw data, short lines, other records between."""
    lines = [
        "VEMCO DATA LOG,2.0.0,vdat-11.0.1-20240830-d01c0d-release",
        "RECORD TYPE,FIELD,FIELD",
        f"CLOCK_REF_DESC,{_COMMON},External Time (UTC),External Difference (s),Source",
        f"DET_DESC,{_COMMON},Channel,Detection Type,Full ID,ID,Raw Data,Transmitter Serial,Signal Strength (dB)",
        f"EVENT_INIT_DESC,{_COMMON},Prior Device Time (UTC),External Time Zone,Firmware Version",
        f"TEMP_DESC,{_COMMON},Ambient (deg C),Internal (deg C)",
    ]
    for h in heard:
        raw = f",{_sensor(h)}" if h.sensor is not None else ""
        lines.append(
            f"DET,{_time(h.at)},,,,{h.model}-69,{h.serial},1,PPM,{h.transmitter},{h.transmitter.rsplit('-', 1)[1]}{raw}"
        )
        lines.append(f"TEMP,{_time(h.at)},,,,{h.model}-69,{h.serial},17.1")
    return ("\ufeff" + "\n".join([*lines, ""])).encode()


def fathom_1(heard: Sequence[Heard]) -> bytes:
    """Fathom / VDAT 1.0.0: sensor value and unit, no raw data."""
    lines = [
        "VEMCO DATA LOG,1.0.0,vdat-4.0.0",
        f"DET_DESC,{_COMMON},Detection Type,Full ID,ID,Signal Strength (dB),Noise (dB),Quality Score,Decoder,Sensor Value,Sensor Unit",
    ]
    for h in heard:
        sensor = f",,,,PPM,{_sensor(h)},ADC" if h.sensor is not None else ""
        lines.append(
            f"DET,{_time(h.at)},,,,{h.model},{h.serial},PPM,{h.transmitter},{h.transmitter.rsplit('-', 1)[1]}{sensor}"
        )
    return "\n".join([*lines, ""]).encode()


FORMATS: dict[str, Callable[[Sequence[Heard]], bytes]] = {
    format_.__name__: format_
    for format_ in (
        vue,
        vue_short,
        vue_apart,
        vue_1,
        vue_1_from_a_spreadsheet,
        pooled_by_r,
        in_local_time,
        fathom_2,
        fathom_1,
    )
}


def thelma_old(heard: Sequence[Heard]) -> bytes:
    """Thelma's older export: milliseconds apart, protocols instead of code spaces. For transmitters of A69-1303 on a TBR."""
    lines = [
        "Date and Time UTC,TBR Serial Number,Unix Timestamp UTC,Millisecond,CodeType,Id,Data,Signal to Noise Ratio"
    ]
    for h in heard:
        data = _sensor(h) or "-"
        unix = int(h.at.replace(tzinfo=dt.UTC).timestamp())
        code = h.transmitter.rsplit("-", 1)[1]
        lines.append(
            f"{h.at:%Y-%m-%d %H:%M:%S},{h.serial},{unix},{h.at.microsecond // 1000},R64K-69kHz,{code},{data},24"
        )
    return "\n".join([*lines, ""]).encode()


def thelma_new(heard: Sequence[Heard]) -> bytes:
    """Thelma's newer export."""
    lines = ["Date and Time (UTC),Unix Timestamp (UTC),ID,Data,Protocol,SNR,Receiver"]
    for h in heard:
        unix = h.at.replace(tzinfo=dt.UTC).timestamp()
        lines.append(
            f"{_time(h.at)},{unix:.3f},{h.transmitter.rsplit('-', 1)[1]},{_sensor(h) or '-'},R64K-69kHz,24,{h.serial}"
        )
    return "\n".join([*lines, ""]).encode()
