"""A snapshot's detections, parted by ranges of receivers: every file is read once, however many buckets there are.

Belongs here: reading, parting, and holding what fits into memory (the rest lies in files aside). Does not belong here: what is computed of
a bucket (``matching.py``).

A file of detections is a project and a year; a receiver moves between projects and lives for years. So each bucket has rows in many files.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from otn_dagster.telemetry import inputs
from otn_dagster.telemetry.push.snapshot import Snapshot

MOST_HELD = 12_000_000  # rows in memory, of 44 bytes each
ROWS_AT_ONCE = 2_000_000


class Parted:
    """Buckets of a snapshot's detections, used as a context; what it wrote aside is removed at its end."""

    def __init__(
        self,
        snapshot: Snapshot,
        width: int,
        buckets: Sequence[int],
        spill: Path,
        receivers: Sequence[int] | None = None,
        columns: Sequence[str] = tuple(inputs.DETECTIONS),
        with_project: bool = False,
    ):
        """width: receiver keys of a bucket. receivers: only rows of these, without it of all. columns: of ``inputs.DETECTIONS``.
        with_project: a column more, the code of the project whose file it is (only of all receivers).
        """
        self._snapshot, self._width, self._wanted, self._spill = snapshot, width, set(buckets), spill
        self._receivers, self._columns, self._with_project = receivers, list(columns), with_project
        self._held: dict[int, list[pl.DataFrame]] = {}
        self._rows, self._files = 0, 0

    def __enter__(self) -> Parted:
        """Read all, in the order of years: rows of a receiver and transmitter then follow on each other."""
        self._spill.mkdir(parents=True, exist_ok=True)
        entries = self._snapshot.manifest["files"]
        names = sorted(self._snapshot.detections, key=lambda name: (name.rsplit("-", 1)[-1], name))
        batch: dict[str, int] = {}
        rows = 0
        for name in names if self._receivers != [] else ():
            batch[name] = entries[f"detections/{name}.parquet"]["rows"]
            rows += batch[name]
            if rows >= ROWS_AT_ONCE:
                self._part(batch)
                batch, rows = {}, 0
        if batch:
            self._part(batch)
        return self

    def __exit__(self, *raised: object) -> None:
        """Forget all."""
        self._held.clear()
        shutil.rmtree(self._spill, ignore_errors=True)

    def rows(self, bucket: int) -> pl.DataFrame:
        """All rows of a bucket, once."""
        none = pl.DataFrame(
            schema={
                **{c: inputs.DETECTIONS[c] for c in self._columns},
                **({"project": pl.String} if self._with_project else {}),
            }
        )
        aside = [pl.read_ipc(path) for path in sorted(self._spill.glob(f"{bucket}-*.arrow"))]
        return pl.concat([none, *aside, *self._held.pop(bucket, [])])

    def _part(self, counts: dict[str, int]) -> None:
        """The rows of some files; counts: of each, by name."""
        paths = [self._snapshot.detections[name] for name in counts]
        scanned = pl.scan_parquet(paths, glob=False).select(self._columns)
        if self._receivers is not None:
            scanned = scanned.filter(pl.col("receiver_key").is_in(self._receivers))
        found = scanned.collect()
        if not found.height:
            return
        if self._with_project:
            codes = pl.Series([name.rsplit("-", 1)[0] for name in counts])
            found = found.with_columns(project=codes.gather(np.repeat(np.arange(len(counts)), list(counts.values()))))
        bucket = found["receiver_key"].to_numpy() // self._width
        order = np.argsort(bucket.astype(np.uint16), kind="stable")
        found = found[order]
        ends = np.flatnonzero(np.diff(bucket[order])) + 1
        for start, end in zip([0, *ends], [*ends, found.height], strict=True):
            number = int(bucket[order[start]])
            if number in self._wanted:
                self._held.setdefault(number, []).append(found[start:end])
                self._rows += int(end - start)
        if self._rows > MOST_HELD:
            self._put_aside()

    def _put_aside(self) -> None:
        for bucket, frames in self._held.items():
            pl.concat(frames).write_ipc(self._spill / f"{bucket}-{self._files:06d}.arrow", compression="lz4")
        self._held.clear()
        self._files, self._rows = self._files + 1, 0
