"""The one Definitions object: everything in ``assets/`` and ``sensors/`` with the resources they take.

Belongs here: gathering. Does not belong here: anything else.
"""

import dagster as dg

import assets.loading
import assets.loading_checks
import assets.push
import assets.summaries
import sensors.failures
import sensors.incoming_files
import sensors.push_calendar
from otn_dagster.resources import Lake, NodeDatabase

ASSET_MODULES = [assets.loading, assets.push, assets.summaries]


def build_defs(resource_overrides: dict[str, object] | None = None) -> dg.Definitions:
    """All definitions; tests pass resources of their own."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        asset_checks=assets.loading_checks.loading_checks,
        jobs=[*sensors.incoming_files.jobs, *sensors.push_calendar.jobs],
        sensors=[
            sensors.incoming_files.incoming_files,
            sensors.push_calendar.next_push_step,
            sensors.failures.failed_run,
        ],
        schedules=[sensors.push_calendar.push_at_cutoff, sensors.push_calendar.push_reminder],
        resources={"database": NodeDatabase(), "lake": Lake(), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What ``dagster dev`` and ``dg dev`` load."""
    return build_defs()
