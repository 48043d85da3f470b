"""Bodies to records: what is good, and of what is not its index, field, code and message.

Belongs here: decoding, the value of each type, what makes a record's id. Does not belong here: the quick look that a push
gets first (``quick.py``), where records go.

Values never change in silence: a number that a double cannot hold is refused, a time without a zone is UTC (as CF and
ERDDAP say), text with U+0000 is refused because PostgreSQL cannot keep it.
"""

import datetime as dt
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from otn_dagster.live import files
from otn_dagster.live.schema import Field, Schema

DEEPEST = 100
EXACT = 2**53  # the largest span of integers that a double holds without gaps
MOST_FAULTS = 100  # bad records that are named
MOST_FAULTS_OF_A_RECORD = 10
ISO_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?)? ?(Z|z|[+-]\d\d(?::?\d\d)?)?$")
FIRST_TIME, LAST_TIME = dt.datetime(1, 1, 2, tzinfo=dt.UTC), dt.datetime(9999, 12, 30, tzinfo=dt.UTC)


class Malformed(ValueError):
    """A body that is no JSON: where it stops being so."""

    def __init__(self, message: str, offset: int):
        """Byte offset from the start of the (decompressed) body."""
        self.offset = offset
        super().__init__(message)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one record."""

    index: int
    field: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """One good record: its place in the push, its id (32 hex digits), its values by field."""

    index: int
    record_id: str
    values: dict[str, Any]
    extra: dict[str, Any] | None
    fingerprint: str


@dataclass(frozen=True)
class Parsed:
    """Good records, in order, and the faults of the others."""

    received: int
    records: list[Record]
    faults: list[Fault]

    @property
    def refused(self) -> set[int]:
        """Indexes of records that have a fault."""
        return {fault.index for fault in self.faults}


class _Bad(ValueError):
    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


def items_of(body: bytes, kind: str) -> list[Any]:
    """The items of a body (one object, an array, or lines of NDJSON), undecided; raises Malformed."""
    if body.startswith(b"\xef\xbb\xbf"):
        body = body[3:]
    if kind == "ndjson":
        return list(_lines(body))
    found = _decode(body, 0)
    return found if isinstance(found, list) else [found]


def _lines(body: bytes) -> Iterator[Any]:
    start = 0
    for line in body.split(b"\n"):
        if line.strip():
            yield _decode(line, start)
        start += len(line) + 1


def _decode(body: bytes, start: int) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        found = re.search(r"byte (\d+)", str(error))
        offset = int(found[1]) if found else len(body)
        what = re.sub(r"^JSON is malformed: | \(byte \d+\)$", "", str(error))
        raise Malformed(f"not JSON at byte {start + offset}: {what}", start + offset) from None
    except UnicodeDecodeError:
        raise Malformed(*_not_utf8(body, start)) from None
    except RecursionError:
        raise Malformed("nested too deeply", start) from None


def _not_utf8(body: bytes, start: int) -> tuple[str, int]:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {start + error.start}", start + error.start
    return "half of a surrogate pair stands alone", start


def parse(schema: Schema, items: Sequence[Any], text: bool = False, stored: bool = False) -> Parsed:
    """Every item with its values or its faults.

    ``text``: values are text (CSV, query strings) and are read as their field's type. ``stored``: items come from the log,
    where files are references.
    """
    records, faults = [], []
    for index, item in enumerate(items):
        found = _faults_or_values(schema, index, item, text, stored)
        if isinstance(found, list):
            faults += found
        else:
            records.append(_record(schema, index, *found))
    return Parsed(len(items), records, faults)


def ids(schema: Schema, items: Sequence[Any], text: bool = False) -> Parsed:
    """What is to be deleted: items are record ids, or objects with the key (or, without a key, all fields).

    Fields beside the key may be there and are not looked at, as Opendatasoft's clients send whole records.
    """
    wanted = Schema({name: schema.fields[name] for name in schema.identity}, schema.key, "ignore")
    records, faults = [], []
    for index, item in enumerate(items):
        if isinstance(item, str):
            if re.fullmatch(r"[0-9a-f]{32}", item):
                records.append(Record(index, item, {}, None, ""))
            else:
                faults.append(Fault(index, None, "not_an_id", f"expected 32 hexadecimal digits, got {_shown(item)}"))
            continue
        found = _faults_or_values(wanted, index, item, text, False)
        if isinstance(found, list):
            faults += found
        else:
            records.append(_record(wanted, index, *found))
    return Parsed(len(items), records, faults)


def _faults_or_values(
    schema: Schema, index: int, item: Any, text: bool, stored: bool
) -> list[Fault] | tuple[dict[str, Any], dict[str, Any] | None]:
    if not isinstance(item, dict):
        return [Fault(index, None, "not_an_object", f"expected an object, got {_kind(item)}")]
    values, faults = {}, []
    for name, field in schema.fields.items():
        value = item.get(name)
        if value is None or (text and value == ""):
            values[name] = None
            if field.required:
                why = "missing" if name not in item else "null"
                faults.append(Fault(index, name, "required", f"expected a value of type {field.type}, it is {why}"))
            continue
        try:
            values[name] = _value(field, value, text, stored)
            if field.required and values[name] is None:  # NaN in text
                raise _Bad("required", f"expected a value of type {field.type}, it is {_shown(value)}")
            if name in schema.key and values[name] == "":
                raise _Bad("required", "expected a value, it is empty")
        except _Bad as error:
            faults.append(Fault(index, name, error.code, str(error)))
    unknown = {name: value for name, value in item.items() if name not in schema.fields}
    if unknown and schema.unknown_fields == "forbid":
        known = ", ".join([*list(schema.fields)[:20], *(["..."] if len(schema.fields) > 20 else [])])
        faults += [Fault(index, _name(name), "unknown_field", f"no such field; there are: {known}") for name in unknown]
    extra = unknown if unknown and schema.unknown_fields == "keep" else None
    try:
        _storable(unknown)  # also where it is not kept: the log keeps it, and has to be read again
    except _Bad as error:
        faults.append(Fault(index, None, error.code, str(error)))
    return faults[:MOST_FAULTS_OF_A_RECORD] or (values, extra)


def _record(schema: Schema, index: int, values: dict[str, Any], extra: dict[str, Any] | None) -> Record:
    whole = _digest([sorted((name, _plain(v)) for name, v in values.items() if v is not None), extra])
    identity = [[name, _plain(values[name])] for name in schema.identity]
    return Record(index, _digest(identity), values, extra, whole)


def _digest(value: Any) -> str:
    """128 bits of SHA-256 over canonical JSON: sorted names, UTC times, the shortest form of each number."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, files.FileField):
        return value.reference()
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def _value(field: Field, value: Any, text: bool, stored: bool) -> Any:
    if field.type == "file":
        try:
            return files.read_field(field, value, stored)
        except files.BadFileField as error:
            raise _Bad(error.code, str(error)) from None
    if text and isinstance(value, str):
        value = _FROM_TEXT.get(field.type, str)(value)
        if value is None:
            return None
    return _OF_TYPE[field.type](value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Bad("type", f"expected text, got {_kind(value)}")
    if "\x00" in value:
        raise _Bad("null_character", "text must not contain U+0000")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Bad("type", f"expected an integer, got {_kind(value)}")
    if not -(2**63) <= value < 2**63:
        raise _Bad("out_of_range", f"expected an integer of 64 bits, got {_shown(value)}")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _Bad("type", f"expected a number, got {_kind(value)}")
    if isinstance(value, int) and (abs(value) > 2**1000 or int(float(value)) != value):
        raise _Bad("not_exact", f"a double cannot hold {_shown(value)} exactly; declare the field as integer or text")
    if not math.isfinite(value):
        raise _Bad("not_finite", f"expected a finite number, got {value}; leave the field out where there is no value")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Bad("type", f"expected true or false, got {_kind(value)}")
    return value


def _time(value: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):  # from xlsx and Parquet
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    found = ISO_TIME.match(value) if isinstance(value, str) else None
    if not found:
        raise _Bad("not_a_time", f"expected ISO 8601, got {_shown(value)}")
    date, clock, seconds, fraction, zone = found.groups()
    micros = round(int((fraction or "0").ljust(9, "0")[:9]) / 1000)
    offset = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    try:
        whole = dt.datetime.fromisoformat(f"{date}T{clock or '00:00'}:{seconds or '00'}{offset}")
        made = (whole + dt.timedelta(microseconds=micros)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise _Bad("not_a_time", f"there is no time {_shown(value)}") from None
    if not FIRST_TIME <= made <= LAST_TIME:
        raise _Bad("out_of_range", f"expected a time between the years 1 and 9999, got {_shown(value)}")
    return made


def read_time(text: str) -> dt.datetime:
    """A time in a question of a person; raises ValueError."""
    return _time(re.sub(r"(T[\d:.]+) (\d\d:?\d\d)$", r"\1+\2", text))  # a + that a URL turned into a space


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    try:
        if isinstance(value, dt.date):
            return value
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    raise _Bad("not_a_date", f"expected a date like 2026-02-18, got {_shown(value)}")


def _geo_point(value: Any) -> list[float]:
    pair: Any = [value.get("lat"), value.get("lon")] if isinstance(value, dict) else value
    good = isinstance(pair, list) and len(pair) == 2
    if not good or not all(isinstance(part, int | float) and not isinstance(part, bool) for part in pair):
        raise _Bad("type", f"expected [latitude, longitude], got {_shown(value)}")
    if not (abs(pair[0]) <= 90 and abs(pair[1]) <= 180):
        raise _Bad("out_of_range", f"expected latitude within 90 and longitude within 180 degrees, got {_shown(value)}")
    return [float(pair[0]) + 0.0, float(pair[1]) + 0.0]


def _json(value: Any) -> Any:
    _storable(value)
    return value


def _storable(value: Any, depth: int = 0) -> None:
    """Raise where PostgreSQL could not keep a value of free JSON."""
    if depth > DEEPEST:
        raise _Bad("too_deep", f"nested more than {DEEPEST} deep")
    if isinstance(value, str):
        _text(value)
    for inner in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _storable(inner, depth + 1)


def _integer_from(text: str) -> Any:
    return int(text) if re.fullmatch(r" *[+-]?\d{1,40} *", text) else _number_from(text)


def _number_from(text: str) -> Any:
    """NaN is a missing value, as ERDDAP writes it; everything else must be a number."""
    if len(text) > 400:
        return text
    if text.strip().lower() == "nan":
        return None
    if re.fullmatch(r" *[+-]?\d{1,400} *", text):
        return int(text)
    if re.fullmatch(r" *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})? *", text):
        return float(text)
    return text


def _boolean_from(text: str) -> Any:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)


def _json_from(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise _Bad("type", f"expected JSON, got {_shown(text)}: {error}") from None


_OF_TYPE: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
    "date": _date,
    "geo_point": _geo_point,
    "json": _json,
}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "integer": _integer_from,
    "number": _number_from,
    "boolean": _boolean_from,
    "geo_point": lambda text: _json_from(text if text.startswith("[") else f"[{text}]"),
    "json": _json_from,
}


def _name(name: str) -> str:
    return name[:100].replace("\x00", "\\u0000")


def _shown(value: Any) -> str:
    text = (
        f"an integer of {value.bit_length()} bits" if isinstance(value, int) and abs(value) >= 10**60 else repr(value)
    )
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: Any) -> str:
    names = {str: "text", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}
    name = names.get(type(value), "null" if value is None else type(value).__name__)
    return name if isinstance(value, list | dict) or value is None else f"{name} {_shown(value)}"
