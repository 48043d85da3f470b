"""The push calendar: reminders, the start at the cut-off, and each step after the one before.

No logic lives here: dates are in ``otn_dagster.calendar``, steps in ``assets/push.py``.
"""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from otn_dagster import calendar
from otn_dagster.config import load_settings
from otn_dagster.partitions import push_dates, push_projects

AUTOMATIC = {"otn/push": "automatic"}  # only runs with this tag start the next step by themselves
STEPS = {
    "push_1_freeze": ["push_snapshot"],
    "push_2_verify": ["verified_schema"],
    "push_3_match": ["matches", "detection_extracts_list"],
    "push_4_extract": ["detection_extracts"],
    "push_5_certify": ["push_certificate", "discovery", "erddap", "geoserver"],
    "push_6_report": ["push_report"],
    "push_7_unlock": ["loading_unlocked"],
    "push_8_notify": ["notifications"],
}
PER_PROJECT = {"push_2_verify", "push_4_extract", "push_6_report"}


def _job(name: str, assets: list[str]):
    selection = dg.AssetSelection.assets(*assets)
    partitions = push_projects if name in PER_PROJECT else push_dates
    return dg.define_asset_job(
        name,
        selection=selection | dg.AssetSelection.checks_for_assets(*assets),
        partitions_def=partitions,
        description=f"Step {name[5]} of a push: {', '.join(assets)}.",
    )


jobs = [_job(name, assets) for name, assets in STEPS.items()]


def partition_tags(step: str, push_date: str, projects: list[str]) -> dict[str, str]:
    """Tags that make one run of a step cover the push date, and all projects where the step is per project."""
    if step not in PER_PROJECT:
        return {"dagster/partition": push_date}
    first, last = (
        dg.MultiPartitionKey({"push": push_date, "project": project}) for project in (projects[0], projects[-1])
    )
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}


def _request(
    context: dg.RunStatusSensorContext | dg.ScheduleEvaluationContext,
    step: str,
    push_date: str,
    run_key: str,
) -> dg.RunRequest:
    projects = list(context.instance.get_dynamic_partitions("projects"))
    tags = {**partition_tags(step, push_date, projects), **AUTOMATIC, "otn/push_date": push_date}
    return dg.RunRequest(run_key=run_key, job_name=step, tags=tags)


def _last_zone() -> str:
    """The time zone in which a push date ends last: when all nodes have passed the cut-off."""
    settings = load_settings()
    return max(settings.nodes, key=lambda node: calendar.cutoff("2026-01-01", node.time_zone)).time_zone


def _crons(days_before: int) -> list[str]:
    """One cron line a push ahead; a cron has no year, so the schedules look at the calendar again when they tick."""
    today = dt.datetime.now(dt.UTC).date()
    ahead = [date for date in calendar.push_dates(load_settings().pushes, today) if date >= today.isoformat()]
    days = [dt.date.fromisoformat(date) - dt.timedelta(days=days_before) for date in ahead]
    return [f"5 0 {day.day} {day.month} *" for day in days]


@dg.schedule(
    job_name="push_1_freeze",
    cron_schedule=_crons(-1),
    execution_timezone=_last_zone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts the push when the last node's cut-off has passed: the whole push follows, step by step.",
)
def push_at_cutoff(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """The push date is the day that just ended."""
    ended = (
        (context.scheduled_execution_time.astimezone(ZoneInfo(_last_zone())) - dt.timedelta(days=1)).date().isoformat()
    )
    if ended not in calendar.push_dates(load_settings().pushes, dt.date.fromisoformat(ended)):
        return dg.SkipReason(f"{ended} is no push date")
    return _request(context, "push_1_freeze", ended, f"push {ended}")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=jobs,
    request_jobs=jobs,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next step of a push that runs by itself. A failed step stops it; re-execute the step to go on.",
)
def next_push_step(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """The step after the one that succeeded."""
    run = context.dagster_run
    if run.tags.get("otn/push") != "automatic":
        return dg.SkipReason("started by a person")
    steps = list(STEPS)
    following = steps[steps.index(run.job_name) + 1 : steps.index(run.job_name) + 2]
    if not following:
        return dg.SkipReason("that was the last step")
    push_date = run.tags["otn/push_date"]
    return _request(context, following[0], push_date, f"push {push_date} {following[0]} after {run.run_id}")


@dg.schedule(
    target=dg.AssetSelection.assets("push_reminder"),
    cron_schedule=[cron for days in calendar.REMINDER_DAYS for cron in _crons(days)],
    execution_timezone=_last_zone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reminders 20 and 7 days before a push: what still waits, so that a person can act in time.",
)
def push_reminder(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Due where a push is just so many days ahead."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(_last_zone())).date()
    for days in calendar.REMINDER_DAYS:
        date = (today + dt.timedelta(days=days)).isoformat()
        if date in calendar.push_dates(load_settings().pushes, today):
            return dg.RunRequest(run_key=f"{date} {days} days", partition_key=date)
    return dg.SkipReason("no push is just 20 or 7 days ahead")
