"""Where a stream stands: its store, its request, its view, in figures that people and the UI read.

Belongs here: one summary of one stream. Does not belong here: changing anything.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from otn_dagster.streams import arrays, timeaxis
from otn_dagster.streams.layout import TIME
from otn_dagster.streams.refresh import rows_of_deployments, span
from otn_dagster.streams.store import Commit, StreamStore


@dataclass(frozen=True)
class Overview:
    """One version of a store in figures."""

    commit: Commit
    rows: int
    first: str
    last: str
    variables: list[tuple[str, str, str]]
    chunks: int
    bytes: int
    versions: int
    deployments: dict[int, int]

    def figures(self) -> dict[str, Any]:
        """Names and values."""
        part = self.commit.facts["parts"][-1]
        return {
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "variables": len(self.variables),
            "chunks": self.chunks,
            "megabytes": round(self.bytes / 1e6, 2),
            "versions": self.versions,
            "commit": self.commit.snapshot,
            "committed": f"{self.commit.at:%Y-%m-%d %H:%M:%S}",
            "mode": self.commit.facts["mode"],
            "request": self.commit.facts["request"],
            "exact repeats removed": part["repeats"],
            "conflicting rows": part["conflicts"],
            "rows without time": len(part["without_time"]),
            "deployments": ", ".join(f"{n}: {rows:,}" for n, rows in sorted(self.deployments.items())),
        }


def overview(store: StreamStore) -> Overview | None:
    """The newest version; None where there is no data."""
    history = store.history() if store.exists() else []
    if not history:
        return None
    group = store.read(history[0].snapshot)
    first, last = span(group)
    layout = arrays.layout_of(group)
    variables = [(name, _type(v.dtype), str(v.attributes.get("units", ""))) for name, v in layout.variables.items()]
    chunks = sum(arrays.array_of(group, name).nchunks for name in arrays.names_along_time(group))
    return Overview(
        history[0], arrays.rows_of(group), timeaxis.text(first), timeaxis.text(last), [(TIME, "int64", timeaxis.UNITS), *variables],
        chunks, store.bytes_stored(), len(history), dict(rows_of_deployments(group)),
    )  # fmt: skip


def _type(dtype: str) -> str:
    """A type as people write it."""
    kind = np.dtype(dtype)
    return f"string of {kind.itemsize}" if kind.kind == "S" else kind.name
