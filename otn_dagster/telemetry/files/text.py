"""Exports of instruments' software: text of any size, read in blocks of lines.

Belongs here: bytes to frames of text with their line numbers, whatever the encoding, the delimiter and the raggedness of rows. Does not
belong here: what a column is (``exports.py`` and the formats).

Nothing holds more than a block of a file. Short rows are legal: software leaves trailing empty fields out.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from otn_dagster.telemetry.files.container import sniff
from otn_dagster.telemetry.files.refusals import BadFile

BLOCK_BYTES = 16 * 2**20
HEAD_BYTES = 2**16
HEAD_LINES = 15
EXTRA_FIELDS = 40  # fields beyond the header that are looked at: commas that nobody quoted
LONGEST_LINE = 2**20
CONVERT = "Convert the instrument's file with the manufacturer's software and send the csv."


@dataclass(frozen=True)
class Head:
    """The beginning of a file: what it is recognised by."""

    path: Path
    start: bytes
    size: int

    @classmethod
    def of(cls, path: Path) -> "Head":
        """Read it."""
        with path.open("rb") as handle:
            return cls(path, handle.read(HEAD_BYTES), path.stat().st_size)

    @cached_property
    def encoding(self) -> str:
        """``utf-16``, ``utf-32`` by their mark; else ``utf-8``, of which blocks that are not are read as Windows-1252."""
        if self.start.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
            return "utf-32"
        return "utf-16" if self.start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"

    @cached_property
    def is_text(self) -> bool:
        """Whether it may be text: no NUL among its first bytes."""
        return self.encoding != "utf-8" or b"\x00" not in self.start[:4096]

    @cached_property
    def lines(self) -> list[str]:
        """Its first lines, without byte-order mark."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        text = _as_text(self.start) if self.encoding == "utf-8" else decoder.decode(self.start)
        return text.lstrip("\ufeff").splitlines()[:200]

    @cached_property
    def delimiter(self) -> str:
        """What parts its fields."""
        return sniff("\n".join(self.lines[:HEAD_LINES]))

    def fields(self, line: str) -> list[str]:
        """A line's fields, trimmed and unquoted."""
        return [field.strip().strip('"').strip() for field in _split(line, self.delimiter)]


def _split(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    return re.findall(rf'(?:^|{re.escape(delimiter)})((?:"[^"]*"|[^{re.escape(delimiter)}])*)', line)


def compact(header: str) -> str:
    """A header by letters and digits alone: ``Date and Time (UTC)``, ``Date.and.Time..UTC.`` and ``date_and_time_utc`` are one."""
    return re.sub(r"[^a-z0-9]", "", header.lower().removeprefix("ï..").removeprefix("ï»¿"))


def text_blocks(head: Head) -> Iterator[bytes]:
    """The file as UTF-8, cut at line ends, each block with its last line whole.

    Raises BadFile where it is no text, or a line is longer than any record.
    """
    if not head.is_text:
        raise BadFile("the file is binary, expected text", CONVERT)
    decoder = None if head.encoding == "utf-8" else codecs.getincrementaldecoder(head.encoding)()
    rest = b""
    with head.path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            rest += _decoded(block, decoder, head)
            cut = _cut(rest)
            if cut:
                yield _clean(rest[:cut])
                rest = rest[cut:]
            elif len(rest) > BLOCK_BYTES + LONGEST_LINE:
                raise BadFile("a line is longer than a megabyte", "Export the file again; its line ends were lost.")
    if decoder is not None:
        try:
            rest += decoder.decode(b"", True).encode()
        except UnicodeError as error:
            raise BadFile(
                f"the file begins like {head.encoding.upper()} and breaks off", "Save it as UTF-8 and send it again."
            ) from error
    if rest:
        yield _clean(rest)


def _decoded(block: bytes, decoder: codecs.IncrementalDecoder | None, head: Head) -> bytes:
    if decoder is None:
        return block
    try:
        return decoder.decode(block).encode("utf-8", "replace")
    except UnicodeError as error:
        raise BadFile(
            f"the file begins like {head.encoding.upper()} and is not ({error})", "Save it as UTF-8 and send it again."
        ) from error


def _cut(block: bytes) -> int:
    """Where the last whole line ends; quotes that hold line ends are kept together where they are closed."""
    cut = block.rfind(b"\n") + 1
    if not cut and b"\r" in block[:-1]:
        cut = block.rfind(b"\r", 0, len(block) - 1) + 1
    if cut and block.count(b'"', 0, cut) % 2:
        before = block.rfind(b'"', 0, cut)
        start = block.rfind(b"\n", 0, before) + 1
        return start if start and block.count(b'"', 0, start) % 2 == 0 else cut
    return cut


def _clean(block: bytes) -> bytes:
    """A block as UTF-8 without marks; a NUL becomes a character that no identifier has."""
    block = block.removeprefix(b"\xef\xbb\xbf").removeprefix("\ufeff".encode())
    if b"\x00" in block:
        block = block.replace(b"\x00", "\ufffd".encode())
    if b"\r" in block and b"\n" not in block:
        block = block.replace(b"\r", b"\n")
    if block.isascii():
        return block
    try:
        block.decode("utf-8")
        return block
    except UnicodeDecodeError:
        return block.decode("cp1252", "replace").encode("utf-8")


def _as_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(data) - 4:
            return data[: error.start].decode("utf-8")
        return data.decode("cp1252", "replace")


def frames(head: Head, width: int) -> Iterator[pl.DataFrame]:
    """Every line of a file as a row: ``row_number`` (from 1, header and blank lines counted), ``c0`` ... of text, null where empty.

    One column more than the header has, and many more where a line of the block fills it.
    """
    first = 1
    wide, wider = ({f"c{i}": pl.String for i in range(width + more)} for more in (1, EXTRA_FIELDS))
    for block in text_blocks(head):
        quoted = b'"' in block
        frame = read_block(block, wide, head.delimiter, quoted)
        if frame[f"c{width}"].null_count() < frame.height:
            frame = read_block(block, wider, head.delimiter, quoted)
        yield frame.with_row_index("row_number", offset=first).with_columns(pl.col("row_number").cast(pl.Int64))
        first += frame.height


def read_block(block: bytes, schema: Mapping[str, type[pl.DataType]], delimiter: str, quoted: bool) -> pl.DataFrame:
    """One block of lines by position. Raises BadFile where it cannot be parted into fields."""
    try:
        frame = pl.read_csv(
            block,
            has_header=False,
            schema=dict(schema),
            separator=delimiter,
            quote_char='"' if quoted else None,
            truncate_ragged_lines=True,
            missing_columns="insert",
        )
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=dict(schema))
    except pl.exceptions.PolarsError as error:
        if quoted:
            return read_block(
                block, schema, delimiter, False
            )  # quotation marks that part nothing: a diameter in inches
        raise BadFile(
            f"the text cannot be read as a table ({str(error).splitlines()[0]})", "Export it again."
        ) from error
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if (
        quoted and frame.height < lines
    ):  # a mark that nobody closed would swallow what follows: in an export a line is a record
        return read_block(block, schema, delimiter, False).with_columns(pl.all().str.strip_chars('"'))
    return frame


def is_cut_off(head: Head) -> bool:
    """Whether a file ends in the middle of its last line: without a line end, and with fewer fields than any other line.

    Reads on only until a line as short as the last is found, so a file that is whole costs its first lines.
    """
    with head.path.open("rb") as handle:
        handle.seek(-min(LONGEST_LINE, head.size), 2)
        end = handle.read()
    if head.encoding != "utf-8" or end.endswith((b"\r", b"\n")):
        return False
    mark, last = head.delimiter.encode(), re.split(rb"[\r\n]", end)[-1]
    if not last.strip():  # blanks after the last line end
        return False
    fields = last.count(mark)
    longer = as_short = 0
    for block in text_blocks(head):
        for line in block.split(b"\n"):
            if line.strip():
                longer += line.count(mark) > fields
                as_short += line.count(mark) <= fields
            if as_short > 1:  # the last line is one
                return False
    return longer > 0
