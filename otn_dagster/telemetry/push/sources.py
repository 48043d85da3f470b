"""Which submissions changed which extract of a push: what came since the last one.

Belongs here: from submissions to extracts. Does not belong here: where a person reads of a submission (``tracker/``).
"""

import polars as pl

from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.splitting import OUTCOMES_OF

# Of which extracts of its project a sheet, or a list of fixes, may change all.
SHEETS = {"tags": ["t"], "deployments": ["q", "u", "s"], "fix": ["t", "q", "u", "s"]}


def of_extracts(snapshot: Snapshot, before: Snapshot | None, matches: Matches, listed: pl.DataFrame) -> pl.DataFrame:
    """detection_extract, submission_key: of every listed extract the submissions since the last push that have rows in it, or that are
    sheets of its project. listed: the list of the push.
    """
    pushed = snapshot.pushed().select("submission_no", "submission_key", "collectioncode", "kind")
    new = pushed if before is None else pushed.join(before.pushed(), on="submission_no", how="anti")
    where = listed.select("detection_extract", "collectioncode", pl.col("year").cast(pl.Int32), "extract_type")
    of_rows = _with_rows(snapshot, matches, new).join(where, on=["collectioncode", "year", "extract_type"])
    kinds = pl.DataFrame(
        [(kind, letter) for kind, letters in SHEETS.items() for letter in letters],
        schema=["kind", "extract_type"],
        orient="row",
    )
    of_sheets = new.join(kinds, on="kind").join(where, on=["collectioncode", "extract_type"])
    columns = ["detection_extract", "submission_key"]
    return pl.concat([of_rows.select(columns), of_sheets.select(columns)]).unique().sort(columns)


def _with_rows(snapshot: Snapshot, matches: Matches, new: pl.DataFrame) -> pl.DataFrame:
    """collectioncode, year, extract_type, submission_key: where the detections of new submissions stand."""
    numbers = new.filter(pl.col("kind") == "detections").select("submission_no", "submission_key")
    year = pl.from_epoch("time_ms", time_unit="ms").dt.year().alias("year")
    rows = pl.scan_parquet(matches.buckets).filter(pl.col("submission_no").is_in(numbers["submission_no"].implode()))
    counted = (
        rows.select("submission_no", "project_key", "tracker_key", year, "outcome").unique().collect(engine="streaming")
    )
    codes = snapshot.table("projects").select("project_key", "collectioncode")
    sides = []
    for letter, outcomes in OUTCOMES_OF.items():
        end = "tracker_key" if letter == "t" else "project_key"
        mine = counted.filter(pl.col("outcome").is_in(outcomes)).select(
            "submission_no", pl.col(end).alias("project_key"), "year"
        )
        sides.append(mine.join(codes, on="project_key").with_columns(extract_type=pl.lit(letter)))
    return pl.concat(sides).join(numbers, on="submission_no").with_columns(pl.col("year").cast(pl.Int32))
