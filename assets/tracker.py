"""Where every dataset stands, and the mails about it.

No logic lives here: each asset asks the tracker and reports.
"""

import dagster as dg

from otn_dagster.orchestration.checks import result, specs
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import NodeDatabase
from otn_dagster.tracker import board, drift, export
from otn_dagster.tracker.follow import catch_up as following
from otn_dagster.tracker.mail import outbox, sending

GROUP = "tracker"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "xlsx"},
    description="The tracker's board: how many datasets are in which state, since when, and what blocks the oldest of them. The same as "
    "the page `/tracker` of the web service, and as a workbook.",
    check_specs=specs([drift.AGREES], "dataset_status"),
)
def dataset_status(database: NodeDatabase):
    """Catch up, count, compare, write the workbook."""
    following.catch_up(database.settings, database.config.tracker, database.config.live)
    with database.connect() as connection:
        counts = board.counts(connection, board.ALL, board.Filter())
        rows = board.items(connection, board.ALL, board.Filter(), limit=None)
    disagreements = drift.look(database.settings, database.config.streams, database.config.live)
    blocked = [row for row in rows if row["blocker"] or row["hold"]][:50]
    path = database.settings.data / "tracker" / "datasets.xlsx"
    export.write_xlsx(path, board.COLUMNS.split(", "), rows)
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "board": markdown_table(counts) if counts else "no datasets yet",
            "blocked": markdown_table(blocked) if blocked else "nothing is blocked",
            "page": dg.MetadataValue.url(f"{database.config.tracker.web_url}/tracker"),
            "workbook": dg.MetadataValue.path(str(path)),
        }
    )
    yield result(drift.outcome(disagreements), "dataset_status")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"email"},
    description="Sends the mails of the outbox that are due, one sender at a time. What the mode allows is set in `config/tracker.yaml`; "
    "mails whose delivery is uncertain are listed and never sent again by themselves.",
)
def outbox_mails(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Send what is due."""
    mail = database.config.tracker.mail
    done = sending.send_due(database.settings, mail, context.log.info)
    with database.connect() as connection:
        doubtful = [
            {"mail": m.mail_no, "recipient": m.recipient, "title": m.title, "why": m.reason}
            for m in outbox.newest(connection, "uncertain")
        ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(done.values()),
            "mode": mail.mode,
            **{state: count for state, count in sorted(done.items())},
            "uncertain, for a person": markdown_table(doubtful) if doubtful else "none",
        }
    )
