"""Live datasets: what instruments pushed, applied to their tables; what receivers pushed, as submissions.

No logic lives here: each asset takes the dataset, calls one function and reports.
"""

from typing import Any

import dagster as dg

from otn_dagster import figures
from otn_dagster.live import pictures, silence
from otn_dagster.live.apply import Applied
from otn_dagster.live.remote import Taken
from otn_dagster.live.schema import TYPES
from otn_dagster.orchestration.checks import result, specs
from otn_dagster.orchestration.partitions import live_datasets
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import Live

PER_DATASET: dict[str, Any] = {"group_name": "live", "owners": OWNERS, "partitions_def": live_datasets}


@dg.asset(
    **PER_DATASET,
    kinds={"postgres"},
    description="The table of a live dataset: every push of its log since the last run is applied, in one transaction. A sensor starts "
    "it when something was pushed or fetched. Read it as `live_data.<dataset>` in PostgreSQL, over HTTP, or as a pandas frame.",
)
def live_dataset(context: dg.AssetExecutionContext, live: Live) -> dg.MaterializeResult:
    """Take the fetched file that waits, if any; apply the log."""
    taken, applied = live.bring_up_to_date(context.partition_key, context.run.run_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(applied.to_seq)), metadata=_metadata(live, applied, taken)
    )


def _metadata(live: Live, applied: Applied, taken: list[Taken]) -> dict[str, Any]:
    dataset, outcome = live.dataset(applied.dataset), applied.outcome
    with live.connect() as connection:
        picture = pictures.arrivals(connection, applied.dataset)
    columns = [
        dg.TableColumn(name, TYPES[field.type], description=field.description or field.units)
        for name, field in dataset.schema_.fields.items()
    ]
    authors = [{"author": author, "records": count} for author, count in sorted(applied.authors.items())]
    return {
        "dagster/row_count": applied.rows,
        "dagster/column_schema": dg.TableSchema(columns),
        "from push": applied.from_seq,
        "to push": applied.to_seq,
        "pushes": applied.pushes,
        "records": applied.records,
        "inserted": outcome.inserted,
        "updated": outcome.updated,
        "unchanged": outcome.unchanged,
        "deleted": outcome.deleted,
        "refused": applied.refused,
        "lag in seconds": applied.lag_seconds,
        "arrivals": dg.MetadataValue.md(figures.markdown(picture, "arrivals")),
        **({"authors": markdown_table(authors)} if authors else {}),
        **({"fetched file": "; ".join(one.what for one in taken)} if taken else {}),
    }


@dg.asset(
    **PER_DATASET,
    deps=[live_dataset],
    kinds={"csv"},
    description="Receiver-days of detections that receivers with a modem pushed, as files in `incoming/`: from there they take the path "
    "of every other submission, and so take part in the push.",
)
def live_submissions(context: dg.AssetExecutionContext, live: Live) -> dg.MaterializeResult:
    """Write a file for each receiver-day that ended and has news."""
    written = live.submit_detections(context.partition_key)
    rows = [{"receiver": w.receiver, "day": w.day, "detections": w.rows, "file": w.file_name} for w in written]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(w.rows for w in written),
            "files": markdown_table(rows) if rows else "nothing new",
        }
    )


@dg.multi_asset_check(
    name="live_silence_checks",
    specs=specs(silence.CHECKS.values(), "live_dataset"),
)
def live_silence_checks(live: Live):
    """How every watched dataset stands now; a sensor reports the same as soon as something begins or ends."""
    for outcome in silence.outcomes(live.standing_findings()):
        yield result(outcome, "live_dataset")
