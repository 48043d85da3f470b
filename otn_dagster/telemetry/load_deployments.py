"""A deployment sheet into the node database: ``c_shortform`` → ``stations``, ``rcvr_locations`` → ``moorings``.

Belongs here: writing what ``deployments.py`` read. Does not belong here: judging it (``checks/deployments.py``) and what
it means for detections that waited (``promotion.py``).
"""

from typing import Any

from psycopg import sql

from otn_dagster import pushes
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import decisions, names, positions, submissions
from otn_dagster.telemetry.deployments import DeploymentSheet, read_deployments
from otn_dagster.telemetry.load_tags import keep_raw_rows, keep_typed_rows, note_project_type
from otn_dagster.telemetry.merging import Difference, merge
from otn_dagster.telemetry.project_tables import ensure_project_tables, table
from otn_dagster.telemetry.refusals import Refusal
from otn_dagster.telemetry.sheets import SheetRow, refuse
from otn_dagster.telemetry.submissions import Counts, Submission


def read(connection: Connection, settings: Settings, submission: Submission) -> DeploymentSheet:
    """The sheet of a submission, with rows refused whose position is plainly a slip, or that repeat another row."""
    now = pushes.now(connection).replace(tzinfo=None)
    sheet = read_deployments(submission.path(settings), submission.collectioncode, now)
    by_number = {row.number: row for row in sheet.raw}
    box = positions.project_box(connection, submission.collectioncode)
    box = box or positions.box_of(sheet.deployments, "dep_lat", "dep_long")
    good, refused, seen = [], list(sheet.refused), {}
    for deployment in sheet.deployments:
        row = by_number[deployment["row_number"]]
        refusal = _misplaced(row, deployment, box) or _repeated(row, deployment, seen)
        if refusal:
            refused.append(refusal)
        else:
            good.append(deployment)
    return DeploymentSheet(sheet.sheet, sheet.raw, good, refused)


def load_raw(connection: Connection, settings: Settings, submission: Submission) -> DeploymentSheet:
    """Keep the rows as submitted. Safe to repeat: replaces the rows of this submission in one transaction."""
    submissions.require_project(connection, submission)
    sheet = read(connection, settings, submission)
    ensure_project_tables(connection, submission.collectioncode, "deployments")
    keep_raw_rows(connection, submission, "c_shortform", sheet.raw)
    submissions.keep_refusals(connection, submission.submission_key, sheet.refused)
    return sheet


def load_intermediate(connection: Connection, settings: Settings, submission: Submission) -> list[dict[str, Any]]:
    """The typed rows into ``rcvr_locations``. Safe to repeat: replaces the rows of this submission."""
    deployments = read(connection, settings, submission).deployments
    keep_typed_rows(connection, submission, "rcvr_locations", deployments)
    return deployments


def load(connection: Connection, settings: Settings, submission: Submission) -> tuple[Difference, list[str]]:
    """Stations, receivers, their transmitters and downloads into the upper tables; (difference, receiver serials touched).

    Order as the field promotes them: stations, TRANSMITTER, RECEIVER, DOWNLOAD. Safe to repeat: one transaction, merged
    by natural key. Raises LoadingLocked during a push and HeldForPerson where information would be removed.
    """
    pushes.loading_allowed(connection, settings, submission.node)
    sheet = read(connection, settings, submission)
    code = submission.collectioncode
    accepted = decisions.answer(connection, "removal", submission.submission_key) == "accept"
    usage = dict(connection.execute("select upper(model), usage from obis.instrument_models").fetchall())
    stations = _stations(connection, code, sheet.deployments)
    moorings = _moorings(sheet.deployments, code, usage)
    moorings |= {("STATION", name): _station_mooring(row, code) for name, row in stations.items()}
    before = _keys_of(connection, submissions.loaded_before(connection, submission), code)
    after = {("RECEIVER", row["catalognumber"]) for row in sheet.deployments if row["rcv_serial_no"]}
    merge(connection, table(code, "stations"), ["station_name"], stations.values(), submission.submission_key)
    difference = merge(
        connection,
        table(code, "moorings"),
        ["basisofrecord", "catalognumber"],
        moorings.values(),
        submission.submission_key,
        absent=sorted(before - after),
        removal_accepted=accepted,
    )
    if difference.removals and not accepted:
        raise decisions.HeldForPerson("removal", submission.submission_key, difference.removals)
    note_project_type(connection, code, "deployment")
    submissions.supersede_earlier(connection, submission)
    counts = Counts(raw=len(sheet.raw), loaded=len(sheet.deployments), refused=len(sheet.refused))
    submissions.note_counts(connection, submission.submission_key, counts)
    submissions.move(connection, submission.submission_key, "loaded")
    gone = [_serial_of(key) for _, key in before - after]
    return difference, sorted({row["rcv_serial_no"] for row in sheet.deployments if row["rcv_serial_no"]} | set(gone))


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


def _misplaced(row: SheetRow, deployment: dict[str, Any], box: positions.Box | None) -> Refusal | None:
    slip = positions.mistake(box, deployment["dep_lat"], deployment["dep_long"])
    if slip is None:
        return None
    found = f"{deployment['dep_lat']}, {deployment['dep_long']}"
    return refuse(row, "deploy_lat, deploy_long", found, f"a position where the project works: {slip}", "Correct it.")


def _repeated(row: SheetRow, deployment: dict[str, Any], seen: dict[Any, int]) -> Refusal | None:
    key = deployment["catalognumber"]
    first = seen.setdefault(key, deployment["row_number"])
    if first == deployment["row_number"]:
        return None
    expected = f"one row for each deployment; row {first} has the same station, receiver and hour"
    return refuse(row, "ins_serial_no", key, expected, "Remove one of the two rows.")


def _keys_of(connection: Connection, submission_key: str | None, code: str) -> set[tuple[str, str]]:
    if submission_key is None:
        return set()
    rows = connection.execute(
        sql.SQL(
            "select 'RECEIVER', catalognumber from {} where submission_key = %s and rcv_serial_no is not null"
        ).format(table(code, "rcvr_locations")),
        [submission_key],
    ).fetchall()
    return set(rows)
