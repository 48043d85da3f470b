"""What a table says apart from its dress: hashes of its rows and of their keys.

Belongs here: reading any kind of submission to comparable rows, and hashing them. Does not belong here: comparing two files
(``duplicates.py``).

Two files print alike where they differ in line ends, csv or xlsx, the order of rows or columns, the format of dates, the decimals of
coordinates beyond the fifth (about a metre), or in empty cells.
"""

import datetime as dt
import hashlib
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from otn_dagster.telemetry.files import container, reading, sheets
from otn_dagster.telemetry.files.cells import Cell, is_null, plain
from otn_dagster.telemetry.files.columns import Column, read_columns
from otn_dagster.telemetry.files.exports import SHAPES
from otn_dagster.telemetry.files.refusals import BadFile, Topic
from otn_dagster.telemetry.files.sheets import SHEETS
from otn_dagster.telemetry.files.tables import Table
from otn_dagster.telemetry.files.times import Order, parse
from otn_dagster.telemetry.kinds import KINDS

LARGEST_FORM = 2**20
logger = logging.getLogger(__name__)
COORDINATE_DECIMALS, OTHER_DECIMALS = 5, 9
KEYS = {name: list(kind.print_keys) for name, kind in KINDS.items()}
Row = Mapping[str, str]
# What a file means is asked when it is loaded; for comparing it any reading will do, if it is the same for both.
ANY_ANSWER: dict[str, str] = {
    Topic.DAY_ORDER: Order.DAY_FIRST,
    Topic.TIME_ZONE: "accept",
    Topic.DATA_ERRORS: "accept",
    Topic.OTHER_COLLECTION: "accept",
}


@dataclass(frozen=True)
class Print:
    """Sorted hashes (uint64) of rows and of keys; equal files have equal ``table_hash``."""

    rows: np.ndarray
    keys: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def table_hash(self) -> str:
        """One hash of all rows."""
        return hashlib.sha256(self.rows.tobytes()).hexdigest()


def of_file(path: Path, kind: str) -> Print | None:
    """The print of a file of a kind; None where it is no table of that kind (loading will say why)."""
    try:
        if kind in ("detections", "events"):
            return _of_export(path, kind)
        rows = rows_of(path, kind)
        return Print(_hashes(map(_line, rows)), _hashes(_key(row, kind) for row in rows))
    except Exception as error:  # whatever a stranger's file can raise, it must not stop the files of others
        logger.info("%s has no print: %s: %s", path.name, type(error).__name__, error)
        return None


def rows_of(path: Path, kind: str) -> list[Row]:
    """Normalised rows of a sheet or a project form: names in lower case, cells as text, empty ones left out."""
    if kind == "project":
        if path.stat().st_size > LARGEST_FORM:
            raise BadFile("larger than a form is", "Send the form alone.")
        content = container.decode(path.read_bytes())
        if "\x00" in content:
            raise BadFile("no text", "Send the form as text.")
        lines = (re.sub(r"\s+", " ", line).strip() for line in content.splitlines())
        return [{"line": line} for line in lines if line]
    columns = SHEETS[kind].columns
    return [row for table in sheets.find(path, kind).tables for row in _normal_rows(table, columns)]


def rows_of_export(path: Path, kind: str) -> pl.DataFrame:
    """Comparable rows of a detections or events export, one string column ``line`` and one ``key``."""
    with tempfile.TemporaryDirectory(prefix="otn-print-") as folder:
        export = reading.read_export(path, kind, Path(folder) / "rows.parquet", ANY_ANSWER, reading.optional_dialects())
        frame = export.rows.select(list(SHAPES[kind])).drop("row_number")
    text = [
        pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.String)).fill_null("") for name in sorted(frame.columns)
    ]
    return frame.with_columns(
        line=pl.concat_str(text, separator="\x1f"),
        key=pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in KEYS[kind]], separator=" "),
    )


def key_of(row: Row, kind: str) -> str:
    """The key of a sheet's row, to be read."""
    return " ".join(row.get(name, "-") for name in KEYS[kind])


def hash_of(text: str) -> int:
    """Eight bytes of BLAKE2b: the same in every version of every library."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _of_export(path: Path, kind: str) -> Print:
    frame = rows_of_export(path, kind)
    about = {
        "receivers": frame["receiver"].unique().sort().to_list(),
        "first": str(frame["datetime"].min()),
        "last": str(frame["datetime"].max()),
    }
    return Print(_hashes(frame["line"]), _hashes(frame["key"]), about)


def _hashes(texts: Iterable[str]) -> np.ndarray:
    found = np.fromiter(map(hash_of, texts), dtype=np.uint64)
    found.sort()
    return found


def _key(row: Row, kind: str) -> str:
    return "\x1f".join(row.get(name, "") for name in KEYS[kind])


def _line(row: Row) -> str:
    return "\x1f".join(f"{name}={row[name]}" for name in sorted(row))


def _normal_rows(table: Table, columns: Sequence[Column]) -> list[dict[str, str]]:
    """Rows of a table: cells as their columns mean them; as plain text where they cannot be read so."""
    values = read_columns(table, columns, ANY_ANSWER)
    known = {column.name: column for column in columns}
    rows = []
    for row, read in zip(table.rows, values.rows, strict=True):
        normal = {}
        for name, cell in row.cells.items():
            value = read[name] if name in known and read[name] is not None else _guess(name, cell)
            text = _normal(name, value)
            if text:
                normal[name] = text
        rows.append(normal)
    return rows


def _normal(name: str, value: Any) -> str | None:
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float | int) and not isinstance(value, bool):
        coordinate = name.endswith(("_lat", "_long", "latitude", "longitude", "_lon"))
        return f"{round(float(value), COORDINATE_DECIMALS if coordinate else OTHER_DECIMALS) + 0.0:.9g}"
    return None if value is None else str(value)


def _guess(name: str, cell: Cell) -> Any:
    """What a cell may hold that no column says: a time, a number, text."""
    if is_null(cell) or cell is None:
        return None
    if "date" in name or "time" in name:
        moment = parse(cell, None)
        if moment:
            return moment.at
    try:
        return float(str(cell))
    except ValueError:
        return plain(cell)
