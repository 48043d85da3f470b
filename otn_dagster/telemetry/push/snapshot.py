"""The push snapshot: everything loaded by the cut-off, frozen to Parquet in one folder that never changes again.

Belongs here: freezing, the manifest with its hashes, finding the push before. Does not belong here: what is computed
from a snapshot (``matching.py`` and after).

Layout of ``pushes/<date>/snapshot/``: ``detections/<COLLECTION>-<YEAR>.parquet`` (by receiver, transmitter and time, in
integer keys), one small table per file beside it, and ``manifest.json``. A partition whose version did not change since
an earlier push is a hard link to that push's file.
"""

import datetime as dt
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from psycopg import sql

from otn_dagster import calendar, files, transfer
from otn_dagster.config import Settings
from otn_dagster.database import PUSH_LOCKS, Connection, Session, lock_for
from otn_dagster.telemetry import cutoffs, inputs, revisions
from otn_dagster.telemetry.loading.keys import assign_keys
from otn_dagster.telemetry.push import entangled, leaving_out, standing
from otn_dagster.telemetry.push.left_out import Gate, LeftOut, Scope, Why
from otn_dagster.telemetry.push.tables import TABLES

MANIFEST = "manifest.json"


class NothingToPush(RuntimeError):
    """A push for which there is nothing, or whose snapshot cannot be made any more."""


@dataclass(frozen=True)
class Snapshot:
    """A frozen folder and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    def table(self, name: str) -> pl.DataFrame:
        """One of the small tables."""
        return pl.read_parquet(self.folder / f"{name}.parquet")

    @cached_property
    def detections(self) -> dict[str, Path]:
        """Detection partitions, ``HFX-2022`` → its file, in order."""
        names = sorted(name for name in self.manifest["files"] if name.startswith("detections/"))
        return {Path(name).stem: self.folder / name for name in names}

    @property
    def rehearsal(self) -> bool:
        """Whether it was frozen before the cut-off."""
        return self.manifest["rehearsal"]

    @property
    def rows(self) -> int:
        """Detections in it."""
        return sum(entry["rows"] for name, entry in self.manifest["files"].items() if name.startswith("detections/"))

    @property
    def revision(self) -> int:
        """Which of the push's snapshots it is; most pushes have one."""
        return self.manifest.get("revision", 1)

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """What is loaded and not in it: scope, subject, collectioncode, code, why, and of a submission its number, kind, file and rows."""
        return self.manifest.get("left_out", [])

    def pushed(self) -> pl.DataFrame:
        """Submissions that are in it."""
        loaded = self.table("submissions").filter(pl.col("state") == "loaded")
        return loaded.filter(pl.col("left_out").is_null()) if "left_out" in loaded.columns else loaded


def push_folder(settings: Settings, push_date: str) -> Path:
    """Where a push keeps everything it makes."""
    dt.date.fromisoformat(push_date)
    return settings.pushes_folder / push_date


def read(settings: Settings, push_date: str) -> Snapshot:
    """The snapshot of a push; raises NothingToPush where it was not made."""
    folder = push_folder(settings, push_date) / "snapshot"
    try:
        return Snapshot(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NothingToPush(f"the push of {push_date} has no snapshot; materialize push_snapshot first") from None


def _keep_revision(folder: Path, existing: Snapshot) -> None:
    """A snapshot and its certificate under the number of their revision, before the next takes their place. Safe to repeat."""
    kept = folder / f"snapshot.{existing.revision}"
    if not kept.exists():
        with files.replacing_folder(kept) as aside:
            shutil.copytree(
                existing.folder, aside, copy_function=lambda a, b: link_or_copy(Path(a), Path(b)), dirs_exist_ok=True
            )
    certificate = folder / "certificate.json"
    if certificate.exists():
        files.write(folder / f"certificate.{existing.revision}.json", certificate.read_text(encoding="utf-8"))
        certificate.unlink()


def previous(settings: Settings, push_date: str) -> str | None:
    """The last push before this one that was a real one and reached its certificate."""
    dates = sorted((path.parent.name for path in settings.pushes_folder.glob("*/certificate.json")), reverse=True)
    for date in dates:
        if date < push_date and not read(settings, date).rehearsal:
            return date
    return None


def _nothing(_: Connection) -> Sequence[LeftOut]:
    return []


def freeze(connection: Connection, settings: Settings, push_date: str, gate: Gate = _nothing) -> Snapshot:
    """Freeze what is loaded, without what ``gate`` leaves out. Safe to repeat and to kill: written aside and renamed whole.

    gate: asked when nothing loads any more.

    A real snapshot, once made, is returned as it is, until somebody asks for its next revision: that is made of what is loaded then, and
    the earlier ones stay beside it as ``snapshot.1``, ``snapshot.2``, with their certificates. A rehearsal's is made anew each time and is
    replaced by the real one.
    """
    folder = push_folder(settings, push_date)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".snapshot-*"):
        shutil.rmtree(leftover)
    lock_for(connection, PUSH_LOCKS, push_date)  # nobody releases what is being made again
    cutoffs.wait_for_loading(connection)
    rehearsal = cutoffs.is_rehearsal(connection, settings, push_date)
    asked = revisions.of(connection, push_date)
    existing = _newest(folder)
    if existing and not existing.rehearsal:
        if existing.revision > len(asked) and existing.folder.name == "snapshot":
            return existing
        return _revise(connection, settings, existing, gate)
    _refuse_what_came_later(connection, settings, push_date, rehearsal)
    return _freeze(connection, settings, _manifest(connection, settings, push_date, rehearsal), gate)


def _newest(folder: Path) -> Snapshot | None:
    """The snapshot of a push; where a run was killed while a revision took its place, the revision before."""
    kept = sorted(folder.glob("snapshot.*"), key=lambda path: int(path.suffix[1:]), reverse=True)
    for place in (folder / "snapshot", *kept):
        if (place / MANIFEST).exists():
            return Snapshot(place, json.loads((place / MANIFEST).read_text(encoding="utf-8")))
    return None


def _revise(connection: Connection, settings: Settings, existing: Snapshot, gate: Gate) -> Snapshot:
    """The next revision of a real snapshot: what was loaded after the cut-off stays as the revision before had it, unless it was let in."""
    push_date = existing.manifest["push_date"]
    _keep_revision(push_folder(settings, push_date), existing)
    keys = revisions.late(connection, settings, push_date)
    let_in = [one.submission_key for one in revisions.admissions(connection, push_date)]
    if both := entangled.pairs(connection, let_in, keys):
        raise NothingToPush(str(both[0]))
    late = [LeftOut(Scope.SUBMISSION, key, Why.LATE, "it is late") for key in keys]
    return _freeze(connection, settings, _manifest(connection, settings, push_date, False), gate, late, existing)


def _freeze(
    connection: Connection,
    settings: Settings,
    manifest: dict[str, Any],
    gate: Gate,
    late: Sequence[LeftOut] = (),
    earlier: Snapshot | None = None,
) -> Snapshot:
    """Write a snapshot aside, and put it in its place. earlier: the revision before, which has what is late as it was."""
    push_date = manifest["push_date"]
    folder = push_folder(settings, push_date)
    staging = folder / f".snapshot-{os.getpid()}"
    (staging / "detections").mkdir(parents=True)
    before = _before(settings, push_date, manifest)
    keys, tables = {one.subject for one in late}, tables_of(connection, settings)
    outs: list[tuple[leaving_out.Rows, Snapshot | None]] = []
    signed = [one for one in gate(connection) if one.subject not in keys]
    for left, stands in ((late, earlier), (signed, before)):
        out = leaving_out.find(connection, settings, left, stands, tables)
        tables = standing.apply(tables, out, stands)
        outs.append((out, stands))
    tables["submissions"] = tables["submissions"].filter(pl.col("left_out").ne_missing(Why.LATE))
    manifest["files"] = {
        f"{name}.parquet": write_parquet(frame, staging / f"{name}.parquet") for name, frame in tables.items()
    }
    manifest["files"] |= _freeze_detections(connection, settings, staging, manifest, outs)
    asked = revisions.of(connection, push_date)
    manifest["revision"] = len(asked) + 1
    manifest["revisions"] = [{"revision": one.revision, "by": one.asked_by, "why": one.why} for one in asked]
    out, moved = outs[-1][0], Counter[int]()
    for each, _ in outs:
        moved.update(each.moved)
    manifest["left_out"] = [
        {**one, "rows": out.counted[one["submission_no"]]} if "kind" in one else one for one in out.entries
    ]
    manifest["moved"] = sorted([number, rows] for number, rows in moved.items() if rows)
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    if (folder / "snapshot").exists():
        (folder / "snapshot").rename(folder / f".snapshot-old-{os.getpid()}")
    staging.rename(folder / "snapshot")
    for leftover in folder.glob(".snapshot-*"):
        shutil.rmtree(leftover)
    return read(settings, push_date)


def _before(settings: Settings, push_date: str, manifest: dict[str, Any]) -> Snapshot | None:
    """The snapshot of the last real push of the same database."""
    date = previous(settings, push_date)
    earlier = read(settings, date) if date else None
    return earlier if earlier and earlier.manifest["database_id"] == manifest["database_id"] else None


def write_parquet(frame: pl.DataFrame, path: Path) -> dict[str, Any]:
    """A frame as Parquet, the same bytes for the same rows; its manifest entry."""
    frame.write_parquet(path, compression="zstd", compression_level=3, row_group_size=122_880, statistics=True)
    return entry_of(path, frame.height)


def entry_of(path: Path, rows: int) -> dict[str, Any]:
    """Manifest entry of a file: rows, bytes, sha256."""
    return {"rows": rows, "bytes": path.stat().st_size, "sha256": files.sha256_of(path)}


def link_or_copy(source: Path, target: Path) -> None:
    """The same file at a second place; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _refuse_what_came_later(connection: Connection, settings: Settings, push_date: str, rehearsal: bool) -> None:
    row = connection.execute(
        "select min(loaded_at), count(*) from platform.submissions where state in ('loaded', 'superseded')"
    ).fetchone()
    assert row is not None
    first, count = row
    if count == 0:
        raise NothingToPush("nothing is loaded; put files into incoming/ and run `otn-dagster load`")
    late = [] if rehearsal else revisions.late(connection, settings, push_date)
    if late:
        raise NothingToPush(
            f"the cut-off of {push_date} is past and {len(late)} submission(s) were loaded after it (the first loading was on"
            f" {first:%Y-%m-%d}, the first late one is {late[0]}): what was loaded by then can no longer be told apart. Push the next date"
            " instead."
        )


def _manifest(connection: Connection, settings: Settings, push_date: str, rehearsal: bool) -> dict[str, Any]:
    row = connection.execute("select database_id::text from platform.identity").fetchone()
    assert row is not None
    return {
        "push_date": push_date,
        "rehearsal": rehearsal,
        "database_id": row[0],
        "cutoffs": {node.code: calendar.cutoff(push_date, node.time_zone).isoformat() for node in settings.nodes},
        "months_to_extend_enddate": {node.code: node.months_to_extend_enddate for node in settings.nodes},
        "publish_stations": {node.code: node.publish_stations for node in settings.nodes},
    }


def _freeze_detections(
    connection: Connection,
    settings: Settings,
    staging: Path,
    manifest: dict[str, Any],
    outs: Sequence[tuple[leaving_out.Rows, Snapshot | None]],
) -> dict[str, Any]:
    """Partitions that changed, each in a short transaction of its own: one for all would hold a lock on every table of the network.
    Nothing loads meanwhile (``wait_for_loading``), so that together they are one moment.
    """
    files = {}
    versions = connection.execute(
        "select collectioncode, year, version from platform.partition_versions order by 1, 2"
    ).fetchall()
    known = _known_partitions(settings, manifest)
    with Session(settings) as session:
        for code, year, version in versions:
            name = f"detections/{code}-{year}.parquet"
            before = known.get((name, version))
            mine = [(out, stands) for out, stands in outs if code in out.by_code]
            if before is not None and not mine:
                link_or_copy(before[0], staging / name)
                files[name] = before[1]
                continue
            with session.transaction() as reading:
                frame = inputs.detections(reading, sql.Identifier(code.lower(), f"detections_{year}"))
            for out, stands in mine:
                frame = standing.detections(frame, code, f"{code}-{year}", out, stands)
            # Not all that is loaded: another push must not take it for that.
            files[name] = write_parquet(frame, staging / name) | ({} if mine else {"version": version})
    connection.execute("select 1")  # raises where the connection that kept loading out was lost meanwhile
    return files


def _known_partitions(
    settings: Settings, manifest: dict[str, Any]
) -> dict[tuple[str, int], tuple[Path, dict[str, Any]]]:
    """Partition files of all earlier snapshots of this database, by name and version."""
    known = {}
    for path in sorted(settings.pushes_folder.glob(f"*/snapshot/{MANIFEST}")):
        other = json.loads(path.read_text(encoding="utf-8"))
        if other["database_id"] != manifest["database_id"] or other["push_date"] >= manifest["push_date"]:
            continue
        for name, entry in other["files"].items():
            if "version" in entry:
                known[name, entry["version"]] = (path.parent / name, entry)
    return known


def tables_of(connection: Connection, settings: Settings) -> dict[str, pl.DataFrame]:
    """The small tables of a snapshot, as things stand now, by name."""
    codes = [
        code
        for (code,) in connection.execute(
            "select distinct fieldnumber from obis.moorings where basisofrecord = 'TRANSMITTER' and fieldnumber is not null order by 1"
        )
    ]
    assign_keys(connection, "transmitter", codes)
    frames = {
        "deployments": inputs.deployments(connection),
        "clock_segments": inputs.clock_segments(connection),
    }
    months = json.dumps({node.code: node.months_to_extend_enddate for node in settings.nodes})
    for table in TABLES:
        frames[table.name] = transfer.copy_out(connection, table.query, table.schema, [months] if table.extends else [])
    return frames
