"""What must be true of a window before it is committed.

Belongs here: the gates, each a sentence with what was found and what was expected. Does not belong here: writing.

A gate that fails leaves the store as it was. ``announced_rows``, ``rows_before`` and ``deployments`` can be opened by a
person who knows why (an instrument was really silent); the others never.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from otn_dagster.checks import Check, Outcome
from otn_dagster.streams import arrays
from otn_dagster.streams.arrays import Merge
from otn_dagster.streams.configuration import Tolerances
from otn_dagster.streams.group import Group
from otn_dagster.streams.plan import Plan

OPEN_BY_PERSON = ("announced_rows", "rows_before", "deployments", "rows_of_deployments", "span")


CHECKS = [
    Check(name="equal_lengths", title="All arrays have the same number of rows"),
    Check(name="time_increases", title="Time is finite, sorted and unique"),
    Check(name="announced_rows", title="As many rows as the source announced"),
    Check(name="rows_before", title="No fewer rows than before"),
    Check(name="deployments", title="Every deployment that the source knows is there"),
    Check(name="rows_of_deployments", title="Each deployment has as many rows as before"),
    Check(name="span", title="Nothing is missing at either end"),
]


@dataclass(frozen=True)
class Gate:
    """One condition: whether it holds (None where nothing was announced to compare with), what was found and expected."""

    name: str
    passed: bool | None
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.name}: found {self.found}, expected {self.expected}"


class GateFailed(RuntimeError):
    """A window that may not be committed."""

    def __init__(self, gates: Sequence[Gate]):
        """``gates`` are those that failed."""
        super().__init__("; ".join(str(gate) for gate in gates))
        self.gates = list(gates)

    @property
    def can_be_accepted(self) -> bool:
        """Whether a person may open all of them."""
        return all(gate.name in OPEN_BY_PERSON for gate in self.gates)


def check(
    target: Group,
    plan: Plan,
    merge: Merge,
    time_problems: list[str],
    announced: int | None,
    tolerances: Tolerances,
) -> list[Gate]:
    """Every gate of a window that was written into a session and is not committed yet."""
    lengths = {name: arrays.array_of(target, name).shape[0] for name in arrays.names_along_time(target)}

    unequal = {name: rows for name, rows in lengths.items() if rows != merge.rows}
    return [
        Gate(
            "equal_lengths",
            not unequal,
            str(unequal or f"{len(lengths)} arrays of {merge.rows} rows"),
            f"{merge.rows} rows each",
        ),
        Gate(
            "time_increases",
            not time_problems,
            "; ".join(time_problems) or "strictly increasing",
            "finite, sorted, unique",
        ),
        at_least(
            "announced_rows",
            plan.count + plan.repeats + plan.conflicting_rows,
            announced,
            tolerances.least_share_of_announced,
        ),
        at_least("rows_before", plan.count, merge.last - merge.first, tolerances.least_share_of_before),
    ]


def at_least(name: str, found: int, of: int | None, least: float) -> Gate:
    """Whether there are as many rows as there should be."""
    if of is None:
        return Gate(name, None, f"{found} rows", "nothing was announced")
    needed = int(np.floor(of * least))
    return Gate(name, found >= needed, f"{found} rows", f"at least {needed} of {of}")


def every_deployment(found: Iterable[int], expected: Iterable[int]) -> Gate:
    """Whether each deployment that the source knows is there."""
    present, wanted = sorted(found), sorted(expected)
    if not wanted:
        return Gate("deployments", None, f"{present}", "the source names none")
    return Gate("deployments", set(wanted) <= set(present), f"{present}", f"every one of {wanted}")


def outcomes(gates: Iterable[Gate]) -> list[Outcome[Check]]:
    """Every gate as a check; those that nothing came through this time are not evaluated."""
    seen = {gate.name: gate for gate in gates}
    found = []
    for check_ in CHECKS:
        gate = seen.get(check_.name)
        facts = {"found": gate.found, "expected": gate.expected} if gate else {}
        found.append(
            Outcome(check_, gate.passed if gate else None, why=None if gate else "nothing new came", facts=facts)
        )
    return found


def failed(gates: Iterable[Gate], accepted: Iterable[str] = ()) -> list[Gate]:
    """Those that stop a commit; ``accepted`` are names that a person opened."""
    opened = set(accepted) & set(OPEN_BY_PERSON)
    return [gate for gate in gates if gate.passed is False and gate.name not in opened]
