"""Where the rules run: one DuckDB in this process, or another Ibis backend.

Belongs here: connections, the tables that hold frames, and rules that loading and pushes run alike. Does not belong here: rules.

Making SQL of an expression takes longer than running it on a small file: what loading asks for every file is made once a process.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import polars as pl

from otn_dagster.late import late
from otn_dagster.telemetry import inputs, rules

if TYPE_CHECKING:
    import duckdb as _duckdb
    import ibis
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend
else:
    ibis, _duckdb = late("ibis"), late("duckdb")


def duckdb(memory_limit: str = "2GB") -> Backend:
    """A fresh in-memory DuckDB that loads no extension and stays below a memory limit."""
    backend = ibis.duckdb.connect(**_settings(memory_limit))
    backend.con.execute("set enable_progress_bar = false")
    return backend


def _settings(memory_limit: str) -> dict[str, Any]:
    return {
        "memory_limit": memory_limit,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def table(backend: Backend, name: str, frame: pl.DataFrame) -> ir.Table:
    """A frame as a table of the backend."""
    return backend.create_table(name, frame.to_arrow(), overwrite=True)


def receiver_timeline(
    backend: Backend, receivers: pl.DataFrame, segments: pl.DataFrame, deployments: pl.DataFrame
) -> ir.Table:
    """``rules.receiver_timeline`` of these frames, computed and kept as a table."""
    _compute_timeline(backend.con, receivers, segments, deployments)
    return backend.table("receiver_timeline")


def assigned(
    detections: pl.DataFrame, receivers: pl.DataFrame, segments: pl.DataFrame, deployments: pl.DataFrame
) -> pl.DataFrame:
    """``rules.assigned`` of the detections of some receivers, by themselves."""
    with _duckdb.connect(config=_settings("2GB")) as con:
        _compute_timeline(con, receivers, segments, deployments)
        _keep(con, "detections", detections)
        return con.sql(_assigned()).pl()


def _compute_timeline(con: Any, receivers: pl.DataFrame, segments: pl.DataFrame, deployments: pl.DataFrame) -> None:
    for name, frame in (
        ("receivers", receivers),
        ("segments", segments),
        ("deployments", deployments.select(_WINDOWS)),
    ):
        _keep(con, name, frame)
    for name, (_, query) in _timeline().items():
        con.execute(f"create or replace table {name} as {query}")


def _keep(con: Any, name: str, frame: pl.DataFrame) -> None:
    con.from_arrow(frame.to_arrow()).create(name)


_WINDOWS = ["receiver_key", "deployment_key", "start_ms", "recovered_ms", "project_key", "modified_day"]


@functools.cache
def _timeline() -> dict[str, tuple[ir.Table, str]]:
    """The tables on the way to the timeline of receivers, in order: what each is, and as SQL."""
    receivers = _named("receivers", {"receiver_key": inputs.DETECTIONS["receiver_key"]})
    deployments = _named("deployments", {name: inputs.DEPLOYMENTS[name] for name in _WINDOWS})
    pieces = rules.clock_pieces(receivers, _named("segments", inputs.SEGMENTS))
    windows = rules.deployment_windows(deployments)
    places = rules.receiver_timeline(
        ibis.table(pieces.schema(), name="clock_pieces"), ibis.table(windows.schema(), name="deployment_windows")
    )
    made = {"clock_pieces": pieces, "deployment_windows": windows, "receiver_timeline": places}
    return {name: (one, str(ibis.to_sql(one, dialect="duckdb"))) for name, one in made.items()}


@functools.cache
def _assigned() -> str:
    places, _ = _timeline()["receiver_timeline"]
    detections = _named("detections", inputs.DETECTIONS)
    return str(
        ibis.to_sql(rules.assigned(detections, ibis.table(places.schema(), name="receiver_timeline")), dialect="duckdb")
    )


def _named(name: str, schema: dict[str, Any]) -> ir.Table:
    return ibis.table(ibis.schema(pl.DataFrame(schema=schema).to_arrow().schema), name=name)
