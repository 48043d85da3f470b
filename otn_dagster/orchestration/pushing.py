"""The push as one list: its steps in their order, each with its assets and its job.

Belongs here: the order of a push, and how one run covers a step. Does not belong here: when a step begins (``sensors/push_calendar.py``),
what it does (``assets/push.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import dagster as dg


@dataclass(frozen=True)
class PushStep:
    """A step of a push. ``per_project``: one run covers all projects; else the push date alone."""

    number: int
    name: str
    assets: tuple[str, ...]
    per_project: bool = False

    @property
    def job_name(self) -> str:
        """Name of its job in the UI: ``push_3_match``."""
        return f"push_{self.number}_{self.name}"

    @cached_property
    def job(self):
        """Its job: its assets with their checks."""
        return dg.define_asset_job(
            self.job_name,
            selection=dg.AssetSelection.assets(*self.assets) | dg.AssetSelection.checks_for_assets(*self.assets),
            description=f"Step {self.number} of a push: {', '.join(self.assets)}.",
        )

    def tags(self, push_date: str, projects: Sequence[str]) -> dict[str, str]:
        """Tags that make one run of the step cover the push date, and all projects where the step is per project."""
        if not self.per_project:
            return {"dagster/partition": push_date}
        first, last = (
            dg.MultiPartitionKey({"push": push_date, "project": project}) for project in (projects[0], projects[-1])
        )
        return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}


PUSH = (
    PushStep(1, "freeze", ("push_snapshot",)),
    PushStep(2, "verify", ("verified_schema",), per_project=True),
    PushStep(3, "match", ("matches", "detection_extracts_list")),
    PushStep(4, "extract", ("detection_extracts",), per_project=True),
    PushStep(5, "certify", ("push_certificate", "discovery", "erddap", "geoserver")),
    PushStep(6, "report", ("push_report",), per_project=True),
    PushStep(7, "unlock", ("loading_unlocked",)),
    PushStep(8, "notify", ("notifications",)),
)
# After the steps, when the mails of a push have ended.
COMPLETE = PushStep(9, "complete", ("push_completed",))


def step_of(job_name: str) -> PushStep:
    """The step of a job. Raises KeyError where the job is none of a push."""
    return {step.job_name: step for step in (*PUSH, COMPLETE)}[job_name]


def following(step: PushStep) -> PushStep | None:
    """The step after a step; None after the last."""
    place = PUSH.index(step) + 1
    return PUSH[place] if place < len(PUSH) else None
