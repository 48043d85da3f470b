"""How results look in the Dagster UI: rows, columns, previews and pictures as metadata.

Belongs here: turning plain results into Dagster's metadata. Does not belong here: computing them.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from otn_dagster import figures
from otn_dagster.telemetry.checks.registry import MAX_ROWS_SHOWN, CheckResult
from otn_dagster.telemetry.loading.steps import StepReport

OWNERS = ["team:otn-data"]


def metadata_of(report: StepReport) -> dict[str, Any]:
    """Metadata of one loading step."""
    metadata: dict[str, Any] = {"dagster/row_count": report.rows}
    metadata |= {name: value if isinstance(value, int | float) else str(value) for name, value in report.facts.items()}
    if report.columns:
        columns = [dg.TableColumn(name, kind) for name, kind in report.columns]
        metadata["dagster/column_schema"] = dg.TableSchema(columns=columns)
    if report.preview:
        metadata["preview"] = markdown_table(report.preview)
    if report.picture:
        metadata["plot"] = dg.MetadataValue.md(figures.markdown(report.picture(), "plot"))
    return metadata


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """A few rows as a table to read; columns that are empty in all of them are left out."""
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def check_result(result: CheckResult, asset: str, partition: str | None = None) -> dg.AssetCheckResult:
    """A check as the UI shows it: the failing rows as a table, the hint, and what was not evaluated said so."""
    check = result.check
    outcome = {True: "passed", False: "failed", None: "not evaluated"}[result.passed]
    metadata: dict[str, Any] = {"outcome": outcome, "failing rows": len(result.rows)}
    if result.passed is False:
        metadata["hint"] = check.hint
    if result.why:
        metadata["why"] = result.why
    if result.rows:
        metadata["rows"] = failing_rows(result.rows)
    if partition:
        metadata["submission"] = partition
    warn = check.warning or result.passed is None
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=asset,
        passed=bool(result.passed),
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
        description=f"{check.title}: {outcome}" + (f" ({result.why})" if result.why else ""),
        metadata=metadata,
    )


def failing_rows(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Failing rows as a table, the first of them where they are many."""
    records = [dg.TableRecord({name: _plain(value) for name, value in row.items()}) for row in rows[:MAX_ROWS_SHOWN]]
    columns = [dg.TableColumn(name, "string") for name in rows[0]]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=columns))


def _plain(value: Any) -> str | int | float | bool:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Decimal):
        return float(value)
    return "" if value is None else str(value)


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = "" if value is None else str(value)
    return (text if len(text) <= 60 else text[:57] + "...").replace("|", "\\|").replace("\n", " ")
