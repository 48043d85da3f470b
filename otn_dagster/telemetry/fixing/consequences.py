"""What follows from fixes: which detections, animals and extracts change, and which pushes had delivered them, to whom.

Belongs here: comparing the matches of the receivers and transmitters that are touched, before and after. Does not belong here: writing a
fix (``applying.py``), the rules (``rules.py``), what a push lists (``push/extracts_list.py``, whose comparison this is).

What is counted is what the next push lists because of the fix: the same rules run over the same rows. It costs the rows of the receivers
that are touched; where a transmitter is touched, one look through all detections.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any

import polars as pl
from psycopg import sql

from otn_dagster import transfer
from otn_dagster.config import Settings
from otn_dagster.database import Connection, Session
from otn_dagster.telemetry import inputs, receiver_tables
from otn_dagster.telemetry.loading.merging import WHOLE_ROW
from otn_dagster.telemetry.project_tables import table
from otn_dagster.telemetry.push import extracts_list, matching, ordered
from otn_dagster.telemetry.push.ordered import Timeline
from otn_dagster.telemetry.receiver_tables import ACCEPTED

Tables = dict[str, pl.DataFrame]  # of a snapshot
MOST_LINES, TABLES_AT_ONCE = 30, 50


@dataclass(frozen=True)
class Delivered:
    """An extract that an earlier push delivered and that is not what it should have been: when, which, who was told."""

    push_date: str
    detection_extract: str
    told: list[str]


@dataclass(frozen=True)
class Consequences:
    """What fixes change: cells (table, row, column, old, new), detections, animals by name, extracts with their counts."""

    cells: list[tuple[str, str, str, str | None, str | None]]
    detections: int = 0
    animals: list[str] = field(default_factory=list)
    extracts: list[dict[str, Any]] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For the database, and for a machine."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """The same for the same consequences."""
        return hashlib.sha256(json.dumps(self.as_json(), default=str).encode()).hexdigest()[:12]

    def lines(self) -> list[str]:
        """For people, one line each."""
        found = _some([_in_words(*cell) for cell in self.cells], "changes")
        if len(self.cells) > MOST_LINES:  # what is not shown is accepted, too: it must be the same when it is applied
            found.append(f"All {len(self.cells):,} changes and what follows have the fingerprint {self.fingerprint}.")
        if not self.detections:
            return [*found, "No detection changes."]
        animals = f", of {len(self.animals)} animal(s): {_named(self.animals)}" if self.animals else ""
        extracts = [
            f"extract {one['detection_extract']}: {one['added']:,} added, {one['changed']:,} changed, {one['withdrawn']:,} withdrawn"
            for one in self.extracts
        ]
        delivered = [
            f"The push of {one.push_date} delivered {one.detection_extract}; told: {_named(one.told) if one.told else 'nobody'}"
            for one in self.delivered
        ]
        return [
            *found,
            f"{self.detections:,} detection(s) change{animals}.",
            *_some(extracts, "extracts"),
            *_some(delivered, "deliveries"),
        ]


@dataclass(frozen=True)
class Touched:
    """What a list of fixes touches: serials of receivers, codes of transmitters, and the keys of rows that are not what they were."""

    serials: set[str]
    codes: set[str]
    moorings: set[int]
    animals: set[int]

    @classmethod
    def by(cls, connection: Connection, submission_key: str) -> "Touched":
        """From the rows that it changed, as they were and as they are."""
        rows = connection.execute(
            "select table_name, before, after from platform.fixed_rows where submission_key = %s", [submission_key]
        ).fetchall()
        found = cls(set(), set(), set(), set())
        for name, before, after in rows:
            for image in (before, after or {}):
                found.serials.update(filter(None, [image.get("collectornumber")]))
                if name in ("moorings", "otn_transmitters"):
                    found.codes.update(filter(None, [image.get("fieldnumber")]))
                found.moorings.update(filter(None, [image.get("mooring_key")]))
                found.animals.update(filter(None, [image.get("animal_key")]))
        return found


def of(
    connection: Connection, settings: Settings, submission_key: str, touched: Touched, before: Tables, after: Tables
) -> Consequences:
    """What a list of fixes changes, once it is applied in this transaction. before, after: the small tables of a snapshot."""
    cells = connection.execute(
        "select table_name, row_key, column_name, old_value, new_value from platform.row_changes where submission_key = %s order by 1, 2, 3",
        [submission_key],
    ).fetchall()
    found = _detections(connection, settings, touched)
    if found.is_empty():
        return Consequences(cells)
    was, now = _matches(found, before), _said_anew(_matches(found, after), touched, after["tags"])
    seen = ["det_key", *extracts_list.WHAT_READERS_SEE]
    different = [one.join(other, on=seen, how="anti", nulls_equal=True) for one, other in ((was, now), (now, was))]
    extracts = _extracts(was, now, after["projects"])
    return Consequences(
        cells,
        pl.concat([one.select("det_key") for one in different])["det_key"].n_unique(),
        sorted(set(_animals(different[0], before)) | set(_animals(different[1], after))),
        extracts,
        _delivered(connection, [one["detection_extract"] for one in extracts]),
    )


def claims(connection: Connection, touched: Touched) -> Tables:
    """Deployments of touched receivers and uses of touched codes, of all projects, as ``overlaps`` takes them."""
    schema = {
        "animal_key": pl.Int32,
        "transmitter": pl.String,
        "trackercode": pl.String,
        "catalognumber": pl.String,
        "release_ms": pl.Int64,
        "end_ms": pl.Int64,
    }
    uses = transfer.copy_out(
        connection,
        f"""select a.animal_key, t.fieldnumber, t.collectioncode, a.catalognumber, {inputs.MS.format("t.startdatetime")},
               {inputs.MS.format("t.enddatetime")}
           from obis.moorings t join obis.otn_animals a on a.collectioncode = t.collectioncode and a.catalognumber = t.relatedcatalogitem
           where t.relationshiptype = 'ANIMAL' and t.fieldnumber = any(%s) order by 1, 2, 5""",  # noqa: S608
        schema,
        [sorted(touched.codes)],
    )
    return {"deployments": inputs.deployments(connection, sorted(touched.serials)), "tags": uses}


def overlaps(touched: Touched, tables: Tables) -> dict[tuple[str, int, int], tuple[str, str]]:
    """Pairs that cannot both be, with their names: deployments of one touched receiver at one time, animals with one touched code at one."""
    deployments = tables["deployments"].filter(pl.col("rcv_serial_no").is_in(touched.serials))
    # One that was not recovered ends where the next begins: only two that begin together cannot both be.
    ends = pl.coalesce("recovered_ms", pl.col("start_ms") + 1)
    called = pl.format("{} of {}", "rcvrcatnumber", "collectioncode")
    places = deployments.select(key="rcv_serial_no", of="deployment_key", start="start_ms", end=ends, called=called)
    tags = tables["tags"].filter(pl.col("transmitter").is_in(touched.codes))
    called = pl.format("{} of {}", "catalognumber", "trackercode")
    uses = tags.select(
        key="transmitter", of="animal_key", start="release_ms", end=pl.col("end_ms").fill_null(2**62), called=called
    )
    found = {}
    for what, frame in (("receiver", places), ("tag", uses)):
        both = frame.join(frame, on="key", suffix="_other").filter(
            pl.col("of") != pl.col("of_other"),
            pl.col("start") <= pl.col("start_other"),
            pl.col("start_other") < pl.col("end"),
        )
        for one, other, name, other_name in both.select("of", "of_other", "called", "called_other").iter_rows():
            found[what, min(one, other), max(one, other)] = tuple(sorted((name, other_name)))
    return found


def _detections(connection: Connection, settings: Settings, touched: Touched) -> pl.DataFrame:
    """All detections of touched receivers, and of touched transmitters wherever they were heard."""
    receivers = receiver_tables.keys_of(connection, sorted(touched.serials))
    found = [inputs.detections(connection, receiver_tables.rows(connection, ACCEPTED, receivers))]
    codes = [
        key
        for (key,) in connection.execute(
            "select transmitter_key from platform.transmitter_keys where transmitter = any(%s)", [sorted(touched.codes)]
        )
    ]
    if codes:
        parts = connection.execute(
            "select collectioncode, year from platform.partition_versions order by 1, 2"
        ).fetchall()
        with Session(settings) as session:
            for some in batched(parts, TABLES_AT_ONCE):
                with session.transaction() as reading:
                    found.append(inputs.detections(reading, _of_transmitters(some, codes)))
    return pl.concat(found).unique("det_key").sort("receiver_key", "transmitter_key", "device_ms", "det_key")


def _of_transmitters(parts: Sequence[tuple[str, int]], codes: list[int]) -> sql.Composed:
    columns = sql.SQL(
        "det_key, submission_no, receiver_key, transmitter_key, datetime, sensor_value, loaded_at, withdrawn_at"
    )
    of = sql.SQL("select {} from {} where transmitter_key = any({})")
    selects = (of.format(columns, table(code, f"detections_{year}"), sql.Literal(codes)) for code, year in parts)
    return sql.SQL("({})").format(sql.SQL(" union all ").join(selects))


_KEYS = {
    "receivers": "receiver_key",
    "deployments": "receiver_key",
    "clock_segments": "receiver_key",
    "transmitters": "transmitter_key",
    "tags": "transmitter_key",
    "station_tags": "transmitter_key",
}


def _matches(found: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """These detections through the rules of a push."""
    keys = {name: found[name].unique() for name in ("receiver_key", "transmitter_key")}

    def part(name: str) -> pl.DataFrame:
        key = _KEYS.get(name)
        return tables[name].filter(pl.col(key).is_in(keys[key].implode())) if key else tables[name]

    timelines = matching.timelines_of(part)
    places, owners = (Timeline.of(timelines[name], key) for name, key in matching.TIMELINES.items())
    return ordered.through_the_rules(found, places, owners, matching.unmatched_keys(tables["overrides"]))


def _said_anew(matches: pl.DataFrame, touched: Touched, tags: pl.DataFrame) -> pl.DataFrame:
    """Matches in which what a touched row says is another thing, even where it changed on the day on which it was loaded."""
    moved = touched.moorings | set(tags.filter(pl.col("animal_key").is_in(touched.animals))["tag_key"])
    anew = pl.col("deployment_key").is_in(moved) | pl.col("tag_key").is_in(moved)
    return matches.with_columns(modified_day=pl.when(anew).then(-1).otherwise("modified_day").cast(pl.Int32))


def _animals(rows: pl.DataFrame, tables: Tables) -> Iterable[str]:
    return rows.select("tag_key").unique().join(tables["tags"], on="tag_key")["catalognumber"]


def _extracts(was: pl.DataFrame, now: pl.DataFrame, projects: pl.DataFrame) -> list[dict[str, Any]]:
    """The extracts that a push would list, with what is added, changed and withdrawn."""
    with tempfile.TemporaryDirectory(prefix="otn-fix-") as folder:
        paths = [Path(folder) / f"{name}.parquet" for name in ("now", "was")]
        for path, frame in zip(paths, (now, was), strict=True):
            frame.write_parquet(path)
        counted, _ = extracts_list.changes([paths[0]], [paths[1]])
    listed = extracts_list.listed(extracts_list.in_words(counted, projects))
    return listed.select("detection_extract", "added", "changed", "withdrawn").to_dicts()


def _delivered(connection: Connection, extracts: list[str]) -> list[Delivered]:
    rows = connection.execute(
        "select l.push_date::text, l.detection_extract,"
        " coalesce(array_agg(distinct o.recipient order by o.recipient) filter (where o.state in ('sent', 'simulated')), '{}')"
        " from obis.detection_extracts_list l left join platform.outbox_extracts x using (push_date, detection_extract)"
        " left join platform.outbox o using (mail_no) where l.detection_extract = any(%s) and l.notified_at is not null"
        " group by 1, 2 order by 1, 2",
        [extracts],
    ).fetchall()
    return [Delivered(*row) for row in rows]


def _some(lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES:,} more {what}"]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def _in_words(name: str, row: str, column: str, old: str | None, new: str | None) -> str:
    if column == WHOLE_ROW:
        return f"{name} {row} is deleted"
    return f"{name} {row}: {column} {_or_nothing(old)} → {_or_nothing(new)}"


def _or_nothing(value: str | None) -> str:
    return "nothing" if value is None else value
