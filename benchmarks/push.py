"""The push core against plain PostgreSQL and against the floor: CPU and memory, in one run, as ratios.

    uv run python -m benchmarks.push --rows 10000000

Each of the three runs in a process of its own, on the same generated detections (kept under ``--folder`` for the next call). CPU is
that of the whole process tree, for PostgreSQL that of its server. The core: clean, assign, correct, min_lag, match, split, the extracts
list, summaries, and the counts of the conservation laws. The floor reads the same Parquet files and writes the same result, computing
nothing. Outcomes and lags of the two engines are compared before anything is printed. With ``--whole`` it is the whole push that is
measured instead, from a loaded node database to the mails (``benchmarks/whole.py``).
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from benchmarks import whole
from benchmarks.measuring import Memory, tree_cpu
from benchmarks.network import make_snapshot
from otn_dagster.publish import discovery
from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.push import extracts_list, matching
from otn_dagster.telemetry.push.snapshot import Snapshot

HERE = Path(__file__).parent


def ours(snapshot: Snapshot, work: Path) -> dict[str, Any]:
    """The platform's own core."""
    steps = {}
    clock = Clock()
    matches = matching.match(snapshot, work)
    steps["clean, assign, min_lag, match"] = clock.lap()
    extracts_list.write_list(matches, None, snapshot.table("projects"), work)
    steps["split, list of extracts"] = clock.lap()
    backend = engine.duckdb(memory_limit="1500MB")
    rows = backend.read_parquet([str(path) for path in matches.buckets])
    backend.to_parquet(discovery.weekly(rows), work / "weekly.parquet")
    steps["summaries"] = clock.lap()
    laws = (
        rows.group_by("submission_no", "outcome")
        .aggregate(detections=rows.count(), lags=rows.min_lag.sum())
        .to_polars()
    )
    steps["verify"] = clock.lap()
    backend.disconnect()
    return {"steps": steps, "laws": _laws(laws)}


def postgres(snapshot: Snapshot, work: Path) -> dict[str, Any]:
    """The same in plain SQL on the embedded PostgreSQL, tuned for such work; loading is timed apart."""
    import psycopg
    from psycopg import sql

    from otn_dagster import transfer
    from otn_dagster.embedded import EmbeddedServer

    server = EmbeddedServer(work)
    server.start()
    steps: dict[str, float] = {}
    try:
        pid = server.pid()
        assert pid is not None
        clock = Clock(lambda: tree_cpu(psutil.Process(pid)))
        with psycopg.connect(server.url, autocommit=True) as connection:
            for setting in (
                "work_mem = '512MB'",
                "maintenance_work_mem = '512MB'",
                "max_parallel_workers_per_gather = 1",
                "jit = off",
            ):
                connection.execute(f"set {setting}")  # type: ignore[arg-type]
            for name, frame in _tables(snapshot):
                columns = ", ".join(f"{column} {_sql_type(kind)}" for column, kind in frame.schema.items())
                connection.execute(f"create unlogged table if not exists {name} ({columns})")  # type: ignore[arg-type]
                with connection.transaction():
                    transfer.copy_in(connection, sql.Identifier(name), frame)
            connection.execute("analyze")
            steps["(load)"] = clock.lap()
            for step, statements in _statements():
                for statement in statements:
                    connection.execute(statement)  # type: ignore[arg-type]
                steps[step] = clock.lap()
            rows = connection.execute("select outcome, sum(detections), sum(lags) from laws group by 1").fetchall()
        return {
            "steps": steps,
            "laws": {rules.REASONS[o]: [int(n), round(float(lags or 0))] for o, n, lags in rows},
            "pid": pid,
        }
    finally:
        server.stop()


def floor(snapshot: Snapshot, work: Path) -> dict[str, Any]:
    """Read all that is read, write all that is written, compute nothing."""
    clock = Clock()
    backend = engine.duckdb(memory_limit="1500MB")
    scanned = backend.read_parquet([str(path) for path in snapshot.detections.values()])
    scanned.aggregate(**{name: scanned[name].sum() for name in scanned.columns}).execute()
    read = clock.lap()
    for path in matching.read(work.parent / "ours").buckets:
        rows = backend.read_parquet([str(path)])
        backend.to_parquet(rows, work / path.name, compression="zstd", row_group_size=122_880)
    return {"steps": {"scan the Parquet": read, "write the result": clock.lap()}, "laws": None}


class Clock:
    """CPU seconds between laps."""

    def __init__(self, read: Callable[[], float] = time.process_time):
        self.read, self.last = read, read()

    def lap(self) -> float:
        now = self.read()
        spent, self.last = now - self.last, now
        return spent


def _laws(frame: pl.DataFrame) -> dict[str, list[int]]:
    grouped = frame.group_by("outcome").agg(pl.col("detections").sum(), pl.col("lags").sum())
    return {rules.REASONS[outcome]: [count, round(lags)] for outcome, count, lags in grouped.iter_rows()}


def _tables(snapshot: Snapshot):
    yield (
        "deployments",
        snapshot.table("deployments").select(
            "deployment_key", "receiver_key", "project_key", "start_ms", "recovered_ms", "modified_day"
        ),
    )
    yield "segments", snapshot.table("clock_segments")
    yield (
        "tags",
        snapshot.table("tags").select(
            "tag_key", "animal_key", "transmitter_key", "tracker_key", "release_ms", "last_ms"
        ),
    )
    yield "station_tags", snapshot.table("station_tags").select("transmitter_key")
    for path in snapshot.detections.values():
        yield "detections", pl.read_parquet(path)


def _sql_type(kind: pl.DataType) -> str:
    return {"Int64": "bigint", "Int32": "integer", "Int16": "smallint", "Float64": "double precision"}.get(
        str(kind), "text"
    )


def _statements() -> list[tuple[str, list[str]]]:
    blocks = (HERE / "push.sql").read_text().split("\n-- ")[2:]
    steps = []
    for block in blocks:
        name, _, body = block.partition("\n")
        steps.append((name.strip(), [statement.strip() for statement in body.split(";\n") if statement.strip()]))
    return steps


def _in_a_process(function: Callable, folder: Path, work: Path, pipe: Any) -> None:
    snapshot = make_snapshot(folder, 0)
    work.mkdir(parents=True, exist_ok=True)
    began, cpu = time.perf_counter(), time.process_time()
    result = function(snapshot, work)
    result |= {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    pipe.send(result)


def measure(function: Callable, folder: Path, work: Path) -> dict[str, Any]:
    """Run one of the three in a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_in_a_process, args=(function, folder, work, there))
    process.start()
    there.close()  # so that a run that fails ends this one too
    assert process.pid is not None
    memory = Memory(process.pid)
    memory.start()
    result = here.recv()
    process.join()
    memory.go = False
    result["peak"] = memory.peak
    result["total"] = sum(seconds for step, seconds in result["steps"].items() if not step.startswith("("))
    return result


def main() -> None:
    """Generate, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "otn-benchmark")
    parser.add_argument("--without-postgres", action="store_true", help="only the platform and the floor")
    parser.add_argument("--whole", action="store_true", help="from a loaded node database to the mails")
    parser.add_argument(
        "--incremental", type=float, default=0, metavar="PERCENT", help="of the receivers changed, then pushed again"
    )
    parser.add_argument(
        "--scattered", action="store_true", help="those receivers are anywhere, not such as became known together"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    data = arguments.folder / f"network-{arguments.rows}"
    snapshot = make_snapshot(data, arguments.rows)
    print(
        f"{snapshot.rows:,} detections, {snapshot.table('deployments').height:,} deployments, {snapshot.table('tags').height:,} tags"
    )
    if arguments.whole:
        whole_push(data, arguments)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        Path(scratch).chmod(0o755)
        results = {"ours": measure(ours, data, Path(scratch) / "ours")}
        results["floor"] = measure(floor, data, Path(scratch) / "floor")
        if not arguments.without_postgres:
            results["postgres"] = measure(postgres, data, Path(scratch) / "postgres")
            if results["postgres"]["laws"].keys() != results["ours"]["laws"].keys() or any(
                abs(a - b) > 1e-6 * max(a, 1)
                for reason in results["ours"]["laws"]
                for a, b in zip(results["ours"]["laws"][reason], results["postgres"]["laws"][reason], strict=True)
            ):
                raise SystemExit(f"the engines disagree:\n{results['ours']['laws']}\n{results['postgres']['laws']}")
    report(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def whole_push(data: Path, arguments: argparse.Namespace) -> None:
    """The whole, the floor, PostgreSQL: each in a process of its own."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        work = Path(scratch)
        work.chmod(0o755)
        found = alone(whole.run, data, work, arguments.incremental, arguments.scattered)
        folder = Path(found["whole"]["folder"])
        found["floor"] = alone(whole.floor, folder, work)
        if not arguments.without_postgres:
            found["postgres"] = alone(whole.postgres, folder, work / "postgres", _statements())
            whole.compare(folder, found["postgres"].pop("counts"))
    whole.report(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def alone(function: Callable, *arguments: Any) -> Any:
    """What a function gives, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def report(results: dict[str, dict[str, Any]]) -> None:
    """The table, in Markdown."""
    base = results["ours"]["total"]
    print("\n| | CPU s | ratio | wall s | peak memory |\n|---|---:|---:|---:|---:|")
    for name, result in results.items():
        print(
            f"| {name} | {result['total']:.1f} | {result['total'] / base:.2f} | {result['wall']:.1f} | {result['peak'] / 2**30:.2f} GiB |"
        )
    for name, result in results.items():
        print(f"\n{name}: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in result["steps"].items()))
    if "postgres" in results:
        print(
            "\noutcomes and sums of min_lag agree: "
            + ", ".join(f"{k} {v[0]:,}" for k, v in sorted(results["ours"]["laws"].items()))
        )


if __name__ == "__main__":
    main()
