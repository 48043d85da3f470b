"""The push as one list: its steps in their order, each with its assets and its job.

Belongs here: the order of a push. Does not belong here: when a step begins (``sensors/push_calendar.py``),
what it does (``assets/push.py``).
"""

from dataclasses import dataclass
from functools import cached_property

import dagster as dg


@dataclass(frozen=True)
class PushStep:
    """A step of a push, over all projects."""

    number: int
    name: str
    assets: tuple[str, ...]

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


PUSH = (
    PushStep(1, "freeze", ("push_snapshot",)),
    PushStep(2, "verify", ("verified_schema",)),
    PushStep(3, "match", ("matches", "detection_extracts_list")),
    PushStep(4, "extract", ("detection_extracts",)),
    PushStep(5, "certify", ("push_certificate", "discovery", "erddap", "geoserver")),
    PushStep(6, "report", ("push_report",)),
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
