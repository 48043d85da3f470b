"""The quick look at a push: C code that says how many good records a body has, or that it does not know.

Belongs here: a schema as a typed decoder. Does not belong here: the rule (``records.py``). What this accepts the rule accepts;
what it does not accept, the rule decides. A property test holds the two together.
"""

import datetime as dt
from typing import Annotated, Any

import msgspec

from otn_dagster.live.records import EXACT
from otn_dagster.live.schema import Field, Schema

NULL_CHARACTER = b"\\u0000"
DOUBTFUL_YEARS = (b"0000-", b"0001-", b"9999-")
PLAIN = {"boolean": bool, "date": dt.date, "text": str}


class QuickLook:
    """A schema's decoders."""

    def __init__(self, schema: Schema):
        """Without decoders where a schema has files or free JSON, or takes unknown fields: what is skipped is not looked at."""
        self._one: Any = None
        if schema.unknown_fields == "forbid" and not any(f.type in ("file", "json") for f in schema.fields.values()):
            typed = _typed(schema)
            self._one, self._many = msgspec.json.Decoder(typed), msgspec.json.Decoder(list[typed])

    def good(self, body: bytes, kind: str) -> int | None:
        """How many records a body has where all of them are good beyond doubt, else None."""
        doubtful = NULL_CHARACTER in body or any(year in body for year in DOUBTFUL_YEARS)
        if self._one is None or doubtful:
            return None
        try:
            if kind == "ndjson":
                return len([self._one.decode(line) for line in body.split(b"\n") if line.strip()])
            if body[:1] == b"[":
                return len(self._many.decode(body))
            self._one.decode(body)
            return 1
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _typed(schema: Schema) -> type:
    fields, names = [], {}
    for number, (name, field) in enumerate(schema.fields.items()):
        kind = _type(field, name in schema.key)
        names[f"f{number}"] = name
        fields.append((f"f{number}", kind) if field.required else (f"f{number}", kind | None, None))
    forbid = schema.unknown_fields == "forbid"
    return msgspec.defstruct("Quick", fields, rename=names, forbid_unknown_fields=forbid, kw_only=True, gc=False)


def _type(field: Field, in_key: bool) -> Any:
    match field.type:
        case "text" if in_key:
            return Annotated[str, msgspec.Meta(min_length=1)]
        case "integer":
            return Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
        case "number":
            return Annotated[float, msgspec.Meta(gt=-EXACT, lt=EXACT)]
        case "time":
            return Annotated[dt.datetime, msgspec.Meta(tz=True)]
        case "geo_point":
            latitude, longitude = (Annotated[float, msgspec.Meta(ge=-limit, le=limit)] for limit in (90, 180))
            return tuple[latitude, longitude]  # type: ignore[valid-type]
    return PLAIN[field.type]
