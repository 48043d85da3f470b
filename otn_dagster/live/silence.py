"""Silence: datasets, authors and stations from which nothing came for too long, and pushes that are all refused.

Belongs here: what is silent now, and the alerts that begin and end. Does not belong here: telling people.

Time counts from the last accepted record; where there never was one, from when the dataset, the key or the configuration began,
so that a source that never started is seen too.
"""

import datetime as dt
import logging
from dataclasses import dataclass

import psycopg

from otn_dagster.checks import Check, Outcome
from otn_dagster.database import Connection
from otn_dagster.live import registry
from otn_dagster.live.configuration import Dataset, LiveDatasets, Silence, minutes
from otn_dagster.live.remote import AUTHOR as REMOTE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """How one subject stands: ``level`` is None where all is well."""

    dataset: str
    kind: str
    subject: str
    level: str | None
    text: str


@dataclass(frozen=True)
class Notice:
    """An alert that began or ended; told once."""

    dataset: str
    kind: str
    subject: str
    event: str
    level: str
    text: str


def findings(connection: Connection, dataset: Dataset, now: dt.datetime | None = None) -> list[Finding]:
    """How a dataset and everything in it that is watched stand now; nothing where it is not watched or takes no pushes."""
    rule = dataset.silence
    row = connection.execute(
        "select created_at from platform.live_datasets where dataset = %s", [dataset.name]
    ).fetchone()
    if rule is None or row is None or registry.switches(connection, dataset).disabled:
        return []
    now, began = now or dt.datetime.now(dt.UTC), row[0]
    last = connection.execute(
        "select max(received_at) from platform.live_log where dataset = %s and op <> 'delete' and records > 0",
        [dataset.name],
    ).fetchone()[0]  # type: ignore[index]
    found = [_silent(dataset, rule, "", last, began, now)]
    for name in dict.fromkeys([*rule.per, *rule.expected]):
        heard = _authors(connection, dataset) if name == "author" else _stations(connection, dataset, name)
        for value in rule.expected.get(name, []):
            heard.setdefault(value, (None, began))
        watched = rule.expected.get(name) or sorted(heard)
        found += [_silent(dataset, rule, f"{name}={value}", *heard[value], now) for value in watched]
    return [*found, _all_refused(connection, dataset, rule, last, now)]


def _silent(
    dataset: Dataset, rule: Silence, subject: str, last: dt.datetime | None, began: dt.datetime, now: dt.datetime
) -> Finding:
    quiet = now - (last or began)
    level = "fail" if quiet >= minutes(rule.fail_minutes) else "warn" if quiet >= minutes(rule.warn_minutes) else None
    since = f"nothing since {last:%Y-%m-%d %H:%M} UTC" if last else f"never anything since {began:%Y-%m-%d %H:%M} UTC"
    who = f"{dataset.name} {subject}".strip()
    return Finding(dataset.name, "silent", subject, level, f"{who}: {since} ({quiet.total_seconds() / 60:.0f} minutes)")


def _authors(connection: Connection, dataset: Dataset) -> dict[str, tuple[dt.datetime | None, dt.datetime]]:
    rows = connection.execute(
        "select k.author, (select max(l.received_at) from platform.live_log l where l.dataset = k.dataset"
        " and l.author = k.author and l.op <> 'delete' and l.records > 0), min(k.created_at)"
        " from platform.live_keys k where k.dataset = %s and k.revoked_at is null and 'push' = any(k.rights)"
        " group by k.dataset, k.author",
        [dataset.name],
    )
    return {author: (last, began) for author, last, began in rows if author != REMOTE}


def _stations(connection: Connection, dataset: Dataset, name: str) -> dict[str, tuple[dt.datetime | None, dt.datetime]]:
    """When each was heard. What waits in the log is not looked into: while there is any, everybody has the benefit of the doubt."""
    ahead = connection.execute(
        "select max(received_at) from platform.live_log l where dataset = %s and seq > coalesce("
        " (select seq from platform.live_applied a where a.dataset = l.dataset), 0)",
        [dataset.name],
    ).fetchone()[0]  # type: ignore[index]
    rows = connection.execute(
        "select value, greatest(at, %s::timestamptz) from platform.live_heard where dataset = %s and field = %s",
        [ahead, dataset.name, name],
    )
    return {value: (last, last) for value, last in rows}


def _all_refused(
    connection: Connection, dataset: Dataset, rule: Silence, last: dt.datetime | None, now: dt.datetime
) -> Finding:
    row = connection.execute(
        "select min(at), max(at), count(*), (array_agg(code order by at desc))[1] from platform.live_refused"
        " where dataset = %s and seq is null and at > coalesce(%s::timestamptz, '-infinity')",
        [dataset.name, last],
    ).fetchone()
    assert row is not None
    first, newest, count, code = row
    if not count:
        return Finding(dataset.name, "all_refused", "", None, f"{dataset.name}: what comes is taken")
    age = now - first
    level = "fail" if age >= minutes(rule.fail_minutes) else "warn" if age >= minutes(rule.warn_minutes) else None
    text = f"{dataset.name}: everything is refused since {first:%Y-%m-%d %H:%M} UTC, newest {newest:%H:%M} ({code}, {count} faults)"
    return Finding(dataset.name, "all_refused", "", level, text)


CHECKS = {
    "silent": Check(name="push_active", title="Every watched dataset, author and station has sent recently"),
    "all_refused": Check(name="not_all_refused", title="What comes is not all refused"),
}


def outcomes(found: list[Finding]) -> list[Outcome[Check]]:
    """How all datasets together stand in each respect; not evaluated where none is watched."""
    made = []
    for kind, check in CHECKS.items():
        mine = [finding for finding in found if finding.kind == kind]
        bad = [
            {"level": f.level, "dataset": f.dataset, "who": f.subject or "the dataset", "what": f.text}
            for f in mine
            if f.level
        ]
        mild = all(row["level"] != "fail" for row in bad)
        why = None if mine else "no dataset is watched"
        made.append(Outcome(check, not bad if mine else None, bad, why, mild=mild))
    return made


def look(connection: Connection, live: LiveDatasets, now: dt.datetime | None = None) -> tuple[list[Finding], set[str]]:
    """(how everything stands, the datasets that could be looked at). Changes nothing."""
    found: list[Finding] = []
    looked_at: set[str] = set()
    for name, dataset in live.datasets.items():
        try:
            with connection.transaction():
                found += findings(connection, dataset, now)
            looked_at.add(name)
        except psycopg.Error as error:  # one dataset never hides the others
            logger.warning("%s could not be looked at: %s", name, error)
    return found, looked_at


def watch(
    connection: Connection, live: LiveDatasets, now: dt.datetime | None = None
) -> tuple[list[Finding], list[Notice]]:
    """How everything stands, and what began or ended since the last look.

    Safe to repeat: an alert that is open stays one alert, and is told at its beginning and at its end only.
    """
    found, looked_at = look(connection, live, now)
    is_open = {
        (dataset, kind, subject): (number, level)
        for number, dataset, kind, subject, level in connection.execute(
            "select alert_no, dataset, kind, subject, level from platform.live_alerts where ended_at is null for update"
        ).fetchall()
    }
    notices = []
    for finding in found:
        name = (finding.dataset, finding.kind, finding.subject)
        if finding.level and name not in is_open:
            connection.execute(
                "insert into platform.live_alerts (dataset, kind, subject, level, text) values (%s, %s, %s, %s, %s)",
                [*name, finding.level, finding.text],
            )
            notices.append(Notice(*name, "begins", finding.level, finding.text))
        elif finding.level:
            connection.execute(
                "update platform.live_alerts set level = %s, text = %s where alert_no = %s",
                [finding.level, finding.text, is_open[name][0]],
            )
    bad = {(f.dataset, f.kind, f.subject) for f in found if f.level}
    for name, (number, level) in is_open.items():
        if name not in bad and name[0] in looked_at:
            connection.execute(
                "update platform.live_alerts set ended_at = clock_timestamp() where alert_no = %s", [number]
            )
            notices.append(
                Notice(*name, "ends", level, f"{' '.join(filter(None, (name[0], name[2])))}: {name[1]} is over")
            )
    return found, notices


def alerts(
    connection: Connection, ended_too: bool = False
) -> list[tuple[str, str, str, str, str, dt.datetime, dt.datetime | None]]:
    """(dataset, kind, subject, level, text, began, ended) of alerts, newest first."""
    return connection.execute(
        "select dataset, kind, subject, level, text, started_at, ended_at from platform.live_alerts"
        " where %s or ended_at is null order by alert_no desc limit 200",
        [ended_too],
    ).fetchall()
