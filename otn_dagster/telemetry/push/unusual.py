"""What is unusual in a push, for the person who releases it.

Belongs here: remarks from what extracts hold now and held at the last real push. Does not belong here: laws, which a push must keep
(``certificate.py``), what owners must hear of (``attention.py``).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from otn_dagster import files
from otn_dagster.telemetry.push.extracts_list import TYPES

FILE = "unusual.json"
LEAST_ROWS = 10  # an extract of fewer says little
SHRUNK, JUMPED = 0.9, 0.2  # of the rows that are left; of the share that is matched
LEAST_FOR_A_SHARE = 100


class Code(StrEnum):
    """What may be unusual; the words beside it are for people."""

    SHRINKS = "shrinks"
    LOST_ALL = "lost_all"
    RATE_JUMPS = "rate_jumps"


@dataclass(frozen=True)
class Remark:
    """One unusual thing of one project."""

    code: str
    collectioncode: str
    text: str


def find(now: pl.DataFrame, before: pl.DataFrame | None) -> list[Remark]:
    """All of it, by project. now, before: rows of every extract (collectioncode, year, extract_type, expected), of this push and the last."""
    if before is None:
        return []
    return sorted(
        [*_shrunk(now, before), *_lost(now, before), *_jumped(now, before)], key=lambda one: one.collectioncode
    )


def _joined(now: pl.DataFrame, before: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    sums = [frame.group_by(by).agg(pl.col("expected").sum().cast(pl.Int64)) for frame in (now, before)]
    return (
        sums[1]
        .join(sums[0].rename({"expected": "now"}), on=by, how="left")
        .with_columns(pl.col("now").fill_null(0))
        .sort(by)
    )


def _shrunk(now: pl.DataFrame, before: pl.DataFrame) -> Iterator[Remark]:
    both = _joined(now, before, ["collectioncode", "year", "extract_type"])
    fewer = both.filter(pl.col("expected") >= LEAST_ROWS, pl.col("now") < SHRUNK * pl.col("expected"))
    for code, year, letter, had, has in fewer.iter_rows():
        yield Remark(Code.SHRINKS, code, f"its {TYPES[letter]} extract of {year} shrinks from {had:,} to {has:,} rows")


def _lost(now: pl.DataFrame, before: pl.DataFrame) -> Iterator[Remark]:
    tracked = pl.col("extract_type") == "t"
    both = _joined(now.filter(tracked), before.filter(tracked), ["collectioncode"])
    for code, had, _ in both.filter(pl.col("expected") > 0, pl.col("now") == 0).iter_rows():
        yield Remark(Code.LOST_ALL, code, f"all {had:,} matches of its animals are gone")


def _jumped(now: pl.DataFrame, before: pl.DataFrame) -> Iterator[Remark]:
    shares = []
    for frame in (now, before):
        heard = frame.filter(pl.col("extract_type") != "t")
        matched = pl.col("expected").filter(pl.col("extract_type") == "q").sum()
        shares.append(
            heard.group_by("collectioncode").agg(
                share=matched / pl.col("expected").sum(), rows=pl.col("expected").sum()
            )
        )
    both = shares[0].join(shares[1], on="collectioncode", suffix="_before").sort("collectioncode")
    enough = (pl.col("rows") >= LEAST_FOR_A_SHARE) & (pl.col("rows_before") >= LEAST_FOR_A_SHARE)
    for row in both.filter(enough, (pl.col("share") - pl.col("share_before")).abs() > JUMPED).iter_rows(named=True):
        text = f"of what its receivers heard {row['share']:.0%} are matched now, {row['share_before']:.0%} at the last push"
        yield Remark(Code.RATE_JUMPS, row["collectioncode"], text)


def write(remarks: list[Remark], folder: Path) -> None:
    """Into a push's folder. Safe to repeat: written aside and renamed."""
    files.write(folder / FILE, json.dumps([asdict(one) for one in remarks], indent=1))


def read(folder: Path) -> list[Remark]:
    """Remarks of a push; none where it has no certificate."""
    path = folder / FILE
    return [Remark(**one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
