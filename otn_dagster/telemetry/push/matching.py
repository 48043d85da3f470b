"""The core of a push: a snapshot through the rules, bucket by bucket of receivers, to matches.

Belongs here: what is recomputed and what is carried over from the push before, so that an incremental push ends with the same bytes as
a full one. Does not belong here: the rules (``rules.py``, and ``ordered.py`` for rows in order), which file is read when (``parting.py``).

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.push import ordered
from otn_dagster.telemetry.push.ordered import Timeline
from otn_dagster.telemetry.push.parting import Parted
from otn_dagster.telemetry.push.snapshot import MANIFEST, Snapshot, entry_of, link_or_copy

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend

# Rows of a bucket, on average: more would be much to do anew where one receiver changed. A bucket is a range of receiver keys, of the same
# width in every push.
ROWS_PER_BUCKET = 400_000
BUCKETS_AT_ONCE = 2
TIMELINES = {"receiver_timeline": "receiver_key", "transmitter_timeline": "transmitter_key"}


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
    width, buckets = bucket_width(snapshot)
    timelines = timelines_of(snapshot.table)
    files = {f"{name}.parquet": _write_timeline(timelines[name], staging / f"{name}.parquet") for name in TIMELINES}
    unmatched = unmatched_keys(snapshot.table("overrides"))
    change = _change(snapshot, before, staging, unmatched) if before and before[1].manifest["width"] == width else None
    places, owners = (Timeline.of(timelines[name], key) for name, key in TIMELINES.items())

    def rows_of(bucket: int, found: pl.DataFrame) -> dict[str, Any]:
        if change is None:
            rows = ordered.through_the_rules(found, places, owners, unmatched)
        else:
            rows = _carried(change, bucket, found, places, owners, unmatched)
        path = staging / f"bucket-{bucket:03d}.parquet"
        rows.write_parquet(path, compression="lz4", row_group_size=122_880)
        return entry_of(path, rows.height)

    wanted = []
    for bucket in range(buckets):
        name = f"bucket-{bucket:03d}.parquet"
        if before and change and name in before[1].manifest["files"] and not _touches(change, bucket, width):
            link_or_copy(before[1].folder / name, staging / name)
            files[name] = before[1].manifest["files"][name]
        else:
            wanted.append(bucket)
    with (
        Parted(snapshot, width, wanted, staging / "spill", change and change.receivers) as parts,
        ThreadPoolExecutor(BUCKETS_AT_ONCE) as pool,
    ):
        made = {bucket: pool.submit(lambda b: rows_of(b, parts.rows(b)), bucket) for bucket in wanted}
        files |= {f"bucket-{bucket:03d}.parquet": job.result() for bucket, job in made.items()}
    counts = _counts([staging / f"bucket-{bucket:03d}.parquet" for bucket in range(buckets)])
    manifest = {"width": width, "files": files, "counts": counts, "unmatched": unmatched}
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


def timelines_of(table: Callable[[str], pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """All of time of every receiver and of every transmitter, in disjoint pieces. table: a table of a snapshot by its name."""
    backend = engine.duckdb(memory_limit="1500MB")
    places = engine.receiver_timeline(
        backend,
        table("receivers").select("receiver_key"),
        table("clock_segments"),
        table("deployments"),
    )
    found = {"receiver_timeline": places, "transmitter_timeline": _transmitter_timeline(backend, table)}
    frames = {name: found[name].to_polars().sort(key, "start_ms") for name, key in TIMELINES.items()}
    backend.disconnect()
    return frames


def _transmitter_timeline(backend: Backend, table: Callable[[str], pl.DataFrame]) -> ir.Table:
    transmitters = engine.table(backend, "transmitters", table("transmitters"))
    tags = engine.table(
        backend,
        "tags",
        table("tags").select(
            "tag_key", "animal_key", "transmitter_key", "tracker_key", "release_ms", "last_ms", "modified_day"
        ),
    )
    windows = backend.create_table("tag_windows", rules.tag_windows(tags), overwrite=True)
    overrides = table("overrides").filter(pl.col("action") == "test_tag")
    tests = table("transmitters").join(overrides, left_on="transmitter", right_on="subject", how="semi")
    return backend.create_table(
        "transmitter_timeline",
        rules.transmitter_timeline(
            transmitters,
            windows,
            engine.table(backend, "station_tags", table("station_tags").select("transmitter_key")),
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


def _carried(
    change: _Change, bucket: int, found: pl.DataFrame, places: Timeline, owners: Timeline, unmatched: list[int]
) -> pl.DataFrame:
    """The rows of a bucket of which something changed: computed anew, matched anew, or as they were.

    found: detections of the receivers that changed.
    """
    fresh = ordered.through_the_rules(found, places, owners, unmatched)
    path = change.matches.folder / f"bucket-{bucket:03d}.parquet"
    if not path.exists():  # a bucket of receivers that are all new
        return fresh
    kept = pl.read_parquet(path).filter(~pl.col("receiver_key").is_in(change.receivers))
    again = pl.col("transmitter_key").is_in(change.transmitters)
    retagged = kept.filter(again).drop("outcome", "tag_key", "tracker_key", "modified_day")
    retagged = ordered.matched(retagged, owners, unmatched)
    return pl.concat([fresh, retagged, kept.filter(~again)]).sort(ordered.ORDER)


def _write_timeline(timeline: pl.DataFrame, path: Path) -> dict[str, Any]:
    timeline.write_parquet(path, compression="zstd")
    return entry_of(path, timeline.height)


def unmatched_keys(overrides: pl.DataFrame) -> list[int]:
    """det_keys that a person unmatched: the last part of unqDetecID. overrides: of a snapshot."""
    by_hand = overrides.filter(pl.col("action") == "unmatch")
    return sorted(int(subject.rsplit("-", 1)[-1]) for subject in by_hand["subject"])


def _counts(paths: list[Path]) -> dict[str, int]:
    frame = pl.scan_parquet(paths).group_by("outcome").len().sort("outcome").collect(engine="streaming")
    return {rules.REASONS[outcome]: count for outcome, count in frame.iter_rows()}


def _change(snapshot: Snapshot, before: tuple[Snapshot, Matches], staging: Path, unmatched: list[int]) -> _Change:
    """Receivers whose rows or timeline changed, and transmitters whose timeline changed or that a person decided on."""
    old_snapshot, old = before
    receivers = _changed_keys(staging, old, "receiver_timeline", "receiver_key") | _receivers_with_new_rows(
        snapshot, old_snapshot
    )
    transmitters = _changed_keys(staging, old, "transmitter_timeline", "transmitter_key")
    by_hand = sorted(set(unmatched) ^ set(old.manifest["unmatched"]))
    rows = pl.scan_parquet(old.buckets)
    if by_hand:
        theirs = rows.filter(pl.col("det_key").is_in(by_hand)).select("transmitter_key").unique()
        transmitters |= set(theirs.collect(engine="streaming")["transmitter_key"])
    dirty = rows.filter(pl.col("transmitter_key").is_in(sorted(transmitters))).select("receiver_key").unique()
    hearing = set(dirty.collect(engine="streaming")["receiver_key"]) if transmitters else set()
    return _Change(sorted(receivers), sorted(transmitters), old, receivers | hearing)


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
    """Receivers whose rows are not those of the snapshot before, by a digest of each: files that are the same are not opened."""
    changed: set[int] = set()
    for name in snapshot.detections.keys() | old.detections.keys():
        entries = [s.manifest["files"].get(f"detections/{name}.parquet", {}).get("sha256") for s in (snapshot, old)]
        if entries[0] != entries[1]:
            paths = [[s.detections[name]] if name in s.detections else [] for s in (snapshot, old)]
            changed |= receivers_that_differ(*paths)
    return changed


def receivers_that_differ(some: list[Path], others: list[Path]) -> set[int]:
    """Receivers whose rows in some files are not those in others, by a digest of each."""
    mine, theirs = _digests(some), _digests(others)
    return {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}


def _digests(paths: list[Path]) -> dict[int, tuple[int, int]]:
    """Of each receiver in files of one kind: how many rows, and the sum of their hashes."""
    if not paths:
        return {}
    rows = pl.scan_parquet(paths).select("receiver_key", digest=pl.struct(pl.all()).hash())
    found = rows.group_by("receiver_key").agg(pl.len(), pl.col("digest").sum()).collect(engine="streaming")
    return {key: (count, digest) for key, count, digest in found.iter_rows()}
