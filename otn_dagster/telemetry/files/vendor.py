"""The manufacturer's specification sheet: tag life, code, sensor slope and intercept of every tag that was sold.

Belongs here: Innovasea's "Tag Summary" and its older order forms, to rows by transmitter. Does not belong here: writing
(``loading/vendor.py``).

Source: the glatos package's schema of the sheet; order forms of other years. One row is one transmitter id; a tag with sensors has two.
"""

from collections.abc import Sequence

from otn_dagster.telemetry.files import codespaces
from otn_dagster.telemetry.files.cells import Cell, Quantity, Read, identifier, lost, name, plain
from otn_dagster.telemetry.files.columns import Column, Decides, read_columns
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.refusals import Refusal, Why
from otn_dagster.telemetry.files.tables import Found, Names, Row, Table, find_tables, require, set_aside
from otn_dagster.telemetry.files.typed import (
    Situation,
    Typed,
    column_law,
    moved,
    refuse,
    refused_summary,
    without_refused,
)


def _transmitter(cell: Cell) -> Read:
    known = codespaces.canonical_transmitter(plain(cell))
    return Read(known) if known else lost("a transmitter like A69-1602-12345")


COLUMNS = [
    Column("serial_no", identifier),
    Column("vue_tag_id", _transmitter, decides=Decides.ROW),
    Column("tag_family", name),
    Column("est_tag_life", quantity=Quantity("days", 0, 7_305, zero=False)),
    Column("battery_life_95", quantity=Quantity("days", 0, 7_305, zero=False)),
    Column("sensor_type", name),
    Column("range", name),
    Column("units", name),
    Column("slope", quantity=Quantity()),
    Column("intercept", quantity=Quantity()),
]
ALIASES = {
    "serial": "serial_no",
    "serial_number": "serial_no",
    "tag_serial_number": "serial_no",
    "vue_tag_id_freq_space_id": "vue_tag_id",
    "est_tag_life_days": "est_tag_life",
    "95%_est_battery_life": "battery_life_95",
    "95_est_battery_life": "battery_life_95",
    "95%_est_battery_life_days": "battery_life_95",
}
TEMPLATE = Names(
    "vendor", frozenset(c.name for c in COLUMNS), frozenset(["vue_tag_id", "serial_no", "tag_family"]), ALIASES
)


def find(sheets: Sequence[Sheet]) -> Found:
    """The tables of a specification sheet. Raises BadFile where there is none."""
    tables = find_tables(sheets, [TEMPLATE], "a manufacturer's tag specification")
    found = set_aside(tables, ["vue_tag_id", "serial_no"])
    missing = [] if any("vue_tag_id" in table.headers for table in found.tables) else ["vue tag id"]
    return require(found, missing, "Send the sheet as the manufacturer sent it.")


def _unnamed(row: Row) -> Refusal:
    found, expected = row.cells.get("vue_tag_id"), "a transmitter like A69-1602-12345"
    return refuse(row, "vue_tag_id", found, expected, "Correct the cell.", Why.UNREADABLE)


def type_specifications(tables: Sequence[Table], situation: Situation) -> Typed:
    """One row for each transmitter: ``vue_id``, ``serial_no``, ``tag_fam``, ``est_tag_life`` (days), sensor, slope, intercept."""
    typed = Typed([], [], 0, [])
    seen: set[tuple[str, str]] = set()
    for table in tables:
        values = read_columns(table, COLUMNS, situation.answers)
        for row, cells in zip(table.rows, values.rows, strict=True):
            refusal = moved(row) or (None if cells["vue_tag_id"] else _unnamed(row))
            if refusal:
                typed.refused.append(refusal)
                continue
            key = (cells["vue_tag_id"], cells["serial_no"] or "unknown")
            if key in seen:
                typed.repeated += 1
                continue
            seen.add(key)
            typed.rows.append(
                {
                    "sheet": row.sheet,
                    "row_number": row.number,
                    "vue_id": key[0],
                    "serial_no": key[1],
                    "tag_fam": cells["tag_family"],
                    "est_tag_life": cells["est_tag_life"] or cells["battery_life_95"],
                    "sensor_type": cells["sensor_type"],
                    "sensor_unit": cells["units"],
                    "slope": cells["slope"],
                    "intercept": cells["intercept"],
                }
            )
        typed.findings += without_refused(values.findings, COLUMNS)
    typed.columns, said = column_law(tables, TEMPLATE.columns)
    typed.findings += [*said, *refused_summary(typed.refused)]
    return typed
