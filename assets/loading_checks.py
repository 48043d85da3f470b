"""The field's checks P, T, R, D and E as asset checks, made from their registry.

No logic lives here: which checks there are and what they look at is in ``otn_dagster.telemetry.checks``.
"""

from collections.abc import Iterator

import dagster as dg

from assets.reporting import check_result
from otn_dagster.orchestration import partitions
from otn_dagster.orchestration.resources import NodeDatabase, actor_of
from otn_dagster.telemetry import kinds, submissions
from otn_dagster.telemetry.checks import registry
from otn_dagster.tracker.follow import submissions as follow_submissions


def _checks_of(kind: str, asset: str) -> dg.AssetChecksDefinition:
    checks = registry.of_stage(asset)
    specs = [
        dg.AssetCheckSpec(
            check.name,
            asset=asset,
            description=f"{check.title}. {check.hint}",
            blocking=check.blocking,
            partitions_def=partitions.submissions[kind],
        )
        for check in checks
    ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, database: NodeDatabase) -> Iterator[dg.AssetCheckResult]:
        names = {key.name for key in context.selected_asset_check_keys}
        with database.loading(context) as (connection, settings, submission):
            evidence = registry.Evidence(connection, settings, submission)
            results = registry.run(evidence, [check for check in checks if check.name in names])
            submissions.note_stop(
                connection, submission, [f"{r.check.check_id}: {r.check.title}" for r in results if r.stops]
            )
            follow_submissions.note_checks(connection, submission, results, actor_of(context))
        for result in results:
            yield check_result(result, asset, context.partition_key)

    return run_checks


loading_checks = [_checks_of(kind, asset) for kind, assets in kinds.CHECKED.items() for asset in assets]
