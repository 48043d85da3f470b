"""Checks of deployment metadata: R1 to R15. Source: node manager training, "Deployment Metadata", and verification."""

from otn_dagster.telemetry.checks.registry import Evidence, Rows, check
from otn_dagster.telemetry.files import positions
from otn_dagster.telemetry.files.deployments import RECOVERED_VOCABULARY
from otn_dagster.telemetry.files.refusals import Code, Why
from otn_dagster.telemetry.fixing import applying
from otn_dagster.telemetry.fixing.corrections import corrected
from otn_dagster.telemetry.loading.staging import project_box

CACHE, LIVE = "rcvr_locations", "moorings"
CORRECT = "Correct the sheet and send it again."
OVERLAP = """
    select a.collectornumber as serial, a.catalognumber, a.startdatetime, a.enddatetime, b.collectioncode as other_project,
        b.catalognumber as other, b.startdatetime as other_start
    from obis.moorings a join obis.moorings b on b.collectornumber = a.collectornumber and b.mooring_key <> a.mooring_key
    where a.basisofrecord = 'RECEIVER' and b.basisofrecord = 'RECEIVER' and a.collectioncode = %s
        and b.startdatetime >= a.startdatetime and b.startdatetime < coalesce(a.enddatetime, 'infinity')
"""


@check("R1", CACHE, "Columns, datatypes and positions are those of the template", CORRECT)
def sheet_format(evidence: Evidence) -> Rows:
    return evidence.refused_because(*Why) + evidence.found(
        Code.VALUE_UNREADABLE, Code.VALUE_AMBIGUOUS, Code.VALUE_OUT_OF_RANGE, Code.UNIT_UNKNOWN, Code.COLUMN_REPEATED
    )


@check(
    "R2",
    CACHE,
    "Stations did not move and kept their depth",
    "New name, or feet taken for metres?",
    warns=True,
)
def stations_moved(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select r.row_number, r.station_name, r.dep_lat, r.dep_long, s.latitude, s.longitude, r.bottom_depth, s.bottom_depth as known_depth
           from platform.rcvr_locations r join platform.stations s using (collectioncode, station_name)
           where submission_key = %s and (abs(r.dep_lat - s.latitude) > 0.05 or abs(r.dep_long - s.longitude) > 0.05
               or r.bottom_depth > 1.7 * s.bottom_depth or s.bottom_depth > 1.7 * r.bottom_depth) order by 1""",
        evidence.submission.submission_key,
    )


@check("R3", CACHE, "Recovery is after deployment", "Correct whichever of the two is wrong.")
def recovery_after_deployment(evidence: Evidence) -> Rows:
    return evidence.found(Code.RECOVERY)


@check(
    "R4",
    CACHE,
    "Receiver models are known",
    "Correct INS_MODEL_NO, or add the model to instrument_models.",
    warns=True,
)
def receiver_models(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select min(row_number) as first_row, rcv_model_no, count(*) as rows from platform.rcvr_locations where submission_key = %s
           and rcv_serial_no is not null and not exists (select 1 from obis.instrument_models m
               where upper(rcv_model_no) = m.model or upper(rcv_model_no) like m.model || '-%%') group by 2 order by 1""",
        evidence.submission.submission_key,
    )


@check(
    "R5",
    CACHE,
    "Transceivers name their transmitter, as the vendor does",
    "Fill in TRANSMITTER.",
    warns=True,
)
def transceiver_transmitter(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select row_number, station_name, rcv_model_no, rcv_serial_no from platform.rcvr_locations where submission_key = %s
           and transmitter is null and exists (select 1 from obis.instrument_models m where m.usage = 'trncvr'
               and (upper(rcv_model_no) = m.model or upper(rcv_model_no) like m.model || '-%%')) order by 1""",
        evidence.submission.submission_key,
    )


@check(
    "R6",
    LIVE,
    "No receiver is in two places at one time",
    "Give the recovery date of the earlier deployment.",
    warns=True,
)
def overlapping(evidence: Evidence) -> Rows:
    return evidence.rows(
        OVERLAP + " and b.collectioncode = a.collectioncode and b.mooring_key > a.mooring_key order by 1, 3",
        evidence.code,
    )


@check(
    "R7",
    CACHE,
    "Deployments lie where the project works",
    "Correct the position, or the project's bounding box.",
    warns=True,
)
def deployment_position(evidence: Evidence) -> Rows:
    refused = evidence.refused_because(Why.MISPLACED)
    box = project_box(evidence.connection, evidence.code)
    if box is None:
        return refused
    rows = evidence.rows(
        "select row_number, station_name, dep_lat, dep_long from platform.rcvr_locations where submission_key = %s",
        evidence.submission.submission_key,
    )
    return refused + [r for r in rows if not positions.inside(box, r["dep_lat"], r["dep_long"])]


@check("R8", LIVE, "Loaded detections have a deployment", "Send the missing deployments.", warns=True)
def gaps(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select d.receiver, count(*) as detections, min(d.datetime) as first, max(d.datetime) as last from {detections} d
           join platform.receiver_keys k using (receiver_key)
           where k.rcv_serial_no in (select rcv_serial_no from platform.rcvr_locations where submission_key = %s)
             and d.withdrawn_at is null and not exists (select 1 from {otn_detections} o where o.receiver_key = d.receiver_key
                 and o.det_key = d.det_key) group by 1 order by 2 desc""",
        evidence.submission.submission_key,
    )


@check("R9", CACHE, "Serials are numeric and RECOVERED agrees with the dates", CORRECT, warns=True)
def consistent(evidence: Evidence) -> Rows:
    rows = evidence.rows(
        "select row_number, station_name, rcv_serial_no, recovered, recover_ind, recover_date from platform.rcvr_locations"
        " where submission_key = %s order by 1",
        evidence.submission.submission_key,
    )

    def bad(row: dict[str, object]) -> bool:
        serial, words = str(row["rcv_serial_no"] or "0"), str(row["recovered"] or "").lower().split("/")
        unknown = any(word.strip() and word.strip() not in RECOVERED_VOCABULARY for word in words)
        says_yes = "y" in words and row["recover_date"] is None
        return not serial.isdigit() or unknown or says_yes

    return [row for row in rows if bad(row)]


@check(
    "R10",
    CACHE,
    "Comments and RECOVERED tell the same",
    "Set RECOVERED to lost where the comment says so.",
    warns=True,
)
def comments_say_lost(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select row_number, station_name, recovered, comments from platform.rcvr_locations where submission_key = %s
           and comments ~* '\\mlost\\M' and coalesce(recovered, '') !~* 'lost|^l$|found' order by 1""",
        evidence.submission.submission_key,
    )


@check("R11", LIVE, "Stations equal the STATION rows of moorings", "Reload the sheet.")
def stations_promoted(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select coalesce(s.station_name, m.catalognumber) as station_name, s.first_deployed, m.startdatetime from
             (select * from platform.stations where collectioncode = %s) s full join
             (select * from obis.moorings where collectioncode = %s and basisofrecord = 'STATION') m on m.catalognumber = s.station_name
           where s.station_name is null or m.catalognumber is null or s.first_deployed <> m.startdatetime
             or s.first_deployed > platform.now() at time zone 'UTC' order by 1""",
        evidence.code,
        evidence.code,
    )


@check("R12", LIVE, "Every row of the sheet reached moorings", "Reload the sheet.")
def rows_loaded(evidence: Evidence) -> Rows:
    rows = evidence.rows(
        """select row_number, catalognumber, 'RECEIVER' as basisofrecord from platform.rcvr_locations r where submission_key = %s
           and rcv_serial_no is not null and not exists (select 1 from obis.moorings m where m.collectioncode = r.collectioncode
               and m.basisofrecord = 'RECEIVER' and m.catalognumber = r.catalognumber) order by 1""",
        evidence.submission.submission_key,
    )
    fixes = applying.in_force(evidence.connection, evidence.code) if rows else []
    named = [(row, right["catalognumber"]) for row in rows if (right := corrected("moorings", row, fixes))]
    there = evidence.rows(
        "select catalognumber from obis.moorings where collectioncode = %s and basisofrecord = 'RECEIVER' and catalognumber = any(%s)",
        evidence.code,
        [name for _, name in named],
    )
    known = {row["catalognumber"] for row in there}
    return [{"row_number": row["row_number"], "catalognumber": name} for row, name in named if name not in known]


@check(
    "R13",
    LIVE,
    "What a corrected sheet changed",
    "Changes were applied; look that each was meant.",
    warns=True,
)
def changed_cells(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select table_name, row_key, column_name, old_value, new_value from platform.row_changes where submission_key = %s"
        " order by 1, 2, 3",
        evidence.submission.submission_key,
    )


@check(
    "R14",
    LIVE,
    "Rows of moorings are whole",
    "Add the model to instrument_models, or correct the row.",
    warns=True,
)
def moorings_whole(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select catalognumber, instrumentmodel, instrumenttype, latitude, longitude from obis.moorings where collectioncode = %s
           and basisofrecord = 'RECEIVER' and (instrumenttype is null or the_geom is null or collectornumber is null) order by 1""",
        evidence.code,
    )


@check(
    "R15",
    LIVE,
    "No receiver is in two projects at one time",
    "Ask both projects; detections go to the newer deployment.",
    warns=True,
)
def across_nodes(evidence: Evidence) -> Rows:
    return evidence.rows(OVERLAP + " and b.collectioncode <> a.collectioncode order by 1, 3", evidence.code)
