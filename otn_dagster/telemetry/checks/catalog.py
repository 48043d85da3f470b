"""All checks of submissions: what the modules beside define, put together.

Belongs here: which checks there are, by the asset that they judge. Does not belong here: a check.
"""

from typing import Any

from otn_dagster.telemetry.checks import deployments, detections, events, project, tags
from otn_dagster.telemetry.checks.registry import FieldCheck, checks_in

ALL = [check for module in (project, tags, deployments, detections, events) for check in checks_in(module)]


def of_stage(stage: str) -> list[FieldCheck[Any]]:
    """The checks of an asset, by id."""
    return [check for check in ALL if check.stage == stage]
