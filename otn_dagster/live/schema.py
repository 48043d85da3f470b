"""What a record of a dataset looks like: its fields, their types, and what makes two records the same record.

Belongs here: fields, an example turned into fields, versions compared. Does not belong here: reading values
(``records.py``), tables (``table.py``).
"""

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

TYPES = {
    "text": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
    "time": "timestamptz",
    "date": "date",
    "geo_point": "jsonb",
    "json": "jsonb",
    "file": "jsonb",
}
SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
FIELD_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_ .-]{0,58}$")
ISO_TIME = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?")
ISO_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")


@dataclass(frozen=True)
class Field:
    """One field; ``content_types`` and ``most_mb`` are a file's."""

    type: str
    required: bool = False
    units: str | None = None
    description: str | None = None
    content_types: tuple[str, ...] = ()
    most_mb: float = 5

    def __post_init__(self):
        """Refuse what cannot be."""
        if self.type not in TYPES:
            raise ValueError(f"found type {self.type!r}, expected one of {', '.join(TYPES)}")


@dataclass(frozen=True)
class Schema:
    """All fields of a dataset. Without a key, a record is the same as another when all its fields are."""

    fields: dict[str, Field]
    key: tuple[str, ...] = ()
    unknown_fields: str = "forbid"

    @property
    def identity(self) -> list[str]:
        """The fields that make a record the same record."""
        return sorted(self.key or self.fields)

    @property
    def files(self) -> list[str]:
        """Fields that hold files."""
        return [name for name, field in self.fields.items() if field.type == "file"]

    def definition(self) -> dict[str, Any]:
        """As it is kept with its version."""
        return {
            "fields": {name: msgspec.to_builtins(asdict(field)) for name, field in self.fields.items()},
            "key": list(self.key),
            "unknown_fields": self.unknown_fields,
        }

    def digest(self) -> str:
        """The same for the same schema."""
        return hashlib.sha256(msgspec.json.encode(self.definition(), order="sorted")).hexdigest()


def from_definition(definition: dict[str, Any]) -> Schema:
    """The schema of a version that was kept."""
    fields = {
        name: Field(**{**f, "content_types": tuple(f["content_types"])}) for name, f in definition["fields"].items()
    }
    return Schema(fields, tuple(definition["key"]), definition["unknown_fields"])


def make(example: dict[str, Any], declared: dict[str, Any], key: list[str], unknown_fields: str) -> Schema:
    """Fields of an example record, with those that are declared laid over them; raises ValueError.

    The example names every field; its values are looked at for their types and are never stored.
    """
    fields = {name: Field(_type_of(name, value)) for name, value in example.items()}
    fields |= {name: _declared(name, what) for name, what in declared.items()}
    if not fields:
        raise ValueError("there is neither an example nor a field; give one of them")
    for name in fields:
        if not FIELD_NAME.match(name):
            raise ValueError(f"field {name!r}: expected letters, digits, _ . - and spaces (at most 59), a letter first")
        if name in SYSTEM_COLUMNS:
            raise ValueError(
                f"field {name!r}: PostgreSQL has this name for itself in every table; rename it, e.g. x_min"
            )
    lower = [name.lower() for name in fields]
    if len(set(lower)) != len(lower):
        raise ValueError("two fields differ only in capital letters; rename one")
    for name in key:
        if name not in fields:
            raise ValueError(f"key names {name!r}, which is no field")
        if fields[name].type in ("json", "file", "geo_point"):
            raise ValueError(f"key field {name} is of type {fields[name].type}, expected a plain value")
        fields[name] = Field(**{**asdict(fields[name]), "required": True})
    if len(set(key)) != len(key):
        raise ValueError(f"key names a field twice: {key}")
    return Schema(fields, tuple(key), unknown_fields)


def _declared(name: str, what: str | dict[str, Any]) -> Field:
    settings: dict[str, Any] = {"type": what} if isinstance(what, str) else dict(what)
    settings["content_types"] = tuple(settings.get("content_types", ()))
    try:
        return Field(**settings)
    except TypeError as error:
        raise ValueError(f"field {name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"field {name}: {error}") from None


def _type_of(name: str, value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str() if ISO_TIME.match(value):
            return "time"
        case str() if ISO_DATE.match(value):
            return "date"
        case str():
            return "text"
        case {"content": str()} if {"content-type", "content_type"} & set(value):
            return "file"
        case [float() | int() as lat, float() | int() as lon] if abs(lat) <= 90 and abs(lon) <= 180:
            return "geo_point"
        case dict() | list():
            return "json"
    raise ValueError(f"field {name} of the example is {value!r}: its type cannot be seen; declare it under fields")


def changes(before: Schema, now: Schema) -> list[str]:
    """What of a new schema a table of the old one cannot take in place; empty where it can (fields added or left out)."""
    found = []
    if sorted(before.key) != sorted(now.key):
        found.append(f"the key was {list(before.key)} and is {list(now.key)}")
    if not now.key and set(before.fields) != set(now.fields):
        found.append("without a key every field makes the record, and the fields changed")
    for name, field in now.fields.items():
        if name in before.fields and TYPES[before.fields[name].type] != TYPES[field.type]:
            found.append(f"{name} was {before.fields[name].type} and is {field.type}")
    return found
