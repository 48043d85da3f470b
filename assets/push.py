"""The push: one frozen, reproducible release, step by step, by push date.

No logic lives here: each asset takes the push's folder, calls one function and reports.
"""

import datetime as dt
from collections.abc import Iterable

import dagster as dg
import polars as pl
from pydantic import Field

from otn_dagster import figures
from otn_dagster.orchestration.checks import MOST_ROWS_SHOWN, result, specs
from otn_dagster.orchestration.partitions import push_dates
from otn_dagster.orchestration.reporting import OWNERS, markdown_table
from otn_dagster.orchestration.resources import Lake, NodeDatabase, actor_of
from otn_dagster.telemetry import cutoffs, plots
from otn_dagster.telemetry.push import (
    certificate,
    delivering,
    extracts_list,
    matching,
    snapshot,
    sources,
    verification,
)
from otn_dagster.telemetry.push.pictures import REPORTS
from otn_dagster.telemetry.push.report import write_reports
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.tracker import gate, release
from otn_dagster.tracker.follow import catch_up, completion
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.mail import notices, outbox

PER_PUSH = {"group_name": "push", "owners": OWNERS, "partitions_def": push_dates}
LEFT_OUT_SHOWN = ("collectioncode", "kind", "file_name", "rows", "why")
MOST_TOLD = 3  # projects whose whole report a run shows

LOADED = ["otn_resources", "otn_animals", "otn_transmitters", "moorings", "otn_detections"]  # what a snapshot freezes


class OnlyConfig(dg.Config):
    """What may be made again by itself."""

    projects: list[str] = Field(default=[], description="Only these projects; without any, all of the push.")

    def chosen(self, every: Iterable[str]) -> list[str]:
        """The projects to do, in order; raises Failure for one that the push does not have."""
        known = sorted(every)
        unknown = sorted(set(self.projects) - set(known))
        if unknown:
            raise dg.Failure(f"the push has no project {', '.join(unknown)}", allow_retries=False)
        return sorted(self.projects) or known


@dg.asset(
    **PER_PUSH,
    deps=[dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in LOADED],
    kinds={"parquet"},
    description="Everything loaded and signed off by the cut-off, frozen to Parquet in one immutable folder with a manifest of hashes. What is "
    "on hold, not verified or left out by somebody stays as the last push had it, and is named.",
)
def push_snapshot(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Freeze; a real snapshot that exists is kept, until its next revision is asked for."""
    catch_up.submissions(database.settings, database.config.tracker)
    try:
        with database.connect() as connection:
            cutoffs.announce(connection, database.settings)
            frozen = snapshot.freeze(
                connection, database.settings, context.partition_key, gate.of_push(context.partition_key)
            )
            follow_pushes.left_out(connection, frozen)
    except snapshot.NothingToPush as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    left_out = [{name: one.get(name) for name in LEFT_OUT_SHOWN} for one in frozen.left_out]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": frozen.rows,
            "rehearsal": frozen.rehearsal,
            "revision": frozen.revision,
            "projects": frozen.table("projects").height,
            "partitions": len(frozen.detections),
            "tags": frozen.table("tags").height,
            "deployments": frozen.table("deployments").height,
            "left out": markdown_table(left_out[:MOST_ROWS_SHOWN]) if left_out else "nothing",
            "folder": dg.MetadataValue.path(str(frozen.folder)),
        }
    )


@dg.asset(
    **PER_PUSH,
    deps=["push_snapshot"],
    kinds={"postgres", "parquet"},
    description="The live schemas of all projects (structure, types, inheritance, rights, formats) and the snapshot across all nodes "
    "(animals, tags, receivers, stations, detections, events), as a table of projects and checks.",
    check_specs=specs(verification.CHECKS, "verified_schema"),
)
def verified_schema(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake):
    """Verify all projects; a blocking finding fails the step, so that no later step of the push starts."""
    date = context.partition_key
    shared = Shared(lake.snapshot(date))
    with database.connect() as connection:
        looked_at = gate.looked_at(connection, database.config.tracker.second_look)
        outcomes = verification.verify(connection, database.settings, shared, looked_at)
    table = verification.write(outcomes, shared.snapshot, lake.folder(date))
    for outcome in outcomes:
        yield result(outcome, "verified_schema")
    if stops := verification.why_it_stops(outcomes):
        raise dg.Failure(stops, allow_retries=False)
    found = table.filter(pl.sum_horizontal(pl.exclude("collectioncode")) > 0)
    metadata: dict = {"projects": table.height, "projects with findings": found.height}
    if found.height:
        metadata["findings"] = markdown_table(found.head(MOST_ROWS_SHOWN).to_dicts())
    yield dg.MaterializeResult(metadata=metadata)


@dg.asset(
    **PER_PUSH,
    deps=["push_snapshot", "verified_schema"],
    kinds={"duckdb", "parquet"},
    description="Every detection of the network once, with its outcome: the animal it matches, or the reason it was not matched.",
)
def matches(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Match across all nodes; what did not change since the last push is carried over."""
    date = context.partition_key
    found = matching.match(lake.snapshot(date), lake.folder(date), lake.before(date))
    with database.connect() as connection:
        moved = follow_pushes.matched(connection, lake.snapshot(date), found, actor_of(context))
    picture = plots.bars(found.counts, f"push of {date}: detections by outcome")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(found.counts.values()),
            **found.counts,
            "submissions matched": len(moved),
            "plot": dg.MetadataValue.md(figures.markdown(picture, "outcomes")),
            "folder": dg.MetadataValue.path(str(found.folder)),
        }
    )


class ListConfig(dg.Config):
    """What may be said when the list is made."""

    git_issue_link: str | None = Field(
        default=None, description="One link for all extracts; without it each names the items of what changed it."
    )


@dg.asset(
    **PER_PUSH,
    deps=["matches"],
    kinds={"postgres"},
    description="Which extracts this push writes (`CODE,YEAR,type`): only what new, changed or withdrawn matches touch.",
)
def detection_extracts_list(
    context: dg.AssetExecutionContext, config: ListConfig, database: NodeDatabase, lake: Lake
) -> dg.MaterializeResult:
    """Compare with the last push and write the list."""
    date = context.partition_key
    before = lake.before(date)
    listed = extracts_list.write_list(
        lake.matches(date), before[1] if before else None, lake.snapshot(date).table("projects"), lake.folder(date)
    )
    changed_by = sources.of_extracts(lake.snapshot(date), before[0] if before else None, lake.matches(date), listed)
    with database.connect() as connection:
        links = follow_pushes.links(
            connection, listed, changed_by, database.config.tracker.web_url, config.git_issue_link
        )
        extracts_list.record_list(connection, listed, date, links)
    metadata: dict = {
        "dagster/row_count": listed.height,
        "since": before[0].manifest["push_date"] if before else "the beginning",
    }
    if listed.height:
        metadata["extracts"] = markdown_table(listed.head(200).to_dicts())
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    **PER_PUSH,
    deps=["detection_extracts_list"],
    kinds={"csv", "parquet"},
    description="The detection extracts of all projects: tracker, qualified, unqualified, sentinel, as csv in zip and as Parquet. "
    "Those of one project are made again by naming it in the launchpad.",
)
def detection_extracts(context: dg.AssetExecutionContext, config: OnlyConfig, lake: Lake) -> dg.MaterializeResult:
    """Write what the list names."""
    date = context.partition_key
    listed = pl.read_parquet(lake.folder(date) / extracts_list.LIST_FILE)
    projects = config.chosen(lake.snapshot(date).table("projects")["collectioncode"])
    written = delivering.write_extracts(lake.context(date), listed, projects, lake.folder(date))
    sizes = [
        {
            "project": project,
            "extracts": len(entries) // 2,
            "rows": sum(entry["rows"] for name, entry in entries.items() if name.endswith(".zip")),
            "MB": round(sum(entry["bytes"] for entry in entries.values()) / 1e6, 1),
        }
        for project, entries in sorted(written.items())
        if entries
    ]
    metadata: dict = {
        "dagster/row_count": sum(row["rows"] for row in sizes),
        "extracts": sum(row["extracts"] for row in sizes),
        "projects": len(projects),
        "folder": dg.MetadataValue.path(str(lake.folder(date) / "extracts")),
    }
    if sizes:
        metadata["by project"] = markdown_table(sizes[:MOST_ROWS_SHOWN])
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    **PER_PUSH,
    deps=["matches", "detection_extracts_list", "detection_extracts"],
    kinds={"json"},
    description="The laws that every push must keep, checked on the files as delivered, with the hash of every input and output. "
    "A broken law fails the push.",
)
def push_certificate(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Check the laws and write the certificate."""
    date = context.partition_key
    listed = pl.read_parquet(lake.folder(date) / extracts_list.LIST_FILE)
    try:
        before = lake.before(date)
        made = certificate.certify(
            lake.snapshot(date), lake.matches(date), listed, lake.folder(date), before[1] if before else None
        )
    except certificate.BrokenLaw as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    with database.connect() as connection:
        moved = follow_pushes.extracted(connection, lake.folder(date), date, actor_of(context))
    return dg.MaterializeResult(
        metadata={
            "submissions extracted": len(moved),
            "laws kept": "\n".join(made.laws),
            "counts": dg.MetadataValue.json(made.counts),
            "sha256": made.sha256,
            "files": len(made.hashes),
            "rehearsal": made.rehearsal,
            "warnings": "\n".join(made.warned) or "none",
        }
    )


@dg.asset(
    **PER_PUSH,
    deps=["push_certificate"],
    kinds={"markdown"},
    description="What is new for each project since the last push and why, and what needs its attention. The pictures beside it (an "
    "abacus of its animals, a map of its receivers) are drawn when its page is opened.",
)
def push_report(context: dg.AssetExecutionContext, config: OnlyConfig, lake: Lake) -> dg.MaterializeResult:
    """Write the reports; those of a few projects that were named are shown whole."""
    date = context.partition_key
    listed = pl.read_parquet(lake.folder(date) / extracts_list.LIST_FILE)
    projects = config.chosen(lake.snapshot(date).table("projects")["collectioncode"])
    rows, metadata = [], {}
    for project, made in write_reports(lake.context(date), listed, lake.folder(date), projects):
        changes = int(made.changes["detections"].sum())
        if changes:
            rows.append({"project": project, "changes": changes})
        if len(projects) <= MOST_TOLD:
            metadata[f"report of {project}"] = dg.MetadataValue.md(made.text)
    if rows:
        metadata["by project"] = markdown_table(rows[:MOST_ROWS_SHOWN])
    folder = dg.MetadataValue.path(str(lake.folder(date) / REPORTS))
    return dg.MaterializeResult(metadata={"projects": len(projects), "folder": folder, **metadata})


@dg.asset(
    **PER_PUSH,
    deps=["push_certificate", "discovery", "erddap", "geoserver", "push_report"],
    kinds={"postgres"},
    description="The end of a push: loading is open again, and what waited is loaded for the next one.",
)
def loading_unlocked(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Unlock; a rehearsal had locked nothing."""
    with database.connect() as connection:
        nodes = cutoffs.finish(
            connection, context.partition_key, f"pushed {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
        )
    return dg.MaterializeResult(metadata={"nodes unlocked": nodes})


@dg.asset(
    **PER_PUSH,
    kinds={"markdown"},
    description="What still waits before a push: open submissions, questions for a person, days left. Made 20 and 7 days before.",
)
def push_reminder(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """List what is open."""
    with database.connect() as connection:
        cutoffs.announce(connection, database.settings)
        reminder = cutoffs.reminder(connection, context.partition_key)
        notices.reminder(
            connection, database.config.tracker, context.partition_key, reminder, cutoffs.now(connection).date()
        )
    return dg.MaterializeResult(metadata={name: str(value) for name, value in reminder.items()})


@dg.asset(
    **PER_PUSH,
    deps=["push_certificate", "push_report"],
    kinds={"email"},
    description="Who is told of the push: one mail to each person with links to every extract of their projects, into the outbox. "
    "They wait until somebody releases the push. A rehearsal sends no mail.",
)
def notifications(context: dg.AssetExecutionContext, database: NodeDatabase, lake: Lake) -> dg.MaterializeResult:
    """Write the mails; a sensor sends them."""
    date, settings = context.partition_key, database.config.tracker
    if lake.snapshot(date).rehearsal:
        return dg.MaterializeResult(metadata={"mails": 0, "why": "a rehearsal sends no mail"})
    listed = pl.read_parquet(lake.folder(date) / extracts_list.LIST_FILE)
    with database.connect() as connection:
        released = release.before_mails(connection, database.settings, settings, date)
        written = notices.extracts(connection, settings, date, listed, lake.folder(date), released)
        mails = [outbox.get(connection, number) for number in written]
    rows = [{"mail": m.mail_no, "recipient": m.recipient, "state": m.state} for m in mails]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(written),
            "mode": settings.mail.mode,
            "released": "yes" if released else "no: they wait until somebody looks at the push and releases it",
            "mails": markdown_table(rows) if rows else "every one was written before, or there is nobody to tell",
        }
    )


@dg.asset(
    **PER_PUSH,
    deps=["notifications"],
    kinds={"postgres"},
    description="The end of a push for its people: extracts are marked notified and completed by what the outbox did, and their "
    "submissions are published. A sensor makes it again whenever mails of the push have ended anew.",
)
def push_completed(context: dg.AssetExecutionContext, database: NodeDatabase) -> dg.MaterializeResult:
    """Read how the mails stand, and say so."""
    with database.connect() as connection:
        done = completion.complete(connection, context.partition_key, actor_of(context))
    return dg.MaterializeResult(
        metadata={
            "extracts notified": done.notified,
            "extracts completed": done.completed,
            "submissions published": done.published,
            "submissions that still wait": done.waiting,
        }
    )
