"""Identifiers and words of a whole column of an export: each distinct text worked out once for a file.

Belongs here: canonical forms and words for nothing, over many rows. Does not belong here: what a canonical form is
(``codespaces.py``, ``names.py``), times (``time_columns.py``).
"""

from collections.abc import Callable

import polars as pl

from otn_dagster.telemetry import names
from otn_dagster.telemetry.files import codespaces
from otn_dagster.telemetry.files.cells import NULL_WORDS


class Canonical:
    """Texts in canonical form, each distinct text worked out once for a file."""

    def __init__(self, how: Callable[[str], str | None]):
        """``how`` gives None for what cannot be read."""
        self._how = how
        self._known: dict[str, str | None] = {}

    def of(self, column: pl.Series) -> pl.Series:
        """The column in canonical form."""
        distinct = column.unique().drop_nulls().to_list()
        for text in distinct:
            if text not in self._known:
                self._known[text] = self._how(text)
        changed = {text: self._known[text] for text in distinct if self._known[text] != text}
        if not changed:
            return column
        return column.replace_strict(list(changed), list(changed.values()), default=column, return_dtype=pl.String)

    @property
    def texts(self) -> list[str]:
        """All texts that were seen."""
        return list(self._known)

    @property
    def changed(self) -> dict[str, str]:
        """Texts that were written otherwise, with their canonical form."""
        return {text: known for text, known in self._known.items() if known is not None and known != text}


def receiver_name(text: str) -> str | None:
    """``VR2AR-69`` + serial and ``VR2W 109924`` as model and serial: ``VR2W-109924``; None for what names no receiver."""
    return names.receiver(text)


def transmitter_name(text: str) -> str | None:
    """A transmitter's full id in canonical form."""
    return codespaces.canonical_transmitter(text)


def something(text: str) -> str | None:
    """A text, None where it is a word for nothing."""
    plain = text.strip().lower()
    return None if not plain or plain in NULL_WORDS else text


def numbers(text: pl.Series, decimal_comma: bool) -> tuple[pl.Series, pl.Series]:
    """(numbers, what is said where no number is): words for nothing say nothing, infinities and texts are no numbers."""
    found = _finite(text)
    left = (found.is_null() & text.is_not_null()).arg_true()
    rest = Canonical(something).of(text.gather(left)).str.strip_chars()
    again = _finite(rest.str.replace(",", ".", literal=True) if decimal_comma else rest)
    said = pl.Series(text.name, [None], pl.String).new_from_index(0, text.len())
    return found.scatter(left, again), said.scatter(left, rest.zip_with(again.is_null(), said.gather(left)))


def _finite(text: pl.Series) -> pl.Series:
    found = text.cast(pl.Float64, strict=False)
    return found.zip_with(found.is_finite(), pl.Series([None], dtype=pl.Float64))
