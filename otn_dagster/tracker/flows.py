"""The states that a dataset may be in, which step leads to which, and what each step needs.

Belongs here: the table of transitions, what may block one, and nothing else. Does not belong here: taking a step (``items.py``).

Source: OTN's checklists of node managers (receive, load, verify, push), OOI's data-vent states, data-set life of ERDDAP and
Opendatasoft sources.
"""

from dataclasses import dataclass
from enum import StrEnum

from otn_dagster.streams import requests

SUBMISSION, STREAM, LIVE = "submission", "stream", "live"
HOLDS = {
    "needs_researcher": "needs the researcher",
    "waiting_metadata": "waits for metadata",
    "waiting_data_files": "waits for data files",
    "push_freeze": "waits for the push to end",
    "quarantined": "quarantined",
    "second_person": "waits for a second person",
}


class Blocker(StrEnum):
    """What an item waits for that is not on hold. The words beside it are for people."""

    CHECKS_MISSING = "checks_missing"
    CHECKS_FAILED = "checks_failed"
    SECOND_LOOK = "second_look"
    NEXT_PUSH = "next_push"
    EXTRACTS = "extracts"
    SUMMARIES = "summaries"
    MAILS = "mails"
    REOPENED = "reopened"
    REQUEST = "request"  # what a stream's request says
    ON_HOLD = "on_hold"
    NOT_ALLOWED = "not_allowed"  # the step was refused for now
    OTHER = "other"  # of before there were codes


PUBLIC_BLOCKERS = frozenset({Blocker.SECOND_LOOK, Blocker.NEXT_PUSH})  # their words quote nothing of a file


@dataclass(frozen=True)
class Step:
    """What a step needs: names of its evidence, and how many people (0: it is taken by a run; 2: by one and another)."""

    needs: tuple[str, ...] = ()
    people: int = 0
    in_freeze: bool = True
    on_hold: bool = False


_END = Step(("reason",), people=1, on_hold=True)
_WITHDRAW = Step(("reason",), people=2, on_hold=True)
_REOPEN = Step(("reason", "affected"), people=1, in_freeze=False)
_SUPERSEDED = Step(("by",), on_hold=True)
_GAVE_UP = Step(("reason",), on_hold=True)
_CLOSED = Step(("by", "reason"), on_hold=True)

# Which step a request may take is said by ``streams.requests``; what each needs is said here; every other step is an end.
STREAM_STEPS = {
    ("requested", "ready"): Step(("files",)),
    ("ready", "requested"): Step(("reason",)),
    ("ready", "ingested"): Step(("rows", "commit")),
    ("ingested", "checked"): Step(("gates",)),
    ("checked", "published"): Step(("commit", "gates")),
}

FLOWS: dict[str, dict[tuple[str | None, str], Step]] = {
    SUBMISSION: {
        (None, "received"): Step(("file",)),
        ("received", "loading"): Step(("run",), in_freeze=False),
        ("loading", "verified"): Step(("rows", "checks")),  # what is loaded was loaded in time, or was let in
        ("verified", "matched"): Step(("push", "snapshot", "detections")),
        ("matched", "verified"): Step(("reason",), on_hold=True),  # its push was given up, or a revision left it out
        ("extracted", "verified"): Step(("reason",), on_hold=True),
        ("matched", "extracted"): Step(("push", "certificate", "extracts")),
        ("extracted", "published"): Step(("push", "summaries", "mails")),
        ("received", "rejected"): _END,
        ("loading", "rejected"): _END,
        ("rejected", "received"): Step(("reason",), people=1),
        ("verified", "loading"): _REOPEN,
        ("matched", "loading"): _REOPEN,
        **{
            (state, "superseded"): _SUPERSEDED
            for state in ("received", "loading", "verified", "matched", "extracted", "published")
        },
        **{(state, "withdrawn"): _WITHDRAW for state in ("verified", "matched", "extracted", "published")},
    },
    STREAM: {
        (None, "requested"): Step(("mode", "window", "asked_by")),
        **{(a, b): STREAM_STEPS.get((a, b), _GAVE_UP) for a, after in requests.MOVES.items() for b in sorted(after)},
    },
    LIVE: {
        (None, "external"): Step(("source",)),
        (None, "expected"): Step(("configuration",)),
        ("external", "expected"): Step(("look",)),
        ("expected", "active"): Step(("push",)),
        ("expected", "silent"): Step(("alert",)),
        ("active", "silent"): Step(("alert",)),
        ("silent", "active"): Step(("push",)),
        ("silent", "expected"): Step(("reason",)),
        **{(state, "closed"): _CLOSED for state in ("external", "expected", "active", "silent")},
        ("closed", "expected"): Step(("by", "reason")),
    },
}
STATES = {flow: list(dict.fromkeys(to for _, to in steps)) for flow, steps in FLOWS.items()}
ENDED = {"rejected", "superseded", "withdrawn", "published", "failed", "expired", "skipped", "closed"}


def step(flow: str, before: str | None, after: str) -> Step | None:
    """The step from one state to another, if there is one."""
    return FLOWS[flow].get((before, after))


def following(flow: str, state: str | None) -> list[str]:
    """States that a state may become, in order."""
    return [after for (before, after) in FLOWS[flow] if before == state]
