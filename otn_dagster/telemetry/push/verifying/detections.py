"""Checks of detections and events over all projects: D12, D17 to D20, D24, D25, E5 to E8. Source: node manager training, detections-3 to
detections-5, events-1 to events-4, and verification.

D17 to D20 share one pass over the tables (``promoted.py``).
"""

from otn_dagster.telemetry.checks.registry import NotEvaluated, Rows, check
from otn_dagster.telemetry.push.verifying.evidence import VERIFIED, Evidence

PROMOTE = "Load the deployments of these receivers again: their detections are promoted anew."


@check(
    "D12",
    VERIFIED,
    "No detection is loaded twice",
    "Load the later file again: a repeated row is loaded once.",
    warns=True,
)
def loaded_twice(evidence: Evidence) -> Rows:
    return evidence.shared.twice.to_dicts()


@check("D17", VERIFIED, "Sensor rows are all promoted", PROMOTE, warns=True)
def sensors_promoted(evidence: Evidence) -> Rows:
    return evidence.promoted.outside("sensors")


@check("D18", VERIFIED, "What a deployment heard is promoted, and nothing else", PROMOTE, warns=True)
def counts_agree(evidence: Evidence) -> Rows:
    return evidence.promoted.outside("rows")


@check("D19", VERIFIED, "Dates of detections and their parts agree", PROMOTE, warns=True)
def date_parts(evidence: Evidence) -> Rows:
    return evidence.promoted.of_year("other_dates")


@check(
    "D20", VERIFIED, "Every promoted detection has its position", "Correct the deployment's coordinates.", warns=True
)
def positions_present(evidence: Evidence) -> Rows:
    return evidence.promoted.of_year("no_position")


@check(
    "D24",
    VERIFIED,
    "Another person looked at what the node wants looked at twice",
    "Sign it off on its page, or hold it.",
    warns=True,
)
def second_look(evidence: Evidence) -> Rows:
    if evidence.looked_at is None:
        raise NotEvaluated("no node asks for a second look (`second_look` in config/tracker.yaml)")
    rows = evidence.snapshot.pushed().sort("submission_no").select("collectioncode", "submission_key").iter_rows()
    return [
        {"project": code, "submission": key}
        for code, key in rows
        if key in evidence.looked_at and not evidence.looked_at[key]
    ]


@check("D25", VERIFIED, "No detection was sent by two projects", "Ask both; it is counted once.", warns=True)
def double_reporting(evidence: Evidence) -> Rows:
    return evidence.shared.detections.to_dicts()


@check("E5", VERIFIED, "Every event is in the table", "Load the file again.", warns=True)
def events_loaded(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select collectioncode as project, submission_key, raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions
           where kind = 'events' and state = 'loaded' and raw_rows <> loaded_rows + duplicate_rows + refused_rows order by 1, 2"""
    )


@check(
    "E6",
    VERIFIED,
    "Models of receivers are known",
    "Add the model to instrument_models, or correct the receiver's name.",
    warns=True,
)
def event_models(evidence: Evidence) -> Rows:
    return evidence.rows(
        """with named as (select distinct submission_key, receiver from platform.events)
           select s.collectioncode as project, receiver from named join platform.submissions s using (submission_key)
           where s.state = 'loaded' and not exists (select 1 from obis.instrument_models m
               where upper(receiver) ~ ('^' || m.model || '-([A-Z0-9]+-)*[0-9]+$')) order by 1, 2"""
    )


@check("E7", VERIFIED, "Serials of receivers are numeric", "Correct the receiver's name in VUE.", warns=True)
def event_serials(evidence: Evidence) -> Rows:
    return evidence.rows(
        """with named as (select distinct submission_key, receiver from platform.events)
           select s.collectioncode as project, receiver from named join platform.submissions s using (submission_key)
           where s.state = 'loaded' and receiver !~ '-[0-9]{1,10}$' order by 1, 2"""
    )


@check(
    "E8",
    VERIFIED,
    "Every upload belongs to a deployment",
    "Send the deployment metadata of these receivers.",
    warns=True,
)
def uploads(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select s.collectioncode as project, e.receiver, e.datetime, e.data from platform.events e
           join platform.submissions s using (submission_key) join platform.receiver_keys k using (receiver_key)
           where s.state = 'loaded' and e.description = 'Data Upload' and not exists (select 1 from obis.moorings m
               where m.basisofrecord = 'RECEIVER' and m.collectornumber = k.rcv_serial_no and m.startdatetime <= e.datetime)
           order by 1, 2, 3"""
    )
