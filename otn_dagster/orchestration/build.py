"""All definitions: everything in ``assets/`` and ``sensors/`` with the jobs and the resources they take.

Belongs here: gathering. Does not belong here: anything else.
"""

from pathlib import Path

import dagster as dg

import assets.live
import assets.loading
import assets.push
import assets.streams
import assets.streams_described
import assets.summaries
import assets.tracker
import sensors.failures
import sensors.incoming_files
import sensors.live
import sensors.push_calendar
import sensors.streams
import sensors.tracker
from otn_dagster.orchestration import jobs
from otn_dagster.orchestration.resources import Lake, Live, NodeDatabase, Streams

ASSET_MODULES = [
    assets.loading,
    assets.push,
    assets.summaries,
    assets.streams,
    assets.streams_described,
    assets.live,
    assets.tracker,
]


def build_defs(
    config_folder: Path | None = None, resource_overrides: dict[str, object] | None = None
) -> dg.Definitions:
    """All definitions; tests give a configuration, or resources, of their own."""
    folder = str(config_folder or "")
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        asset_checks=[assets.live.live_silence_checks],
        jobs=jobs.ALL,
        sensors=[
            sensors.incoming_files.incoming_files,
            sensors.push_calendar.next_push_step,
            sensors.push_calendar.asked_revisions,
            sensors.failures.failed_run,
            sensors.streams.stream_answers,
            sensors.live.live_pushes,
            sensors.live.live_silence,
            sensors.tracker.tracker_follows,
            sensors.tracker.outbox_sensor,
        ],
        schedules=[
            sensors.push_calendar.push_at_cutoff,
            sensors.push_calendar.push_reminder,
            sensors.streams.streams_daily,
            sensors.streams.gaps_daily,
            sensors.streams.streams_described_daily,
            sensors.streams.old_versions_weekly,
            *sensors.live.schedules,
            *sensors.tracker.schedules,
        ],
        resources={
            "database": NodeDatabase(config_folder=folder),
            "lake": Lake(config_folder=folder),
            "streams": Streams(config_folder=folder),
            "live": Live(config_folder=folder),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )
