"""What a check is, and what comes of it: the one idea that loading, pushes, streams and live datasets share.

Belongs here: the two shapes. Does not belong here: any check (the package that knows what it looks at), SQL, Dagster
(``orchestration/checks.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"

    @property
    def words(self) -> str:
        """For people."""
        return self.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check. ``stops``: what follows must not run where it fails; ``warns``: a failure is a warning, not an error."""

    name: str
    title: str
    hint: str = ""
    stops: bool = False
    warns: bool = False

    @property
    def description(self) -> str:
        """Title and hint as sentences."""
        return f"{self.title}. {self.hint}" if self.hint else self.title


@dataclass(frozen=True)
class Outcome[Of: Check]:
    """What came of a check. ``passed`` is None where it was not evaluated; ``why`` says why, ``rows`` what fails."""

    check: Of
    passed: bool | None
    rows: Sequence[Mapping[str, Any]] = ()
    why: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    mild: bool = False  # this failure is a warning, whatever the check's own failures are

    @property
    def verdict(self) -> Verdict:
        """As a code."""
        return {True: Verdict.PASSED, False: Verdict.FAILED, None: Verdict.NOT_EVALUATED}[self.passed]

    @property
    def stops(self) -> bool:
        """Whether what follows must not run."""
        return self.check.stops and self.passed is False

    @property
    def says(self) -> str:
        """Title and verdict in words."""
        return f"{self.check.title}: {self.verdict.words}" + (f" ({self.why})" if self.why else "")
