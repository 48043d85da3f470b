"""Every job that is not a step of a push: loading by kind, streams, live datasets, the tracker.

Belongs here: which assets run together. Does not belong here: when (``sensors/``), the steps of a push (``pushing.py``).
"""

import dagster as dg

from otn_dagster.orchestration.pushing import COMPLETE, PUSH
from otn_dagster.telemetry import kinds


def _with_checks(*assets: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*assets) | dg.AssetSelection.checks_for_assets(*assets)


def _load(kind: str):
    return dg.define_asset_job(
        f"load_{kind}",
        _with_checks(*kinds.ASSETS[kind]),
        description=f"Loads one submission of kind {kind}.",
    )


LOADING = [_load(kind) for kind in kinds.ASSETS]
PUSHING = [step.job for step in PUSH]
complete_push = COMPLETE.job

ask_stream = dg.define_asset_job(
    "ask_stream",
    dg.AssetSelection.assets("stream_request"),
    description="Asks the source of one stream for its data.",
)
ingest_stream = dg.define_asset_job(
    "ingest_stream",
    dg.AssetSelection.assets("stream_store", "stream_zarr", "stream_qc")
    | dg.AssetSelection.checks_for_assets("stream_store"),
    description="Ingests what is complete of one stream, publishes and flags it.",
)
find_gaps = dg.define_asset_job(
    "find_gaps",
    dg.AssetSelection.assets("stream_gaps"),
    description="Compares one stream with its source.",
)
look_for_news = dg.define_asset_job(
    "look_for_news", dg.AssetSelection.assets("stream_news"), description="Asks every source for what is new."
)
describe_streams = dg.define_asset_job(
    "describe_streams",
    dg.AssetSelection.assets("annotations", "stream_metadata", "stream_catalog"),
    description="Annotations, metadata and catalog of all streams.",
)
collect_old_versions = dg.define_asset_job(
    "collect_old_versions",
    dg.AssetSelection.assets("stream_retention"),
    description="Removes old versions of streams.",
)
join_ocean = dg.define_asset_job(
    "join_ocean",
    dg.AssetSelection.assets("detections_with_ocean"),
    description="Joins a push's detections with streams.",
)
STREAMS = [join_ocean, ask_stream, ingest_stream, find_gaps, look_for_news, describe_streams, collect_old_versions]

apply_live = dg.define_asset_job(
    "apply_live",
    dg.AssetSelection.assets("live_dataset").without_checks(),
    description="Applies what was pushed to one live dataset.",
)
submit_live_detections = dg.define_asset_job(
    "submit_live_detections",
    dg.AssetSelection.assets("live_submissions"),
    description="Writes the receiver-days of one dataset of detections into incoming/.",
)
LIVE = [apply_live, submit_live_detections]

send_mails = dg.define_asset_job(
    "send_mails", dg.AssetSelection.assets("outbox_mails"), description="Sends the mails that are due."
)
show_board = dg.define_asset_job(
    "show_board",
    _with_checks("dataset_status"),
    description="Makes the tracker's board, and compares each dataset's recorded state with its files and tables.",
)
TRACKER = [send_mails, complete_push, show_board]

ALL = [*LOADING, *PUSHING, *STREAMS, *LIVE, *TRACKER]
