"""Catching up: whatever loading, streams and live datasets did that the tracker has not followed yet.

Belongs here: going through all that is behind. Does not belong here: how each is followed (the modules beside).
"""

import logging
from collections.abc import Callable

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.live.configuration import LiveDatasets
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.follow import live as follow_live
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.follow import streams as follow_streams
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.items import Item

logger = logging.getLogger(__name__)


Named = tuple[str, Callable[[Connection], Item]]


def submissions(settings: Settings, tracker: TrackerSettings) -> None:
    """All that loading did, before a push is frozen: what was loaded just before the cut-off is verified. Safe to repeat."""
    done: set[str] = set()
    while True:
        with database.connect(settings) as connection:
            keys = [key for key in follow_submissions.behind(connection) if key not in done]
        if not keys:
            return
        done |= set(keys)
        _each(settings, [(key, lambda c, key=key: follow_submissions.follow(c, tracker, key)) for key in keys])


def _each(settings: Settings, steps: list[Named]) -> tuple[int, list[str]]:
    """Steps in transactions of their own; (how many were taken, problems)."""
    moved, problems = 0, []
    for name, step in steps:
        try:
            with database.connect(settings) as connection:
                step(connection)
            moved += 1
        except Exception as error:
            logger.exception("the tracker could not follow %s", name)
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return moved, problems


def catch_up(settings: Settings, tracker: TrackerSettings, live: LiveDatasets) -> tuple[int, list[str]]:
    """(items that moved or were described anew, problems). Each in a transaction of its own: one never stops the others.

    Safe to repeat and to kill: what was not reached is still behind.
    """
    with database.connect(settings) as connection:
        keys, requests = follow_submissions.behind(connection), follow_streams.behind(connection)
    steps: list[Named] = [(key, lambda c, key=key: follow_submissions.follow(c, tracker, key)) for key in keys]
    steps += [(f"request {no}", lambda c, no=no: follow_streams.follow(c, no)) for no in requests]
    moved, problems = _each(settings, steps)
    for name, all_of in (
        ("pushes", lambda c: follow_pushes.sweep(c, settings)),
        ("live datasets", lambda c: follow_live.follow_all(c, live)),
    ):
        try:
            with database.connect(settings) as connection:
                moved += len(all_of(connection))
        except Exception as error:
            logger.exception("the tracker could not follow %s", name)
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return moved, problems
