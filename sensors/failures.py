"""A failed run, or a blocking check that failed, is told once for each cause and day.

No logic lives here: who is told what is decided in ``otn_dagster.tracker.mail.notices``.
"""

import datetime as dt

import dagster as dg

from otn_dagster.orchestration.loading import CAUSES
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.tracker.mail import notices
from sensors.pace import LOOK_SECONDS
from sensors.under_way import FIRST, LAST

LONGEST_TEXT = 2_000


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=LOOK_SECONDS,
    description="Puts one notice into the outbox for every cause and day, unless the run will be retried.",
)
def failed_run(context: dg.RunFailureSensorContext, database: NodeDatabase) -> dg.SkipReason | None:
    """Each cause (the step and the kind of its error) by itself; a blocking check that failed is named in the text."""
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("it will be retried")
    first, last = run.tags.get(FIRST), run.tags.get(LAST)
    partition = run.tags.get("dagster/partition") or (f"{first} to {last}" if first else "all")
    with database.connect() as connection:
        for cause, text in _causes(context, partition).items():
            context.log.error(f"{run.job_name} failed: {cause}: {text}")
            notices.failure(
                connection,
                database.config.tracker,
                run.job_name,
                cause,
                text[:LONGEST_TEXT],
                run.run_id,
                dt.datetime.now(dt.UTC).date(),
            )
    return None


def _causes(context: dg.RunFailureSensorContext, partition: str) -> dict[str, str]:
    """What is told, by cause: a run of loading names its own; else the step and the kind of its error."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        failure = data.user_failure_data
        if failure and CAUSES in failure.metadata:
            return failure.metadata[CAUSES].value  # type: ignore[return-value]
        error = data.error and (data.error.cause or data.error)  # Dagster wraps what was raised
        kind = (error.cls_name if error else None) or "failure"
        described = failure.description if failure else None
        return {f"{event.step_key}: {kind}": f"{partition}\n\n{described or (error.message if error else '')}"}
    return {"the run was lost": f"{partition}\n\n{context.failure_event.message or ''}"}
