"""Runs that died before they could say so are started again, under another key and after growing pauses.

Belongs here: what becomes of an occasion (a file that came, an answer that is complete) whose run was lost. Does not belong
here: failures that the domain noted; those change the occasion.

A key that was used is never run again, whatever became of its run: a run killed while it was starting would leave its subject
waiting for ever.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

OCCASION = "otn/occasion"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FIRST_PAUSE, LONGEST_PAUSE = dt.timedelta(seconds=5), dt.timedelta(minutes=30)
MOST_ATTEMPTS = 5


def under_way(instance: dg.DagsterInstance, partitions: Sequence[str]) -> set[str]:
    """Those of some partitions for which a run is under way, whatever its occasion."""
    if not partitions:
        return set()
    mine = dg.RunsFilter(tags={"dagster/partition": list(partitions)}, statuses=UNFINISHED)
    return {run.tags["dagster/partition"] for run in instance.get_runs(mine)}


class Attempts:
    """Earlier runs for some occasions."""

    def __init__(self, instance: dg.DagsterInstance, occasions: Sequence[str]):
        """Asks once, however many occasions there are."""
        self._runs: dict[str, list[dg.RunRecord]] = {}
        if occasions:
            for record in instance.get_run_records(dg.RunsFilter(tags={OCCASION: list(occasions)})):
                self._runs.setdefault(record.dagster_run.tags[OCCASION], []).append(record)

    def exhausted(self, occasion: str) -> bool:
        """Whether so many runs of an occasion were lost that it is not tried again by itself."""
        runs = self._runs.get(occasion, [])
        ended = [record.dagster_run.status for record in runs if record.dagster_run.status not in UNFINISHED]
        return len(runs) >= MOST_ATTEMPTS and len(ended) == len(runs) and dg.DagsterRunStatus.SUCCESS not in ended

    def run_key(self, occasion: str, now: dt.datetime) -> str | None:
        """The key of the next run; None while one is under way, has succeeded, died a moment ago, or too many died."""
        runs = self._runs.get(occasion, [])
        if not runs:
            return occasion
        newest = max(runs, key=lambda record: record.create_timestamp)
        if len(runs) >= MOST_ATTEMPTS or any(record.dagster_run.status in UNFINISHED for record in runs):
            return None
        if newest.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            return None
        pause = min(FIRST_PAUSE * 2 ** len(runs), LONGEST_PAUSE)
        return None if now < newest.update_timestamp + pause else f"{occasion} attempt {len(runs) + 1}"
