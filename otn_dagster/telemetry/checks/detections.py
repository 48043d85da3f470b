"""Checks of detections: D1 to D25. Source: node manager training, detections-1 to detections-5 and verification."""

from pathlib import Path

import polars as pl

from otn_dagster.telemetry import cutoffs, missing_metadata
from otn_dagster.telemetry.checks.registry import Evidence, NotEvaluated, Rows, check
from otn_dagster.telemetry.files import impossible
from otn_dagster.telemetry.files.refusals import Why

RAW, CACHE, DRIFT, LIVE = "raw_detections", "detections", "time_drift_factors", "otn_detections"
HR_ROWS = 1_000_000
MINE = "from {mine} d where submission_no = %s and withdrawn_at is null"


def _parquet(evidence: Evidence) -> Path:
    return evidence.submission.parquet(evidence.settings)


def _raw(evidence: Evidence) -> pl.LazyFrame:
    return pl.scan_parquet(_parquet(evidence))


@check("D1", RAW, "The export is a VUE export, every row readable", "Send the manufacturer's export unedited.")
def file_format(evidence: Evidence) -> Rows:
    return evidence.refused_because(*Why)


@check(
    "D2",
    RAW,
    "No time is before 1980 or in the future",
    "The clock was not set: correct it in the manufacturer's software.",
    stops=True,
)
def impossible_times(evidence: Evidence) -> Rows:
    _, bad = impossible.impossible_times(_parquet(evidence), cutoffs.now(evidence.connection).replace(tzinfo=None))
    return bad.select("row_number", "datetime", "receiver", "transmitter").head(1000).to_dicts()


@check(
    "D3",
    RAW,
    "High-residence receivers do not flood the node",
    "Filter HR data before loading, as agreed with the data centre.",
    warns=True,
)
def high_residence_volume(evidence: Evidence) -> Rows:
    counts = _raw(evidence).group_by("receiver").len("detections").collect()
    return counts.filter(pl.col("receiver").str.starts_with("HR"), pl.col("detections") > HR_ROWS).to_dicts()


@check("D4", RAW, "No row repeats within the file", "Nothing to do: a repeated row is loaded once.", warns=True)
def repeated_rows(evidence: Evidence) -> Rows:
    same = ["datetime", "receiver", "transmitter", "sensor_value"]
    return (
        _raw(evidence)
        .group_by(same)
        .agg(copies=pl.len(), rows=pl.col("row_number").head(5))
        .filter(pl.col("copies") > 1)
        .head(1000)
        .collect()
        .to_dicts()
    )


@check("D5", RAW, "Receivers have numeric serials", "Correct the receiver's name in VUE.", warns=True)
def serial_format(evidence: Evidence) -> Rows:
    receivers = _raw(evidence).group_by("receiver").len("detections").collect()
    return receivers.filter(~pl.col("receiver").str.contains(r"-\d{1,7}$")).to_dicts()


@check(
    "D6",
    RAW,
    "Receiver models are known",
    "Add the model to instrument_models, or correct the receiver's name.",
    warns=True,
)
def model_format(evidence: Evidence) -> Rows:
    models = {
        row["model"]
        for row in evidence.rows("select model from obis.instrument_models where usage in ('rcvr', 'trncvr')")
    }
    receivers = (
        _raw(evidence)
        .group_by("receiver")
        .len("detections")
        .with_columns(model=pl.col("receiver").str.replace(r"-\d+$", "").str.to_uppercase())
        .collect()
    )
    return [
        r for r in receivers.to_dicts() if not any(r["model"] == m or r["model"].startswith(f"{m}-") for m in models)
    ]


@check(
    "D7",
    CACHE,
    "Rows were not loaded before",
    "Nothing to do: rows that are loaded already are not loaded twice.",
    warns=True,
)
def loaded_before(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select duplicate_rows as already_loaded, loaded_rows as new, raw_rows from platform.submissions"
        " where submission_key = %s and duplicate_rows > 0",
        evidence.submission.submission_key,
    )


@check("D8", CACHE, "Every year with rows has its table", "Load the file again.")
def year_tables(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select distinct extract(year from datetime)::int as year " + MINE + " and not exists (select 1 from pg_tables"
        " where schemaname = %s and tablename = 'detections_' || extract(year from datetime)::int)",
        evidence.submission.submission_no,
        evidence.schema,
    )


@check("D9", CACHE, "Every row of the file is loaded, repeated or refused", "Load the file again.", stops=True)
def all_rows_accounted(evidence: Evidence) -> Rows:
    raw = _raw(evidence).select(pl.len()).collect().item()
    rows = evidence.rows(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions where submission_key = %s",
        evidence.submission.submission_key,
    )
    good = (
        rows[0]["raw_rows"]
        == raw + rows[0]["refused_rows"]
        == sum(rows[0][k] for k in ("loaded_rows", "duplicate_rows", "refused_rows"))
    )
    return [] if good else [{"rows_in_file": raw, **rows[0]}]


@check(
    "D10",
    CACHE,
    "Serials of receivers are known to a deployment",
    "Send the deployment metadata of these receivers.",
    warns=True,
)
def known_serials(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select receiver, count(*) as detections " + MINE + " and not exists (select 1 from obis.moorings m join"
        " platform.receiver_keys k on k.rcv_serial_no = m.collectornumber where k.receiver_key = d.receiver_key) group by 1 order by 2 desc",
        evidence.submission.submission_no,
    )


@check(
    "D11",
    CACHE,
    "Models of receivers agree with their deployments",
    "Correct INS_MODEL_NO of the deployment.",
    warns=True,
)
def models_agree(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select d.receiver, m.instrumentmodel, count(*) as detections from {mine} d
           join platform.receiver_keys k using (receiver_key)
           join obis.moorings m on m.basisofrecord = 'RECEIVER' and m.collectornumber = k.rcv_serial_no
           where submission_no = %s and upper(split_part(m.instrumentmodel, '-', 1)) <> upper(split_part(d.receiver, '-', 1))
           group by 1, 2 order by 3 desc""",
        evidence.submission.submission_no,
    )


@check(
    "D12",
    CACHE,
    "No detection is loaded twice",
    "Report it: the table's key should have refused it.",
    stops=True,
)
def loaded_twice(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select receiver, datetime, transmitter, sensor_value, count(*) as copies "
        + MINE
        + " group by 1, 2, 3, 4 having count(*) > 1 order by 2 limit 1000",
        evidence.submission.submission_no,
    )


@check("D13", CACHE, "Sensor values are raw", "Export raw sensor values (ADC) from VUE.", warns=True)
def raw_sensor_values(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select sensor_unit, count(*) as detections " + MINE + " and sensor_value is not null and sensor_unit <> 'ADC'"
        " group by 1 order by 2 desc",
        evidence.submission.submission_no,
    )


@check(
    "D14",
    DRIFT,
    "Clock drift is plausible",
    "Refused until a person decides: `otn-dagster held`, `otn-dagster decide`.",
)
def plausible_drift(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select receiver, initialized_at, offload_at, offset_end, round((factor * 86400)::numeric, 3) as seconds_per_day
           from platform.time_drift_factors where not accepted and receiver_key in
               (select receiver_key from platform.events where submission_key = %s) order by 1, 2""",
        evidence.submission.submission_key,
    )


@check(
    "D15",
    LIVE,
    "Detections that the clock correction moved to another year",
    "Nothing to do: they stand in the year of the corrected time.",
    warns=True,
)
def moved_year(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select o.catalognumber, o.uncorrected_datecollected, o.datecollected from {otn_detections} o
           join {mine} d using (det_key, receiver_key) where d.submission_no = %s
           and extract(year from o.uncorrected_datecollected) <> o.yearcollected order by 1 limit 1000""",
        evidence.submission.submission_no,
    )


@check(
    "D16",
    DRIFT,
    "Receivers of events are named as receivers of detections",
    "Correct the receiver's name in VUE.",
    warns=True,
)
def event_models(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select distinct e.receiver, d.receiver as in_detections from platform.events e
           join {detections} d using (receiver_key) where e.submission_key = %s and d.receiver <> e.receiver order by 1""",
        evidence.submission.submission_key,
    )


@check("D17", LIVE, "Sensor rows are all promoted", "Load the file again.")
def sensor_counts(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select count(*) filter (where d.sensor_value is not null) as in_detections,
               count(*) filter (where o.sensorraw is not null) as in_otn_detections
           from {mine} d join {otn_detections} o using (det_key, receiver_key) where d.submission_no = %s
           having count(*) filter (where d.sensor_value is not null) <> count(*) filter (where o.sensorraw is not null)""",
        evidence.submission.submission_no,
    )


@check(
    "D18",
    LIVE,
    "detections and otn_detections count the same, but for those without a receiver",
    "Load the file again.",
)
def counts_agree(evidence: Evidence) -> Rows:
    """Counted independently of the assignment: a detection with a deployment around it must be promoted."""
    return evidence.rows(
        """select extract(year from d.datetime)::int as year, count(*) as not_promoted from {mine} d
           join platform.receiver_keys k using (receiver_key)
           where d.submission_no = %s and d.withdrawn_at is null
             and not exists (select 1 from {otn_detections} o where o.det_key = d.det_key and o.receiver_key = d.receiver_key)
             and exists (select 1 from obis.moorings m where m.basisofrecord = 'RECEIVER' and m.collectornumber = k.rcv_serial_no
                 and d.datetime between m.startdatetime + interval '1 day' and coalesce(m.enddatetime, 'infinity') - interval '1 day')
           group by 1 order by 1""",
        evidence.submission.submission_no,
    )


@check("D19", LIVE, "Dates and their parts agree", "Report it.")
def date_parts(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select o.catalognumber, o.datecollected, o.yearcollected, o.julianday from {otn_detections} o
           join {mine} d using (det_key, receiver_key) where d.submission_no = %s
           and (extract(year from datecollected) <> yearcollected or extract(doy from datecollected) <> julianday) limit 1000""",
        evidence.submission.submission_no,
    )


@check("D20", LIVE, "Every promoted detection has its position", "Correct the deployment's coordinates.")
def positions_present(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select o.catalognumber, o.station from {otn_detections} o join {mine} d using (det_key, receiver_key)
           where d.submission_no = %s and o.the_geom is null limit 1000""",
        evidence.submission.submission_no,
    )


@check(
    "D21",
    LIVE,
    "Every detection has a receiver deployment (report 3b)",
    "Send the deployment metadata of these receivers.",
    warns=True,
)
def without_receiver(evidence: Evidence) -> Rows:
    return missing_metadata.report(evidence.connection, evidence.code, evidence.receiver_keys)


@check(
    "D22",
    LIVE,
    "Downloaded receivers have detections",
    "Send the missing export, or confirm that nothing was heard.",
    warns=True,
)
def receivers_without_detections(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select m.catalognumber, m.startdatetime, m.enddatetime from obis.moorings m
           join platform.receiver_keys k on k.rcv_serial_no = m.collectornumber
           where m.collectioncode = %s and k.receiver_key = any(%s)
           and m.basisofrecord = 'RECEIVER' and exists (select 1 from obis.moorings x where x.basisofrecord = 'DOWNLOAD'
               and x.relatedcatalogitem = m.catalognumber and x.collectioncode = m.collectioncode)
           and not exists (select 1 from {otn_detections} o where o.receiver_key = k.receiver_key
               and o.rcvrcatnumber = m.catalognumber and o.collectioncode = m.collectioncode) order by 1""",
        evidence.code,
        evidence.receiver_keys,
    )


@check(
    "D23",
    LIVE,
    "Sentinel and transceiver tags are known as such",
    "Nothing to do: the push puts them into sentinel extracts.",
    warns=True,
)
def sentinel_rows(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select o.fieldnumber as transmitter, count(*) as detections from {otn_detections} o
           join {mine} d using (det_key, receiver_key) where d.submission_no = %s and exists (select 1
               from obis.moorings m where m.fieldnumber = o.fieldnumber and m.relationshiptype = 'STATION') group by 1 order by 2 desc""",
        evidence.submission.submission_no,
    )


@check(
    "D24",
    LIVE,
    "Another person ran every check again",
    "Materialize the checks again and sign off.",
    warns=True,
)
def second_look(evidence: Evidence) -> Rows:
    raise NotEvaluated("people sign after the checks; the verification of the push says who did not")


@check(
    "D25",
    LIVE,
    "No detection is reported by two projects",
    "The same receiver data came from two projects: ask both.",
    warns=True,
)
def double_reporting(evidence: Evidence) -> Rows:
    standing = evidence.rows(
        """select d.receiver, s.submission_key as also_in, count(*) as detections from {mine} d
           join {detections} o on o.receiver_key = d.receiver_key and o.datetime = d.datetime
               and o.transmitter_key = d.transmitter_key and o.submission_no <> d.submission_no and o.withdrawn_at is null
           join platform.submissions s on s.submission_no = o.submission_no and s.collectioncode <> %s
           where d.submission_no = %s group by 1, 2 order by 3 desc""",
        evidence.code,
        evidence.submission.submission_no,
    )
    dropped = evidence.rows(
        """select k.rcv_serial_no as receiver, s.submission_key as also_in, r.row_count as detections from platform.repeated_rows r
           join platform.submissions s on s.submission_no = r.other_submission_no and s.collectioncode <> %s
           join platform.receiver_keys k on k.receiver_key = r.receiver_key where r.submission_key = %s order by 3 desc""",
        evidence.code,
        evidence.submission.submission_key,
    )
    return [*standing, *dropped]
