"""Where the rules run: one DuckDB in this process, or another Ibis backend.

Belongs here: connections and the tables that hold frames. Does not belong here: rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from otn_dagster.late import late
from otn_dagster.telemetry import rules

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend
else:
    ibis = late("ibis")


def duckdb(memory_limit: str = "2GB", threads: int | None = None, temp_directory: str | None = None) -> Backend:
    """A fresh in-memory DuckDB that loads no extension and stays below a memory limit."""
    settings: dict[str, object] = {
        "memory_limit": memory_limit,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads:
        settings["threads"] = threads
    if temp_directory:
        settings["temp_directory"] = temp_directory
    backend = ibis.duckdb.connect(**settings)
    backend.con.execute("set enable_progress_bar = false")
    return backend


def table(backend: Backend, name: str, frame: pl.DataFrame) -> ir.Table:
    """A frame as a table of the backend."""
    return backend.create_table(name, frame.to_arrow(), overwrite=True)


def receiver_timeline(
    backend: Backend, receivers: pl.DataFrame, segments: pl.DataFrame, deployments: pl.DataFrame
) -> ir.Table:
    """``rules.receiver_timeline`` of these frames, computed and kept as a table."""
    pieces = backend.create_table(
        "clock_pieces",
        rules.clock_pieces(table(backend, "receivers", receivers), table(backend, "segments", segments)),
        overwrite=True,
    )
    wanted = ["receiver_key", "deployment_key", "start_ms", "recovered_ms", "project_key", "modified_day"]
    windows = rules.deployment_windows(table(backend, "deployments", deployments.select(wanted)))
    windows = backend.create_table("deployment_windows", windows, overwrite=True)
    return backend.create_table("receiver_timeline", rules.receiver_timeline(pieces, windows), overwrite=True)
