"""Files in ``incoming/<node>/<collection>/<kind>/`` start their loading chain, many of a kind in one run.

No logic lives here: what is received and what is ready is decided in ``otn_dagster.tracker.receipt``, how often it is tried in
``otn_dagster.attempts``, which files a run takes in ``otn_dagster.orchestration.batches``.
"""

import datetime as dt
import json

import dagster as dg

from otn_dagster import attempts
from otn_dagster.attempts import Next
from otn_dagster.orchestration import jobs, partitions
from otn_dagster.orchestration.batches import MOST_RUNS, batches
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.telemetry import intake, kinds
from otn_dagster.telemetry.intake import Intake
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker.receipt import receipt
from sensors import under_way
from sensors.pace import LOOK_SECONDS

Ready = list[tuple[Submission, str]]


@dg.sensor(
    jobs=jobs.LOADING,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Receives files and loads them, those of a kind together.",
)
def incoming_files(context: dg.SensorEvaluationContext, database: NodeDatabase) -> dg.SensorResult | dg.SkipReason:
    """Receive files that lie still; start what is ready. An attempt is counted before its run is asked for."""
    found = receipt.look(database.settings, database.config.tracker.quarantine, json.loads(context.cursor or "{}"))
    for problem in found.problems:
        context.log.warning(problem)
    with database.connect() as connection:
        ready = receipt.ready(connection)
    requests, new = [], []
    for kind in kinds.KINDS:
        mine = [(submission, occasion) for submission, occasion in ready if submission.kind == kind]
        if mine:
            runs, keys = _runs(context.instance, database, kind, mine)
            requests += runs
            new += [partitions.submissions[kind].build_add_request(keys)] if keys else []
    return dg.SensorResult(
        run_requests=requests,
        cursor=json.dumps(found.sizes),
        dynamic_partitions_requests=new,
        skip_reason=None if requests else dg.SkipReason(_why_nothing(found, len(ready))),
    )


def _runs(
    instance: dg.DagsterInstance, database: NodeDatabase, kind: str, ready: Ready
) -> tuple[list[dg.RunRequest], list[str]]:
    """Runs to start for a kind, and the partitions that become known with them."""
    known = list(instance.get_dynamic_partitions(f"{kind}_submissions"))
    running = under_way.covered(instance, known)
    taken = set().union(*running)
    waiting = {s.submission_key: (s, occasion) for s, occasion in ready if s.submission_key not in taken}
    with database.connect() as connection:
        tried, now = attempts.of(connection, [occasion for _, occasion in waiting.values()]), dt.datetime.now(dt.UTC)
        following = {key: attempts.what_is_next(tried.get(occasion), now) for key, (_, occasion) in waiting.items()}
        for key in (key for key, what in following.items() if what is Next.GIVE_UP):
            intake.note_given_up(connection, waiting[key][0], kinds.ASSETS[kind][0])
        fresh, again = (
            [key for key, what in following.items() if what is Next.START and (waiting[key][1] in tried) is before]
            for before in (False, True)
        )
        # Of a run that was lost one file may be the cause: each goes alone, so that it takes no other with it.
        planned = [*batches(again, known, most=1), *batches(fresh, known)]
        chosen = planned[: max(0, MOST_RUNS - len(running))]
        named = attempts.note(connection, [waiting[key][1] for batch in chosen for key in batch.keys])
    runs = []
    for batch in chosen:
        _, occasion = waiting[batch.keys[0]]
        # The attempt of the first file names the run: no other run begins with it.
        runs.append(
            dg.RunRequest(named[occasion], partition_key=batch.partition_key, job_name=f"load_{kind}", tags=batch.tags)
        )
    before = set(known)
    return runs, [key for batch in chosen for key in batch.keys if key not in before]


def _why_nothing(found: Intake, ready: int) -> str:
    if found.still_arriving:
        return f"still being copied: {', '.join(found.still_arriving[:5])}"
    waiting = [f"{ready:,} file(s) wait for a run that is under way, or for the next try"] if ready else []
    return "; ".join([*waiting, *found.problems[:5]]) or "nothing new in incoming/"
