"""The tracker follows, mails go out, a push is completed when its mails have ended, the board is made anew.

No logic lives here: what is behind, due or complete is decided in ``otn_dagster.tracker``.
"""

import dagster as dg

from otn_dagster import attempts
from otn_dagster.orchestration import jobs
from otn_dagster.orchestration.pushing import COMPLETE
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.tracker.follow import catch_up as following
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.mail import outbox
from sensors.pace import LOOK_SECONDS
from sensors.under_way import is_running


@dg.sensor(
    target=dg.AssetSelection.assets("dataset_status"),
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Brings items after submissions, stream requests and live datasets, wherever a run could not do it itself.",
)
def tracker_follows(context: dg.SensorEvaluationContext, database: NodeDatabase) -> dg.SkipReason:
    """No run is needed: the tracker is rows of the node database."""
    moved, problems = following.catch_up(database.settings, database.config.tracker, database.config.live)
    for problem in problems:
        context.log.warning(problem)
    return dg.SkipReason("; ".join(problems) or f"{moved} item(s) looked at")


@dg.sensor(
    jobs=[jobs.send_mails, jobs.complete_push],
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends mails that are due, one run at a time; completes a push when its mails have ended.",
)
def outbox_sensor(context: dg.SensorEvaluationContext, database: NodeDatabase) -> dg.SensorResult:
    """Both read how things stand in the database; keys count up, because one that was used is never run again."""
    number = int(context.cursor or 0) + 1
    with database.connect() as connection:
        mail = database.config.tracker.mail
        due, complete = outbox.due(connection, mail.mode, mail.most_a_day), completion.due(connection)
        if is_running(context.instance, dg.RunsFilter(job_name=COMPLETE.job_name)):
            complete = []
        started = attempts.start(connection, {f"complete {date} {stamp}": date for date, stamp in complete})
    requests = [
        dg.RunRequest(run_key=key, job_name=COMPLETE.job_name, partition_key=date) for date, key in started.items()
    ]
    if due and not is_running(context.instance, dg.RunsFilter(job_name="send_mails")):
        requests.append(dg.RunRequest(run_key=f"mails {number}", job_name="send_mails"))
    return dg.SensorResult(
        run_requests=requests,
        cursor=str(number),
        skip_reason=None if requests else dg.SkipReason("no mail is due, no push waits to be completed"),
    )


board_nightly = dg.ScheduleDefinition(
    name="board_nightly",
    job=jobs.show_board,
    cron_schedule=["0 2 * * *", "0 8-20/2 * * *"],
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The board every two hours of the day, and every night with what disagrees.",
)
schedules = [board_nightly]
