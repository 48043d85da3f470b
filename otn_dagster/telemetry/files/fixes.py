"""A list of fixes: what is loaded and wrong, and what is right, one row each.

Belongs here: the lists that there are and reading one to rows. Does not belong here: what a row does to what is loaded (``fixing/``).

Source: the lists that OTN's notebooks for fixing a database take: ``receiver_catalognumber,correct_serial``,
``tag_catalognumber,correct_start_date,correct_end_date`` and their like (node manager training, "Database Fix Notebooks").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from otn_dagster.telemetry.files import codespaces, deployments
from otn_dagster.telemetry.files.cells import Cell, Read, animal_name, lost, name, plain
from otn_dagster.telemetry.files.columns import Column, Decides, read_columns
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.refusals import Refusal, Why
from otn_dagster.telemetry.files.tables import Found, Names, Row, Table, find_tables, require, set_aside
from otn_dagster.telemetry.files.typed import (
    Situation,
    Typed,
    column_law,
    first_loss,
    moved,
    refuse,
    refused_summary,
    without_refused,
)


class What(StrEnum):
    """What a list of fixes sets right."""

    SERIAL = "serial"  # of a receiver
    TAG_DATES = "tag_dates"  # from when to when a tag may be heard
    STATION_POSITION = "station_position"
    RECEIVER_POSITION = "receiver_position"
    ANIMAL_ID = "animal_id"
    TAG_CODE = "tag_code"
    DELETION = "deletion"


@dataclass(frozen=True)
class FixList:
    """One kind of list: the column that names what is wrong, and those that say what is right. every: none of them may be empty."""

    subject: str
    right: tuple[str, ...]
    every: bool = True


LISTS = {
    What.SERIAL: FixList("receiver_catalognumber", ("correct_serial",)),
    What.TAG_DATES: FixList("tag_catalognumber", ("correct_start_date", "correct_end_date"), every=False),
    What.STATION_POSITION: FixList("station_name", ("correct_latitude", "correct_longitude")),
    What.RECEIVER_POSITION: FixList("receiver_catalognumber", ("correct_latitude", "correct_longitude")),
    What.ANIMAL_ID: FixList("animal_catalognumber", ("correct_animal_id",)),
    What.TAG_CODE: FixList("tag_catalognumber", ("correct_code",)),
    What.DELETION: FixList("catalognumber", ("delete_reason",)),
}


def _transmitter(cell: Cell) -> Read:
    known = codespaces.canonical_transmitter(plain(cell))
    return Read(known) if known else lost("a transmitter like A69-1602-12345")


SUBJECTS = tuple(dict.fromkeys(one.subject for one in LISTS.values()))
COLUMNS = [
    *(Column(subject, name, decides=Decides.ROW) for subject in SUBJECTS),
    Column("correct_serial", deployments.receiver_serial, decides=Decides.ROW),
    Column("correct_start_date", time=True, decides=Decides.ROW),
    Column("correct_end_date", time=True, decides=Decides.ROW),
    Column("correct_latitude", most_degrees=90, decides=Decides.ROW),
    Column("correct_longitude", most_degrees=180, decides=Decides.ROW),
    Column("correct_animal_id", animal_name, decides=Decides.ROW),
    Column("correct_code", _transmitter, decides=Decides.ROW),
    Column("delete_reason", name, decides=Decides.ROW),
]
TEMPLATES = [
    Names(what, frozenset([one.subject, *one.right]), frozenset([one.subject, *one.right]), least=2)
    for what, one in LISTS.items()
]


def find(sheets: Sequence[Sheet]) -> Found:
    """The lists of a file. Raises BadFile where there is none."""
    tables = find_tables(sheets, TEMPLATES, "a list of fixes")
    found = set_aside(tables, [*SUBJECTS, *(column.name for column in COLUMNS)])
    missing = [
        column
        for table in found.tables
        for column in (LISTS[What(table.role)].right if LISTS[What(table.role)].every else ())
        if column not in table.headers
    ]
    return require(found, missing, "Name both columns as the list of its kind does.")


def type_fixes(tables: Sequence[Table], situation: Situation) -> Typed:
    """One row for each thing that is to be set right: ``what``, ``subject`` and the columns that say what is right (UTC, degrees)."""
    typed = Typed([], [], 0, [])
    seen: dict[tuple[What, str], dict[str, Any]] = {}
    for table in tables:
        what = What(table.role)
        columns = [column for column in COLUMNS if column.name in (LISTS[what].subject, *LISTS[what].right)]
        values = read_columns(table, columns, situation.answers)
        for index, (row, cells) in enumerate(zip(table.rows, values.rows, strict=True)):
            right = {name: cells[name] for name in LISTS[what].right}
            subject = cells[LISTS[what].subject]
            refusal = moved(row) or first_loss(row, index, values, columns) or _incomplete(row, what, subject, right)
            if refusal is None and seen.setdefault((what, subject), right) != right:
                says = f"one row for {subject}; an earlier one says something else"
                refusal = refuse(row, LISTS[what].subject, subject, says, "Remove one of the two.", Why.CONTRADICTS)
            if refusal:
                typed.refused.append(refusal)
            elif seen[what, subject] is not right:
                typed.repeated += 1
            else:
                typed.rows.append(
                    {"sheet": row.sheet, "row_number": row.number, "part": 0, "what": what, "subject": subject, **right}
                )
        typed.findings += without_refused(values.findings, columns)
        read, said = column_law([table], [column.name for column in columns])
        typed.columns = {name: [*typed.columns.get(name, []), *some] for name, some in read.items()}
        typed.findings += said
    typed.findings += refused_summary(typed.refused)
    return typed


def _incomplete(row: Row, what: What, subject: str | None, right: dict[str, Any]) -> Refusal | None:
    one = LISTS[what]
    if not subject:
        return refuse(row, one.subject, None, "the name of what is wrong, as it is loaded", "Fill it in.", Why.MISSING)
    empty = [name for name, value in right.items() if value is None]
    if empty and (one.every or len(empty) == len(right)):
        return refuse(row, empty[0], None, "what is right", "Fill it in, or remove the row.", Why.MISSING)
    return None
