"""What waits for a person: a change that would remove information, a clock whose drift nobody believes, a file that does not say
which of two things it means.

Belongs here: raising a question once, and the answer with who gave it and why. Does not belong here: acting on it (the
step that raised it runs again and finds the answer).
"""

import json
from typing import Any

from otn_dagster.database import Connection
from otn_dagster.explained import Unknown, Unusable
from otn_dagster.telemetry.files.refusals import ANSWERS, Topic


class HeldForPerson(RuntimeError):
    """A submission that is not applied until a person decides; nothing of it was written."""

    def __init__(self, topic: str, subject: str, details: list[Any]):
        """``details`` is what the person will see, one line each."""
        self.topic, self.subject, self.details = topic, subject, details
        super().__init__(
            f"held for a person ({topic}): {len(details)} change(s) would remove information, the first: {details[0]}. "
            f"Look at them with `otn-dagster held` and decide with `otn-dagster decide`."
        )


def ask(connection: Connection, topic: str, subject: str, details: Any) -> None:
    """Raise a question. Safe to repeat: a question that was asked, or answered, stands."""
    connection.execute(
        "insert into platform.decisions (topic, subject, details) values (%s, %s, %s) on conflict do nothing",
        [topic, subject, json.dumps(details, default=str)],
    )


def answer(connection: Connection, topic: str, subject: str) -> str | None:
    """``accept``, ``reject`` or another answer of the topic; None while nobody decided."""
    row = connection.execute(
        "select decision from platform.decisions where topic = %s and subject = %s", [topic, subject]
    ).fetchone()
    return row[0] if row else None


def answers(connection: Connection, subject: str) -> dict[str, str]:
    """What people answered about a subject, by topic."""
    rows = connection.execute(
        "select topic, decision from platform.decisions where subject = %s and decision is not null order by 1",
        [subject],
    ).fetchall()
    return dict(rows)


def is_asked(connection: Connection, subject: str) -> bool:
    """Whether a question about a subject is open."""
    row = connection.execute(
        "select 1 from platform.decisions where subject = %s and decision is null limit 1", [subject]
    ).fetchone()
    return row is not None


def allowed(topic: str) -> tuple[str, ...]:
    """What may be answered to a question of a topic."""
    return ANSWERS[Topic(topic)]


def decide(connection: Connection, decision_id: int, decision: str, who: str, why: str) -> tuple[str, str]:
    """Write down a person's decision; returns (topic, subject). A decision once made is not changed.

    Raises KeyError where no such question is open, ValueError where the topic has no such answer.
    """
    asked = connection.execute(
        "select topic from platform.decisions where decision_id = %s and decision is null", [decision_id]
    ).fetchone()
    if asked and decision not in allowed(asked[0]):
        raise Unusable(f"unknown decision {decision!r}; expected one of {', '.join(allowed(asked[0]))}")
    row = connection.execute(
        "update platform.decisions set decision = %s, decided_by = %s, decided_why = %s, decided_at = platform.now()"
        " where decision_id = %s and decision is null returning topic, subject",
        [decision, who, why, decision_id],
    ).fetchone()
    if row is None:
        raise Unknown(f"no open question number {decision_id}")
    return row[0], row[1]


def ask_again(connection: Connection, topic: str, subject: str) -> None:
    """Open a question anew that was answered with reject, because its subject is reconsidered. Safe to repeat."""
    connection.execute(
        "update platform.decisions set decision = null, decided_by = null, decided_why = null, decided_at = null"
        " where topic = %s and subject = %s and decision = 'reject'",
        [topic, subject],
    )


def open_questions(connection: Connection) -> list[tuple[int, str, str, Any]]:
    """(number, topic, subject, details) of all that waits."""
    return connection.execute(
        "select decision_id, topic, subject, details from platform.decisions where decision is null order by 1"
    ).fetchall()
