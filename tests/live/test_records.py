"""Values and ids of records, and the quick look against the rule."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otn_dagster.live import batches, records, schema
from otn_dagster.live.quick import QuickLook

SCHEMA = schema.make(
    {},
    {"id": "text", "at": "time", "n": "integer", "x": "number", "ok": "boolean", "day": "date", "where": "geo_point"},
    ["id"],
    "forbid",
)
NUMBERS = [0, -0.0, 1, 1.0, 1.5, True, 2**53, 2**53 + 1, 2**63, -(2**63), 2**70, 1e300]
TIMES = [
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "2026-01-01T00:00Z",
    "2026-01-01 00:00:00+01:00",
    "2026-13-01",
    "2026-01-01",
]
EDGES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-01-01T24:00:00Z", "2026-06-30T23:59:60Z"]
OTHERS = [None, "", "a\x00", "46088", "NaN", "é", [], {}, [1, 2], [91, 0], [1, 2, 3]]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUE = st.sampled_from([*NUMBERS, *TIMES, *EDGES, *OTHERS]) | st.text("aZé\x00 0", max_size=5) | FINITE | st.integers()
ITEM = st.dictionaries(st.sampled_from([*SCHEMA.fields, "other"]), VALUE, max_size=6)


@given(st.lists(ITEM, min_size=1, max_size=3), st.sampled_from(["forbid", "ignore", "keep"]))
@example([{"id": "a", "x": 9007199254740993}], "forbid")
@example([{"id": "a", "at": "0001-01-01T00:00:00+14:00"}], "forbid")
@example([{"id": "a\x00"}], "forbid")
def test_what_the_quick_look_accepts_the_rule_accepts(items: list[dict[str, Any]], unknown: str):
    wanted = schema.Schema(SCHEMA.fields, SCHEMA.key, unknown)
    body = json.dumps(items).encode()
    quick = QuickLook(wanted).good(body, "json")
    parsed = records.parse(wanted, records.items_of(body, "json"))
    if quick is not None:
        assert quick == len(items) and not parsed.faults


@given(st.lists(ITEM, min_size=1, max_size=5))
def test_what_the_log_keeps_of_records_is_read_back_as_the_same_records(items: list[dict[str, Any]]):
    wanted = schema.Schema(SCHEMA.fields, SCHEMA.key, "keep")
    first = records.parse(wanted, json.loads(json.dumps(items))).records
    again = records.parse(wanted, records.items_of(batches.body_of(first), "ndjson"), stored=True)
    assert not again.faults
    assert [(r.record_id, r.values, r.fingerprint) for r in again.records] == [
        (r.record_id, r.values, r.fingerprint) for r in first
    ]


def ids_of(items: list[Any], **options: Any) -> list[str]:
    parsed = records.parse(SCHEMA, items, **options)
    assert not parsed.faults, parsed.faults
    return [record.record_id for record in parsed.records]


def test_a_record_id_is_of_the_key_alone_and_can_be_computed_by_others():
    import hashlib

    one, two = ids_of([{"id": "46088", "x": 1}, {"x": 2, "id": "46088"}])
    assert one == two == hashlib.sha256(b'[["id","46088"]]').hexdigest()[:32]


def test_the_same_value_written_otherwise_is_the_same_record():
    bare = schema.make({}, {"at": "time", "x": "number"}, [], "forbid")
    items = [
        {"at": "2026-01-01T00:00:00Z", "x": 1},
        {"at": "2026-01-01T01:00:00+01:00", "x": 1.0},
        {"at": "2026-01-01 00:00:00", "x": 1e0},
        {"at": "2026-01-01", "x": 1.000},
    ]
    assert len({record.record_id for record in records.parse(bare, items).records}) == 1
    zeros = records.parse(bare, [{"x": 0.0}, {"x": -0.0}, {"x": 0}]).records
    assert len({record.record_id for record in zeros}) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("14.20", 14.2), ("NaN", None), ("", None), ("-.5", -0.5), ("1e3", 1000.0), ("3", 3.0)]
)
def test_text_is_read_as_its_type(text: str, value: float | None):
    (record,) = records.parse(SCHEMA, [{"id": "a", "x": text}], text=True).records
    assert record.values["x"] == value


@pytest.mark.parametrize(
    ("field", "text"), [("x", "14,2"), ("x", "inf"), ("n", "1.5"), ("ok", "maybe"), ("day", "1/2/2026")]
)
def test_text_that_is_not_its_type_is_refused(field: str, text: str):
    (fault,) = records.parse(SCHEMA, [{"id": "a", field: text}], text=True).faults
    assert fault.field == field


def test_an_example_becomes_a_schema():
    made = schema.make(
        {
            "name": "x", "count": 3, "value": 1.5, "ok": True, "at": "2026-01-01T00:00:00Z", "day": "2026-01-01", "more": {"a": 1},
            "where": [44.0, -63.0], "photo": {"content": "", "content-type": "image/jpg"},
        },
        {"count": "number"},
        ["name"],
        "forbid",
    )  # fmt: skip
    types = {name: field.type for name, field in made.fields.items()}
    assert types == {
        "name": "text", "count": "number", "value": "number", "ok": "boolean", "at": "time", "day": "date", "more": "json",
        "where": "geo_point", "photo": "file",
    }  # fmt: skip
    assert schema.from_definition(json.loads(json.dumps(made.definition()))) == made


@pytest.mark.parametrize(
    ("example", "declared", "key", "match"),
    [
        ({}, {}, [], "neither an example nor a field"),
        ({"a": None}, {}, [], "declare it under fields"),
        ({"a": 1}, {}, ["b"], "'b', which is no field"),
        ({"a": 1}, {"b": "decimal"}, [], "found type 'decimal', expected one of"),
        ({"a": 1, "A": 2}, {}, [], "capital letters"),
        ({"_a": 1}, {}, [], "a letter first"),
        ({"a": {"x": 1}}, {}, ["a"], "plain value"),
        ({"a": 1}, {"b": {"type": "text", "unit": "m"}}, [], "unit"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(example: Any, declared: Any, key: list[str], match: str):
    with pytest.raises(ValueError, match=match):
        schema.make(example, declared, key, "forbid")
