"""Runs that have not ended, and the partitions that they cover.

Belongs here: what Dagster knows of its runs. Does not belong here: how often something was tried (``otn_dagster/attempts.py``).
"""

import time

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
LONGEST_RUN_SECONDS = 6 * 3_600
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def is_running(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> bool:
    """Whether one of some runs has not ended."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=runs.job_name, tags=runs.tags, statuses=UNFINISHED), limit=1))


def covered(instance: dg.DagsterInstance, partitions: list[str]) -> list[set[str]]:
    """Of each run that has not ended, whoever started it: which of these partitions, in their order, it covers (at least one).

    A run that began so long ago is taken for lost: a machine that lost its power never says that its runs have ended.
    """
    place = {key: number for number, key in enumerate(partitions)}
    found, now = [], time.time()
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        tags = record.dagster_run.tags
        first = tags.get(FIRST) or tags.get("dagster/partition")
        last = tags.get(LAST) or first
        lost = record.start_time is not None and now - record.start_time > LONGEST_RUN_SECONDS
        if first in place and last in place and not lost:
            found.append(set(partitions[place[first] : place[last] + 1]))
    return found
