"""The tag metadata sheet: OTN's templates of all years, FACT's dialect, the tagging sheet of a GLATOS workbook.

Belongs here: a file to tag rows, and a row's verdict. Does not belong here: writing (``loading/tags.py``) and judging rows against the
database (``checks/tags.py``).

Source: node manager training, "Create and Load Tag Metadata": columns and the exceptions of tag types. What may refuse a row: id code
and code space of an acoustic tag, release time; nothing else.
"""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from otn_dagster.telemetry import names
from otn_dagster.telemetry.files import codespaces, positions
from otn_dagster.telemetry.files.cells import (
    FIRST_PLAUSIBLE,
    Cell,
    Quantity,
    animal_name,
    identifier,
    is_null,
    name,
    plain,
    serial,
    text,
)
from otn_dagster.telemetry.files.columns import Column, Decides, Values, read_columns
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.refusals import Code, Finding, Refusal, Severity, Why, finding
from otn_dagster.telemetry.files.tables import Found, Names, Row, Table, find_tables, require, set_aside
from otn_dagster.telemetry.files.typed import (
    ONE_MINUTE,
    Situation,
    Typed,
    column_law,
    empty_mandatory,
    first_loss,
    hold_contradictions,
    is_wrong_sign,
    moved,
    other_collection,
    refuse,
    refused_summary,
    without_refused,
    wrong_sign_finding,
)

LENGTH = Quantity("m", 0, 20, zero=False)
DEPTH = Quantity("m", 0, 11_000)
RELEASED, HARVESTED = "utc_release_date_time", "harvest_date"
LOCAL_RELEASE, EASTERN_RELEASE, EASTERN_ADJUST = "glatos_release_date_time", "est_release_date_time", "utc_est_adjust"

COLUMNS = [
    Column("animal_id", animal_name),
    Column("tag_type", name),
    Column("tag_manufacturer", name),
    Column("tag_model", name),
    Column("tag_serial_number", serial),
    Column("tag_id_code", identifier, decides=Decides.ROW),
    Column("tag_code_space", identifier, decides=Decides.ROW),
    Column("tag_implant_type", name),
    Column("tag_implant_method", name),
    Column("est_tag_life", quantity=Quantity("days", 0, 7_305, zero=False), decides=Decides.WINDOW),
    Column("tagger", text),
    Column("tag_owner_pi", text),
    Column("tag_owner_organization", text),
    Column("common_name_e", name),
    Column("scientific_name", name),
    Column("capture_location", text),
    Column("capture_latitude", most_degrees=90),
    Column("capture_longitude", most_degrees=180),
    Column("wild_or_hatchery", name),
    Column("stock", text),
    Column("length", quantity=LENGTH),
    Column("weight", quantity=Quantity("kg", 0, 200_000, zero=False)),
    Column("length_type", name),
    Column("length2", quantity=LENGTH),
    Column("length2_type", name),
    Column("life_stage", name),
    Column("age", quantity=Quantity(None, 0, 500)),
    Column("age_units", name),
    Column("sex", name),
    Column("release_location", text),
    Column("release_latitude", most_degrees=90),
    Column("release_longitude", most_degrees=180),
    Column(RELEASED, time=True, decides=Decides.ROW),
    Column(HARVESTED, time=True, decides=Decides.WINDOW),
    Column("comments", text),
]
OTHER_TIMES = [
    Column(
        LOCAL_RELEASE, time=True, decides=Decides.ROW, zone_columns=("glatos_timezone",), local_if="glatos_timezone"
    ),
    Column(EASTERN_RELEASE, time=True, decides=Decides.ROW),
    Column(EASTERN_ADJUST, quantity=Quantity(None, -14, 14)),
]
ALIASES = {
    "projectcode": "project_code",
    "utc_release_datetime": RELEASED,
    "release_date_time": RELEASED,
    "release_datetime_utc": RELEASED,
    "release_date_time_utc": RELEASED,
    "harvest_date_time": HARVESTED,
    "utc_harvest_date_time": HARVESTED,
    "comment": "comments",
    "est_release_datetime": EASTERN_RELEASE,
    "glatos_release_datetime": LOCAL_RELEASE,
    "tag_serial_no": "tag_serial_number",
    "tag_serial": "tag_serial_number",
    "tag_id": "tag_id_code",
    "code_space": "tag_code_space",
    "tag_codespace": "tag_code_space",
    "tag_life": "est_tag_life",
    "estimated_tag_life": "est_tag_life",
    "common_name": "common_name_e",
    "species": "scientific_name",
    "fork_length": "length",
    "total_length": "length",
    "length_1": "length",
    "length1": "length",
    "length_2": "length2",
    "length_2_type": "length2_type",
}
TELLING = ("animal_id", "tag_serial_number", "tag_id_code", "tag_code_space", RELEASED, LOCAL_RELEASE, EASTERN_RELEASE)
TEMPLATE = Names(
    "tags",
    frozenset([column.name for column in (*COLUMNS, *OTHER_TIMES)]),
    frozenset(["tag_id_code", "tag_code_space", "tag_serial_number", RELEASED, LOCAL_RELEASE, EASTERN_RELEASE]),
    ALIASES,
)
KNOWN = frozenset(column.name for column in COLUMNS)
OF_A_TAG = tuple(column.name for column in COLUMNS if column.name not in ("tag_id_code", "tag_code_space"))
NOT_ACOUSTIC = {
    "ANCHOR",
    "FLOY",
    "VHF",
    "T-BAR",
    "STREAMER",
    "SATELLITE",
    "PIT",
    "CONVENTIONAL",
    "ARCHIVAL",
    "RADIO",
    "SPAGHETTI",
    "DART",
    "PSAT",
    "SPOT",
    "EXTERNAL",
    "NONE",
}
MANDATORY = ("tag_manufacturer", "tag_model", "common_name_e", "scientific_name", "release_location")
SAME_PLACE_DEGREES = 0.001  # about a hundred metres: sheets round otherwise from row to row


class Window(StrEnum):
    """Why nobody can say when a tag's animal may be heard."""

    LIFE_MISSING = "life_missing"
    LIFE_UNREADABLE = "life_unreadable"
    HARVEST_UNREADABLE = "harvest_unreadable"
    HARVEST_BEFORE_RELEASE = "harvest_before_release"


WINDOW_SAYS = {
    Window.LIFE_MISSING: ("est_tag_life", "a tag life in days"),
    Window.LIFE_UNREADABLE: ("est_tag_life", "a tag life in days, up to twenty years"),
    Window.HARVEST_UNREADABLE: (HARVESTED, "a date"),
    Window.HARVEST_BEFORE_RELEASE: (HARVESTED, "a date after the release"),
}


def find(sheets: Sequence[Sheet]) -> Found:
    """The tag tables of a file, without what is not data. Raises BadFile where there is none, or no column to tell tags by."""
    found = set_aside(find_tables(sheets, [TEMPLATE], "tag metadata"), TELLING)
    headers = {name for table in found.tables for name in table.headers}
    missing = [n for n in ("tag_id_code",) if n not in headers]
    if not headers & {RELEASED, LOCAL_RELEASE, EASTERN_RELEASE}:
        missing.append(RELEASED)
    return require(found, missing, "Use the tag metadata template of the node.")


def type_tags(tables: Sequence[Table], situation: Situation) -> Typed:
    """Tag rows of a file, typed, named and judged: a pure function of the file's rows and the situation.

    Each row has ``sheet``, ``row_number``, ``part``, ``transmitter``, ``catalognumber``, ``window_code``. Raises Undecided.
    """
    typed = Typed([], [], 0, [])
    for table in tables:
        _type_table(table, situation, typed)
    _name_animals(typed, situation.collectioncode)
    _take_repeated(typed, tables)
    _misplaced(typed, situation)
    typed.columns, said = column_law(tables, [*TEMPLATE.columns, "project_code"])
    typed.findings += [*said, *refused_summary(typed.refused), *_window_findings(typed.rows)]
    return typed


def _type_table(table: Table, situation: Situation, typed: Typed) -> None:
    columns = [*COLUMNS, *OTHER_TIMES]
    values = read_columns(table, columns, situation.answers)
    _settle_release(table, values, situation)
    refused: set[int] = set()
    lost = values.lost_of()
    for index, (row, cells) in enumerate(zip(table.rows, values.rows, strict=True)):
        codes, refusal = _transmitters(row, cells)
        refusal = moved(row) or refusal or _untimed(row, index, cells, values, situation)
        if refusal:
            typed.refused.append(refusal)
            refused.add(index)
            continue
        kept = {name: cells[name] for name in OF_A_TAG}
        kept |= {
            "sheet": row.sheet,
            "row_number": row.number,
            "window_code": _window(row, index, kept, values, bool(codes)),
        }
        kept |= {"other": _other(row, lost.get(index, set()))}
        for part, (space, code) in enumerate(codes or [(None, None)]):
            transmitter = names.transmitter_id(space, code) if space and code else None
            typed.rows.append(
                {**kept, "part": part, "tag_code_space": space, "tag_id_code": code, "transmitter": transmitter}
            )
        _note_identifiers(table, row, codes, typed)
    good = [i for i in range(len(table.rows)) if i not in refused]
    typed.findings += without_refused(
        [f for f in values.findings if f.column not in (HARVESTED, "est_tag_life")], columns
    )
    typed.findings += [
        f for f in values.findings if f.column in (HARVESTED, "est_tag_life") and f.severity > Severity.DECIDE
    ]
    typed.findings += empty_mandatory(table, MANDATORY, refused)
    if "project_code" in table.headers:
        typed.findings += other_collection(table, "project_code", situation, good, hold=True)[0]


def _transmitters(row: Row, cells: dict[str, Any]) -> tuple[list[tuple[str, str]], Refusal | None]:
    """(code space, id code) of each transmitter of a row; none for a tag that does not sound."""
    space, code = row.cells.get("tag_code_space"), row.cells.get("tag_id_code")
    no_space, no_code = is_null(space), is_null(code)
    kind = (cells["tag_type"] or "ACOUSTIC").upper()
    if no_code and any(word in kind for word in NOT_ACOUSTIC) and "ACOUSTIC" not in kind:
        return [], None
    found = codespaces.split(None if no_space else plain(space), None if no_code else _code_text(code))
    if found:
        return [(found[0], one) for one in found[1]], None
    if no_code and (no_space or codespaces.FULL.match(plain(space).upper()) is None):
        return [], refuse(
            row,
            "tag_id_code",
            code,
            "a value: an acoustic tag is known by its id code",
            "Fill in the cell.",
            Why.MISSING,
        )
    if no_space:
        return [], refuse(row, "tag_code_space", space, "a code space like A69-1602", "Fill in the cell.", Why.MISSING)
    if codespaces.canonical_space(plain(space)) is None and codespaces.split(plain(space), "1") is None:
        return [], refuse(
            row, "tag_code_space", space, "a code space like A69-1602", "Correct the cell.", Why.UNREADABLE
        )
    return [], refuse(
        row,
        "tag_id_code",
        code,
        "an id code like 12345, of the code space beside it",
        "Correct the cell.",
        Why.UNREADABLE,
    )


def _code_text(code: Cell) -> str:
    """An id code's cell as text: a number without its ``.0``, several codes as they stand."""
    if isinstance(code, str) and not code.replace(".", "").isdigit():
        return plain(code)
    return str(identifier(code).value or "")


def _untimed(row: Row, index: int, cells: dict[str, Any], values: Values, situation: Situation) -> Refusal | None:
    released = cells[RELEASED]
    if released is None:
        refusal = first_loss(row, index, values, [c for c in (*COLUMNS, *OTHER_TIMES) if c.time])
        return refusal or refuse(row, RELEASED, None, "the time of release", "Fill in the cell.", Why.MISSING)
    if not FIRST_PLAUSIBLE <= released <= situation.received_at:
        remedy = "Check the year, and that the cell is a date and not a number formatted as one."
        expected = f"a release between 1980 and {situation.received_at:%Y-%m-%d}"
        return refuse(row, RELEASED, released, expected, remedy, Why.IMPOSSIBLE)
    return None


def _settle_release(table: Table, values: Values, situation: Situation) -> None:
    """One UTC release for each row, from whichever columns say it; local time with its zone beats a UTC column.

    A UTC column to which the zone was applied with the wrong sign is a finding (a published GLATOS export has it in every row); any
    other contradiction holds the file.
    """
    contradictions, wrong_sign = [], []
    for index, (row, cells) in enumerate(zip(table.rows, values.rows, strict=True)):
        local, eastern, adjust = cells[LOCAL_RELEASE], cells[EASTERN_RELEASE], cells[EASTERN_ADJUST]
        summed = eastern + dt.timedelta(hours=abs(adjust)) if eastern is not None and adjust is not None else None
        there = [moment for moment in (local, summed, cells[RELEASED]) if moment is not None]
        if not there:
            continue
        if (
            local is not None
            and cells[RELEASED] is not None
            and is_wrong_sign(values.written[LOCAL_RELEASE][index], local, cells[RELEASED])
        ):
            wrong_sign.append(row.number)
        elif any(abs(moment - there[0]) > ONE_MINUTE for moment in there):
            contradictions.append(
                f"row {row.number}: " + " and ".join(f"{moment:%Y-%m-%d %H:%M} UTC" for moment in there)
            )
        cells[RELEASED] = there[0]
    if wrong_sign:
        values.findings.append(wrong_sign_finding(RELEASED, wrong_sign))
    hold_contradictions(contradictions, len(table.rows), "release", situation)


def _window(row: Row, index: int, cells: dict[str, Any], values: Values, sounds: bool) -> str | None:
    """Why the tag's window is not known; None where it is. An unusable harvest is emptied."""
    harvest, released = cells[HARVESTED], cells[RELEASED]
    if harvest is not None:
        day_only = index in values.day_only.get(HARVESTED, set())
        if harvest >= released or (day_only and harvest.date() == released.date()):
            return None
        cells[HARVESTED] = None
        return Window.HARVEST_BEFORE_RELEASE
    if (index, HARVESTED) in values.lost:
        return Window.HARVEST_UNREADABLE
    if cells["est_tag_life"] is not None or not sounds:
        return None
    return Window.LIFE_UNREADABLE if (index, "est_tag_life") in values.lost else Window.LIFE_MISSING


def _window_findings(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    groups: dict[tuple[str, str | None], list[int]] = {}
    for row in rows:
        if row["window_code"] and row["part"] == 0:
            column = WINDOW_SAYS[Window(row["window_code"])][0]
            groups.setdefault((row["window_code"], row["other"].get(column)), []).append(row["row_number"])
    said = []
    for (code, found), numbers in groups.items():
        column, expected = WINDOW_SAYS[Window(code)]
        says = f"expected {expected}; the tags are loaded, but until when they may be heard is not known, and their matches say so"
        remedy = (
            "Send the sheet with it, load the manufacturer's specification sheet, or set the end of the tag by hand."
        )
        said.append(finding(Code.WINDOW_UNKNOWN, Severity.DECIDE, column, found, says, remedy, numbers))
    return said


def _other(row: Row, lost: set[str]) -> dict[str, Any]:
    """Cells that became no value: those of unknown columns, and those that were lost."""
    return {n: cell for n, cell in row.cells.items() if n not in KNOWN or n in lost or n == HARVESTED}


def _note_identifiers(table: Table, row: Row, codes: list[tuple[str, str]], typed: Typed) -> None:
    if len(codes) > 1:
        says = f"two transmitters of one tag: {', '.join('-'.join(code) for code in codes)}"
        typed.findings.append(
            finding(
                Code.TWO_IDENTIFIERS,
                Severity.LOOK,
                "tag_id_code",
                row.cells.get("tag_id_code"),
                says,
                "Give each its own row.",
                [row.number],
            )
        )
    for space, code in codes[:1]:
        written = (plain(row.cells.get("tag_code_space") or ""), plain(row.cells.get("tag_id_code") or ""))
        if len(codes) == 1 and written != (space, code):
            said = f"{written[0]} and {written[1]}" if all(written) else written[0] or written[1]
            typed.findings.append(
                finding(
                    Code.IDENTIFIER_CHANGED,
                    Severity.NOTE,
                    "tag_id_code",
                    said,
                    f"read as {space}-{code}",
                    "",
                    [row.number],
                )
            )


class _Animal:
    """Rows of one animal. What is said of it is compared once for each way in which it is said."""

    def __init__(self):
        self.tags: list[dict[str, Any]] = []
        self._said: dict[tuple[Any, ...], dict[str, Any]] = {}

    def takes(self, tag: dict[str, Any]) -> bool:
        """Whether a row agrees with every row of it."""
        return _what_is_said(tag) in self._said or all(_same_animal(tag, other) for other in self._said.values())

    def add(self, tag: dict[str, Any]) -> None:
        self.tags.append(tag)
        self._said.setdefault(_what_is_said(tag), tag)


def _what_is_said(tag: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        tag[name]
        for name in (RELEASED, "scientific_name", "release_latitude", "release_longitude", "length", "length2")
    )


def _name_animals(typed: Typed, collectioncode: str) -> None:
    """A name for every animal: rows share one only where species, release time, place and lengths agree.

    Otherwise the later animal's name gets the day of its release, then the tag's serial, then a number.
    """
    by_base: dict[str, list[_Animal]] = {}
    for tag in sorted(typed.rows, key=lambda t: (t[RELEASED], t["sheet"], t["row_number"], t["part"])):
        base = names.animal_catalognumber(
            collectioncode,
            tag["animal_id"],
            tag["tag_serial_number"],
            tag[RELEASED],
            tag["transmitter"] or f"row{tag['row_number']}",
        )
        groups = by_base.setdefault(base, [])
        mine = next((group for group in groups if group.takes(tag)), None)
        if mine is None:
            groups.append(mine := _Animal())
        mine.add(tag)
    taken = set(by_base)
    for base, groups in by_base.items():
        for number, group in enumerate(groups):
            key = base if number == 0 else _free_name(base, group.tags[0], taken)
            for tag in group.tags:
                tag["catalognumber"] = key
            if number:
                says = f"an animal of its own; another animal of that name was released otherwise, so this one is called {key}"
                numbers = sorted({tag["row_number"] for tag in group.tags})
                typed.findings.append(
                    finding(
                        Code.NAME_TAKEN,
                        Severity.LOOK,
                        "animal_id",
                        base,
                        says,
                        "Give each animal an id of its own.",
                        numbers,
                    )
                )


def _same_animal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def agree(column: str, within: float = 0.0) -> bool:
        a, b = one[column], other[column]
        if a is None or b is None:
            return True
        return abs(a - b) <= within if isinstance(a, float) else str(a).lower() == str(b).lower()

    places = all(agree(column, SAME_PLACE_DEGREES) for column in ("release_latitude", "release_longitude"))
    return (
        one[RELEASED] == other[RELEASED]
        and agree("scientific_name")
        and places
        and agree("length", 1e-6)
        and agree("length2", 1e-6)
    )


def _free_name(base: str, tag: dict[str, Any], taken: set[str]) -> str:
    day = f"{tag[RELEASED]:%Y-%m-%d}"
    dated = base if base.endswith(day) else f"{base}-{day}"
    candidates = [dated, *([f"{dated}-{tag['tag_serial_number']}"] if tag["tag_serial_number"] else [])]
    candidates += [f"{dated}-{number}" for number in range(2, len(taken) + 3)]
    key = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(key)
    return key


def _take_repeated(typed: Typed, tables: Sequence[Table]) -> None:
    """Keep one row of each animal and transmitter; the others are repeated."""
    cells = {(row.sheet, row.number): row.cells for table in tables for row in table.rows}
    seen: dict[tuple[str, str | None], dict[str, Any]] = {}
    kept, repeated, differing = [], set(), {}
    for tag in typed.rows:
        first = seen.setdefault((tag["catalognumber"], tag["transmitter"]), tag)
        if first is tag:
            kept.append(tag)
            continue
        place = (tag["sheet"], tag["row_number"])
        repeated.add(place)
        if dict(cells[place]) != dict(cells[first["sheet"], first["row_number"]]):
            differing.setdefault(
                f"{first['catalognumber']} with {first['transmitter']}, as row {first['row_number']}", []
            ).append(tag["row_number"])
    typed.rows = kept
    loaded = {(tag["sheet"], tag["row_number"]) for tag in kept}
    typed.repeated = len(repeated - loaded)
    same = sorted(number for sheet, number in repeated if not any(number in rows for rows in differing.values()))
    if same:
        typed.findings.append(
            finding(Code.REPEATED, Severity.NOTE, None, None, "the same as a row above; counted once", "", same)
        )
    for what, rows in differing.items():
        says = "one row for each animal and transmitter; the first is used, and this one says something else in another column"
        typed.findings.append(
            finding(Code.REPEATED_DIFFERS, Severity.LOOK, None, what, says, "Keep the row that is right.", rows)
        )


def _misplaced(typed: Typed, situation: Situation) -> None:
    """Release positions that are half there, or plainly a slip, are not used: such an animal has no release row."""
    box = situation.box or positions.box_of(typed.rows, "release_latitude", "release_longitude")
    slips: dict[str, list[int]] = {}
    missing = []
    for tag in typed.rows:
        here = (tag["release_latitude"], tag["release_longitude"])
        slip = positions.mistake(box, *here)
        if slip:
            slips.setdefault(f"{slip}: {here[0]:g}, {here[1]:g}", []).append(tag["row_number"])
        elif None in here:
            missing.append(tag["row_number"])
        if slip or None in here:
            tag["other"] |= {"release_latitude": here[0], "release_longitude": here[1]}
            tag["release_latitude"] = tag["release_longitude"] = None
    column = "release_latitude, release_longitude"
    for what, rows in slips.items():
        says = "a position where the project works; it is not used, and the animal has no release row"
        typed.findings.append(finding(Code.RELEASE_POSITION, Severity.DECIDE, column, what, says, "Correct it.", rows))
    if missing:
        says = "a position; without one the animal has no release row"
        typed.findings.append(
            finding(Code.RELEASE_POSITION, Severity.LOOK, column, None, says, "Fill it in.", sorted(set(missing)))
        )
