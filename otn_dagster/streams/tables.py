"""Tables and documents about streams, on disk: replaced whole, so that a reader never sees half of one.

Belongs here: writing them. Does not belong here: what is in them.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from otn_dagster import files


def write_table(frame: pl.DataFrame, path: Path) -> Path:
    """A table as Parquet. Safe to repeat and to kill: written beside and moved."""
    with files.replacing(path) as aside:
        frame.write_parquet(aside)
    return path


def write_document(document: dict[str, Any] | str, path: Path) -> Path:
    """A document as JSON, or text as it is. Safe to repeat and to kill: written beside and moved."""
    text = document if isinstance(document, str) else json.dumps(document, indent=1, sort_keys=True, default=str)
    return files.write(path, text)
