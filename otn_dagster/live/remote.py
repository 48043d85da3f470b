"""Files elsewhere: looked at on their schedules, fetched when they changed, and put into the log like a push.

Belongs here: what is known of a source, deciding whether it changed, taking its records. Does not belong here: the protocols
(``fetching.py``), formats (``tabular.py``), when (the schedules in ``sensors/``).

A look is a row of ``platform.live_fetches``. A file that changed is spooled under its hash; the next run of the dataset takes
it: all its records become one entry of the log, or none.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

from otn_dagster import database
from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.live import batches, fetching, files, log, records, registry, removal, tabular
from otn_dagster.live.configuration import Dataset, live_data
from otn_dagster.live.log import Logged, Push, Refusal
from otn_dagster.live.records import Fault

AUTHOR = "remote-source"
SECONDS_IN_A_TICK = 40


@dataclass(frozen=True)
class Look:
    """What a look found: ``unchanged``, ``changed``, ``slow`` (a run has to fetch it) or ``failed``."""

    dataset: str
    outcome: str
    what: str
    fetch_no: int
    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Taken:
    """What became of a file: its entry in the log, or why it was refused."""

    seq: int | None
    records: int
    refused: int
    what: str


def look(settings: Settings, dataset: Dataset, seconds: float = SECONDS_IN_A_TICK) -> Look:
    """Ask a source whether it changed, and fetch it if it did. Never raises for what a source does.

    Safe to repeat: an unchanged source is only noted. A file that was fetched and not taken yet is not fetched again.
    """
    source = dataset.source
    if source is None:
        raise ValueError(f"{dataset.name} has no remote source")
    with database.connect(settings) as connection:
        registry.register(connection, dataset)
        before, waits = _known(connection, dataset)
    try:
        got = fetching.fetch(source, before, spool(settings, dataset.name), seconds)
    except fetching.TooSlow as error:
        return _note(settings, dataset, "slow", str(error))
    except fetching.CannotFetch as error:
        return _note(settings, dataset, "failed", str(error))
    if got.unchanged:
        if got.path and not waits:
            got.path.unlink(missing_ok=True)
        return _note(settings, dataset, "unchanged", got.why, got)
    return _note(settings, dataset, "changed", got.why, got)


def spool(settings: Settings, name: str) -> Path:
    """Where fetched files of a dataset wait."""
    return live_data(settings) / "fetched" / name


def _known(connection: Connection, dataset: Dataset) -> tuple[fetching.Known, bool]:
    """What is known of the newest file that was taken, or waits, or was refused as the dataset is configured now; whether it waits."""
    assert dataset.source is not None
    row = connection.execute(
        "select etag, last_modified, bytes, sha256, outcome = 'changed' from platform.live_fetches where dataset = %s and url = %s"
        " and (outcome in ('taken', 'changed') or (outcome = 'refused' and configuration = %s)) order by fetch_no desc limit 1",
        [dataset.name, _source_name(dataset), _configuration(dataset)],
    ).fetchone()
    return (fetching.Known(*row[:4]), row[4]) if row else (fetching.Known(), False)


def _source_name(dataset: Dataset) -> str:
    """The source without what may be secret in its query, and a hash that tells it from others."""
    assert dataset.source is not None
    return f"{fetching.where(dataset.source)}#{hashlib.sha256(dataset.source.url.encode()).hexdigest()[:12]}"


def _configuration(dataset: Dataset) -> str:
    return hashlib.sha256(dataset.model_dump_json().encode()).hexdigest()


def _note(settings: Settings, dataset: Dataset, outcome: str, what: str, got: fetching.Fetched | None = None) -> Look:
    assert dataset.source is not None
    facts = [got.etag, got.last_modified, got.bytes, got.sha256] if got else [None] * 4
    with database.connect(settings) as connection:
        row = connection.execute(
            "insert into platform.live_fetches (dataset, url, outcome, what, etag, last_modified, bytes, sha256)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s) returning fetch_no",
            [dataset.name, _source_name(dataset), outcome, what, *facts],
        ).fetchone()
    assert row is not None
    return Look(dataset.name, outcome, what, row[0], *facts)


def waiting(connection: Connection) -> dict[str, int]:
    """Datasets with files that were fetched, or have to be, and are not taken yet: the number of the oldest look."""
    rows = connection.execute(
        "select dataset, min(fetch_no) from platform.live_fetches where outcome in ('changed', 'slow') group by 1"
    )
    return dict(rows.fetchall())


def take_all(settings: Settings, dataset: Dataset) -> list[Taken]:
    """Put every file that waits into the log, the oldest first: each may have rows that later ones left out."""
    with database.connect(settings) as connection:
        row = connection.execute(
            "select count(*) from platform.live_fetches where dataset = %s and outcome in ('changed', 'slow')",
            [dataset.name],
        ).fetchone()
    waited = row[0] if row else 0
    rounds = waited + 1 if waited else 0  # one more, because a slow one is fetched first and taken then
    found = [take(settings, dataset) for _ in range(rounds)]
    return [taken for taken in found if taken is not None]


def take(settings: Settings, dataset: Dataset) -> Taken | None:
    """Put the oldest file that waits into the log; None where none waits.

    Safe to repeat and to kill: the entry of the log and the note that the file is taken are one transaction.
    """
    with database.connect(settings) as connection:
        number = waiting(connection).get(dataset.name)
        row = (
            number
            and connection.execute(
                "select outcome, sha256 from platform.live_fetches where fetch_no = %s", [number]
            ).fetchone()
        )
    if not row or not number:
        return None
    outcome, sha256 = row
    if outcome == "slow" or not (spool(settings, dataset.name) / sha256).exists():
        with database.connect(settings) as connection:  # what was seen is looked at again, from the beginning
            _settle(connection, dataset, number, "failed", "fetched again by a run")
        found = look(settings, dataset, seconds=3600)
        return Taken(None, 0, 0, found.what)
    path = spool(settings, dataset.name) / sha256
    with database.connect(settings) as connection:
        taken = _into_log(connection, settings, dataset, path, number)
    path.unlink(missing_ok=True)
    return taken


def _into_log(connection: Connection, settings: Settings, dataset: Dataset, path: Path, number: int) -> Taken:
    assert dataset.source is not None
    version, schema = registry.register(connection, dataset), dataset.schema_
    batch_id, faults, good, refused = batches.open_batch(connection, dataset.name, AUTHOR), [], 0, 0
    ids: set[str] = set()
    try:
        for chunk_no, items in enumerate(tabular.items_of(path, dataset.source)):
            parsed = records.parse(schema, items, text=tabular.is_text(dataset.source))
            faults += [_in_file(fault, chunk_no) for fault in parsed.faults[: 10 * records.MOST_FAULTS - len(faults)]]
            refused += len(parsed.refused)
            if good + refused + len(parsed.records) > dataset.source.most_records:
                raise tabular.BadFile(f"it has more than {dataset.source.most_records:,} records (most_records)")
            if parsed.records:
                for file in files.files_of(parsed.records):
                    files.keep(live_data(settings), file)
                body = batches.body_of(parsed.records)
                batches.add(connection, batch_id, chunk_no, version, body, len(parsed.records))
            good += len(parsed.records)
            ids |= {record.record_id for record in parsed.records}
    except tabular.BadFile as error:
        return _refuse(connection, dataset, number, batch_id, [Fault(-1, None, "bad_file", str(error))])
    if faults and dataset.mode == "atomic":
        return _refuse(connection, dataset, number, batch_id, faults, refused)
    if dataset.source.replace and (problem := _removes_too_much(connection, dataset, ids)):
        return _refuse(connection, dataset, number, batch_id, [Fault(-1, None, "would_remove", problem)])
    batches.close(connection, batch_id)
    push = Push(
        dataset=dataset.name,
        author=AUTHOR,
        kid=None,
        op="replace" if dataset.source.replace else "push",
        records=good,
        schema_version=version,
        body_kind="batch",
        body_sha256=log.NOTHING_INLINE,
        body=None,
        batch_id=batch_id,
        refused=refused,
        faults=tuple((fault, None) for fault in faults[: records.MOST_FAULTS]),
    )
    (kept,) = log.append(connection, [push])
    if not isinstance(kept, Logged):
        batches.give_up(connection, batch_id)
        what = "the dataset takes no records for now; it is fetched again"
        _settle(connection, dataset, number, "failed", what)
        return Taken(None, 0, 0, what)
    what = f"{good:,} records taken, {refused:,} refused"
    _settle(connection, dataset, number, "taken", what, kept.seq)
    return Taken(kept.seq, good, refused, what)


def _in_file(fault: Fault, chunk_no: int) -> Fault:
    index = chunk_no * tabular.AT_ONCE + fault.index
    return Fault(index, fault.field, fault.code, f"record {index + 1}: {fault.message}")


def _removes_too_much(connection: Connection, dataset: Dataset, ids: set[str]) -> str | None:
    removed, there = removal.would_remove(connection, dataset, dataset.schema_, ids)
    if not there or 100 * removed / there <= dataset.most_removed_percent:
        return None
    return (
        f"the file would remove {removed:,} of {there:,} records, at most {dataset.most_removed_percent:g} % may go at once."
        " If that is right, raise most_removed_percent for this fetch."
    )


def _refuse(
    connection: Connection, dataset: Dataset, number: int, batch_id: str, faults: list[Fault], bad: int = 1
) -> Taken:
    batches.give_up(connection, batch_id)
    log.note_refusals(connection, [Refusal(dataset.name, AUTHOR, tuple(faults[: records.MOST_FAULTS]))])
    what = f"nothing was taken; {bad:,} bad, first: {faults[0].field or ''} {faults[0].message}".replace("  ", " ")
    _settle(connection, dataset, number, "refused", what)
    return Taken(None, 0, bad, what)


def _settle(
    connection: Connection, dataset: Dataset, number: int, outcome: str, what: str, seq: int | None = None
) -> None:
    connection.execute(
        "update platform.live_fetches set outcome = %s, what = %s, configuration = %s, seq = %s where fetch_no = %s",
        [outcome, what, _configuration(dataset), seq, number],
    )


def history(connection: Connection, name: str, most: int = 20) -> list[tuple[dt.datetime, str, str]]:
    """(when, outcome, what) of the newest looks."""
    return connection.execute(
        "select looked_at, outcome, what from platform.live_fetches where dataset = %s order by fetch_no desc limit %s",
        [name, most],
    ).fetchall()
