"""Checks of receiver events: E1 to E8. Source: node manager training, events-1 to events-4."""

from pathlib import Path

import polars as pl

from otn_dagster.telemetry import cutoffs
from otn_dagster.telemetry.checks.registry import Evidence, Rows, check
from otn_dagster.telemetry.files import impossible
from otn_dagster.telemetry.files.refusals import Why

RAW, CACHE = "raw_events", "events"


def _parquet(evidence: Evidence) -> Path:
    return evidence.submission.parquet(evidence.settings)


def _raw(evidence: Evidence) -> pl.LazyFrame:
    return pl.scan_parquet(_parquet(evidence))


@check("E1", RAW, "The format is VUE 2.6+", "Export the events from VUE 2.6 or later.")
def vue_format(evidence: Evidence) -> Rows:
    known = _raw(evidence).filter(
        pl.col("description").is_in(["Initialization", "Data Upload", "Battery", "Daily Pings", "Map"])
    )
    return [] if known.head(1).collect().height else [{"found": "none of the events that VUE names"}]


@check("E2", RAW, "The mandatory columns are there", "Export the events from VUE unedited.", stops=True)
def mandatory_columns(evidence: Evidence) -> Rows:
    empty = (
        _raw(evidence).select(pl.col("datetime", "receiver", "description").null_count()).collect().row(0, named=True)
    )
    return [{"column": name} for name, rows in empty.items() if rows]


@check(
    "E3",
    RAW,
    "Times are readable and possible",
    "The clock was not set: correct it in the manufacturer's software.",
    stops=True,
)
def date_and_time(evidence: Evidence) -> Rows:
    _, bad = impossible.impossible_times(_parquet(evidence), cutoffs.now(evidence.connection).replace(tzinfo=None))
    return (
        evidence.refused_because(*Why)
        + bad.select("row_number", "datetime", "receiver", "description").head(1000).to_dicts()
    )


@check(
    "E4",
    RAW,
    "There are initializations and data uploads",
    "Without both, clocks cannot be corrected: export the whole log.",
    warns=True,
)
def initializations_and_uploads(evidence: Evidence) -> Rows:
    counts = (
        _raw(evidence)
        .group_by("receiver")
        .agg(
            *[(pl.col("description") == name).sum().alias(name) for name in ("Initialization", "Data Upload", "Reset")]
        )
    )
    return counts.filter((pl.col("Initialization") == 0) | (pl.col("Data Upload") == 0)).collect().to_dicts()


@check("E5", CACHE, "Every event is in the table", "Load the file again.")
def all_loaded(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions where submission_key = %s"
        " and raw_rows <> loaded_rows + duplicate_rows + refused_rows",
        evidence.submission.submission_key,
    )


@check("E6", CACHE, "Receiver models are known", "Add the model to instrument_models.", warns=True)
def model_format(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select distinct receiver from platform.events where submission_key = %s and not exists (select 1 from obis.instrument_models m
           where upper(receiver) ~ ('^' || m.model || '-([A-Z0-9]+-)*[0-9]+$')) order by 1""",
        evidence.submission.submission_key,
    )


@check("E7", CACHE, "Serials are numeric", "Correct the receiver's name in VUE.", warns=True)
def serial_format(evidence: Evidence) -> Rows:
    return evidence.rows(
        "select distinct receiver from platform.events where submission_key = %s and receiver !~ '-[0-9]{1,7}$' order by 1",
        evidence.submission.submission_key,
    )


@check(
    "E8",
    CACHE,
    "Every upload belongs to a deployment",
    "Send the deployment metadata of these receivers.",
    warns=True,
)
def outstanding_downloads(evidence: Evidence) -> Rows:
    return evidence.rows(
        """select e.receiver, e.datetime, e.data from platform.events e join platform.receiver_keys k using (receiver_key)
           where submission_key = %s and description = 'Data Upload' and not exists (select 1 from obis.moorings m
               where m.basisofrecord = 'RECEIVER' and m.collectornumber = k.rcv_serial_no and m.startdatetime <= e.datetime) order by 1, 2""",
        evidence.submission.submission_key,
    )
