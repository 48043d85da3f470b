"""A failed run, or a blocking check that failed, is told once for each cause and day.

No logic lives here: who is told what is decided in ``otn_dagster.tracker.mail.notices``.
"""

import datetime as dt

import dagster as dg

from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.tracker.mail import notices

LONGEST_TEXT = 2_000


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Puts one notice into the outbox for every cause and day, unless the run will be retried.",
)
def failed_run(context: dg.RunFailureSensorContext, database: NodeDatabase) -> dg.SkipReason | None:
    """The cause is the step and the kind of its error; a blocking check that failed is named in the text."""
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("it will be retried")
    cause, text = _cause(context)
    partition = run.tags.get("dagster/partition", "all")
    context.log.error(f"{run.job_name} failed for {partition}: {cause}: {text}")
    with database.connect() as connection:
        notices.failure(
            connection,
            database.config.tracker,
            run.job_name,
            cause,
            f"{partition}\n\n{text}",
            run.run_id,
            dt.datetime.now(dt.UTC).date(),
        )
    return None


def _cause(context: dg.RunFailureSensorContext) -> tuple[str, str]:
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        error = data.error and (data.error.cause or data.error)  # Dagster wraps what was raised
        kind = (error.cls_name if error else None) or "failure"
        return f"{event.step_key}: {kind}", (described or (error.message if error else ""))[:LONGEST_TEXT]
    return "the run was lost", (context.failure_event.message or "")[:LONGEST_TEXT]
