"""What a check is, how it is registered, and how it is run.

Belongs here: the shape of checks and their results. Does not belong here: any single check.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import dict_row

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import readings
from otn_dagster.telemetry.files.refusals import Code, Why
from otn_dagster.telemetry.submissions import Submission

MAX_ROWS_SHOWN = 200

Rows = list[dict[str, Any]]


class NotEvaluated(Exception):
    """A check that cannot be answered here (it needs the network, or a vendor's file that is not there)."""


@dataclass(frozen=True)
class Evidence:
    """What a check may look at."""

    connection: Connection
    settings: Settings
    submission: Submission

    @property
    def code(self) -> str:
        """Collection code of the submission."""
        return self.submission.collectioncode

    @property
    def schema(self) -> str:
        """Schema of the project."""
        return self.code.lower()

    def rows(self, query: str, *parameters: Any) -> Rows:
        """Failing rows as dictionaries; parameters (one mapping, or values) are bound, never pasted."""
        bound = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else parameters or None
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, bound).fetchall()  # type: ignore[arg-type]

    def refused_because(self, *why: Why) -> Rows:
        """Refused rows of the submission, refused for one of these reasons."""
        return self.rows(
            "select row_number, column_name, found, expected, remedy from platform.refused_rows"
            " where submission_key = %s and why = any(%s) order by sheet, row_number",
            self.submission.submission_key,
            [str(one) for one in why],
        )

    def found(self, *codes: Code) -> Rows:
        """Findings of the submission with one of these codes, the most important first."""
        findings = readings.findings_of(self.connection, self.submission.submission_key)
        return [
            {
                "rows": ", ".join(map(str, f.rows[:10])) + (", ..." if f.count > 10 else ""),
                "count": f.count,
                "column_name": f.column,
                "found": f.found,
                "expected": f.expected,
                "remedy": f.remedy,
            }
            for f in findings
            if f.code in codes
        ]

    def vendor_specs(self) -> None:
        """Raise NotEvaluated where the vendor's tag specifications were never loaded."""
        if not self.rows("select 1 as one from vendor.c_vemco_tags limit 1"):
            raise NotEvaluated("no vendor specifications are loaded (vendor.c_vemco_tags is empty)")


@dataclass(frozen=True)
class Check:
    """One check: its id, the asset it judges, how serious a failure is and how to mend it."""

    check_id: str
    stage: str
    title: str
    hint: str
    function: Callable[[Evidence], Rows]
    blocking: bool = False
    warning: bool = False

    @property
    def name(self) -> str:
        """Name in the UI: the id and a word."""
        return f"{self.check_id}_{self.function.__name__}"


@dataclass(frozen=True)
class CheckResult:
    """What came of a check. ``passed`` is None where it was not evaluated; then ``why`` says why."""

    check: Check
    passed: bool | None
    rows: Rows = field(default_factory=list)
    why: str | None = None

    @property
    def stops(self) -> bool:
        """Whether what follows must not run."""
        return self.check.blocking and self.passed is False


REGISTRY: list[Check] = []


def check(
    check_id: str, stage: str, title: str, hint: str, *, blocking: bool = False, warning: bool = False
) -> Callable[[Callable[[Evidence], Rows]], Callable[[Evidence], Rows]]:
    """Register a function that returns the failing rows (none: passed) as a check of a stage."""

    def register(function: Callable[[Evidence], Rows]) -> Callable[[Evidence], Rows]:
        REGISTRY.append(Check(check_id, stage, title, hint, function, blocking, warning))
        return function

    return register


def of_stage(stage: str) -> list[Check]:
    """The checks of an asset, by id."""
    from otn_dagster.telemetry.checks import deployments, detections, events, project, tags  # noqa: F401

    return sorted((c for c in REGISTRY if c.stage == stage), key=lambda c: (c.check_id[0], int(c.check_id[1:])))


def run(evidence: Evidence, checks: Sequence[Check]) -> list[CheckResult]:
    """Run checks; each in a savepoint, so that one that cannot be evaluated does not take the others with it."""
    results = []
    for one in checks:
        try:
            with evidence.connection.transaction():
                rows = one.function(evidence)
            results.append(CheckResult(one, not rows, rows))
        except NotEvaluated as reason:
            results.append(CheckResult(one, None, why=str(reason)))
    return results
