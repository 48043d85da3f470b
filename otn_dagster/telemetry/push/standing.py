"""A snapshot without what is left out: in its place stands what the last push had, and what other files gave, too.

Belongs here: taking rows out of tables and partitions, and putting back what stands. Does not belong here: which rows those are
(``leaving_out.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from otn_dagster.telemetry.push.leaving_out import KEYS, SAME, Rows, Tables

if TYPE_CHECKING:
    from otn_dagster.telemetry.push.snapshot import Snapshot


def apply(frames: Tables, rows: Rows, before: Snapshot | None) -> Tables:
    """The tables of a snapshot without what is left out; in its place what the last push had."""
    done = dict(frames)
    for name, keys in rows.tables.items():
        now = frames[name]
        earlier = _with_columns(before.table(name), now) if before else now.clear()
        kept, back = now, []
        for some in keys:
            kept = kept.join(some, on=some.columns, how="anti")
            back.append(earlier.join(some, on=some.columns, how="semi"))
        done[name] = pl.concat([kept, *back]).unique().sort(KEYS[name][1])
    done["submissions"] = _submissions(frames["submissions"], rows, before)
    return done


def _with_columns(earlier: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """A table of an earlier snapshot with the columns that it has now; one that it had not yet is empty."""
    return earlier.select(
        (pl.col(name) if name in earlier.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in now.schema.items()
    )


def _submissions(now: pl.DataFrame, rows: Rows, before: Snapshot | None) -> pl.DataFrame:
    """Each with why it is left out (``left_out``, null where it is not); those of the last push that stand again as they stood there."""
    codes = {entry["submission_no"]: str(entry["code"]) for entry in rows.entries if "submission_no" in entry}
    mine = pl.col("submission_no").replace_strict(codes, default=None, return_dtype=pl.String)
    there = pl.col("left_out") if "left_out" in now.columns else pl.lit(None, pl.String)
    marked = now.with_columns(left_out=pl.coalesce(mine, there))
    if before is None or not rows.replaced:
        return marked
    again = _with_columns(before.pushed(), now).filter(pl.col("submission_no").is_in(rows.replaced))
    again = again.select(pl.exclude("left_out"))
    kept = marked.filter(~pl.col("submission_no").is_in(again["submission_no"].implode()))
    return pl.concat([kept, again.with_columns(left_out=pl.lit(None, pl.String))]).sort("submission_no")


def detections(found: pl.DataFrame, code: str, name: str, rows: Rows, before: Snapshot | None) -> pl.DataFrame:
    """The detections of a partition without those that are left out; in their place those of the last push that they replaced, and those
    that a file which stays in has given, too.
    """
    mine = rows.by_code.get(code, {})
    hit = found["submission_no"].is_in(list(mine))
    kept = [found.filter(~hit)]
    for (number,), some in found.filter(hit).group_by(["submission_no"], maintain_order=True):
        keyed = some.with_columns(second=pl.col("device_ms") // 1000)
        also = keyed.join(rows.also_of[number], on=SAME, how="inner", nulls_equal=True)  # type: ignore[index]
        rows.counted[number] += some.height - also.height  # type: ignore[index]
        rows.moved[number] -= also.height  # type: ignore[index]
        rows.moved.update(also["by"].to_list())
        kept.append(also.with_columns(submission_no=pl.col("by")).select(found.columns))
    there = pl.concat(kept)
    replaced = [number for earlier in mine.values() for number in earlier]
    if before is not None and replaced and name in before.detections:
        again = (
            pl.read_parquet(before.detections[name])
            .filter(pl.col("submission_no").is_in(replaced))
            .select(found.columns)
        )
        taken = there.join(
            again, on="det_key", how="semi"
        )  # came in since with another file: it is the earlier one's again
        rows.moved.subtract(taken["submission_no"].to_list())
        there = pl.concat([there.join(again, on="det_key", how="anti"), again])
    return there.sort("receiver_key", "transmitter_key", "device_ms", "det_key")
