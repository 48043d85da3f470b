"""Runs that have not ended, and the partitions that they cover.

Belongs here: what Dagster knows of its runs. Does not belong here: how often something was tried (``otn_dagster/attempts.py``).
"""

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def is_running(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> bool:
    """Whether one of some runs has not ended."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=runs.job_name, tags=runs.tags, statuses=UNFINISHED), limit=1))


def covered(instance: dg.DagsterInstance, partitions: list[str]) -> list[set[str]]:
    """Of each run that has not ended, whoever started it: which of these partitions, in their order, it covers (at least one)."""
    place = {key: number for number, key in enumerate(partitions)}
    found = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        first = run.tags.get(FIRST) or run.tags.get("dagster/partition")
        last = run.tags.get(LAST) or first
        if first in place and last in place:
            found.append(set(partitions[place[first] : place[last] + 1]))
    return found
