"""How results look in the Dagster UI: rows, columns, previews and pictures as metadata.

Belongs here: turning plain results into Dagster's metadata. Does not belong here: computing them.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from otn_dagster import figures
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


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = "" if value is None else str(value)
    return (text if len(text) <= 60 else text[:57] + "...").replace("|", "\\|").replace("\n", " ")
