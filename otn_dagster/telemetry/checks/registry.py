"""What a check of the field may look at, how one is made of a function, and how it is run.

Belongs here: what all of them share. Does not belong here: any single check; which there are (``catalog.py``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.checks import Check, Outcome
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry import readings, receiver_tables
from otn_dagster.telemetry.files.refusals import Code, Why
from otn_dagster.telemetry.receiver_tables import ACCEPTED, PROMOTED
from otn_dagster.telemetry.submissions import Submission

Rows = list[dict[str, Any]]


class NotEvaluated(Exception):
    """A check that cannot be answered here (it needs the network, or a vendor's file that is not there)."""


class Looking(Protocol):
    """Whatever a check looks at, it has a connection."""

    @property
    def connection(self) -> Connection:
        """In a transaction."""
        ...


# What a query may ask of the submission's receivers: as which table, from which year tables, and whether only those of the project.
_TABLES = {
    "mine": ("mine", ACCEPTED, True),
    "detections": ("everybodys", ACCEPTED, False),
    "otn_detections": ("promoted", PROMOTED, False),
}


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

    @cached_property
    def receiver_keys(self) -> list[int]:
        """Receivers of which the submission speaks."""
        if self.submission.kind in ("detections", "events"):
            serials = receiver_tables.serials_in(self.submission.parquet(self.settings))
        else:
            query = "select distinct rcv_serial_no from platform.rcvr_locations where submission_key = %s"
            serials = [row["rcv_serial_no"] for row in self.rows(query, self.submission.submission_key)]
        return receiver_tables.keys_of(self.connection, serials)

    def rows(self, query: str, *parameters: Any) -> Rows:
        """Failing rows as dictionaries; parameters (one mapping, or values) are bound, never pasted.

        A query may ask ``{mine}`` (detections that the project sent), ``{detections}`` (that anybody sent) and ``{otn_detections}``
        (promoted, wherever they were heard): of the submission's receivers, and only of these.
        """
        bound = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else parameters or None
        statement = sql.SQL(query)  # type: ignore[arg-type]
        wanted = [name for name in _TABLES if f"{{{name}}}" in query]
        with self.connection.cursor(row_factory=dict_row) as cursor:
            asked = statement.format(**{name: self._gathered(name) for name in wanted}) if wanted else statement
            return cursor.execute(asked, bound).fetchall()

    def _gathered(self, name: str) -> sql.Identifier:
        table, part, of_project = _TABLES[name]
        code = self.code if of_project else None
        return receiver_tables.gathered(self.connection, table, part, self.receiver_keys, code)

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


@dataclass(frozen=True, kw_only=True)
class FieldCheck[E](Check):
    """A check under the id that it has in the field, the asset that it judges, and the function that gives the failing rows."""

    check_id: str
    stage: str
    function: Callable[[E], Rows]


def check[E](
    check_id: str, stage: str, title: str, hint: str, *, stops: bool = False, warns: bool = False
) -> Callable[[Callable[[E], Rows]], FieldCheck[E]]:
    """Make a function that returns the failing rows (none: passed) a check of a stage, named by its id and the function's name."""

    def made(function: Callable[[E], Rows]) -> FieldCheck[E]:
        name = f"{check_id}_{function.__name__}"
        return FieldCheck(
            name=name,
            title=title,
            hint=hint,
            stops=stops,
            warns=warns,
            check_id=check_id,
            stage=stage,
            function=function,
        )

    return made


def checks_in(module: ModuleType) -> list[FieldCheck[Any]]:
    """The checks that a module defines, by id."""
    found = [one for one in vars(module).values() if isinstance(one, FieldCheck)]
    return sorted(found, key=lambda c: (c.check_id[0], int(c.check_id[1:])))


def run[E: Looking](evidence: E, checks: Iterable[FieldCheck[E]]) -> list[Outcome[FieldCheck[E]]]:
    """Run checks; each in a savepoint, so that one that cannot be evaluated does not take the others with it."""
    outcomes = []
    for one in checks:
        try:
            with evidence.connection.transaction():
                rows = one.function(evidence)
            outcomes.append(Outcome(one, not rows, rows))
        except NotEvaluated as reason:
            outcomes.append(Outcome(one, None, why=str(reason)))
    return outcomes
