"""The GLATOS workbook: deployments and recoveries in two sheets of local times, joined to rows of the deployment template.

Belongs here: what is GLATOS's own. Its tagging sheet has the columns of the tag template (``tags.py``). Does not belong here: typing.

Source: the glatos package's schema and reader; real workbooks and csv exports of their sheets. A recovery belongs to the deployment of
the same array, station, consecutive number and serial: the number starts again each year, so the serial is needed. Stations are
published as ``AGR-001``.
"""

from collections.abc import Sequence

from otn_dagster.telemetry.files.cells import Cell, is_null, plain
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.refusals import BadFile, Refusal, Why
from otn_dagster.telemetry.files.tables import Found, Header, Names, Row, Table, find_tables, set_aside
from otn_dagster.telemetry.files.typed import Typed, refuse

DEPLOYMENT = Names(
    "glatos_deployment",
    frozenset(
        [
            "glatos_array",
            "station_no",
            "consecutive_deploy_no",
            "glatos_deploy_date_time",
            "deploy_lat",
            "deploy_long",
            "ins_serial_no",
        ]
    ),
    frozenset(["glatos_array", "glatos_deploy_date_time", "deploy_lat"]),
    {"ins_model_number": "ins_model_no", "ins_serial_number": "ins_serial_no"},
    least=5,
)
RECOVERY = Names(
    "glatos_recovery",
    frozenset(
        [
            "glatos_array",
            "station_no",
            "consecutive_deploy_no",
            "glatos_recover_date_time",
            "recovered",
            "ins_serial_no",
        ]
    ),
    frozenset(["glatos_array", "glatos_recover_date_time"]),
    {"ins_model_number": "ins_model_no", "ins_serial_number": "ins_serial_no"},
    least=5,
)
TELLING = (
    "glatos_array",
    "station_no",
    "consecutive_deploy_no",
    "ins_serial_no",
    "glatos_deploy_date_time",
    "glatos_recover_date_time",
)
OF_RECOVERY = (
    "recover_date_time",
    "glatos_recover_date_time",
    "recover_lat",
    "recover_long",
    "recovered",
    "data_downloaded",
)
READ = ("glatos_array", "glatos_timezone", "consecutive_deploy_no", "glatos_project")


def is_workbook(sheets: Sequence[Sheet]) -> bool:
    """Whether a file holds a GLATOS deployment sheet, alone or among the others."""
    for sheet in sheets:
        for _, row in sheet.filled[:3]:
            cells = {str(cell).strip().upper() for cell in row if cell is not None}
            if {"GLATOS_ARRAY", "GLATOS_DEPLOY_DATE_TIME"} <= cells:
                return True
    return False


def find(sheets: Sequence[Sheet]) -> Found:
    """Its deployment and recovery sheets. Raises BadFile where there is no deployment."""
    found = set_aside(find_tables(sheets, [DEPLOYMENT, RECOVERY], "GLATOS deployments"), TELLING)
    if not any(table.rows for table in found.tables if table.role == DEPLOYMENT.role):
        raise BadFile(
            "the sheet Deployment of the GLATOS workbook has no rows", "Check that the file was saved with its data."
        )
    return found


def join(tables: Sequence[Table], typed: Typed) -> list[Table]:
    """Deployments, each with its recovery's cells; recoveries without a deployment are refused.

    The joined rows bear the numbers of the deployment sheet. A recovery that was joined is part of its deployment: it counts as a
    row that says the same deployment again. Of several recoveries of one deployment the first stands.
    """
    recovered = [row for table in tables if table.role == RECOVERY.role for row in table.rows]
    recoveries: dict[tuple[str, ...], Row] = {}
    for row in recovered:
        recoveries.setdefault(_key(row), row)
    joined: set[tuple[int, int]] = set()
    result = [_joined(table, tables, recoveries, joined) for table in tables if table.role == DEPLOYMENT.role]
    for row in recovered:
        first = recoveries[_key(row)]
        if (first.sheet, first.number) not in joined:
            typed.refused.append(_unjoined(row))
        elif row.cells == first.cells:
            typed.repeated += 1
        else:
            typed.refused.append(_contradicts(row, first))
    return result


def _joined(
    table: Table, tables: Sequence[Table], recoveries: dict[tuple[str, ...], Row], joined: set[tuple[int, int]]
) -> Table:
    """A table of deployments with the cells of their recoveries; (sheet, row) of those go to ``joined``."""
    by_place: dict[tuple[str, ...], list[Row]] = {}
    for key, row in recoveries.items():
        by_place.setdefault(key[:3], []).append(row)
    rows = []
    for row in table.rows:
        recovery = recoveries.get(_key(row)) or _only_one(by_place.get(_key(row)[:3], []), row)
        if recovery is not None:
            joined.add((recovery.sheet, recovery.number))
        rows.append(Row(row.sheet, row.number, _merged(row, recovery)))
    headers = dict(table.headers)
    for other in tables:
        if other.role == RECOVERY.role:
            headers |= {name: header for name, header in other.headers.items() if name in OF_RECOVERY}
    headers |= {"recover_glatos_timezone": Header("recover_glatos_timezone", "GLATOS_TIMEZONE")}
    return Table(**{**vars(table), "rows": rows, "headers": headers})


def _unjoined(row: Row) -> Refusal:
    what = " ".join(part for part in _key(row) if part)
    expected = "a deployment of the same array, station, consecutive number and serial"
    remedy = "Add the deployment, or correct the row."
    return refuse(row, "consecutive_deploy_no", what, expected, remedy, Why.UNJOINED)


def _contradicts(row: Row, first: Row) -> Refusal:
    column = next(n for n in {**first.cells, **row.cells} if row.cells.get(n) != first.cells.get(n))
    expected = f"what row {first.number} says of the same recovery: {first.cells.get(column)}"
    return refuse(row, column, row.cells.get(column), expected, "Leave one of the two rows.", Why.CONTRADICTS)


def _only_one(rows: list[Row], deployment: Row) -> Row | None:
    """The recovery of a place whose serial one of the two sheets leaves out."""
    open_serial = [
        r for r in rows if is_null(r.cells.get("ins_serial_no")) or is_null(deployment.cells.get("ins_serial_no"))
    ]
    return open_serial[0] if len(rows) == len(open_serial) == 1 else None


def _merged(deployment: Row, recovery: Row | None) -> dict[str, Cell]:
    cells = dict(deployment.cells)
    station, array = cells.get("station_no"), cells.get("glatos_array")
    if not is_null(station) and not is_null(array):
        number = plain(station)
        cells["station_no"] = f"{plain(array)}-{number.zfill(3) if number.isdecimal() else number}"
    if recovery is not None:
        cells |= {name: recovery.cells[name] for name in OF_RECOVERY if name in recovery.cells}
        if "glatos_timezone" in recovery.cells:
            cells["recover_glatos_timezone"] = recovery.cells["glatos_timezone"]
    return cells


def _key(row: Row) -> tuple[str, ...]:
    def part(name: str) -> str:
        cell = row.cells.get(name)
        value = "" if is_null(cell) else plain(cell).upper()
        return str(int(value)) if value.isdecimal() else value

    return part("glatos_array"), part("station_no"), part("consecutive_deploy_no"), part("ins_serial_no")
