"""The core of a push: a snapshot through the rules, bucket by bucket of receivers, to matches.

Belongs here: which files are read in which order, what is recomputed and what is carried over from the push before, so
that memory stays bounded and an incremental push ends with the same bytes as a full one. Does not belong here: the rules
(``rules.py``).

Layout of ``pushes/<date>/matches/``: ``bucket-NNN.parquet`` (all detections once, each with its outcome),
``receiver_timeline.parquet``, ``transmitter_timeline.parquet`` and ``manifest.json``. A bucket holds whole receivers,
whoever deployed them: a receiver moves between projects, and ``min_lag`` must see all of its detections.
"""

from __future__ import annotations

# Ibis columns have no types that a checker could know.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportArgumentType=false
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from otn_dagster.late import late
from otn_dagster.telemetry import engine, inputs, rules
from otn_dagster.telemetry.push.snapshot import MANIFEST, Snapshot, entry_of, link_or_copy

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend
else:
    ibis = late("ibis")

ROWS_PER_BUCKET = 4_000_000  # on average; a bucket is a range of receiver keys, of the same width in every push
ORDER = ["receiver_key", "transmitter_key", "time_ms", "det_key"]
TIMELINES = ["receiver_timeline", "transmitter_timeline"]


@dataclass(frozen=True)
class Matches:
    """The matches folder of a push."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def buckets(self) -> list[Path]:
        """Bucket files in order."""
        return [self.folder / name for name in sorted(self.manifest["files"]) if name.startswith("bucket-")]

    @property
    def counts(self) -> dict[str, int]:
        """Detections by reason."""
        return self.manifest["counts"]


def read(folder: Path) -> Matches:
    """The matches in a push's folder."""
    return Matches(folder / "matches", json.loads((folder / "matches" / MANIFEST).read_text(encoding="utf-8")))


def named(rows: pl.LazyFrame, projects: pl.DataFrame) -> pl.LazyFrame:
    """Rows of matches with the words that people use: reason, collectioncode (array), trackercode, year.

    Filter on keys first where rows are many: names are not in the files. The year is that of the corrected time.
    """
    codes = dict(projects.select("project_key", "collectioncode").iter_rows())
    return rows.with_columns(
        reason=pl.col("outcome").replace_strict(rules.REASONS, return_dtype=pl.String),
        collectioncode=pl.col("project_key").replace_strict(codes, default=None, return_dtype=pl.String),
        trackercode=pl.col("tracker_key").replace_strict(codes, default=None, return_dtype=pl.String),
        year=pl.from_epoch("time_ms", time_unit="ms").dt.year(),
    )


def match(
    snapshot: Snapshot,
    folder: Path,
    before: tuple[Snapshot, Matches] | None = None,
    threads: int | None = None,
) -> Matches:
    """Every detection of a snapshot with its outcome, into ``folder/matches``.

    ``before`` is the snapshot and matches of an earlier push of the same database: then only receivers and transmitters
    that changed are computed, and the rest is carried over; the bytes are the same as without. Safe to repeat and to
    kill: a pure function of the snapshot, written aside and renamed whole.
    """
    staging = folder / f".matches-{os.getpid()}"
    for leftover in folder.glob(".matches-*"):
        shutil.rmtree(leftover)
    staging.mkdir(parents=True)
    backend = engine.duckdb(memory_limit="1500MB", threads=threads, temp_directory=str(staging / "spill"))
    width, buckets = bucket_width(snapshot)
    timelines = timelines_of(backend, snapshot)
    files = {f"{name}.parquet": _write_timeline(timelines[name], staging / f"{name}.parquet") for name in TIMELINES}
    unmatched = _unmatched_keys(snapshot)
    change = _change(snapshot, before, staging, unmatched) if before and before[1].manifest["width"] == width else None
    for bucket in range(buckets):
        name = f"bucket-{bucket:03d}.parquet"
        known = before is not None and name in before[1].manifest["files"]
        if known and before and change is not None and not _touches(change, bucket, width):
            link_or_copy(before[1].folder / name, staging / name)
            files[name] = before[1].manifest["files"][name]
            continue
        rows = bucket_rows(backend, snapshot, bucket, width, timelines, unmatched, change)
        files[name] = _write_bucket(backend, rows, staging / name)
    counts = _counts([staging / f"bucket-{bucket:03d}.parquet" for bucket in range(buckets)])
    manifest = {"width": width, "files": files, "counts": counts, "unmatched": unmatched}
    backend.disconnect()
    shutil.rmtree(staging / "spill", ignore_errors=True)
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    if (folder / "matches").exists():
        shutil.rmtree(folder / "matches")
    staging.rename(folder / "matches")
    return read(folder)


def bucket_width(snapshot: Snapshot) -> tuple[int, int]:
    """(receiver keys in a bucket, a power of two; number of buckets).

    Ranges, because the files are ordered by receiver: a bucket reads only its own row groups. A power of two, so that a
    network that grows keeps its buckets from push to push.
    """
    receivers = int(snapshot.table("receivers")["receiver_key"].max() or 0) + 1  # type: ignore[arg-type]
    wanted = max(1, snapshot.rows // ROWS_PER_BUCKET)
    width = 1 << max(0, (receivers // wanted).bit_length() - (wanted > 1))
    return width, -(-receivers // width)


def timelines_of(backend: Backend, snapshot: Snapshot) -> dict[str, ir.Table]:
    """All of time of every receiver and of every transmitter, in disjoint pieces, kept as tables of the backend."""
    places = engine.receiver_timeline(
        backend,
        snapshot.table("receivers").select("receiver_key"),
        snapshot.table("clock_segments"),
        snapshot.table("deployments"),
    )
    return {"receiver_timeline": places, "transmitter_timeline": _transmitter_timeline(backend, snapshot)}


def _transmitter_timeline(backend: Backend, snapshot: Snapshot) -> ir.Table:
    transmitters = engine.table(backend, "transmitters", snapshot.table("transmitters"))
    tags = engine.table(
        backend,
        "tags",
        snapshot.table("tags").select(
            "tag_key", "animal_key", "transmitter_key", "tracker_key", "release_ms", "last_ms", "modified_day"
        ),
    )
    windows = backend.create_table("tag_windows", rules.tag_windows(tags), overwrite=True)
    overrides = snapshot.table("overrides").filter(pl.col("action") == "test_tag")
    tests = snapshot.table("transmitters").join(overrides, left_on="transmitter", right_on="subject", how="semi")
    return backend.create_table(
        "transmitter_timeline",
        rules.transmitter_timeline(
            transmitters,
            windows,
            engine.table(backend, "station_tags", snapshot.table("station_tags").select("transmitter_key")),
            engine.table(backend, "test_tags", tests.select("transmitter_key")),
        ),
        overwrite=True,
    )


@dataclass(frozen=True)
class _Change:
    """What differs from an earlier push, and that push's matches."""

    receivers: list[int]
    transmitters: list[int]
    matches: Matches
    dirty_receivers: set[int]


def bucket_rows(
    backend: Backend,
    snapshot: Snapshot,
    bucket: int,
    width: int,
    timelines: dict[str, ir.Table],
    unmatched: list[int],
    change: _Change | None = None,
) -> ir.Table:
    """The rows of one bucket: read, cleaned, corrected, assigned, lagged, matched."""
    detections = _detections(backend, snapshot)
    key = detections.receiver_key
    mine = detections.filter(key >= bucket * width, key < (bucket + 1) * width)
    if change is None:
        return _through_the_rules(mine, timelines, unmatched)
    fresh = _through_the_rules(mine.filter(mine.receiver_key.isin(change.receivers)), timelines, unmatched)
    path = change.matches.folder / f"bucket-{bucket:03d}.parquet"
    if not path.exists():  # a bucket of receivers that are all new
        return fresh
    old = _read(backend, [str(path)])
    kept = old.filter(~old.receiver_key.isin(change.receivers)) if change.receivers else old
    if not change.transmitters:
        return ibis.union(fresh.select(*old.columns), kept)
    retagged = kept.filter(kept.transmitter_key.isin(change.transmitters))
    retagged = retagged.drop("outcome", "tag_key", "tracker_key", "modified_day")
    retagged = rules.matched(retagged, timelines["transmitter_timeline"], unmatched)
    carried = kept.filter(~kept.transmitter_key.isin(change.transmitters))
    return ibis.union(fresh.select(*old.columns), retagged.select(*old.columns), carried)


def _through_the_rules(detections: ir.Table, timelines: dict[str, ir.Table], unmatched: list[int]) -> ir.Table:
    placed = rules.assigned(rules.clean(detections), timelines["receiver_timeline"])
    return rules.matched(rules.min_lag(placed), timelines["transmitter_timeline"], unmatched)


def _write_bucket(backend: Backend, rows: ir.Table, path: Path) -> dict[str, Any]:
    """Ordered rows as Parquet. By way of a table: the bytes then depend on the rows alone, not on how they were computed."""
    ordered = backend.create_table("ordered_bucket", rows.order_by(ORDER), overwrite=True)
    backend.to_parquet(ordered, path, compression="zstd", row_group_size=122_880)
    count = ordered.count().execute()
    backend.drop_table("ordered_bucket")
    return entry_of(path, int(count))


def _write_timeline(timeline: ir.Table, path: Path) -> dict[str, Any]:
    frame = timeline.to_polars().sort(timeline.columns[0], "start_ms")
    frame.write_parquet(path, compression="zstd")
    return entry_of(path, frame.height)


def _detections(backend: Backend, snapshot: Snapshot) -> ir.Table:
    """All detections of a snapshot; a node that has none has an empty table of them."""
    if not snapshot.detections:
        return engine.table(backend, "no_detections", pl.DataFrame(schema=inputs.DETECTIONS))
    return _read(backend, [str(path) for path in snapshot.detections.values()])


def _read(backend: Backend, paths: list[str]) -> ir.Table:
    return backend.read_parquet(paths)


def _unmatched_keys(snapshot: Snapshot) -> list[int]:
    """det_keys that a person unmatched: the last part of unqDetecID."""
    overrides = snapshot.table("overrides").filter(pl.col("action") == "unmatch")
    return sorted(int(subject.rsplit("-", 1)[-1]) for subject in overrides["subject"])


def _counts(paths: list[Path]) -> dict[str, int]:
    frame = pl.scan_parquet(paths).group_by("outcome").len().sort("outcome").collect()
    return {rules.REASONS[outcome]: count for outcome, count in frame.iter_rows()}


def _change(snapshot: Snapshot, before: tuple[Snapshot, Matches], staging: Path, unmatched: list[int]) -> _Change:
    """Receivers whose rows or timeline changed, and transmitters whose timeline changed or that a person decided on."""
    old_snapshot, old = before
    receivers = _changed_keys(staging, old, "receiver_timeline", "receiver_key") | _receivers_with_new_rows(
        snapshot, old_snapshot
    )
    transmitters = _changed_keys(staging, old, "transmitter_timeline", "transmitter_key")
    by_hand = sorted(set(unmatched) ^ set(old.manifest["unmatched"]))
    touched = pl.scan_parquet(old.buckets).filter(
        pl.col("transmitter_key").is_in(sorted(transmitters)) | pl.col("det_key").is_in(by_hand)
    )
    found = touched.select("transmitter_key", "receiver_key", "det_key").collect()
    transmitters |= set(found.filter(pl.col("det_key").is_in(by_hand))["transmitter_key"])
    return _Change(sorted(receivers), sorted(transmitters), old, receivers | set(found["receiver_key"]))


def _touches(change: _Change, bucket: int, width: int) -> bool:
    return any(key // width == bucket for key in change.dirty_receivers)


def _changed_keys(staging: Path, old: Matches, name: str, key: str) -> set[int]:
    new_frame = pl.read_parquet(staging / f"{name}.parquet")
    old_frame = pl.read_parquet(old.folder / f"{name}.parquet")
    on = new_frame.columns
    different = [
        new_frame.join(old_frame, on=on, how="anti", nulls_equal=True),
        old_frame.join(new_frame, on=on, how="anti", nulls_equal=True),
    ]
    return set(pl.concat(different)[key].to_list())


def _receivers_with_new_rows(snapshot: Snapshot, old: Snapshot) -> set[int]:
    changed: set[int] = set()
    for name in snapshot.detections.keys() | old.detections.keys():
        entries = [s.manifest["files"].get(f"detections/{name}.parquet", {}).get("sha256") for s in (snapshot, old)]
        if entries[0] == entries[1]:
            continue
        frames = [pl.read_parquet(s.detections[name]) if name in s.detections else None for s in (snapshot, old)]
        present = [frame for frame in frames if frame is not None]
        if len(present) == 1:
            changed |= set(present[0]["receiver_key"].unique())
            continue
        new_frame, old_frame = present
        for one, other in ((new_frame, old_frame), (old_frame, new_frame)):
            changed |= set(one.join(other, on=one.columns, how="anti", nulls_equal=True)["receiver_key"].unique())
    return changed
