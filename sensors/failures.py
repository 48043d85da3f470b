"""A failed run is told once.

No logic lives here: the notice says what Dagster knows of the run.
"""

import dagster as dg


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs one notice for every failed run that will not be retried.",
)
def failed_run(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """One notice, once: the sensor's cursor remembers."""
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("it will be retried")
    context.log.error(
        f"{run.job_name} failed for {run.tags.get('dagster/partition', 'all')}: {context.failure_event.message}"
    )
    return None
