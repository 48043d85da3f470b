"""What two projects claim in one push: the same detections, the same tag, the same receiver; found once for all projects.

Belongs here: finding them in a snapshot. Does not belong here: what follows from them (``verification.py``, ``certificate.py``).

Cost grows with the rows of receivers of which two projects sent files, never with projects times rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from otn_dagster.telemetry.push.snapshot import Snapshot

ROWS_AT_ONCE = 5_000_000
SAME = ("receiver_key", "transmitter_key", "device_ms", "sensor_value")  # what makes two rows one detection
_FOREVER = 2**62


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

    @cached_property
    def receivers(self) -> pl.DataFrame:
        """Two deployments of a receiver by two projects that overlap, from the side of each."""
        columns = ["rcv_serial_no", "collectioncode", "rcvrcatnumber", "start_ms", "recovered_ms"]
        deployments = self.snapshot.table("deployments").select(columns)
        both = deployments.join(deployments.rename({name: f"other_{name}" for name in columns[1:]}), on="rcv_serial_no")
        two = pl.col("collectioncode") != pl.col("other_collectioncode")
        return both.filter(two, _overlap("start_ms", "recovered_ms")).sort(both.columns)

    @cached_property
    def detections(self) -> pl.DataFrame:
        """How many detections of a project another sent too: project, rcv_serial_no, also_in (its submission), detections."""
        counted = [_also_sent(rows) for rows in rows_of_shared_receivers(self.snapshot)]
        none = pl.DataFrame(
            schema={"project": pl.String, "receiver_key": pl.Int32, "other": pl.Int32, "detections": pl.UInt32}
        )
        files = self.snapshot.table("submissions").select(other="submission_no", also_in="submission_key")
        named = (
            pl.concat([none, *counted], how="vertical_relaxed")
            .join(files, on="other")
            .join(self.snapshot.table("receivers"), on="receiver_key")
        )
        return named.select("project", "rcv_serial_no", "also_in", "detections").sort("rcv_serial_no", "also_in")


def rows_of_shared_receivers(snapshot: Snapshot) -> Iterator[pl.DataFrame]:
    """Detections of receivers of which two projects sent files: project, det_key, submission_no and what makes them the same.

    In ranges of receivers of about as many rows each, so that memory stays bounded and the cost is about one pass over the rows.
    """
    projects = {str(path): name.rsplit("-", 1)[0] for name, path in snapshot.detections.items()}
    shared = _shared_receivers(projects)
    pieces = max(1, -(-snapshot.rows // ROWS_AT_ONCE))
    size = max(1, -(-len(shared) // pieces))
    key = pl.col("receiver_key")
    for first in range(0, len(shared), size):
        some = shared[first : first + size]
        rows = pl.scan_parquet(list(projects), include_file_paths="file")
        rows = rows.filter(key.is_between(some[0], some[-1]) & key.is_in(some))
        project = pl.col("file").replace_strict(projects, return_dtype=pl.Categorical)
        yield rows.select(project.alias("project"), "det_key", "submission_no", *SAME).collect()


def _shared_receivers(projects: dict[str, str]) -> list[int]:
    """Keys of the receivers of which more than one project sent detections, in order."""
    heard: dict[int, set[str]] = {}
    for path, project in projects.items():
        for key in pl.scan_parquet(path).select(pl.col("receiver_key").unique()).collect()["receiver_key"]:
            heard.setdefault(key, set()).add(project)
    return sorted(key for key, some in heard.items() if len(some) > 1)


def _also_sent(rows: pl.DataFrame) -> pl.DataFrame:
    several = rows.group_by(SAME).agg(pl.col("project").n_unique()).filter(pl.col("project") > 1)
    twice = rows.join(several.select(SAME), on=SAME, how="semi", nulls_equal=True)
    others = twice.select(*SAME, other_project="project", other="submission_no")
    both = twice.join(others, on=SAME, nulls_equal=True).filter(pl.col("project") != pl.col("other_project"))
    counted = both.group_by("project", "receiver_key", "other").agg(detections=pl.len())
    return counted.with_columns(pl.col("project").cast(pl.String))


def _overlap(start: str, end: str) -> pl.Expr:
    mine = pl.col(start) <= pl.col(f"other_{end}").fill_null(_FOREVER)
    return mine & (pl.col(f"other_{start}") <= pl.col(end).fill_null(_FOREVER))
