"""The deployment metadata sheet: OTN's short form (with or without banner rows) and FACT's dialect of it.

Belongs here: a sheet to typed deployment rows and refusals. Does not belong here: writing (``load_deployments.py``) and
judging rows against each other or the database (``checks/deployments.py``).

Source: node manager training, "Deployment Metadata"; OTN field reporting standards (vocabulary of RECOVERED).
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otn_dagster.telemetry import names
from otn_dagster.telemetry.refusals import BadFile, Refusal
from otn_dagster.telemetry.sheets import (
    Column,
    Sheet,
    SheetRow,
    latitude,
    longitude,
    missing_columns,
    moment,
    number,
    printable,
    read_sheet,
    refuse,
    serial,
    text,
    typed_row,
)

COLUMNS = [
    Column("otn_array", text, mandatory=True),
    Column("station_no", text, mandatory=True),
    Column("deploy_date_time", moment, mandatory=True),
    Column("deploy_lat", latitude, mandatory=True),
    Column("deploy_long", longitude, mandatory=True),
    Column("bottom_depth", number),
    Column("riser_length", number),
    Column("instrument_depth", number),
    Column("ins_model_no", text),
    Column("ins_serial_no", serial),
    Column("code_set", text),
    Column("transmitter", text),
    Column("transmit_model", text),
    Column("ar_model_no", text),
    Column("ar_serial_no", serial),
    Column("deployed_by", text),
    Column("recovered", text),
    Column("recover_date_time", moment),
    Column("recover_lat", latitude),
    Column("recover_long", longitude),
    Column("data_downloaded", text),
    Column("download_date_time", moment),
    Column("filename", text),
    Column("comments", text),
]
ALIASES = {
    "array": "otn_array",
    "deploy_date": "deploy_date_time",
    "recover_date": "recover_date_time",
    "station": "station_no",
}
RECOVERED_VOCABULARY = {"y", "n", "l", "lost", "f", "found", "moved", "failed", "unknown", "caught"}
FIRST_PLAUSIBLE = dt.datetime(1980, 1, 1)


@dataclass(frozen=True)
class DeploymentSheet:
    """What a sheet holds: every row as submitted, the rows that can be used, the rows that cannot, and why."""

    sheet: Sheet
    raw: list[SheetRow]
    deployments: list[dict[str, Any]]
    refused: list[Refusal]


def read_deployments(path: Path, collectioncode: str, now: dt.datetime) -> DeploymentSheet:
    """Typed rows named as ``rcvr_locations`` names them, each with ``row_number`` and ``catalognumber``.

    A line without an instrument but with a transmitter is a sentinel tag on its own: it has no receiver serial.
    Raises BadFile where the file is no deployment sheet or misses a mandatory column.
    """
    sheet = read_sheet(path, [column.name for column in COLUMNS], ALIASES)
    missing = missing_columns(sheet, COLUMNS)
    missing += [name for name in ("ins_model_no", "ins_serial_no") if name not in sheet.headers]
    if missing:
        raise BadFile(
            f"mandatory columns are missing: {', '.join(missing).upper()}",
            "Use the deployment metadata template (short form) of the node.",
            sheet.header_row,
        )
    deployments, refused = [], []
    for row in sheet.rows:
        deployment, refusal = _deployment(row, collectioncode, now)
        if refusal is None:
            deployments.append(deployment)
        else:
            refused.append(refusal)
    return DeploymentSheet(sheet, sheet.rows, deployments, refused)


def _deployment(row: SheetRow, collectioncode: str, now: dt.datetime) -> tuple[dict[str, Any], Refusal | None]:
    values, refusal = typed_row(row, COLUMNS)
    refusal = refusal or _impossible(row, values, now)
    if refusal:
        return values, refusal
    instrument, model = values["ins_serial_no"], values["ins_model_no"]
    what, which = (model, instrument) if instrument else ("SENTINEL", values["transmitter"])
    known = {column.name for column in COLUMNS}
    deployment = {
        "row_number": row.number,
        "otn_array": values["otn_array"],
        "station_name": values["station_no"],
        "deploy_date": values["deploy_date_time"],
        "dep_lat": values["deploy_lat"],
        "dep_long": values["deploy_long"],
        "bottom_depth": values["bottom_depth"],
        "riser_length": values["riser_length"],
        "receiver_depth": values["instrument_depth"],
        "rcv_model_no": model,
        "rcv_serial_no": instrument,
        "recovered": values["recovered"],
        "recover_ind": recovery_indicator(values["recovered"], values["recover_date_time"]),
        "recover_date": values["recover_date_time"],
        "download_date": values["download_date_time"],
        "catalognumber": names.receiver_catalognumber(values["station_no"], what, which, values["deploy_date_time"]),
        "other": {name: cell for name, cell in printable(row.cells).items() if name not in known},
    }
    same = [
        "code_set",
        "transmitter",
        "transmit_model",
        "ar_model_no",
        "ar_serial_no",
        "deployed_by",
        "recover_lat",
        "recover_long",
    ]
    return deployment | {name: values[name] for name in [*same, "data_downloaded", "filename", "comments"]}, None


def _impossible(row: SheetRow, values: dict[str, Any], now: dt.datetime) -> Refusal | None:
    if not values["ins_serial_no"] and not values["transmitter"]:
        expected = "a receiver serial, or a transmitter where a sentinel tag stands alone"
        return refuse(row, "ins_serial_no", None, expected, "Fill in INS_SERIAL_NO or TRANSMITTER.")
    if values["ins_serial_no"] and not values["ins_model_no"]:
        return refuse(row, "ins_model_no", None, "the receiver's model", "Fill in INS_MODEL_NO, e.g. VR2W.")
    deployed, recovered = values["deploy_date_time"], values["recover_date_time"]
    if not FIRST_PLAUSIBLE <= deployed <= now:
        remedy = "Check the year, and that the cell is a date and not a number formatted as one."
        return refuse(row, "deploy_date_time", deployed, f"a deployment between 1980 and {now:%Y-%m-%d}", remedy)
    if recovered and recovered < deployed:
        remedy = "Correct whichever of the two is wrong."
        return refuse(row, "recover_date_time", recovered, f"a recovery after the deployment on {deployed}", remedy)
    return None


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
