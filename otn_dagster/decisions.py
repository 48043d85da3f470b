"""What waits for a person: a change that would remove information, a clock whose drift nobody believes, a file that does not say
which of two things it means, a stream's window that lacks rows, a version that differs too much.

Belongs here: raising a question once, and the answer with who gave it and why. Does not belong here: acting on it (the step that
raised it runs again and finds the answer; ``tracker/questions.py`` does what has to be done at once).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from otn_dagster.database import Connection
from otn_dagster.explained import Unknown, Unusable


class HeldForPerson(RuntimeError):
    """A submission that is not applied until a person decides; nothing of it was written."""

    def __init__(self, topic: str, subject: str, details: list[Any], says: str | None = None, anew: bool = False):
        """``details`` is what the person will see, one line each. anew: what was answered was about something else."""
        self.topic, self.subject, self.details, self.anew = topic, subject, details, anew
        what = says or f"{len(details)} change(s) would remove information, the first: {details[0]}"
        super().__init__(
            f"held for a person ({topic}): {what}. "
            f"Look at them with `otn-dagster held` and decide with `otn-dagster decide`."
        )


ACCEPT, REJECT = "accept", "reject"


@dataclass(frozen=True)
class Question:
    """Something that waits for a person. ``details`` are lines to look at, ``answers`` what may be said."""

    number: int
    topic: str
    subject: str
    details: Any
    answers: list[str]


def ask(
    connection: Connection, topic: str, subject: str, details: Any, answers: Sequence[str] = (ACCEPT, REJECT)
) -> None:
    """Raise a question. Safe to repeat: a question that was asked, or answered, stands."""
    connection.execute(
        "insert into platform.decisions (topic, subject, details, answers) values (%s, %s, %s, %s) on conflict do nothing",
        [topic, subject, json.dumps(details, default=str), list(answers)],
    )


def ask_anew(
    connection: Connection, topic: str, subject: str, details: Any, answers: Sequence[str] = (ACCEPT, REJECT)
) -> None:
    """Raise a question about a subject that may have been asked about before, on another occasion. Safe to repeat."""
    connection.execute(
        "insert into platform.decisions (topic, subject, details, answers) values (%s, %s, %s, %s) on conflict (topic, subject)"
        " do update set details = excluded.details, answers = excluded.answers, decision = null, decided_by = null, decided_why = null,"
        " decided_at = null, raised_at = platform.now()",
        [topic, subject, json.dumps(details, default=str), list(answers)],
    )


def settle(connection: Connection, topic: str, subject: str, decision: str, who: str, why: str) -> None:
    """Write down what was decided about a subject elsewhere (on its page). Safe to repeat: a decision once made stands."""
    connection.execute(
        "update platform.decisions set decision = %s, decided_by = %s, decided_why = %s, decided_at = platform.now()"
        " where topic = %s and subject = %s and decision is null",
        [decision, who, why, topic, subject],
    )


def answer(connection: Connection, topic: str, subject: str) -> str | None:
    """``accept``, ``reject`` or another answer of the topic; None while nobody decided."""
    row = connection.execute(
        "select decision from platform.decisions where topic = %s and subject = %s", [topic, subject]
    ).fetchone()
    return row[0] if row else None


def details(connection: Connection, topic: str, subject: str) -> Any:
    """What a person saw of a subject when it was asked about; None where it was not."""
    row = connection.execute(
        "select details from platform.decisions where topic = %s and subject = %s", [topic, subject]
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


def withdraw(connection: Connection, subject: str, why: str) -> None:
    """Nobody needs to answer any more: the subject is gone. Safe to repeat."""
    connection.execute(
        "update platform.decisions set decision = %s, decided_by = 'the platform', decided_why = %s, decided_at = platform.now()"
        " where subject = %s and decision is null",
        [REJECT, why, subject],
    )


def question(connection: Connection, number: int) -> Question:
    """One that waits, locked until the transaction ends: of two people who answer it at once, one finds it answered. Raises Unknown."""
    connection.execute("select 1 from platform.decisions where decision_id = %s for update", [number])
    found = [one for one in open_questions(connection) if one.number == number]
    if not found:
        raise Unknown(f"no open question number {number}")
    return found[0]


def decide(connection: Connection, number: int, decision: str, who: str, why: str) -> Question:
    """Write down a person's decision; what was asked. A decision once made is not changed.

    Raises Unknown where no such question is open, Unusable where it has no such answer.
    """
    asked = question(connection, number)
    if decision not in asked.answers:
        raise Unusable(f"unknown decision {decision!r}; expected one of {', '.join(asked.answers)}")
    settle(connection, asked.topic, asked.subject, decision, who, why)
    return asked


def ask_again(connection: Connection, topic: str, subject: str) -> None:
    """Open a question anew that was answered with reject, because its subject is reconsidered. Safe to repeat."""
    connection.execute(
        "update platform.decisions set decision = null, decided_by = null, decided_why = null, decided_at = null"
        " where topic = %s and subject = %s and decision = 'reject'",
        [topic, subject],
    )


def open_questions(connection: Connection) -> list[Question]:
    """All that waits for a person, the oldest first."""
    with connection.cursor(row_factory=class_row(Question)) as cursor:
        return cursor.execute(
            "select decision_id as number, topic, subject, details, answers from platform.decisions where decision is null order by 1"
        ).fetchall()
