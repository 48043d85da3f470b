"""Live datasets: applied when something was pushed, fetched on their schedules, watched for silence.

No logic lives here: what is due is decided in ``otn_dagster.live.news``, what changed in ``remote``, what is silent in ``silence``.
"""

import time

import dagster as dg

from otn_dagster.live import news, remote, silence
from otn_dagster.live.configuration import Dataset
from otn_dagster.node import NodeConfig
from otn_dagster.orchestration import jobs, partitions
from otn_dagster.orchestration.checks import evaluation
from otn_dagster.orchestration.resources import Live
from sensors.pace import LOOK_SECONDS
from sensors.under_way import is_running


@dg.sensor(
    job=jobs.apply_live,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for each dataset whose log is ahead of its table, or for which a fetched file waits; never two at once.",
)
def live_pushes(context: dg.SensorEvaluationContext, live: Live) -> dg.SensorResult:
    """One run brings a dataset up to the newest push, however many there are."""
    found = live.datasets
    for problem in found.problems.values():
        context.log.warning(problem)
    with live.connect() as connection:
        wanted = news.due(connection, found.datasets)
    running = [name for name in wanted if _is_running(context, name)]
    starts, remembered = news.starts(wanted, news.read_cursor(context.cursor), running, time.time())
    missing = sorted(set(found.datasets) - set(context.instance.get_dynamic_partitions("live_datasets")))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=s.run_key, partition_key=s.dataset, tags={"otn/live_dataset": s.dataset})
            for s in starts
        ],
        cursor=news.write_cursor(remembered),
        dynamic_partitions_requests=[partitions.live_datasets.build_add_request(missing)] if missing else [],
        skip_reason=None if starts else dg.SkipReason(_why(wanted, running)),
    )


def _why(wanted: news.Due, running: list[str]) -> str:
    if running:
        return f"a run is on its way for {', '.join(running)}; it reads up to the newest push"
    return f"waits before the next try: {', '.join(wanted)}" if wanted else "nothing new was pushed"


def _is_running(context: dg.SensorEvaluationContext, name: str) -> bool:
    return is_running(context.instance, dg.RunsFilter(tags={"otn/live_dataset": name}))


@dg.sensor(
    target=dg.AssetSelection.assets("live_dataset"),
    minimum_interval_seconds=max(60, LOOK_SECONDS),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells once when a dataset, author or station falls silent or everything is refused, and once when that is over.",
)
def live_silence(context: dg.SensorEvaluationContext, live: Live) -> dg.SkipReason:
    """Alerts are rows of the node database; the asset's checks show how things stand."""
    findings, notices = live.watch()
    for notice in notices:
        context.log.warning(f"{notice.kind} {notice.event}: {notice.text}")
    if notices or (findings and not context.cursor):
        for outcome in silence.outcomes(findings):
            context.instance.report_runless_asset_event(evaluation(outcome, "live_dataset"))
        context.update_cursor("reported")
    return dg.SkipReason("; ".join(notice.text for notice in notices) or "nothing began, nothing ended")


def _fetch_schedule(dataset: Dataset) -> dg.ScheduleDefinition:
    assert dataset.source is not None

    @dg.schedule(
        name=f"fetch_{dataset.name.replace('-', '__')}",
        job=jobs.apply_live,
        cron_schedule=dataset.source.schedules,
        execution_timezone=dataset.source.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks at the remote source of {dataset.name}; what changed is taken by the sensor live_pushes.",
    )
    def fetch(context: dg.ScheduleEvaluationContext, live: Live) -> dg.SkipReason:
        found = remote.look(live.settings, live.dataset(dataset.name))
        if found.outcome == "unchanged":
            facts = {
                "why": found.what,
                "etag": found.etag,
                "last modified": found.last_modified,
                "sha256": found.sha256,
            }
            observed = dg.AssetObservation(
                asset_key="live_dataset",
                partition=dataset.name,
                metadata={name: value for name, value in facts.items() if value},
            )
            context.instance.report_runless_asset_event(observed)
        if found.outcome == "failed":
            context.log.warning(found.what)
        return dg.SkipReason(f"{found.outcome}: {found.what}")

    return fetch


def _fetch_schedules() -> list[dg.ScheduleDefinition]:
    """One schedule for each dataset with a source; one that Dagster refuses does not stop the others, and is logged."""
    made: dict[str, dg.ScheduleDefinition] = {}
    for dataset in NodeConfig().live.datasets.values():
        try:
            if dataset.source:
                schedule = _fetch_schedule(dataset)
                if made.setdefault(schedule.name, schedule) is not schedule:
                    raise dg.DagsterInvalidDefinitionError(f"another dataset's schedule is named {schedule.name}, too")
        except dg.DagsterInvalidDefinitionError as error:
            dg.get_dagster_logger().error(f"config/live/{dataset.name}.yaml: schedules: {error}")
    return list(made.values())


@dg.schedule(
    job=jobs.submit_live_detections,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: the day's detections of receivers with a modem become submissions.",
)
def live_detections_nightly(context: dg.ScheduleEvaluationContext, live: Live) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each dataset of detections."""
    names = [name for name, dataset in live.datasets.datasets.items() if dataset.kind == "detections"]
    known = set(context.instance.get_dynamic_partitions("live_datasets"))
    return [dg.RunRequest(partition_key=name) for name in names if name in known] or dg.SkipReason(
        "no dataset of detections"
    )


schedules = [live_detections_nightly, *_fetch_schedules()]
