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

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.matching import Matches

ROWS_PER_PIECE = 400_000
ROWS_AT_ONCE = (
    1_000_000  # of the matches, while they are parted: each stands in two extracts at most; fewer are many small writes
)
PREFIX, SECONDS_KEPT = ".split-", 86_400
OUTCOMES_OF = {
    "t": [rules.MATCHED, rules.MATCHED_OWN],
    "q": [rules.MATCHED],
    "u": rules.UNQUALIFIED,
    "s": [rules.SENTINEL],
}
# Of a row of the matches: what says in which extracts it stands, and what is needed there.
_KEYS = ["project_key", "tracker_key", "time_ms", "outcome"]
COLUMNS = [
    *_KEYS,
    "det_key",
    "transmitter_key",
    "device_ms",
    "sensor_value",
    "deployment_key",
    "min_lag",
    "tag_key",
    "modified_day",
]
_KINDS = {letter: number for number, letter in enumerate(OUTCOMES_OF)}
_IS_TRACKED, _ARRAY_KIND = np.zeros(max(rules.REASONS) + 1, bool), np.full(max(rules.REASONS) + 1, -1)
_IS_TRACKED[OUTCOMES_OF["t"]] = True
for _letter in "qus":
    _ARRAY_KIND[OUTCOMES_OF[_letter]] = _KINDS[_letter]


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
    places = _Places(extracts)
    sized = extracts.sort("number").with_columns(piece=_pieces_of(_sizes(matches, places).tolist(), ROWS_PER_PIECE))
    if sized["piece"].n_unique() <= 1:
        none = pl.read_parquet(matches.buckets[0], n_rows=0).select(COLUMNS).with_columns(number=pl.lit(0, pl.Int32))
        yield Piece(extracts, pl.concat([none, *(places.rows(some) for some in _matches(matches))]))
        return
    forget_left(matches.folder.parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=matches.folder.parent) as folder:
        _spill(matches, places, sized["piece"], Path(folder))
        for (piece,), some in sized.group_by(["piece"], maintain_order=True):
            path = Path(folder) / f"{piece}.arrow"
            yield Piece(some.drop("piece"), pl.read_ipc(path))
            path.unlink()


def forget_left(folder: Path) -> None:
    """Remove what runs that were killed left, a day after."""
    for left in folder.glob(f"{PREFIX}*"):
        if time.time() - left.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(left, ignore_errors=True)


class _Places:
    """In which extracts a row of the matches stands, by a table of projects, years and types: looked up, not joined."""

    def __init__(self, extracts: pl.DataFrame):
        """extracts: as ``numbered`` gives them."""
        years = extracts["year"]
        self._first = int(years.min() or 0)  # type: ignore[arg-type]
        span = int(years.max() or 0) - self._first + 1  # type: ignore[arg-type]
        self._table = np.full((int(extracts["key"].max() or 0) + 1, span, len(OUTCOMES_OF)), -1, np.int32)  # type: ignore[arg-type]
        kinds = extracts["extract_type"].replace_strict(_KINDS, return_dtype=pl.Int64)
        self._table[extracts["key"].to_numpy(), years.to_numpy() - self._first, kinds.to_numpy()] = extracts["number"]
        self.count = extracts.height

    def numbers(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The extract at the tracker's end and that at the array's of every row, -1 where there is none. rows: with ``year``."""
        outcome, years = rows["outcome"].to_numpy(), rows["year"].to_numpy() - self._first
        tracker = self._look(rows["tracker_key"], years, np.where(_IS_TRACKED[outcome], _KINDS["t"], -1))
        return tracker, self._look(rows["project_key"], years, _ARRAY_KIND[outcome])

    def _look(self, keys: pl.Series, years: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        key = keys.fill_null(-1).to_numpy()
        there = (kinds >= 0) & (key >= 0) & (key < len(self._table)) & (years >= 0) & (years < self._table.shape[1])
        found = np.full(len(key), -1, np.int32)
        found[there] = self._table[key[there], years[there], kinds[there]]
        return found

    def rows(self, matches: pl.DataFrame) -> pl.DataFrame:
        """Each row once for every extract in which it stands, with the extract's number."""
        dated = matches.select(_KEYS).with_columns(year=pl.from_epoch("time_ms", time_unit="ms").dt.year())
        both = self.numbers(dated)
        at = [np.flatnonzero(numbers >= 0) for numbers in both]
        number = np.concatenate([numbers[rows] for numbers, rows in zip(both, at, strict=True)])
        return matches.select(COLUMNS)[np.concatenate(at)].with_columns(number=pl.Series(number, dtype=pl.Int32))


def _sizes(matches: Matches, places: _Places) -> np.ndarray:
    """How many rows each extract has, in the order of numbers."""
    year = pl.from_epoch("time_ms", time_unit="ms").dt.year().alias("year")
    keys = pl.scan_parquet(matches.buckets).group_by("project_key", "tracker_key", year, "outcome").len("rows")
    counted = keys.collect(engine="streaming")
    found = np.zeros(places.count, np.int64)
    for numbers in places.numbers(counted):
        np.add.at(found, numbers[numbers >= 0], counted["rows"].to_numpy()[numbers >= 0])
    return found


def _matches(matches: Matches) -> Iterator[pl.DataFrame]:
    """All rows, bucket after bucket, as many at once as are worth writing."""
    held: list[pl.DataFrame] = []
    for bucket in matches.buckets:
        with pq.ParquetFile(bucket) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=COLUMNS):
                held.append(cast(pl.DataFrame, pl.from_arrow(batch)))
                if sum(some.height for some in held) >= ROWS_AT_ONCE:
                    yield pl.concat(held)
                    held = []
    if held:
        yield pl.concat(held)


def _pieces_of(sizes: list[int], most: int) -> pl.Series:
    """The piece of each extract, in order: as many as fit, and one at least."""
    found, piece, held = [], 0, 0
    for size in sizes:
        if held and held + size > most:
            piece, held = piece + 1, 0
        found.append(piece)
        held += size
    return pl.Series(found, dtype=pl.Int32)


def _spill(matches: Matches, places: _Places, piece_of: pl.Series, folder: Path) -> None:
    """All rows into the files of their pieces, some at a time. piece_of: the piece of each extract, by its number."""
    pieces = piece_of.to_numpy().astype(np.uint16)
    writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    options = pa.ipc.IpcWriteOptions(compression="lz4")

    def write(piece: int, rows: pl.DataFrame) -> None:
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if piece not in writers:
            writers[piece] = pa.ipc.new_file(folder / f"{piece}.arrow", table.schema, options=options)
        writers[piece].write_table(table)

    try:
        for some in _matches(matches):
            rows = places.rows(some)
            piece = pieces[rows["number"].to_numpy()]
            order = np.argsort(piece, kind="stable")
            rows, piece = rows[order], piece[order]
            ends = np.flatnonzero(np.diff(piece)) + 1
            for start, end in zip([0, *ends], [*ends, rows.height], strict=True):
                if end > start:
                    write(int(piece[start]), rows[start:end])
        for piece in set(pieces.tolist()) - set(writers):
            write(piece, rows.clear())
    finally:
        for writer in writers.values():
            writer.close()
