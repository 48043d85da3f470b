"""What may be left out of a push, and why.

Belongs here: the words of it. Does not belong here: who decides (``exclusions.py`` a person, ``tracker/gate.py`` the rule), doing it
(``leaving_out.py``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from otn_dagster.database import Connection


class Scope(StrEnum):
    """What may be left out."""

    SUBMISSION = "submission"
    TRACKER = "tracker"  # a project's animals and tags
    PROJECT = "project"


class Why(StrEnum):
    """Why something is left out; the words beside it are for people."""

    ON_HOLD = "on_hold"
    NOT_VERIFIED = "not_verified"
    EXCLUDED = "excluded"
    LATE = "late"  # loaded after the cut-off: it is of the next push


@dataclass(frozen=True)
class LeftOut:
    """One thing that is left out. subject: a submission's key, or a project's code."""

    scope: Scope
    subject: str
    code: Why
    why: str


Gate = Callable[[Connection], Sequence[LeftOut]]  # asked when a push is frozen
