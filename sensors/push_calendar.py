"""The push calendar: reminders, the start at the cut-off, and each step after the one before.

No logic lives here: dates are in ``otn_dagster.calendar``, steps in ``assets/push.py``.
"""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from otn_dagster import calendar
from otn_dagster.config import Settings
from otn_dagster.node import NodeConfig
from otn_dagster.orchestration import jobs
from otn_dagster.orchestration.pushing import PUSH, PushStep, following, step_of
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.tracker import mending
from sensors.pace import LOOK_SECONDS

AUTOMATIC = {"otn/push": "automatic"}  # only runs with this tag start the next step by themselves


def _request(step: PushStep, push_date: str, run_key: str) -> dg.RunRequest:
    tags = {**AUTOMATIC, "otn/push_date": push_date}
    return dg.RunRequest(run_key=run_key, job_name=step.job_name, partition_key=push_date, tags=tags)


# Schedules are made when the definitions are: a changed calendar is taken up when they are loaded again.
CONFIGURED = NodeConfig().settings


def last_zone(settings: Settings) -> str:
    """The time zone in which a push date ends last: when all nodes have passed the cut-off."""
    return max(settings.nodes, key=lambda node: calendar.cutoff("2026-01-01", node.time_zone)).time_zone


def _crons(days_before: int) -> list[str]:
    """One cron line a push ahead; a cron has no year, so the schedules look at the calendar again when they tick."""
    today = dt.datetime.now(dt.UTC).date()
    ahead = [date for date in calendar.push_dates(CONFIGURED.pushes, today) if date >= today.isoformat()]
    days = [dt.date.fromisoformat(date) - dt.timedelta(days=days_before) for date in ahead]
    return [f"5 0 {day.day} {day.month} *" for day in days]


@dg.schedule(
    job_name=PUSH[0].job_name,
    cron_schedule=_crons(-1),
    execution_timezone=last_zone(CONFIGURED),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts the push when the last node's cut-off has passed: the whole push follows, step by step.",
)
def push_at_cutoff(context: dg.ScheduleEvaluationContext, database: NodeDatabase) -> dg.RunRequest | dg.SkipReason:
    """The push date is the day that just ended."""
    at = context.scheduled_execution_time.astimezone(ZoneInfo(last_zone(database.settings)))
    ended = (at - dt.timedelta(days=1)).date().isoformat()
    if ended not in calendar.push_dates(database.settings.pushes, dt.date.fromisoformat(ended)):
        return dg.SkipReason(f"{ended} is not a push date")
    return _request(PUSH[0], ended, f"push {ended}")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=jobs.PUSHING,
    request_jobs=jobs.PUSHING,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next step of a push that runs by itself. A failed step stops it; re-execute the step to go on.",
)
def next_push_step(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """The step after the one that succeeded."""
    run = context.dagster_run
    if run.tags.get("otn/push") != "automatic":
        return dg.SkipReason("started by a person")
    after = following(step_of(run.job_name))
    if after is None:
        return dg.SkipReason("that was the last step")
    push_date = run.tags["otn/push_date"]
    return _request(after, push_date, f"push {push_date} {after.job_name} after {run.run_id}")


@dg.sensor(
    job=jobs.PUSHING[0],
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the snapshot of a push again where an analyst asked for its next revision; the other steps follow.",
)
def asked_revisions(context: dg.SensorEvaluationContext, database: NodeDatabase) -> list[dg.RunRequest] | dg.SkipReason:
    """One run for each revision; a run that failed is re-executed by a person."""
    with database.connect() as connection:
        asked = mending.not_made(connection, database.settings)
    found = [_request(PUSH[0], date, f"push {date} revision {number}") for date, number in asked]
    return found or dg.SkipReason("no snapshot is to be made again")


@dg.schedule(
    target=dg.AssetSelection.assets("push_reminder"),
    cron_schedule=[cron for days in calendar.REMINDER_DAYS for cron in _crons(days)],
    execution_timezone=last_zone(CONFIGURED),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reminders 20 and 7 days before a push: what still waits, so that a person can act in time.",
)
def push_reminder(context: dg.ScheduleEvaluationContext, database: NodeDatabase) -> dg.RunRequest | dg.SkipReason:
    """Due where a push is just so many days ahead."""
    today = context.scheduled_execution_time.astimezone(ZoneInfo(last_zone(database.settings))).date()
    for days in calendar.REMINDER_DAYS:
        date = (today + dt.timedelta(days=days)).isoformat()
        if date in calendar.push_dates(database.settings.pushes, today):
            return dg.RunRequest(run_key=f"{date} {days} days", partition_key=date)
    return dg.SkipReason("no push is just 20 or 7 days ahead")
