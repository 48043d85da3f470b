"""Files of records in the formats that remote sources have: CSV, JSON, NDJSON, xlsx, Parquet.

Belongs here: a file to items, a few thousand at a time. Does not belong here: what the items mean (``records.py``).
"""

import csv
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otn_dagster.live import records
from otn_dagster.live.configuration import RemoteSource

AT_ONCE = 5_000


class BadFile(ValueError):
    """A file that is not what its format says; names the place and what to do."""


def items_of(path: Path, source: RemoteSource) -> Iterator[list[Any]]:
    """Items of a file, in pieces; raises BadFile. Values of CSV are text, of the other formats what they are."""
    readers = {"csv": _csv, "json": _json, "ndjson": _ndjson, "xlsx": _xlsx, "parquet": _parquet}
    rows = readers[source.kind](path, source)
    while part := list(itertools.islice(rows, AT_ONCE)):
        yield part


def is_text(source: RemoteSource) -> bool:
    """Whether values come as text that has to be read."""
    return source.kind == "csv"


def _csv(path: Path, source: RemoteSource) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=source.separator, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise BadFile("row 1: found nothing, expected a header with the names of the fields")
            for number, row in enumerate(reader, 2):
                if not row or row == [""]:
                    continue
                if len(row) != len(header):
                    raise BadFile(
                        f"row {number}: found {len(row)} cells, expected {len(header)} as in the header. The file may have"
                        " broken off, or the separator is another one."
                    )
                yield dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise BadFile(f"row {reader.line_num}: {error}. Is it a CSV file?") from None
        except UnicodeDecodeError as error:
            raise BadFile(f"after row {reader.line_num}: not UTF-8 ({error.reason}). Save it as UTF-8.") from None


def _json(path: Path, source: RemoteSource) -> Iterator[Any]:
    try:
        yield from records.items_of(path.read_bytes(), "json")
    except records.Malformed as error:
        raise BadFile(f"{error}. The file may have broken off.") from None


def _ndjson(path: Path, source: RemoteSource) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield from records.items_of(line, "json")
                except records.Malformed as error:
                    raise BadFile(f"row {number}: {error}. The file may have broken off.") from None


def _xlsx(path: Path, source: RemoteSource) -> Iterator[dict[str, Any]]:
    import openpyxl

    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(part.file_size for part in packed.infolist())
        if unpacked > 20 * source.most_mb * 1_000_000:
            raise BadFile(f"it is {unpacked:,} bytes when it is unpacked, at most 20 times most_mb are read")
        book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()), read_only=True, data_only=True)
        if source.sheet and source.sheet not in book.sheetnames:
            raise BadFile(f"there is no sheet {source.sheet!r}, expected one of {', '.join(book.sheetnames)}")
        sheet = book[source.sheet] if source.sheet else book.worksheets[0]
        rows = sheet.iter_rows(values_only=True)
        header = [str(name).strip() if name is not None else "" for name in next(rows, ())]
        if not any(header):
            raise BadFile("row 1: found nothing, expected a header with the names of the fields")
        for row in rows:
            if any(value is not None for value in row):
                yield {name: value for name, value in zip(header, row, strict=False) if name}
    except BadFile:
        raise
    except Exception as error:  # whatever the library says of a file that is cut or no xlsx
        raise BadFile(f"not an xlsx file: {error}") from None


def _parquet(path: Path, source: RemoteSource) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(AT_ONCE):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"not a Parquet file: {error}") from None
