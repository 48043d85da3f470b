"""What two projects claim in one push: the same detections, the same tag, the same receiver; found once for all projects.

Belongs here: finding them in a snapshot. Does not belong here: what follows from them (``verification.py``, ``certificate.py``).

Cost grows with the rows, each read once, never with projects times rows.
"""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from otn_dagster.telemetry import inputs
from otn_dagster.telemetry.push.matching import bucket_width
from otn_dagster.telemetry.push.parting import Parted
from otn_dagster.telemetry.push.snapshot import Snapshot

SAME = ("receiver_key", "transmitter_key", "device_ms", "sensor_value")  # what makes two rows one detection
_WANTED = ["det_key", "submission_no", *SAME]
_FOREVER, _DAY_MS = 2**62, 86_400_000


@dataclass(frozen=True)
class Shared:
    """What projects share in this snapshot; each table is made when it is first asked for, and kept."""

    snapshot: Snapshot

    @cached_property
    def tags(self) -> pl.DataFrame:
        """Two uses of a transmitter that overlap, from the side of each: the columns of one, and ``other_...``."""
        columns = ["transmitter", "trackercode", "catalognumber", "release_ms", "end_ms"]
        tags = self.snapshot.table("tags").select(columns)
        both = tags.join(tags.rename({name: f"other_{name}" for name in columns[1:]}), on="transmitter")
        return both.filter(_overlap("release_ms", "end_ms")).sort(both.columns)

    @property
    def receivers(self) -> pl.DataFrame:
        """Two deployments of a receiver by two projects that overlap, from the side of each."""
        return self.same_receivers.filter(pl.col("collectioncode") != pl.col("other_collectioncode"))

    @cached_property
    def same_receivers(self) -> pl.DataFrame:
        """Two deployments of a receiver that overlap, from the side of each; one of a project, too."""
        columns = ["rcv_serial_no", "collectioncode", "rcvrcatnumber", "start_ms", "recovered_ms"]
        deployments = self.snapshot.table("deployments").select(columns)
        both = deployments.join(deployments.rename({name: f"other_{name}" for name in columns[1:]}), on="rcv_serial_no")
        other = pl.struct("collectioncode", "rcvrcatnumber") != pl.struct(
            collectioncode="other_collectioncode", rcvrcatnumber="other_rcvrcatnumber"
        )
        return both.filter(other, _in_the_water("", "other_"), _in_the_water("other_", "")).sort(both.columns)

    @cached_property
    def repeats(self) -> pl.DataFrame:
        """``rows_that_repeat`` of this snapshot."""
        return rows_that_repeat(self.snapshot)

    @property
    def twice(self) -> pl.DataFrame:
        """Detections that stand twice in one project: project, rcv_serial_no, detections (beyond the first of each)."""
        same = self.repeats.group_by("project", *SAME).len("times").filter(pl.col("times") > 1)
        counted = same.group_by("project", "receiver_key").agg(detections=(pl.col("times") - 1).sum())
        named = counted.join(self.snapshot.table("receivers"), on="receiver_key")
        return named.select("project", "rcv_serial_no", "detections").sort("project", "rcv_serial_no")

    @cached_property
    def detections(self) -> pl.DataFrame:
        """How many detections of a project another sent too: project, rcv_serial_no, also_in (its submission), detections.

        Those that stand twice, and those that were dropped when they came because they stood already.
        """
        counted = _also_sent(self.repeats)
        files = self.snapshot.table("submissions").select(other="submission_no", also_in="submission_key")
        named = counted.join(files, on="other").join(self.snapshot.table("receivers"), on="receiver_key")
        columns = ["project", "rcv_serial_no", "also_in"]
        found = [named.select(*columns, pl.col("detections").cast(pl.Int64))]
        if "repeated.parquet" in self.snapshot.manifest["files"]:  # snapshots of before have none
            found.append(self.snapshot.table("repeated"))
        every = pl.concat(found).group_by(columns).agg(pl.col("detections").sum())
        return every.sort("rcv_serial_no", "also_in", "project")


def rows_that_repeat(snapshot: Snapshot) -> pl.DataFrame:
    """Detections of which there is another with the same receiver, transmitter, device time and raw sensor value: project, det_key,
    submission_no and what makes them the same.

    Whole receivers at a time, every file read once; only rows whose hash repeats are looked at closely.
    """
    width, buckets = bucket_width(snapshot)
    found = [pl.DataFrame(schema={"project": pl.String, **{name: inputs.DETECTIONS[name] for name in _WANTED}})]
    with (
        tempfile.TemporaryDirectory(prefix=".shared-", dir=snapshot.folder.parent) as aside,
        Parted(snapshot, width, range(buckets), Path(aside), columns=_WANTED, with_project=True) as parts,
    ):
        for bucket in range(buckets):
            rows = parts.rows(bucket)
            alike = rows.filter(pl.struct(SAME).hash().is_duplicated())
            repeated = alike.join(alike.group_by(SAME).len("times"), on=SAME, nulls_equal=True).filter(
                pl.col("times") > 1
            )
            found.append(repeated.select("project", *_WANTED))
    return pl.concat(found)


def _also_sent(twice: pl.DataFrame) -> pl.DataFrame:
    """Of rows that repeat: how many of each project and receiver are in which submission of another project."""
    others = twice.select(*SAME, other_project="project", other="submission_no")
    both = twice.join(others, on=SAME, nulls_equal=True).filter(pl.col("project") != pl.col("other_project"))
    return both.group_by("project", "receiver_key", "other").agg(detections=pl.len())


def _in_the_water(mine: str, other: str) -> pl.Expr:
    """Whether a deployment begins before another ends. Where a recovery has no time of day, a receiver may go down again on that day."""
    recovered = pl.col(f"{other}recovered_ms")
    day_only = recovered % _DAY_MS == _DAY_MS - 1  # to the last millisecond of its day
    ends = pl.when(day_only).then(recovered - _DAY_MS + 1).otherwise(recovered).fill_null(_FOREVER)
    return pl.col(f"{mine}start_ms") < ends


def _overlap(start: str, end: str) -> pl.Expr:
    mine = pl.col(start) <= pl.col(f"other_{end}").fill_null(_FOREVER)
    return mine & (pl.col(f"other_{start}") <= pl.col(end).fill_null(_FOREVER))
