"""Checks and their outcomes as Dagster wants them: said once for all assets.

Belongs here: the adapter. Does not belong here: any check.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from otn_dagster.checks import Check, Outcome, Verdict

MOST_ROWS_SHOWN = 200
VERDICT = "verdict"


def specs(
    checks: Iterable[Check], asset: str, partitions_def: dg.PartitionsDefinition | None = None
) -> list[dg.AssetCheckSpec]:
    """Checks of an asset."""
    return [
        dg.AssetCheckSpec(
            check.name, asset=asset, description=check.description, blocking=check.stops, partitions_def=partitions_def
        )
        for check in checks
    ]


def result(outcome: Outcome[Any], asset: str, **facts: Any) -> dg.AssetCheckResult:
    """An outcome as the UI shows it: the failing rows as a table, the hint, and what was not evaluated said so."""
    return dg.AssetCheckResult(
        check_name=outcome.check.name,
        asset_key=asset,
        passed=bool(outcome.passed),
        severity=_severity(outcome),
        description=outcome.says,
        metadata=_metadata(outcome, facts),
    )


def evaluation(outcome: Outcome[Any], asset: str, partition: str | None = None) -> dg.AssetCheckEvaluation:
    """The same as an event: of one partition of a run that takes several, or outside of a run."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=outcome.check.name,
        passed=bool(outcome.passed),
        severity=_severity(outcome),
        description=outcome.says,
        partition=partition,
        blocking=outcome.check.stops,
        metadata={
            name: dg.MetadataValue.text(v) if isinstance(v, str) else v for name, v in _metadata(outcome, {}).items()
        },
    )


def was_not_evaluated(event: dg.AssetCheckEvaluation) -> bool:
    """Whether a check that Dagster calls failed was only not evaluated: Dagster knows no third verdict."""
    return event.metadata.get(VERDICT) == dg.TextMetadataValue(Verdict.NOT_EVALUATED.value)


def _severity(outcome: Outcome[Any]) -> dg.AssetCheckSeverity:
    mild = outcome.check.warns or outcome.mild or outcome.passed is None
    return dg.AssetCheckSeverity.WARN if mild else dg.AssetCheckSeverity.ERROR


def _metadata(outcome: Outcome[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {VERDICT: outcome.verdict.value, **outcome.facts, **facts}
    if outcome.passed is False and outcome.check.hint:
        metadata["hint"] = outcome.check.hint
    if outcome.why:
        metadata["why"] = outcome.why
    if outcome.rows:
        metadata["failing rows"] = len(outcome.rows)
        metadata["rows"] = failing_rows(outcome.rows)
    return metadata


def failing_rows(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Failing rows as a table, the first of them where they are many."""
    records = [dg.TableRecord({name: _plain(value) for name, value in row.items()}) for row in rows[:MOST_ROWS_SHOWN]]
    columns = [dg.TableColumn(name, "string") for name in rows[0]]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))


def _plain(value: Any) -> str | int | float | bool:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Decimal):
        return float(value)
    return "" if value is None else str(value)
