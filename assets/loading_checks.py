"""The field's checks P, T, R, D and E as asset checks, made from their catalogue.

No logic lives here: which checks there are and what they look at is in ``otn_dagster.telemetry.checks``.
"""

from collections.abc import Iterator

import dagster as dg

from otn_dagster.orchestration import partitions
from otn_dagster.orchestration.checks import result, specs
from otn_dagster.orchestration.resources import NodeDatabase, actor_of
from otn_dagster.telemetry import kinds, submissions
from otn_dagster.telemetry.checks import catalog, registry
from otn_dagster.tracker.follow import submissions as follow_submissions


def _checks_of(kind: str, asset: str) -> dg.AssetChecksDefinition:
    checks = catalog.of_stage(asset)

    @dg.multi_asset_check(
        name=f"{asset}_checks", specs=specs(checks, asset, partitions.submissions[kind]), can_subset=True
    )
    def run_checks(context: dg.AssetCheckExecutionContext, database: NodeDatabase) -> Iterator[dg.AssetCheckResult]:
        names = {key.name for key in context.selected_asset_check_keys}
        with database.loading(context) as (connection, settings, submission):
            evidence = registry.Evidence(connection, settings, submission)
            outcomes = registry.run(evidence, [check for check in checks if check.name in names])
            submissions.note_stop(
                connection, submission, [f"{r.check.check_id}: {r.check.title}" for r in outcomes if r.stops]
            )
            follow_submissions.note_checks(connection, submission, outcomes, actor_of(context))
        for outcome in outcomes:
            yield result(outcome, asset, submission=context.partition_key)

    return run_checks


loading_checks = [_checks_of(kind, asset) for kind, assets in kinds.CHECKED.items() for asset in assets]
