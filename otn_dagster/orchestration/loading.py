"""A run of loading: file after file through the stages of its kind, each stage one transaction with its own events.

Belongs here: in which order, what ends a file's way, what Dagster is told of it. Does not belong here: what a stage does
(``telemetry/loading``), which stages there are (``telemetry/kinds.py``), when a run starts (``sensors/incoming_files.py``).

One run takes many files, because starting it costs more than loading a small file. Each keeps its own partition, and a file that does
not get through leaves the others alone; at the end the run fails and names them.

Safe to repeat and to kill: every stage is one transaction, and what it writes is found again by its key.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import dagster as dg

from otn_dagster.config import Settings
from otn_dagster.database import Connection, Session
from otn_dagster.explained import Unknown
from otn_dagster.orchestration.checks import evaluation
from otn_dagster.orchestration.reporting import metadata_of
from otn_dagster.orchestration.resources import NodeDatabase, actor_of
from otn_dagster.telemetry import intake, submissions
from otn_dagster.telemetry.checks import catalog, registry
from otn_dagster.telemetry.kinds import Kind, Stage
from otn_dagster.telemetry.loading.steps import StepReport
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.follow.submissions import OnHold
from otn_dagster.tracker.items import Actor

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation
MOST_TOLD = 20  # files that did not get through and that the failure of a run names, each with its reason
CAUSES = "causes"  # of a failed run: what the notice of a failure groups by, and what it says

# Who runs files in this process and wants to know which one begins now.
begins: ContextVar[Callable[[str], None]] = ContextVar("begins", default=lambda key: None)


class Stopped(RuntimeError):
    """A blocking check failed: the file goes no further."""


@dataclass(frozen=True)
class NotThrough:
    """A file that did not get through its stages."""

    key: str
    stage: str
    state: str
    file_name: str
    error: Exception

    @property
    def cause(self) -> str:
        """Stage and kind of error."""
        return f"{self.stage}: {type(self.error).__name__}"

    @property
    def says(self) -> str:
        """The file and why."""
        return f"{self.file_name}: {self.error}"


def run(context: dg.AssetExecutionContext, database: NodeDatabase, kind: Kind) -> Iterator[Event]:
    """Events of all files of a run as they happen; raises Failure where some did not get through."""
    ended: list[NotThrough] = []
    with Session(database.settings) as session:
        for key in context.partition_keys:
            begins.get()(key)
            yield from _File(database, session, key, actor_of(context), kind).events(context, ended)
    if ended:
        raise _failure(ended, len(context.partition_keys))


@dataclass(frozen=True)
class _File:
    """One file on its way."""

    database: NodeDatabase
    session: Session
    key: str
    actor: Actor
    kind: Kind

    def events(self, context: dg.AssetExecutionContext, ended: list[NotThrough]) -> Iterator[Event]:
        """Through the selected stages and checks; a stage whose predecessor ended the file is left out."""
        chosen = {key.to_user_string() for key in context.selected_asset_keys}
        checks = {key.name for key in context.selected_asset_check_keys}
        closed: set[str | None] = set()
        before = None
        for stage in self.kind.stages:
            if (stage.after or before) in closed:
                closed.add(stage.asset)
            else:
                try:
                    if chosen & set(stage.assets):
                        yield from self._load(stage)
                    if stage.checked:
                        yield from self._check(stage, checks)
                except Exception as error:
                    ended.append(self._note(stage, error))
                    closed.add(stage.asset)
            before = stage.asset

    def _load(self, stage: Stage) -> Iterator[Event]:
        with self._step() as step:
            report = stage.load(*step)
        reports = [report] if isinstance(report, StepReport) else report
        for asset, one in zip(stage.assets, reports, strict=True):
            yield dg.AssetMaterialization(asset, partition=self.key, metadata=metadata_of(one))

    def _check(self, stage: Stage, chosen: set[str]) -> Iterator[Event]:
        checks = [check for check in catalog.of_stage(stage.asset) if check.name in chosen]
        if not checks:
            return
        with self._step() as (connection, settings, submission):
            outcomes = registry.run(registry.Evidence(connection, settings, submission), checks)
            stops = [f"{outcome.check.check_id}: {outcome.check.title}" for outcome in outcomes if outcome.stops]
            submissions.note_stop(connection, submission, stops)
            follow_submissions.note_checks(connection, submission, outcomes, self.actor)
        for outcome in outcomes:
            yield evaluation(outcome, stage.asset, self.key)
        if stops:
            raise Stopped("; ".join(stops))

    @contextmanager
    def _step(self) -> Iterator[tuple[Connection, Settings, Submission]]:
        """One step in one transaction; the tracker follows in the same."""
        with self.session.transaction() as connection:
            follow_submissions.begin(connection, submissions.get(connection, self.key), self.actor)
        with self.session.transaction() as connection:
            yield connection, self.database.settings, submissions.get(connection, self.key)
            follow_submissions.follow(connection, self.database.config.tracker, self.key, self.actor, step_done=True)

    def _note(self, stage: Stage, error: Exception) -> NotThrough:
        """What ended a file, as its state and in the tracker. (A database that is away ends the run: every file is tried again.)"""
        try:
            with self.session.transaction() as connection:
                submission = submissions.get(connection, self.key)
                state = submission.state
                if not isinstance(error, OnHold | Stopped):
                    state = intake.note_failure(connection, submission, error)
                follow_submissions.follow(connection, self.database.config.tracker, self.key, self.actor)
            return NotThrough(self.key, stage.asset, state, submission.file_name, error)
        except Unknown:  # a partition of which there is no file
            return NotThrough(self.key, stage.asset, "unknown", self.key, error)


def _failure(ended: list[NotThrough], files: int) -> dg.Failure:
    if files == 1:
        says = ended[0].says
    else:
        keys = {one.key for one in ended}
        says = "\n".join([f"{len(keys)} of {files} files did not get through:", *(f.says for f in ended[:MOST_TOLD])])
        says += f"\nand {len(ended) - MOST_TOLD} more" if len(ended) > MOST_TOLD else ""
    causes: dict[str, str] = {}
    for one in ended:
        causes.setdefault(one.cause, f"{one.key}\n\n{one.says}")
    return dg.Failure(
        says,
        metadata={
            "submissions": "\n".join(f"{one.key}: {one.state}" for one in ended),
            CAUSES: dg.MetadataValue.json(causes),
        },
        allow_retries=False,
    )
