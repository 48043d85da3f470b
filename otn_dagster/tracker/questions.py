"""A person's answer to whatever waits, and what has to be done about it at once: the one verb for all of it.

Belongs here: which answer leads to what. Does not belong here: the questions (``otn_dagster/decisions.py``).
"""

from otn_dagster import decisions
from otn_dagster.database import Connection
from otn_dagster.decisions import Question
from otn_dagster.explained import Unusable
from otn_dagster.streams import requests
from otn_dagster.tracker import acting, fixing, flows, items
from otn_dagster.tracker.acting import Action
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.follow import streams as follow_streams
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.receipt.duplicates import QUARANTINE


def decide(connection: Connection, settings: TrackerSettings, number: int, answer: str, by: str, why: str) -> Question:
    """Answer a question, and go on accordingly; what was asked. Raises Unknown, Unusable, NotAllowed.

    Of a file that loading asks about nothing is done here: its step runs again and finds the answer.
    """
    asked = decisions.question(connection, number)
    if answer not in asked.answers:
        raise Unusable(f"unknown decision {answer!r}; expected one of {', '.join(asked.answers)}")
    if asked.topic == requests.QUESTION:
        requests.decide(connection, int(asked.subject), answer, by, why)
        follow_streams.follow(connection, int(asked.subject), Actor.person(by))
    elif asked.topic == QUARANTINE and (item := items.find(connection, flows.SUBMISSION, asked.subject)):
        action = Action.RELEASE if answer == decisions.ACCEPT else Action.REJECT
        acting.act(connection, settings, item.item_id, action, by, why)
    elif not fixing.may_be_applied(connection, asked, answer, by, why):
        return asked
    decisions.settle(connection, asked.topic, asked.subject, answer, by, why)
    return asked
