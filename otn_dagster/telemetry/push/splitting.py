"""Matches, parted once by the extracts in which they stand, in pieces that fit into memory.

Belongs here: one pass over all matches for all extracts, whatever their number. Does not belong here: what an extract says
(``extracts.py``), writing it (``delivering.py``).

Cost grows with the rows that are delivered, never with projects times rows: every bucket is read once, and its rows go into files aside,
one for each piece. A piece holds whole extracts in the order of projects, types and years; memory holds a part of a bucket, or a piece.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.matching import Matches

ROWS_PER_PIECE = 400_000
ROWS_AT_ONCE = 500_000  # of the matches, while they are parted: each stands in two extracts at most
PREFIX, SECONDS_KEPT = ".split-", 86_400
OUTCOMES_OF = {
    "t": [rules.MATCHED, rules.MATCHED_OWN],
    "q": [rules.MATCHED],
    "u": rules.UNQUALIFIED,
    "s": [rules.SENTINEL],
}
_ARRAY_TYPES = {outcome: letter for letter in "qus" for outcome in OUTCOMES_OF[letter]}
_OF = ["key", "year", "extract_type"]


@dataclass(frozen=True)
class Piece:
    """Some extracts, and the rows of all of them.

    extracts: number, key (of the project), collectioncode, year, extract_type. rows: columns of matches, with the number of the extract.
    """

    extracts: pl.DataFrame
    rows: pl.DataFrame


def numbered(listed: pl.DataFrame, projects: pl.DataFrame) -> pl.DataFrame:
    """The listed extracts in the order in which they are written, each with its number and its project's key."""
    keys = projects.select("collectioncode", key="project_key")
    ordered = listed.select("collectioncode", pl.col("year").cast(pl.Int32), "extract_type")
    ordered = ordered.join(keys, on="collectioncode", how="left").sort("collectioncode", "extract_type", "year")
    return ordered.with_row_index("number").with_columns(pl.col("number").cast(pl.Int32))


def pieces(matches: Matches, extracts: pl.DataFrame) -> Iterator[Piece]:
    """All rows of these extracts (as ``numbered`` gives them), piece by piece, extracts in order."""
    counted = _rows_of(pl.scan_parquet(matches.buckets), extracts).group_by("number").len().collect(engine="streaming")
    sized = extracts.join(counted, on="number", how="left").with_columns(pl.col("len").fill_null(0)).sort("number")
    sized = sized.with_columns(piece=_pieces_of(sized["len"].to_list(), ROWS_PER_PIECE)).drop("len")
    if sized["piece"].n_unique() <= 1:
        yield Piece(extracts, _rows_of(pl.scan_parquet(matches.buckets), extracts).collect())
        return
    forget_left(matches.folder.parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=matches.folder.parent) as folder:
        _spill(matches, sized, Path(folder))
        for (piece,), some in sized.group_by(["piece"], maintain_order=True):
            path = Path(folder) / f"{piece}.arrow"
            yield Piece(some.drop("piece"), pl.read_ipc(path))
            path.unlink()


def forget_left(folder: Path) -> None:
    """Remove what runs that were killed left, a day after."""
    for left in folder.glob(f"{PREFIX}*"):
        if time.time() - left.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(left, ignore_errors=True)


def _rows_of(matches: pl.LazyFrame, extracts: pl.DataFrame) -> pl.LazyFrame:
    """Each row of the matches once for every listed extract in which it stands, with the extract's number."""
    outcome, dated = pl.col("outcome"), matches.with_columns(year=pl.from_epoch("time_ms", time_unit="ms").dt.year())
    tracker = dated.filter(outcome.is_in(OUTCOMES_OF["t"])).with_columns(
        key=pl.col("tracker_key"), extract_type=pl.lit("t")
    )
    array = dated.filter(outcome.is_in(list(_ARRAY_TYPES))).with_columns(
        key=pl.col("project_key"), extract_type=outcome.replace_strict(_ARRAY_TYPES, return_dtype=pl.String)
    )
    wanted = extracts.lazy().select("number", *_OF)
    parts = [part.join(wanted, on=_OF, how="inner") for part in (tracker, array)]
    return pl.concat(parts).drop("key")


def _matches(matches: Matches) -> Iterator[pl.DataFrame]:
    for bucket in matches.buckets:
        with pq.ParquetFile(bucket) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                yield cast(pl.DataFrame, pl.from_arrow(batch))


def _pieces_of(sizes: list[int], most: int) -> pl.Series:
    """The piece of each extract, in order: as many as fit, and one at least."""
    found, piece, held = [], 0, 0
    for size in sizes:
        if held and held + size > most:
            piece, held = piece + 1, 0
        found.append(piece)
        held += size
    return pl.Series(found, dtype=pl.Int32)


def _spill(matches: Matches, sized: pl.DataFrame, folder: Path) -> None:
    """All rows into the files of their pieces, some at a time."""
    piece_of = sized.select("number", "piece")
    writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    try:
        for some in _matches(matches):
            rows = _rows_of(some.lazy(), sized).collect().join(piece_of, on="number")
            for (piece,), part in rows.partition_by("piece", as_dict=True, include_key=False).items():
                table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
                if piece not in writers:
                    options = pa.ipc.IpcWriteOptions(compression="lz4")
                    writers[piece] = pa.ipc.new_file(folder / f"{piece}.arrow", table.schema, options=options)
                writers[piece].write_table(table)
        empty = _rows_of(pl.scan_parquet(matches.buckets[0]), sized).limit(0).collect()
        for piece in set(sized["piece"].to_list()) - set(writers):
            empty.write_ipc(folder / f"{piece}.arrow")
    finally:
        for writer in writers.values():
            writer.close()
