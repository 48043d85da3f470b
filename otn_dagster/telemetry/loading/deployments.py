"""A deployment sheet into the upper tables: ``rcvr_locations`` → ``stations`` and ``moorings``.

Belongs here: writing what ``files/deployments.py`` typed. Does not belong here: the tables before (``staging.py``), the checks
(``checks/deployments.py``), what it means for detections that waited (``promotion.py``).
"""

from typing import Any

from psycopg import sql

from otn_dagster import decisions
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import cutoffs, names, submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.fixing import applying, corrections
from otn_dagster.telemetry.loading import staging
from otn_dagster.telemetry.loading.merging import Difference, merge
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.submissions import Submission


def load(connection: Connection, settings: Settings, submission: Submission) -> tuple[Difference, list[str]]:
    """Stations, receivers, their transmitters and downloads into the upper tables; (difference, receiver serials touched).

    Order as the field promotes them: stations, TRANSMITTER, RECEIVER, DOWNLOAD. Safe to repeat: one transaction, merged
    by natural key. Raises LoadingLocked during a push and HeldForPerson where information would be removed.
    """
    cutoffs.loading_allowed(connection, settings, submission.node, submission.submission_key)
    rows = staging.read_typed(connection, submission)
    code = submission.collectioncode
    accepted = decisions.answer(connection, Topic.REMOVAL, submission.submission_key) == "accept"
    usage = dict(connection.execute("select upper(model), usage from obis.instrument_models").fetchall())
    stations = _stations(connection, code, rows)
    moorings = _moorings(rows, code, usage)
    moorings |= {("STATION", name): _station_mooring(row, code) for name, row in stations.items()}
    fixes = applying.in_force(connection, code)
    right_stations = staging.fixed(connection, submission, "stations", stations.values(), fixes)
    right = staging.fixed(connection, submission, "moorings", moorings.values(), fixes)
    before = staging.keys_before(
        connection,
        sql.SQL(
            "select 'RECEIVER', catalognumber from {} where submission_key = %s and rcv_serial_no is not null"
        ).format(table(code, "rcvr_locations")),
        submissions.loaded_before(connection, submission),
    )
    after = {("RECEIVER", row["catalognumber"]) for row in rows if row["rcv_serial_no"]}
    gone = [{"basisofrecord": basis, "catalognumber": name} for basis, name in before - after]
    still = corrections.corrected_rows("moorings", gone, fixes)
    absent = {(row["basisofrecord"], row["catalognumber"]) for row in still}
    absent -= {(row["basisofrecord"], row["catalognumber"]) for row in right}
    merge(connection, table(code, "stations"), ["station_name"], right_stations, submission.submission_key)
    difference = merge(
        connection,
        table(code, "moorings"),
        ["basisofrecord", "catalognumber"],
        right,
        submission.submission_key,
        absent=sorted(absent),
        removal_accepted=accepted,
    )
    if difference.removals and not accepted:
        raise decisions.HeldForPerson(Topic.REMOVAL, submission.submission_key, difference.removals)
    staging.note_project_type(connection, code, "deployment")
    staging.finish(connection, submission)
    serials = {row["rcv_serial_no"] for row in rows if row["rcv_serial_no"]}
    serials |= {row["collectornumber"] for row in right if row.get("collectornumber")}
    return difference, sorted(serials | {_serial_of(key) for _, key in (before - after) | absent})


def _stations(connection: Connection, code: str, deployments: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each station where it was first deployed, over this sheet and what is loaded."""
    known = {
        name: (first, latitude, longitude, depth)
        for name, latitude, longitude, depth, first in connection.execute(
            sql.SQL("select station_name, latitude, longitude, bottom_depth, first_deployed from {}").format(
                table(code, "stations")
            )
        )
    }
    for row in deployments:
        here = (row["deploy_date"], row["dep_lat"], row["dep_long"], row["bottom_depth"])
        name = row["station_name"]
        if name not in known or here[0] < known[name][0]:
            depth = here[3] if here[3] is not None or name not in known else known[name][3]
            known[name] = (*here[:3], depth)
    return {
        name: {
            "collectioncode": code,
            "station_name": name,
            "latitude": latitude,
            "longitude": longitude,
            "bottom_depth": depth,
            "first_deployed": first,
        }
        for name, (first, latitude, longitude, depth) in known.items()
        if name in {row["station_name"] for row in deployments}
    }


def _station_mooring(station: dict[str, Any], code: str) -> dict[str, Any]:
    return {
        "basisofrecord": "STATION",
        "collectioncode": code,
        "catalognumber": station["station_name"],
        "startdatetime": station["first_deployed"],
        "latitude": station["latitude"],
        "longitude": station["longitude"],
        "bottom_depth": station["bottom_depth"],
        "timezone": "UTC",
    }


def _moorings(
    deployments: list[dict[str, Any]], code: str, usage: dict[str, str]
) -> dict[tuple[str, str], dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in deployments:
        common = {
            "collectioncode": code,
            "collectornumber": row["rcv_serial_no"],
            "startdatetime": row["deploy_date"],
            "enddatetime": row["recover_date"],
            "latitude": row["dep_lat"],
            "longitude": row["dep_long"],
            "timezone": "UTC",
        }
        if row["transmitter"]:
            transmitter = row["transmitter"].upper()
            key = f"{transmitter}-{row['catalognumber']}"
            rows["TRANSMITTER", key] = common | {
                "basisofrecord": "TRANSMITTER",
                "catalognumber": key,
                "relatedcatalogitem": row["station_name"],
                "relationshiptype": "STATION",
                "fieldnumber": transmitter,
                "instrumentmodel": row["transmit_model"] or row["rcv_model_no"],
                "instrumenttype": "trnm",
            }
        if not row["rcv_serial_no"]:
            continue
        rows["RECEIVER", row["catalognumber"]] = common | {
            "basisofrecord": "RECEIVER",
            "catalognumber": row["catalognumber"],
            "relatedcatalogitem": row["station_name"],
            "relationshiptype": "STATION",
            "instrumentmodel": row["rcv_model_no"],
            "instrumenttype": instrument_type(row["rcv_model_no"], usage),
            "serialnumber": row["rcv_serial_no"],
            "bottom_depth": row["bottom_depth"],
            "receiver_depth": row["receiver_depth"],
            "recover_ind": row["recover_ind"],
            "notes": row["comments"],
        }
        if row["download_date"]:
            key = names.download_catalognumber(row["catalognumber"], row["download_date"])
            rows["DOWNLOAD", key] = download(
                code, key, row["catalognumber"], row["rcv_serial_no"], row["download_date"]
            ) | {
                "latitude": row["dep_lat"],
                "longitude": row["dep_long"],
                "notes": row["filename"],
            }
    return rows


def download(code: str, key: str, rcvrcatnumber: str, serial: str, at: Any) -> dict[str, Any]:
    """A DOWNLOAD row of ``moorings``: one offload of one deployment."""
    return {
        "basisofrecord": "DOWNLOAD",
        "collectioncode": code,
        "catalognumber": key,
        "relatedcatalogitem": rcvrcatnumber,
        "relationshiptype": "RECEIVER",
        "collectornumber": serial,
        "startdatetime": at,
        "timezone": "UTC",
    }


def instrument_type(model: str | None, usage: dict[str, str]) -> str | None:
    """Usage of the longest known model that a model's name begins with: ``VR2W-69k`` → that of ``VR2W``."""
    name = (model or "").upper()
    known = [known for known in usage if name == known or name.startswith(f"{known}-")]
    return usage[max(known, key=len)] if known else None


def _serial_of(rcvrcatnumber: str) -> str:
    return rcvrcatnumber.rsplit("-", 2)[-2]
