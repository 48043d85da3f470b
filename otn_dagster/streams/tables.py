"""Tables and documents about streams, on disk: replaced whole, so that a reader never sees half of one.

Belongs here: writing them. Does not belong here: what is in them.
"""

import json
import uuid
from pathlib import Path
from typing import Any

import polars as pl


def write_table(frame: pl.DataFrame, path: Path) -> Path:
    """A table as Parquet. Safe to repeat and to kill: written beside and moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    frame.write_parquet(partial)
    return partial.replace(path)


def write_document(document: dict[str, Any] | str, path: Path) -> Path:
    """A document as JSON, or text as it is. Safe to repeat and to kill: written beside and moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    text = document if isinstance(document, str) else json.dumps(document, indent=1, sort_keys=True, default=str)
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)
