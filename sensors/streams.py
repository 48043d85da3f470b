"""Streams are asked for daily, and ingested when their source's answer is complete.

No logic lives here: what is new is decided in ``otn_dagster.streams.news``, what is complete in ``harvest``.
"""

import dagster as dg

from otn_dagster import attempts
from otn_dagster.orchestration import jobs, partitions
from otn_dagster.orchestration.resources import Streams
from otn_dagster.streams import looking
from otn_dagster.streams.configuration import StreamSettings, run_tags
from otn_dagster.streams.requests import Request
from sensors.pace import LOOK_SECONDS
from sensors.under_way import is_running

SECONDS_A_TICK = 40  # a sensor's evaluation may take sixty


@dg.sensor(
    job=jobs.ingest_stream,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at every request whose time has come; starts the ingestion of those that are complete.",
)
def stream_answers(context: dg.SensorEvaluationContext, streams: Streams) -> dg.SensorResult:
    """No worker waits for a source: this looks, with growing pauses."""
    harvester = streams.harvester()
    ready, problems = looking.look_at_all(harvester, SECONDS_A_TICK)
    for key, problem in problems.items():
        context.log.warning(f"{key}: {problem}")
    enabled = [key for key, stream in sorted(harvester.streams.streams.items()) if stream.enabled]
    known = set(context.instance.get_dynamic_partitions("streams"))
    missing = sorted(({*enabled, *(request.stream for request in ready)}) - known)
    free = {request.stream: request for request in ready if not _is_running(context, request)}
    with harvester.connect() as connection:
        started = attempts.start(connection, {_occasion(request): stream for stream, request in free.items()})
    runs = [_run(harvester.streams, free[stream], key) for stream, key in started.items()]
    return dg.SensorResult(
        run_requests=runs,
        dynamic_partitions_requests=[partitions.streams.build_add_request(missing)] if missing else [],
        skip_reason=None
        if runs
        else dg.SkipReason("; ".join(problems.values()) or "nothing that was asked for is complete"),
    )


def _occasion(request: Request) -> str:
    """Another one as soon as the request got on, an attempt was counted, or a person accepted what held it."""
    return f"request {request.request_no} {request.state} due {request.next_ingest_at:%Y%m%dT%H%M%S%f}"


def _run(configured: StreamSettings, request: Request, key: str) -> dg.RunRequest:
    tags = {
        **run_tags(configured, request.stream, request.mode == "refresh"),
        "otn/request": str(request.request_no),
    }
    return dg.RunRequest(run_key=key, partition_key=request.stream, tags=tags)


def _is_running(context: dg.SensorEvaluationContext, request: Request) -> bool:
    return is_running(context.instance, dg.RunsFilter(tags={"otn/request": str(request.request_no)}))


@dg.schedule(
    job=jobs.look_for_news,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day: which streams have something new.",
)
def streams_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run for all streams."""
    return dg.RunRequest()


@dg.schedule(
    job=jobs.find_gaps,
    cron_schedule="0 9 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day: what is missing, by stream.",
)
def gaps_daily(context: dg.ScheduleEvaluationContext, streams: Streams) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each stream that has data."""
    known = context.instance.get_dynamic_partitions("streams")
    with_data = [key for key in known if streams.store(key).exists()]
    return [
        dg.RunRequest(partition_key=key, tags=run_tags(streams.config.streams, key)) for key in with_data
    ] or dg.SkipReason("no stream has data")


streams_described_daily = dg.ScheduleDefinition(
    name="streams_described_daily",
    job=jobs.describe_streams,
    cron_schedule="0 11 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day: annotations, metadata, catalog.",
)
old_versions_weekly = dg.ScheduleDefinition(
    name="old_versions_weekly",
    job=jobs.collect_old_versions,
    cron_schedule="0 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a week: versions that nobody needs any more.",
)
