"""Extracts as the files that a project is sent: csv in zip and Parquet, a folder for each project.

Belongs here: encodings, files, manifests. Does not belong here: what stands in an extract (``extracts.py``).

Bytes depend on the snapshot alone: rows are ordered, members of a zip have fixed times, and the packer is the same everywhere (ISA-L, by
level, not by machine).
"""

import datetime as dt
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from isal import isal_zlib
from stream_zip import ZIP_32, ZIP_64, stream_zip

from otn_dagster import files
from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push.extracts import Context, file_stem, in_full
from otn_dagster.telemetry.push.extracts_list import TYPES
from otn_dagster.telemetry.push.snapshot import entry_of
from otn_dagster.telemetry.push.splitting import Piece, numbered, pieces

WRITERS = 2  # files that are written at once: packing and hashing leave the interpreter free
PACKING = 2  # of ISA-L: a twelfth of the time of zlib's usual level, eight percent more bytes
LARGEST_OF_ZIP_32 = 4_000_000_000
ZIP_TIME = dt.datetime(1980, 1, 1)
Entries = dict[str, dict[str, Any]]
DAY_MS, MOST_DAYS = 86_400_000, 100_000
_SECONDS = pl.Series([f" {s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)])
_THOUSANDTHS = pl.Series(["", *(f".{n:03d}" for n in range(1, 1_000))])


def write_extracts(context: Context, listed: pl.DataFrame, projects: Sequence[str], folder: Path) -> dict[str, Entries]:
    """All listed extracts of some projects into ``folder/extracts/<COLLECTION>``; manifest entries by project and file name.

    listed: the list of the push. A project of which nothing is listed has no folder afterwards. One pass over the matches serves all.
    Safe to repeat and to kill: a project's folder is written aside and renamed whole; its bytes depend on the snapshot alone.
    """
    mine = numbered(listed.filter(pl.col("collectioncode").is_in(list(projects))), context.projects)
    found: dict[str, Entries] = {}
    for project in sorted(set(projects) - set(mine["collectioncode"])):
        files.remove_folder(folder / "extracts" / project)
        found[project] = {}
    left = dict(mine.group_by("collectioncode").len().iter_rows())
    with ThreadPoolExecutor(WRITERS) as pool, ExitStack() as open_folders:
        folders: dict[str, tuple[Path, ExitStack]] = {}
        for piece in pieces(context.matches, mine) if mine.height else ():
            jobs = []
            for code, year, letter, frame, text in _files_of(context, piece):
                if code not in folders:
                    stack = open_folders.enter_context(ExitStack())
                    folders[code] = (stack.enter_context(files.replacing_folder(folder / "extracts" / code)), stack)
                jobs.append((code, pool.submit(_write, frame, text, folders[code][0], code, letter, year)))
            for code, job in jobs:
                found.setdefault(code, {}).update(job.result())
                left[code] -= 1
                if left[code] == 0:
                    aside, stack = folders.pop(code)
                    manifest = json.dumps(found[code], indent=1, sort_keys=True)
                    (aside / "manifest.json").write_text(manifest, encoding="utf-8")
                    stack.pop_all().close()
    return found


def _files_of(context: Context, piece: Piece) -> Iterator[tuple[str, int, str, pl.DataFrame, bytes]]:
    """(collection, year, type, rows, csv) of every extract of a piece; the text of a type is made for all of them at once."""
    extracts = piece.extracts.rows_by_key("number", named=True, unique=True)
    for letter, frame in in_full(context, piece).items():
        lengths = dict(frame["number"].value_counts().iter_rows())
        rows, start = frame.drop("number"), 0
        text = _Csv(rows)
        for number, one in extracts.items():
            if one["extract_type"] == letter:
                length = lengths.get(number, 0)
                yield one["collectioncode"], one["year"], letter, rows.slice(start, length), text.of(start, length)
                start += length


class _Csv:
    """Rows as csv, written once and cut where an extract begins and ends."""

    def __init__(self, rows: pl.DataFrame):
        """A text with line ends of its own cannot be cut by lines: then each extract is written by itself."""
        self._rows = as_text(rows)
        words = self._rows.select(pl.col(pl.String).str.contains("\n", literal=True).any())
        self._whole = None if any(words.row(0) if words.width else ()) else csv_bytes(rows, self._rows)
        if self._whole is not None:
            self._ends = np.flatnonzero(np.frombuffer(self._whole, np.uint8) == ord("\n")) + 1
            if len(self._ends) != rows.height + 1:  # what is sent is cut here: every row is a line, and the header
                raise RuntimeError(f"{rows.height} rows became {len(self._ends) - 1} lines of csv")

    def of(self, start: int, length: int) -> bytes:
        """The header and so many rows from there."""
        if self._whole is None:
            return csv_bytes(self._rows, self._rows.slice(start, length))
        ends = self._ends
        return self._whole[: ends[0]] + self._whole[ends[start] : ends[start + length]]


def _write(frame: pl.DataFrame, text: bytes, folder: Path, collectioncode: str, letter: str, year: int) -> Entries:
    stem = file_stem(collectioncode, letter, year)
    frame.write_parquet(folder / f"{stem}.parquet", compression="zstd", row_group_size=122_880)
    write_zip(folder / f"{stem}.zip", {f"{stem}.csv": text, "data_description.txt": description(letter)})
    return {name: entry_of(folder / name, frame.height) for name in (f"{stem}.parquet", f"{stem}.zip")}


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """As a csv says it: times as ``YYYY-MM-DD HH:MM:SS[.fff]``, days without a time, geometry in hex."""
    times = []
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Datetime):
            times.append(_moments(frame[name], with_time=name != "dateLastModified"))
        elif kind == pl.Binary:
            times.append(frame[name].bin.encode("hex").str.to_uppercase())
    return frame.with_columns(times)


def _moments(times: pl.Series, with_time: bool) -> pl.Series:
    """Times as text, put together from the days that there are and from the seconds of a day: a fifth of the time of formatting each."""
    ms = times.cast(pl.Datetime("ms")).cast(pl.Int64)
    day = ms // DAY_MS
    first, last = day.min(), day.max()
    if not isinstance(first, int) or not isinstance(last, int):  # none at all
        return times.cast(pl.String)
    if last - first > MOST_DAYS:
        exact = times.cast(pl.Datetime("ms")).cast(pl.String)  # YYYY-MM-DD HH:MM:SS.fff
        short = exact.str.slice(0, 19) if with_time else exact.str.slice(0, 10)
        return exact.zip_with(~exact.str.ends_with(".000") & with_time, short)
    days = pl.int_range(first, last + 1, eager=True).cast(pl.Int32).cast(pl.Date).cast(pl.String)
    parts = [days.gather(day - first).alias("day")]
    if with_time:
        rest = ms - day * DAY_MS
        parts += [_SECONDS.gather(rest // 1000).alias("second"), _THOUSANDTHS.gather(rest % 1000).alias("thousandth")]
    return pl.DataFrame(parts).select(pl.concat_str(pl.all()).alias(times.name)).to_series()


def csv_bytes(frame: pl.DataFrame, text: pl.DataFrame | None = None) -> bytes:
    """UTF-8 csv of an extract; text: what ``as_text`` made of it, where that is at hand."""
    buffer = io.BytesIO()
    (as_text(frame) if text is None else text).write_csv(buffer)
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """A zip whose bytes depend on its members alone: fixed times, order and attributes."""
    packed = stream_zip(
        ((name, ZIP_TIME, 0o644, _kind_of_zip(data), (data,)) for name, data in members.items()),
        get_compressobj=_packer,
        extended_timestamps=False,
    )
    with path.open("wb") as out:
        out.writelines(packed)


def _kind_of_zip(data: bytes) -> Any:
    """Old programs open ZIP_32, which ends at four gibibytes."""
    return ZIP_32 if len(data) < LARGEST_OF_ZIP_32 else ZIP_64


def _packer() -> Any:
    """As ``zlib.compressobj``, raw: ISA-L has the same interface, and types of its own."""
    return isal_zlib.compressobj(PACKING, isal_zlib.DEFLATED, -15)


def description(extract_type: str) -> bytes:
    """What stands beside every csv: what the file is, and what its less obvious columns mean."""
    what = {
        "t": "Detections of this project's animals, wherever they were heard, and one release row for every tag alive in the year.",
        "q": "Animals of other projects heard on this project's receivers. Detections of the project's own tags are not here.",
        "u": "Detections on this project's receivers that belong to no animal the network knows; reason says why.",
        "s": "Detections on this project's receivers of test, sentinel and transceiver tags.",
    }[extract_type]
    return f"""{TYPES[extract_type]} detections

{what}

Times are UTC. dateCollectedUTC is corrected for the drift of the receiver's clock, uncorrectedDateCollectedUTC is as recorded.
Positions are decimal degrees, WGS84, rounded to five places; depths are metres.
min_lag: seconds to the nearest other detection of the same transmitter on the same receiver.
passed_filter: 1 where min_lag is at most {rules.FALSE_DETECTION_SECONDS} s, else 0 (a possible false detection; nothing was removed).
reason (unqualified): u1_unreported_test, u2_ambiguous, u3_no_release, u4_sensor_unresolved, u5_outside_window, u6_unmatched.
""".encode()
