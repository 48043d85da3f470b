"""Transmitter ids in canonical form: the code space, the id code, and both where one cell holds them.

Belongs here: reading what people write for a transmitter. Does not belong here: building names from it (``names.py``).

``A69-1303`` and ``0481`` are ``A69-1303-481``; a full id in either column is recognised; two ids in one cell are two transmitters of
one tag. Sources: manufacturers' exports, the real sheets of seven networks.
"""

import functools
import re
import unicodedata

from otn_dagster.telemetry.files.cells import WHITE

INNOVASEA = re.compile(r"^A(\d{2,3})[-_ ]?(\d{4})$")
FULL = re.compile(r"^A(\d{2,3})[-_ ]?(\d{4})[-_ ](\d{1,8})$")
# Code spaces that are written otherwise: by what a manufacturer calls the protocol. Those with a known equal are written as it.
PROTOCOLS = {"R64K": "A69-1303", "S256": "A69-1105", "R04K": "A69-1206", "R256": "A69-1008"}  # at 69 kHz
OTHERS = re.compile(
    r"^(R01M|R06K|S64K|DS256|DS64K|HS256|HS64K|OPI|OPS|SR2|(R64K|S256|R04K|R256|R01M|S64K|OPI|OPS)-\d{2,3}KHZ|\d{2,3}KHZ)$"
)


@functools.lru_cache(maxsize=4_096)
def canonical_space(text: str) -> str | None:
    """``a69 1303`` → ``A69-1303``, ``R64K-69kHz`` → ``A69-1303``, ``S256`` as it is; None for what is no code space."""
    value = WHITE.sub(" ", unicodedata.normalize("NFKC", text)).strip().upper()
    found = INNOVASEA.match(value)
    if found:
        return f"A{found[1]}-{found[2]}"
    protocol = value.replace(" ", "").removesuffix("-69KHZ")
    if protocol in PROTOCOLS:
        return PROTOCOLS[protocol]
    return protocol if OTHERS.match(protocol) else None


def canonical_code(text: str) -> str | None:
    """An id code: digits without leading zeros, or letters and digits as some makers use; None for what is no code."""
    value = WHITE.sub("", text).upper()
    if value.isascii() and value.isdigit():
        return str(int(value)) if len(value) <= 12 else None
    return value if re.fullmatch(r"[A-Z0-9]{1,16}", value) else None


def canonical_transmitter(text: str) -> str | None:
    """A full id in one form: ``A69-1303-0481`` and ``R64K-481`` → ``A69-1303-481``; None for what is no id."""
    value = WHITE.sub("", unicodedata.normalize("NFKC", text)).upper()
    found = FULL.match(value)
    if found:
        return f"A{found[1]}-{found[2]}-{int(found[3])}"
    space, _, code = value.rpartition("-")
    known, digits = canonical_space(space) if space else None, canonical_code(code)
    return f"{known}-{digits}" if known and digits else None


@functools.lru_cache(maxsize=65_536)
def _full(text: str) -> re.Match[str] | None:
    return FULL.match(WHITE.sub("", text).upper())


def split(space_cell: str | None, code_cell: str | None) -> tuple[str, list[str]] | None:
    """(code space, id codes) of a tag's two cells, wherever the parts stand; None where they cannot be told, or contradict each other.

    ``A69-1303`` + ``25715, 25716`` → two codes. ``None`` + ``A69-1303-481`` → one.
    """
    if space_cell and code_cell and code_cell.isdecimal() and (usual := canonical_space(space_cell)):
        code = canonical_code(code_cell)
        return (usual, [code]) if code else None
    from_space, from_code = _full_ids(space_cell), _full_ids(code_cell)
    if from_space and from_code:
        return from_code if from_space == from_code else None
    if from_code:
        own = canonical_space(space_cell) if space_cell else None
        return from_code if own in (None, from_code[0]) else None
    if from_space:
        codes = _codes(code_cell, from_space[0]) if code_cell else from_space[1]
        return from_space if codes == from_space[1] else None
    space = canonical_space(space_cell) if space_cell else None
    codes = _codes(code_cell, space) if code_cell and space else []
    return (space, codes) if space and codes else None


def _full_ids(cell: str | None) -> tuple[str, list[str]] | None:
    """(code space, id codes) of a cell that holds full ids of one code space."""
    found = [_full(part) for part in re.split(r"[,;/&+]|\band\b", cell or "") if part.strip()]
    spaces = {f"A{f[1]}-{f[2]}" for f in found if f}
    if not found or not all(found) or len(spaces) != 1:
        return None
    return spaces.pop(), list(dict.fromkeys(str(int(f[3])) for f in found if f))


def _codes(cell: str, space: str) -> list[str]:
    value = WHITE.sub("", cell).upper()
    tail = space.rsplit("-", 1)[-1]
    found = re.fullmatch(rf"{re.escape(tail)}-(\d+)", value)
    if found and not (tail.isdecimal() and abs(int(found[1]) - int(tail)) == 1):
        value = found[1]  # 1303-481 beside A69-1303; 9001-9002 beside A69-9001 are two
    codes = [canonical_code(part) for part in re.split(r"[,;/&+]|AND|(?<=\d)-(?=\d)", value) if part]
    return list(dict.fromkeys(code for code in codes if code)) if all(codes) else []
