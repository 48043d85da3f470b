"""The deployment metadata sheet: OTN's short form of all years and its technical form, FACT's dialect, MATOS's export.

Belongs here: a file to deployment rows, and a row's verdict. Does not belong here: GLATOS's two sheets (``glatos.py`` joins them to
rows of this template), writing (``loading/deployments.py``), judging rows against the database (``checks/deployments.py``).

Source: node manager training, "Deployment Metadata"; OTN field reporting standards (vocabulary of RECOVERED). What may refuse a row:
station, serial (or a transmitter that stands alone), time of deployment, position; nothing else.
"""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from otn_dagster.telemetry import names
from otn_dagster.telemetry.files import codespaces, glatos, positions
from otn_dagster.telemetry.files.cells import (
    FIRST_PLAUSIBLE,
    Cell,
    Quantity,
    Read,
    identifier,
    lost,
    name,
    plain,
    text,
)
from otn_dagster.telemetry.files.columns import Column, Decides, Values, read_columns
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.refusals import Code, Refusal, Severity, Why, finding
from otn_dagster.telemetry.files.tables import Found, Names, Row, Table, find_tables, require, set_aside
from otn_dagster.telemetry.files.typed import (
    ONE_MINUTE,
    Situation,
    Typed,
    column_law,
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

DEPTH = Quantity("m", 0, 11_000)
DEPLOYED, RECOVERED, DOWNLOADED = "deploy_date_time", "recover_date_time", "download_date_time"
LOCAL_DEPLOYED, LOCAL_RECOVERED = "glatos_deploy_date_time", "glatos_recover_date_time"
WHOLE_DAY = dt.timedelta(days=1, milliseconds=-1)


def receiver_serial(cell: Cell) -> Read:
    """A receiver's serial, also where the model stands before it; zeros and nines only mean unknown."""
    read = identifier(cell)
    if not read.value:
        return read
    serial = read.value
    if not serial[0].isdigit():
        known = names.receiver(plain(cell))
        glued = re.fullmatch(r"(VR\w*?|HR\w*?|TBR\w*?|NX\w*?)[:#]?(\d{3,})", serial)
        serial = names.receiver_serial(known) if known else glued[2] if glued else serial
    if not (serial.isascii() and serial.isdigit()):
        return Read(serial)
    if set(serial) in ({"0"}, {"9"}) or (len(serial) > 6 and serial in "0123456789"):
        return Read(None, Code.SERIAL_UNKNOWN, "a serial number; this one means unknown")
    return Read(str(int(serial)))


def _model(cell: Cell) -> Read:
    read = name(cell)
    return Read("-".join(read.value.split())) if read.value else read


def _transmitter(cell: Cell) -> Read:
    """A transmitter's id; what is none is kept as text: built-in transmitters are written in many ways."""
    value = plain(cell)
    known = codespaces.canonical_transmitter(value)
    return Read(known) if known else lost("a transmitter like A69-1602-12345")


COLUMNS = [
    Column("otn_array", name),
    Column("station_no", name, decides=Decides.ROW),
    Column(DEPLOYED, time=True, decides=Decides.ROW, zone_columns=("deploy_time_zone", "deploy_timezone")),
    Column("deploy_lat", most_degrees=90, decides=Decides.ROW),
    Column("deploy_long", most_degrees=180, decides=Decides.ROW),
    Column("bottom_depth", quantity=DEPTH, unit_columns=("depth_type",)),
    Column("riser_length", quantity=DEPTH, unit_columns=("depth_type",)),
    Column("instrument_depth", quantity=DEPTH, unit_columns=("depth_type",)),
    Column("ins_model_no", _model),
    Column("ins_serial_no", receiver_serial, decides=Decides.ROW),
    Column("code_set", name),
    Column("transmitter", _transmitter),
    Column("transmit_model", name),
    Column("ar_model_no", name),
    Column("ar_serial_no", identifier),
    Column("deployed_by", text),
    Column("recovered", name),
    Column(
        RECOVERED,
        time=True,
        decides=Decides.WINDOW,
        zone_columns=("retrieve_time_zone", "recover_time_zone", "recover_timezone"),
    ),
    Column("recover_lat", most_degrees=90),
    Column("recover_long", most_degrees=180),
    Column("data_downloaded", name),
    Column(DOWNLOADED, time=True),
    Column("filename", text),
    Column("comments", text),
]
OTHER_TIMES = [
    Column(
        LOCAL_DEPLOYED, time=True, decides=Decides.ROW, zone_columns=("glatos_timezone",), local_if="glatos_timezone"
    ),
    Column(
        LOCAL_RECOVERED,
        time=True,
        decides=Decides.WINDOW,
        zone_columns=("recover_glatos_timezone",),
        local_if="glatos_timezone",
    ),
]
ALIASES = {
    "array": "otn_array",
    "deploy_date": DEPLOYED,
    "deploy_datetime": DEPLOYED,
    "deployment_date_time": DEPLOYED,
    "recover_date": RECOVERED,
    "recover_datetime": RECOVERED,
    "recovery_date_time": RECOVERED,
    "retrieve_date_time": RECOVERED,
    "station": "station_no",
    "station_name": "station_no",
    "deploy_latitude": "deploy_lat",
    "deploy_longitude": "deploy_long",
    "deploy_lon": "deploy_long",
    "retrieve_latitude": "recover_lat",
    "retrieve_longitude": "recover_long",
    "recover_latitude": "recover_lat",
    "recover_longitude": "recover_long",
    "recover_lon": "recover_long",
    "receiver_type": "ins_model_no",
    "receiver_model": "ins_model_no",
    "ins_model_number": "ins_model_no",
    "instrument_model": "ins_model_no",
    "receiver_number": "ins_serial_no",
    "receiver_serial": "ins_serial_no",
    "receiver_serial_number": "ins_serial_no",
    "ins_serial_number": "ins_serial_no",
    "ar_model_number": "ar_model_no",
    "ar_serial_number": "ar_serial_no",
    "download_date": DOWNLOADED,
    "comment": "comments",
}
TELLING = ("station_no", "ins_serial_no", "transmitter", DEPLOYED, LOCAL_DEPLOYED, "deploy_lat", "deploy_long")
TEMPLATE = Names("deployments", frozenset(c.name for c in (*COLUMNS, *OTHER_TIMES)), frozenset(TELLING), ALIASES)
KNOWN = frozenset(column.name for column in COLUMNS)
RECOVERED_VOCABULARY = {"y", "n", "l", "lost", "f", "found", "moved", "failed", "unknown", "caught"}


def find(sheets: Sequence[Sheet]) -> Found:
    """The deployment tables of a file, without what is not data. Raises BadFile where there is none, or a column is missing."""
    if glatos.is_workbook(sheets):
        return glatos.find(sheets)
    found = set_aside(find_tables(sheets, [TEMPLATE], "deployment metadata"), TELLING)
    headers = {name for table in found.tables for name in table.headers}
    missing = [n for n in ("station_no", DEPLOYED, "deploy_lat", "deploy_long") if n not in headers]
    missing += ["ins_serial_no"] if not headers & {"ins_serial_no", "transmitter"} else []
    return require(found, missing, "Use the deployment metadata template (short form) of the node.")


def type_deployments(tables: Sequence[Table], situation: Situation) -> Typed:
    """Deployment rows of a file, typed, named and judged: a pure function of the file's rows and the situation.

    Rows are named as ``rcvr_locations`` names them, with ``sheet``, ``row_number``, ``part``, ``catalognumber``. A row without an
    instrument but with a transmitter is a sentinel tag on its own: it has no receiver serial. Raises Undecided.
    """
    typed = Typed([], [], 0, [])
    joined = glatos.join(tables, typed) if any(table.role != TEMPLATE.role for table in tables) else list(tables)
    for table in joined:
        _type_table(table, situation, typed)
    _refuse_misplaced(typed, joined, situation)
    _name_deployments(typed, joined)
    typed.columns, said = column_law(tables, [*TEMPLATE.columns, *glatos.READ])
    typed.findings += [*said, *refused_summary(typed.refused)]
    return typed


def _type_table(table: Table, situation: Situation, typed: Typed) -> None:
    columns = [*COLUMNS, *OTHER_TIMES]
    values = read_columns(table, columns, situation.answers)
    for utc, local, what in ((DEPLOYED, LOCAL_DEPLOYED, "deployment"), (RECOVERED, LOCAL_RECOVERED, "recovery")):
        _settle(table, values, utc, local, what, situation)
    good, odd_recoveries = [], []
    lost = values.lost_of()
    for index, (row, cells) in enumerate(zip(table.rows, values.rows, strict=True)):
        refusal = _unusable(row, index, cells, values, situation)
        if refusal:
            typed.refused.append(refusal)
            continue
        good.append(index)
        recovered_day = index in values.day_only.get(RECOVERED, set())
        recovered = cells[RECOVERED]
        if recovered is not None and (recovered + WHOLE_DAY if recovered_day else recovered) < cells[DEPLOYED]:
            odd_recoveries.append((f"{recovered} before {cells[DEPLOYED]}", row.number))
            cells[RECOVERED] = None
        typed.rows.append(_deployment(row, cells, lost.get(index, set()), recovered_day))
    typed.findings += without_refused(values.findings, columns)
    for found, number in odd_recoveries:
        says = "a recovery after the deployment; it is not used, and the deployment ends with the next one of that receiver"
        remedy = "Correct whichever of the two is wrong."
        typed.findings.append(finding(Code.RECOVERY, Severity.DECIDE, RECOVERED, found, says, remedy, [number]))
    if "otn_array" in table.headers:
        typed.findings += other_collection(table, "otn_array", situation, good, hold=False)[0]
    if any(values.day_only.get(c) for c in (DEPLOYED, RECOVERED)):
        rows = sorted({table.rows[i].number for c in (DEPLOYED, RECOVERED) for i in values.day_only.get(c, set())})
        says = "dates without a time of day: a deployment begins at 00:00, and a recovery ends at 24:00 or when that receiver is deployed next"
        typed.findings.append(
            finding(Code.DAY_ONLY, Severity.NOTE, None, None, says, "Give the time where it is known.", rows)
        )


def _settle(table: Table, values: Values, utc: str, local: str, what: str, situation: Situation) -> None:
    """One UTC time from the UTC column and the local one with its zone, which wins; contradictions hold the file."""
    contradictions, wrong_sign = [], []
    for index, (row, cells) in enumerate(zip(table.rows, values.rows, strict=True)):
        here, there = cells[local], cells[utc]
        if here is None:
            continue
        if there is not None and is_wrong_sign(values.written[local][index], here, there):
            wrong_sign.append(row.number)
        elif there is not None and abs(here - there) > ONE_MINUTE:
            contradictions.append(f"row {row.number}: {here:%Y-%m-%d %H:%M} and {there:%Y-%m-%d %H:%M} UTC")
        cells[utc] = here
        if index in values.day_only.get(local, set()):
            values.day_only.setdefault(utc, set()).add(index)
    if wrong_sign:
        values.findings.append(wrong_sign_finding(utc, wrong_sign))
    hold_contradictions(contradictions, len(table.rows), what, situation)


def _unusable(row: Row, index: int, cells: dict[str, Any], values: Values, situation: Situation) -> Refusal | None:
    refusal = moved(row) or first_loss(row, index, values, [*COLUMNS, *OTHER_TIMES])
    if refusal:
        return refusal
    for column, expected in (
        ("station_no", "the name of a station"),
        (DEPLOYED, "the time of deployment"),
        ("deploy_lat", "the latitude of the station"),
        ("deploy_long", "the longitude of the station"),
    ):
        if cells[column] is None:
            return refuse(row, column, row.cells.get(column), expected, "Fill in the cell.", Why.MISSING)
    if not cells["ins_serial_no"] and not cells["transmitter"]:
        expected = "a receiver serial, or a transmitter where a sentinel tag stands alone"
        found = row.cells.get("ins_serial_no")
        return refuse(row, "ins_serial_no", found, expected, "Fill in INS_SERIAL_NO or TRANSMITTER.", Why.MISSING)
    deployed = cells[DEPLOYED]
    if not FIRST_PLAUSIBLE <= deployed <= situation.received_at:
        remedy = "Check the year, and that the cell is a date and not a number formatted as one."
        expected = f"a deployment between 1980 and {situation.received_at:%Y-%m-%d}"
        return refuse(row, DEPLOYED, deployed, expected, remedy, Why.IMPOSSIBLE)
    return None


def _deployment(row: Row, cells: dict[str, Any], lost: set[str], recovered_day: bool) -> dict[str, Any]:
    unread = lost | ({RECOVERED} if cells[RECOVERED] is None else set())
    recovered = cells[RECOVERED]
    same = "code_set transmitter transmit_model ar_model_no ar_serial_no deployed_by recover_lat recover_long data_downloaded filename comments"
    return {
        "sheet": row.sheet,
        "row_number": row.number,
        "part": 0,
        "otn_array": cells["otn_array"],
        "station_name": cells["station_no"],
        "deploy_date": cells[DEPLOYED],
        "dep_lat": cells["deploy_lat"],
        "dep_long": cells["deploy_long"],
        "bottom_depth": cells["bottom_depth"],
        "riser_length": cells["riser_length"],
        "receiver_depth": cells["instrument_depth"],
        "rcv_model_no": cells["ins_model_no"] or _model_in_serial(row),
        "rcv_serial_no": cells["ins_serial_no"],
        "recovered": cells["recovered"],
        "recover_ind": recovery_indicator(cells["recovered"], recovered),
        "recover_date": recovered + WHOLE_DAY if recovered is not None and recovered_day else recovered,
        "recover_day_only": bool(recovered is not None and recovered_day),
        "download_date": cells[DOWNLOADED],
        "other": {n: cell for n, cell in row.cells.items() if n not in KNOWN or n in unread},
        **{column: cells[column] for column in same.split()},
    }


def _model_in_serial(row: Row) -> str | None:
    """``VR2W-109924`` in the serial's column names the model, too."""
    serial = plain(row.cells.get("ins_serial_no") or "")
    return serial.rsplit("-", 1)[0].upper() if "-" in serial and not serial[:1].isdigit() else None


def _refuse_misplaced(typed: Typed, tables: Sequence[Table], situation: Situation) -> None:
    by_place = {(row.sheet, row.number): row for table in tables for row in table.rows}
    box = situation.box or positions.box_of(typed.rows, "dep_lat", "dep_long")
    kept = []
    for deployment in typed.rows:
        slip = positions.mistake(box, deployment["dep_lat"], deployment["dep_long"])
        if slip is None:
            kept.append(deployment)
            continue
        found = f"{deployment['dep_lat']}, {deployment['dep_long']}"
        row = by_place[deployment["sheet"], deployment["row_number"]]
        expected = f"a position where the project works: {slip}"
        typed.refused.append(refuse(row, "deploy_lat, deploy_long", found, expected, "Correct it.", Why.MISPLACED))
    typed.rows = kept


def _name_deployments(typed: Typed, tables: Sequence[Table]) -> None:
    """A name for every deployment. Its key is station, receiver and start to the second; of one key the longest row stands."""
    cells = {(row.sheet, row.number): row.cells for table in tables for row in table.rows}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in typed.rows:
        groups.setdefault(_key(row), []).append(row)
    chosen = [max(group, key=_length) for group in groups.values()]
    taken: dict[str, dict[str, Any]] = {}
    for row in sorted(chosen, key=lambda r: (r["deploy_date"], r["sheet"], r["row_number"])):
        what, which = (
            (row["rcv_model_no"], row["rcv_serial_no"]) if row["rcv_serial_no"] else ("SENTINEL", row["transmitter"])
        )
        key = names.receiver_catalognumber(row["station_name"], what, which, row["deploy_date"])
        number = 2
        while key in taken:
            first = f"{row['deploy_date']:_%M_%S}" if number == 2 else f"-{number}"
            key, number = key + first, number + 1
        taken[key] = row
        row["catalognumber"] = key
    for group in groups.values():
        longest = max(group, key=_length)
        for row in group:
            if row is not longest:
                _note_repeated(typed, row, longest, cells)
    keep = {id(row) for row in chosen}
    typed.repeated += sum(id(row) not in keep for row in typed.rows)
    typed.rows = [row for row in typed.rows if id(row) in keep]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    what = row["rcv_serial_no"] or f"transmitter {row['transmitter']}"
    return row["station_name"].upper(), what, row["deploy_date"].replace(microsecond=0)


def _length(row: dict[str, Any]) -> tuple[dt.timedelta, int]:
    """How long a row says that its deployment lasted; one that says no end is longer than one of no length. Earlier rows win."""
    if row["recover_date"] is None:
        return dt.timedelta(milliseconds=1), -row["row_number"]
    return row["recover_date"] - row["deploy_date"], -row["row_number"]


def _note_repeated(
    typed: Typed, row: dict[str, Any], longest: dict[str, Any], cells: dict[tuple[int, int], Any]
) -> None:
    same = dict(cells[row["sheet"], row["row_number"]]) == dict(cells[longest["sheet"], longest["row_number"]])
    code, severity = (Code.REPEATED, Severity.NOTE) if same else (Code.REPEATED_DIFFERS, Severity.LOOK)
    says = f"the same station, receiver and start as row {longest['row_number']}" + (
        "" if same else ", which lasts longer and is used"
    )
    typed.findings.append(
        finding(code, severity, "ins_serial_no", longest["catalognumber"], says, "", [row["row_number"]])
    )


def recovery_indicator(recovered: str | None, recover_date: dt.datetime | None) -> str | None:
    """One letter of a RECOVERED cell, which may hold several words (``caught/moved/lost``, ``lost/found``).

    A recovery date says y whatever the words; then found, then lost beat the rest.
    """
    words = {word.strip().lower() for word in (recovered or "").replace("\\", "/").split("/") if word.strip()}
    if recover_date is not None or words & {"y", "yes"}:
        return "y"
    for letter, meanings in (("f", {"f", "found"}), ("l", {"l", "lost"}), ("n", {"n", "no"})):
        if words & meanings:
            return letter
    return min(words) if words else None
