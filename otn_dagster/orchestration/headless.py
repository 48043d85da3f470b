"""Loading and pushing without a server: the same jobs that sensors and schedules start, run in this process.

Belongs here: running Dagster's jobs for the command line and saying what came of them. Does not belong here: any step
itself.

Runs are recorded in the same Dagster instance that the UI shows.
"""

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from otn_dagster import database
from otn_dagster.config import Settings, home
from otn_dagster.node import NodeConfig
from otn_dagster.orchestration import loading
from otn_dagster.orchestration.batches import batches
from otn_dagster.orchestration.checks import was_not_evaluated
from otn_dagster.orchestration.pushing import COMPLETE, PUSH
from otn_dagster.telemetry import cutoffs, submissions
from otn_dagster.telemetry.push import snapshot
from otn_dagster.telemetry.submissions import Submission
from otn_dagster.tracker import flows, items, release
from otn_dagster.tracker.follow import catch_up as following
from otn_dagster.tracker.receipt import receipt

LONGEST_COMPARISON_SECONDS = 3600.0
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Progress = Callable[[str, int, int], None]  # what begins now, its number from 1, of how many


@dataclass
class FileOutcome:
    """What became of one file."""

    submission: str
    state: str
    reason: str | None
    rows: dict[str, int | None]
    refused: list[dict[str, Any]] = field(default_factory=list)
    failed_checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Loaded, with no row refused and no blocking check failed."""
        stopped = any(check["blocking"] for check in self.failed_checks)
        return self.state in ("loaded", "superseded") and not self.refused and not stopped


@dataclass
class LoadOutcome:
    """What a call of ``load`` did."""

    files: list[FileOutcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing was refused, held or left waiting."""
        return not self.problems and all(file.good for file in self.files)


@dataclass
class PushOutcome:
    """What a call of ``push`` did."""

    push_date: str
    rehearsal: bool | None = None
    steps: dict[str, str] = field(default_factory=dict)
    failed_checks: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    folder: str = ""
    extracts: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    certificate: str | None = None
    waits_for_release: bool = False

    @property
    def good(self) -> bool:
        """Every step succeeded."""
        return self.error is None


def as_json(outcome: LoadOutcome | PushOutcome) -> dict[str, Any]:
    """An outcome for a machine."""
    return {**asdict(outcome), "good": outcome.good}


def dagster_instance() -> dg.DagsterInstance:
    """The instance that ``dagster dev`` uses: DAGSTER_HOME, or ``dagster.yaml`` of the node."""
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    from dagster._core.instance.ref import InstanceRef

    os.chdir(home())  # dagster.yaml says where things are relative to the node's folder
    records = Path(".dagster")
    records.mkdir(exist_ok=True)
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(records), config_dir=str(home())))


def load(
    config: NodeConfig, progress: Progress = lambda what, number, of: None, settle_seconds: float = 1.0
) -> LoadOutcome:
    """Load everything in ``incoming/`` that is not loaded yet, and whatever waited and may go on now."""
    settings, outcome = config.settings, LoadOutcome()
    started: set[str] = set()
    touched: dict[str, Submission] = {}
    failed: dict[str, list[dict[str, Any]]] = {}
    receive(config, outcome, settle_seconds)
    with dagster_instance() as instance:
        repository = _repository()
        while True:
            with database.connect(settings) as connection:
                ready = [(s, key) for s, key in receipt.ready(connection) if key not in started]
            if not ready:
                break
            kind = ready[0][0].kind
            mine = {s.submission_key: (s, key) for s, key in ready if s.kind == kind}
            touched |= {key: submission for key, (submission, _) in mine.items()}
            count, of = itertools.count(len(started) + 1), len(started | {key for _, key in ready})
            job = repository.get_job(f"load_{kind}")
            failed |= _load(instance, job, kind, list(mine), partial(_say, progress, count, of))
            started |= {key for _, key in mine.values()}
    following.catch_up(settings, config.tracker, config.live)
    with database.connect(settings) as connection:
        waiting = {s.submission_key: s for s in submissions.by_state(connection, ["held", "waiting", "received"])}
        outcome.files = [_outcome_of(connection, key, failed.get(key, [])) for key in sorted({**touched, **waiting})]
    return outcome


def _say(progress: Progress, count: Iterator[int], of: int, key: str) -> None:
    progress(key, next(count), of)


def _load(
    instance: dg.DagsterInstance, job: dg.JobDefinition, kind: str, keys: list[str], begins: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Load files of a kind, as many in one run as stand together; the checks that failed, by submission."""
    name, failed = f"{kind}_submissions", defaultdict[str, list[dict[str, Any]]](list)
    known = list(instance.get_dynamic_partitions(name))
    before = set(known)
    instance.add_dynamic_partitions(name, [key for key in keys if key not in before])
    watching = loading.begins.set(begins)
    try:
        for batch in batches(keys, known):
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                partition_key=batch.partition_key,
                tags=batch.tags,
                run_config=QUIET,
            )
            for event in result.get_asset_check_evaluations():
                failed[event.partition or keys[0]] += _failed_checks([event])
    finally:
        loading.begins.reset(watching)
    return failed


def receive(config: NodeConfig, outcome: LoadOutcome, settle_seconds: float) -> None:
    """Receive what lies in ``incoming/``: look twice, so that a file that is still being copied is seen to grow; it stays for the next call."""
    settings, quarantine = config.settings, config.tracker.quarantine
    with database.connect(settings) as connection:
        cutoffs.announce(connection, settings)
    first = receipt.look(settings, quarantine, {})
    time.sleep(settle_seconds if first.still_arriving else 0)
    second = receipt.look(settings, quarantine, first.sizes, seconds=LONGEST_COMPARISON_SECONDS)
    outcome.problems = second.problems + [
        f"{name}: still being copied; it will be loaded once it stops changing" for name in second.still_arriving
    ]


def _outcome_of(connection: database.Connection, key: str, failed_checks: list[dict[str, Any]]) -> FileOutcome:
    submission = submissions.get(connection, key)
    state, reason, (counts, _) = submission.state, submission.reason, submissions.counts(connection, key)
    held = items.find(connection, flows.SUBMISSION, key)
    if held and held.hold and (held.hold_by_person or held.hold == "quarantined"):
        state = "held"
        reason = f"{flows.HOLDS[held.hold]}: {held.hold_why}. Release or reject item {held.item_id} in the tracker."
    refused = submissions.refused_rows(connection, key)
    names = ["row", "column", "found", "expected", "remedy"]
    return FileOutcome(key, state, reason, counts, [dict(zip(names, r, strict=True)) for r in refused], failed_checks)


def run_job(name: str, partition_key: str | None = None, run_config: dict[str, Any] | None = None) -> None:
    """Run one job here, recorded where the UI shows it; raises RuntimeError with what failed."""
    with dagster_instance() as instance:
        job = _repository().get_job(name)
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition_key,
            raise_on_error=False,
            run_config={**QUIET, **(run_config or {})},
        )
    if not result.success:
        raise RuntimeError(f"{name}: {_first_error(result)}")


def runs_under_way() -> tuple[int, list[str]]:
    """(how many runs of the instance have not ended, jobs of those that failed)."""
    with dagster_instance() as instance:
        runs = instance.get_runs(limit=1000)
    unfinished = [run for run in runs if not run.is_finished]
    return len(unfinished), [run.job_name for run in runs if run.status == dg.DagsterRunStatus.FAILURE]


def push(
    settings: Settings,
    push_date: str,
    progress: Progress = lambda what, number, of: None,
    git_issue_link: str | None = None,
) -> PushOutcome:
    """Run every step of a push, in order; a step that fails ends it, and running it again goes on with the same bytes."""
    outcome = PushOutcome(push_date, folder=str(snapshot.push_folder(settings, push_date)))
    with dagster_instance() as instance:
        repository = _repository()
        for step in PUSH:
            progress(step.job_name, step.number, len(PUSH) + 2)
            tags = {"otn/push_date": push_date}
            config: dict[str, Any] = dict(QUIET)
            if "detection_extracts_list" in step.assets and git_issue_link:
                config["ops"] = {"detection_extracts_list": {"config": {"git_issue_link": git_issue_link}}}
            result = repository.get_job(step.job_name).execute_in_process(
                instance=instance, raise_on_error=False, partition_key=push_date, tags=tags, run_config=config
            )
            outcome.failed_checks += _failed_checks(result.get_asset_check_evaluations())
            outcome.steps[step.job_name] = "done" if result.success else "failed"
            if not result.success:
                outcome.error = _first_error(result)
                break
    _describe(settings, outcome)
    if outcome.good and not outcome.rehearsal:
        with database.connect(settings) as connection:
            outcome.waits_for_release = release.of(connection, push_date) is None
    if outcome.good and not outcome.rehearsal and not outcome.waits_for_release:
        for number, (job, key) in enumerate(
            (("send_mails", None), (COMPLETE.job_name, push_date)), start=len(PUSH) + 1
        ):
            progress(job, number, len(PUSH) + 2)
            run_job(job, key)
    return outcome


def _describe(settings: Settings, outcome: PushOutcome) -> None:
    import json

    folder = Path(outcome.folder)
    if (folder / "snapshot" / snapshot.MANIFEST).exists():
        outcome.rehearsal = snapshot.read(settings, outcome.push_date).rehearsal
    if outcome.good and (folder / "certificate.json").exists():
        made = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
        outcome.certificate, outcome.counts = made["sha256"], made["counts"]["by reason"]
        outcome.extracts = sorted(name for name in made["files"] if name.startswith("extracts/"))


def _repository() -> Any:
    from otn_dagster.orchestration.build import build_defs

    return build_defs().get_repository_def()


def _failed_checks(events: Iterable[dg.AssetCheckEvaluation]) -> list[dict[str, Any]]:
    failed = []
    for event in events:
        if event.passed or was_not_evaluated(event):
            continue
        rows = event.metadata.get("rows")
        failed.append(
            {
                "check": event.check_name,
                "asset": event.asset_key.to_user_string(),
                "severity": event.severity.value,
                "blocking": event.blocking,
                "title": event.description,
                "hint": event.metadata["hint"].value if "hint" in event.metadata else None,
                "rows": [dict(record.data) for record in rows.records[:5]]
                if isinstance(rows, dg.TableMetadataValue)
                else [],
            }
        )
    return failed


def _first_error(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            described = data.user_failure_data.description if data.user_failure_data else None
            error = data.error and (data.error.cause or data.error)  # Dagster wraps what was raised
            return described or (error.message if error else "the step failed")
    return "the run failed"
