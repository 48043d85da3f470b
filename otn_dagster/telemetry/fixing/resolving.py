"""From a row of a list of fixes to what it sets right among the rows that are loaded.

Belongs here: finding what a row is about, and refusing what cannot be set right so. Does not belong here: reading the list
(``files/fixes.py``), what a fix changes (``corrections.py``).
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otn_dagster.telemetry.files.fixes import LISTS, What
from otn_dagster.telemetry.files.refusals import Refusal, Why
from otn_dagster.telemetry.fixing.corrections import NUMBERS, Correction, Row, corrected, renamed

Number = tuple[str, Any]  # a row: its table, and what stays of it whatever a fix changes


@dataclass
class Resolved:
    """Rows of a list by what became of them: what they set right, refused, right already; and the rows that change, as they were and will be."""

    corrections: list[Correction] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    already: int = 0
    changes: dict[Number, tuple[Row, Row | None]] = field(default_factory=dict)


class Loaded:
    """All rows of a project's upper tables, found by their names and by what they hang on."""

    def __init__(self, rows: Mapping[str, Sequence[Row]]):
        """rows: by table."""
        self.rows: dict[Number, Row] = {}
        self._named: dict[str, dict[Number, None]] = {}
        for table, some in rows.items():
            for row in some:
                self._add((table, row[NUMBERS[table]]), row)

    def _add(self, number: Number, row: Row) -> None:
        self.rows[number] = row
        for name in _names(row):
            self._named.setdefault(name, {})[number] = None

    def put(self, number: Number, row: Row | None) -> None:
        """Another row in the place of one; None: no row any more."""
        for name in _names(self.rows.pop(number)):
            self._named[name].pop(number, None)
        if row is not None:
            self._add(number, row)

    def about(self, *names: str) -> list[tuple[Number, Row]]:
        """Rows that have one of these names, hang on it, or end with it."""
        found = {number: None for name in names for number in self._named.get(name, {})}
        return [(number, self.rows[number]) for number in found]

    def of(self, table: str, **wanted: Any) -> list[Row]:
        """Rows of a table in which some columns have these values."""
        return [
            row for (name, _), row in self.rows.items() if name == table and all(row[n] == v for n, v in wanted.items())
        ]

    def called(self, table: str, name: str) -> list[Row]:
        """Rows of a table of this name."""
        column = "station_name" if table == "stations" else "catalognumber"
        return [row for (place, _), row in self.about(name) if place == table and row[column] == name]


def _names(row: Row) -> set[str]:
    """Names by which a row is found: its own, what it hangs on, and of a transmitter the deployment with which it went down."""
    found = {row.get("catalognumber"), row.get("relatedcatalogitem"), row.get("station_name")}
    if row.get("basisofrecord") == "TRANSMITTER" and row.get("fieldnumber"):
        found.add(row["catalognumber"].removeprefix(f"{row['fieldnumber']}-"))
    return {name for name in found if name}


class _No(Exception):
    """A row that cannot be applied: column, found, expected, remedy."""


def resolve(rows: Sequence[Mapping[str, Any]], collectioncode: str, loaded: Mapping[str, Sequence[Row]]) -> Resolved:
    """What the rows of a list set right in a project. loaded: all rows of its upper tables, by table.

    Each row is about what the rows before it leave, so that a list may name a thing by what an earlier row called it. Costs the rows that
    are loaded, and those that change.
    """
    found, current = Resolved(), Loaded(loaded)
    for row in rows:
        what = What(row["what"])
        try:
            one = Correction(what, row["subject"], _GIVEN[what](row, collectioncode, current))
            _name_is_free(one, row, current)
        except _No as refusal:
            column, value, expected, remedy = refusal.args
            cells = {name: str(cell) for name, cell in row.items() if name not in _OURS}
            found.refused.append(
                Refusal(row["row_number"], column, value, expected, remedy, cells, Why.CONTRADICTS, row["sheet"])
            )
            continue
        names = [one.subject, *one.given.get("receivers", ()), *filter(None, [one.given.get("animal")])]
        changes = [(number, was, corrected(number[0], was, [one])) for number, was in current.about(*names)]
        changes = [change for change in changes if change[1] != change[2]]
        for number, was, now in changes:
            first, _ = found.changes.get(number, (was, None))
            found.changes[number] = (first, now)
            current.put(number, now)
        if changes:
            found.corrections.append(one)
        else:
            found.already += 1
    found.changes = {number: both for number, both in found.changes.items() if both[0] != both[1]}
    return found


_OURS = ("sheet", "row_number", "part", "what")


def _one(current: Loaded, table: str, what: str, subject: str, column: str, **wanted: Any) -> Row:
    """The row of a name, or a refusal that names what is nearest to it."""
    for row in current.called(table, subject):
        if all(row[name] == value for name, value in wanted.items()):
            return row
    called = sorted(
        row["station_name" if table == "stations" else "catalognumber"] for row in current.of(table, **wanted)
    )
    near = [name for name in called if subject.lower() in name.lower() or name.lower() in subject.lower()][:3]
    hint = (
        f"Did you mean {' or '.join(near)}?" if near else "Write the name as the project's tables and extracts have it."
    )
    raise _No(column, subject, f"{what} of this project", hint)


def _receiver(row: Mapping[str, Any], current: Loaded, what: What) -> Row:
    column = LISTS[what].subject
    return _one(current, "moorings", "a deployment of a receiver", row["subject"], column, basisofrecord="RECEIVER")


def _tag(row: Mapping[str, Any], current: Loaded, what: What) -> Row:
    return _one(current, "otn_transmitters", "a transmitter of an animal", row["subject"], LISTS[what].subject)


def _animal(row: Mapping[str, Any], current: Loaded, what: What) -> Row:
    return _one(current, "otn_animals", "an animal", row["subject"], LISTS[what].subject)


def _serial(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    known = _receiver(row, current, What.SERIAL)
    return {"serial": row["correct_serial"], "was": known["collectornumber"]}


def _tag_dates(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    tag = _tag(row, current, What.TAG_DATES)
    start, end = row["correct_start_date"], row["correct_end_date"]
    begins, ends = start or tag["startdatetime"], end or tag["enddatetime"]
    if begins and ends and ends < begins:
        column = "correct_end_date" if end else "correct_start_date"
        says = f"a tag that ends after it begins ({begins:%Y-%m-%d} to {ends:%Y-%m-%d})"
        raise _No(column, _text(end or start), says, "Give both dates.")
    animal = tag["relatedcatalogitem"]
    others = [
        other["startdatetime"]
        for (table, _), other in current.about(animal)
        if table == "otn_transmitters" and other["relatedcatalogitem"] == animal and other is not tag
    ]
    release = next((known["datecollected"] for known in current.called("otn_animals", animal)), None)
    # The animal was released when its tag began, unless another tag of it began then, too.
    with_release = release == tag["startdatetime"] and release not in others
    return {"start": _text(start), "end": _text(end), "animal": animal, "with_release": with_release}


def _station_position(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    station = _one(current, "stations", "a station", row["subject"], "station_name")
    was = [station["latitude"], station["longitude"]]
    receivers = [
        r["catalognumber"]
        for (_, r) in current.about(row["subject"])
        if r.get("basisofrecord") == "RECEIVER"
        and r["relatedcatalogitem"] == row["subject"]
        and [r["latitude"], r["longitude"]] == was
    ]
    return {**_place(row), "was": was, "receivers": receivers}


def _receiver_position(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    _receiver(row, current, What.RECEIVER_POSITION)
    return _place(row)


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"latitude": row["correct_latitude"], "longitude": row["correct_longitude"]}


def _animal_id(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    _animal(row, current, What.ANIMAL_ID)
    return {"catalognumber": f"{code}-{row['correct_animal_id'].removeprefix(f'{code}-')}"}


def _tag_code(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    tag = _tag(row, current, What.TAG_CODE)
    return {"code": row["correct_code"], "animal": tag["relatedcatalogitem"], "was": tag["fieldnumber"]}


def _deletion(row: Mapping[str, Any], code: str, current: Loaded) -> dict[str, Any]:
    kinds = (
        ("receiver", "moorings", {"basisofrecord": "RECEIVER"}),
        ("tag", "otn_transmitters", {}),
        ("animal", "otn_animals", {}),
    )
    for of, table, wanted in kinds:
        for known in current.called(table, row["subject"]):
            if all(known[n] == v for n, v in wanted.items()):
                return {"of": of, "reason": row["delete_reason"]}
    expected = "a deployment of a receiver, an animal, or a transmitter of an animal of this project"
    raise _No("catalognumber", row["subject"], expected, "Write the name as the project's tables and extracts have it.")


_GIVEN: dict[What, Callable[[Mapping[str, Any], str, Loaded], dict[str, Any]]] = {
    What.SERIAL: _serial,
    What.TAG_DATES: _tag_dates,
    What.STATION_POSITION: _station_position,
    What.RECEIVER_POSITION: _receiver_position,
    What.ANIMAL_ID: _animal_id,
    What.TAG_CODE: _tag_code,
    What.DELETION: _deletion,
}


def _name_is_free(one: Correction, row: Mapping[str, Any], current: Loaded) -> None:
    """Two things of one name cannot be told apart: a fix renames, it never joins."""
    name = renamed(one)
    if name == one.subject:
        return
    table = {What.SERIAL: "moorings", What.ANIMAL_ID: "otn_animals"}.get(one.what, "otn_transmitters")
    if current.called(table, name):
        (column,) = LISTS[one.what].right
        raise _No(
            column, str(row[column]), f"a name that is free; {name} is there already", "Delete one of the two first."
        )


def _text(at: dt.datetime | None) -> str | None:
    return at.isoformat() if at else None
