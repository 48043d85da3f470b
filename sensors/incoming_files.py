"""A file in ``incoming/<node>/<collection>/<kind>/`` starts its loading chain.

No logic lives here: what is received and what is ready is decided in ``otn_dagster.tracker.receipt``.
"""

import datetime as dt
import json

import dagster as dg

from otn_dagster.orchestration import jobs, partitions
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry import intake, kinds
from otn_dagster.telemetry.intake import Intake
from otn_dagster.tracker.receipt import receipt
from sensors.attempts import OCCASION, Attempts, under_way

MOST_RUNS_A_TICK, MOST_LOOKED_AT = 50, 500


@dg.sensor(
    jobs=jobs.LOADING,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Receives files and loads them.",
)
def incoming_files(context: dg.SensorEvaluationContext, database: NodeDatabase) -> dg.SensorResult | dg.SkipReason:
    """Receive files that lie still; start every submission whose time has come."""
    found = receipt.look(database.settings, database.config.tracker.quarantine, json.loads(context.cursor or "{}"))
    with database.connect() as connection:
        ready = receipt.ready(connection)[:MOST_LOOKED_AT]
    for problem in found.problems:
        context.log.warning(problem)
    running = under_way(context.instance, [submission.submission_key for submission, _ in ready])
    attempts, now = Attempts(context.instance, [occasion for _, occasion in ready]), dt.datetime.now(dt.UTC)
    with database.connect() as connection:
        for submission, occasion in ready:
            if attempts.exhausted(occasion):
                intake.note_given_up(connection, submission, kinds.ASSETS[submission.kind][0])
    starts = [
        (s, occasion, key)
        for s, occasion in ready
        if s.submission_key not in running and (key := attempts.run_key(occasion, now))
    ][:MOST_RUNS_A_TICK]
    requests = [
        dg.RunRequest(
            run_key=run_key,
            job_name=f"load_{submission.kind}",
            partition_key=submission.submission_key,
            tags={
                "otn/collection": submission.collectioncode,
                "otn/node": submission.node,
                OCCASION: occasion,
            },
        )
        for submission, occasion, run_key in starts
    ]
    keys: dict[str, list[str]] = {}
    for submission, _, _ in starts:
        keys.setdefault(submission.kind, []).append(submission.submission_key)
    return dg.SensorResult(
        run_requests=requests,
        cursor=json.dumps(found.sizes),
        dynamic_partitions_requests=[
            partitions.submissions[kind].build_add_request(names) for kind, names in keys.items()
        ],
        skip_reason=dg.SkipReason(_why_nothing(found)) if not requests else None,
    )


def _why_nothing(found: Intake) -> str:
    if found.still_arriving:
        return f"still being copied: {', '.join(found.still_arriving[:5])}"
    return "; ".join(found.problems[:5]) or "nothing new in incoming/"
