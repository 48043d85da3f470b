"""What operators say about instruments, every version of it, and the mask that follows from it.

Belongs here: the table of annotations and masking. Does not belong here: OOINet's API (``sources/ooinet.py``).

An annotation that changes or vanishes upstream is closed, not overwritten: what was believed at any moment can be read
again. An instrument whose annotations cannot be had keeps those that it had, and says so.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from psycopg.types.json import Jsonb

from otn_dagster.checks import Check, Outcome
from otn_dagster.database import Connection
from otn_dagster.streams import timeaxis
from otn_dagster.streams.sources.base import SourceUnavailable

_COLUMNS = (
    "refdes, annotation_id, method, stream, begin_at, end_at, annotation, exclusion_flag, qc_flag, parameters, source"
)
_INSERT = (
    "insert into platform.stream_annotations (refdes, annotation_id, method, stream, begin_at, end_at, annotation, exclusion_flag,"
    " qc_flag, parameters, source, valid_from) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
BAD_FLAGS = ("fail", "not_operational", "not_available", "pending_ingest")


EVERY_INSTRUMENT_ANSWERED = Check(
    name="every_instrument_answered", title="Annotations of every instrument could be had", warns=True
)


@dataclass
class Harvested:
    """What a look at all instruments found."""

    current: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def harvest(
    connection: Connection, refdes: Iterable[str], fetch: Callable[[str], list[dict[str, Any]]], now: dt.datetime
) -> Harvested:
    """Bring the table up to date, instrument by instrument. Safe to repeat: what did not change is left alone."""
    outcome = Harvested()
    for one in sorted(set(refdes)):
        try:
            rows = [_row(one, record) for record in fetch(one)]
        except (SourceUnavailable, KeyError, TypeError, ValueError) as error:
            outcome.failed[one] = f"{type(error).__name__}: {error}"
            _note_look(connection, one, now, outcome.failed[one])
            continue
        _update(connection, one, rows, now, outcome)
        _note_look(connection, one, now, None)
    outcome.current = _count(connection)
    return outcome


def _row(refdes: str, record: dict[str, Any]) -> tuple[Any, ...]:
    end = record.get("endDT")
    return (
        refdes, int(record["id"]), record.get("method"), record.get("stream"), _from_ms(record["beginDT"]), _from_ms(end) if end else None,
        str(record.get("annotation") or ""), bool(record.get("exclusionFlag")), record.get("qcFlag"), record.get("parameters") or [],
        record.get("source"),
    )  # fmt: skip


def _update(
    connection: Connection, refdes: str, rows: list[tuple[Any, ...]], now: dt.datetime, outcome: Harvested
) -> None:
    stored = {
        row[1]: row
        for row in connection.execute(
            f"select {_COLUMNS} from platform.stream_annotations where refdes = %s and valid_to is null",  # noqa: S608
            [refdes],
        )
    }
    came = {row[1]: row for row in rows}
    for number, row in came.items():
        if number in stored and stored[number] == row:
            continue
        if number in stored:
            _close(connection, refdes, number, now)
            outcome.changed += 1
        else:
            outcome.new += 1
        values = [Jsonb(value) if isinstance(value, list) else value for value in row]
        connection.execute(_INSERT, [*values, now])
    for number in stored.keys() - came.keys():
        _close(connection, refdes, number, now)
        outcome.gone += 1


def _close(connection: Connection, refdes: str, number: int, now: dt.datetime) -> None:
    connection.execute(
        "update platform.stream_annotations set valid_to = %s where refdes = %s and annotation_id = %s and valid_to is null",
        [now, refdes, number],
    )


def outcome(harvested: Harvested) -> Outcome[Check]:
    """Which instruments did not answer."""
    failed = [{"refdes": refdes, "reason": reason} for refdes, reason in harvested.failed.items()]
    return Outcome(EVERY_INSTRUMENT_ANSWERED, not failed, failed)


def _note_look(connection: Connection, refdes: str, now: dt.datetime, failed: str | None) -> None:
    connection.execute(
        "insert into platform.stream_annotation_looks values (%s, %s, %s)"
        " on conflict (refdes) do update set looked_at = excluded.looked_at, failed = excluded.failed",
        [refdes, now, failed],
    )


def _count(connection: Connection) -> int:
    row = connection.execute("select count(*) from platform.stream_annotations where valid_to is null").fetchone()
    return row[0] if row else 0


def table(connection: Connection, refdes: str | None = None, as_of: dt.datetime | None = None) -> pl.DataFrame:
    """Annotations as they are, or were believed to be at a moment; columns are those of the table."""
    rows = connection.execute(
        f"select {_COLUMNS}, valid_from, valid_to from platform.stream_annotations where (%s::text is null or refdes = %s)"  # noqa: S608
        " and case when %s::timestamptz is null then valid_to is null else valid_from <= %s and (valid_to is null or valid_to > %s) end"
        " order by refdes, begin_at, annotation_id",
        [refdes, refdes, as_of, as_of, as_of],
    ).fetchall()
    names = [*_COLUMNS.split(", "), "valid_from", "valid_to"]
    moment, text = pl.Datetime("us", "UTC"), pl.String
    types = [text, pl.Int64, text, text, moment, moment, text, pl.Boolean, text, text, text, moment, moment]
    return pl.DataFrame(
        [[*row[:9], str(row[9]), *row[10:]] for row in rows], schema=dict(zip(names, types, strict=True)), orient="row"
    )


def mask(
    times: np.ndarray, annotations: pl.DataFrame, method: str, stream: str, flags: Iterable[str] = BAD_FLAGS
) -> np.ndarray:
    """Which rows (times in microseconds since 1900) an exclusion or one of these flags covers; True is masked.

    An annotation without method or stream holds for all of them; one without end lasts.
    """
    out, bad = np.zeros(len(times), bool), set(flags)
    for row in annotations.iter_rows(named=True):
        if row["method"] not in (None, method) or row["stream"] not in (None, stream):
            continue
        if not row["exclusion_flag"] and row["qc_flag"] not in bad:
            continue
        end = timeaxis.micros(row["end_at"]) if row["end_at"] else np.iinfo(np.int64).max
        out |= (times >= timeaxis.micros(row["begin_at"])) & (times <= end)
    return out


def _from_ms(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(milliseconds) / 1000, dt.UTC)
