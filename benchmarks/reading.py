"""Reading what people send, against merely reading it: every format of detections, and sheets.

    uv run python -m benchmarks.reading --rows 1000000

Each reading runs in a process of its own; CPU is that of the whole process from after its imports, memory its peak. "Merely reading" is
Polars, and DuckDB, reading all columns of the same file as text or by their own guesses; the Fathom log is read by both as its lines.
The detections that come out of every format are compared before anything is printed. A sheet is read, typed and judged.
"""

import argparse
import datetime as dt
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from otn_dagster.demo.formats import FORMATS, Heard

SKIPPED = {"vue_1_from_a_spreadsheet"}  # loses its seconds' fractions; it is tested, not timed


def main() -> None:
    """Write the files, read each in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--one", nargs=2, metavar=("HOW", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], Path(arguments.one[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), arguments.rows)
        sheets(Path(folder))


def truth(rows: int) -> list[Heard]:
    """Detections of 40 receivers and 500 transmitters, a fifth with sensors."""
    draw = random.Random(7)
    start = dt.datetime(2022, 1, 13)
    return [
        Heard(
            start + dt.timedelta(seconds=31 * i),
            "VR2W",
            str(109_000 + i % 40),
            f"A69-{'9002' if i % 5 == 0 else '1602'}-{4_000 + draw.randrange(500)}",
            float(draw.randrange(256)) if i % 5 == 0 else None,
        )
        for i in range(rows)
    ]


def measure(how: str, path: Path) -> dict[str, float | int | str]:
    """One reading, in this process."""
    import duckdb
    import polars as pl

    from otn_dagster.telemetry.files.reading import read_export

    usage = resource.getrusage(resource.RUSAGE_SELF)
    before, clock, answer = usage.ru_utime + usage.ru_stime, time.perf_counter(), "none"
    if how == "ours":
        target = path.with_suffix(".parquet")
        export = read_export(path, "detections", target, {})
    elif how == "polars":
        text = path.read_bytes()
        if text.startswith(b"\xff\xfe"):
            text = text.decode("utf-16").encode()
        separator = max((b",", b";", b"\t"), key=text[:200].count).decode()
        if b"VEMCO" in text[:20]:
            wide = {f"c{i}": pl.String for i in range(40)}
            pl.read_csv(text, has_header=False, schema=wide, truncate_ragged_lines=True, missing_columns="insert")
        else:
            pl.read_csv(text, infer_schema=False, truncate_ragged_lines=True, separator=separator)
    else:
        options = "all_varchar=true, null_padding=true, ignore_errors=true, strict_mode=false"
        if "fathom" in path.name:
            options += (
                ", header=false, delim=',', columns={"
                + ", ".join(f"'c{i}': 'varchar'" for i in range(40))
                + "}, auto_detect=false"
            )
        duckdb.sql(f"create table t as select * from read_csv('{path}', {options})")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu, wall = usage.ru_utime + usage.ru_stime - before, time.perf_counter() - clock
    if how == "ours":  # what came out, to be compared; not part of reading
        rows = pl.scan_parquet(target).select(
            pl.struct("datetime", "receiver", "transmitter", "sensor_value").hash().sum()
        )
        answer = f"{export.usable} {rows.collect().item()}"
    return {"cpu": cpu, "wall": wall, "mib": usage.ru_maxrss / 1024, "answer": answer}


def once(how: str, path: Path) -> dict:
    """One reading, in a process of its own; the better of two, on a machine that others use."""
    runs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.reading", "--one", how, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return {
                "cpu": float("nan"),
                "wall": float("nan"),
                "mib": float("nan"),
                "answer": done.stderr.strip().splitlines()[-1][:80],
            }
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda run: run["cpu"])


def compare(folder: Path, rows: int) -> None:
    """Every format: ours against Polars and DuckDB."""
    heard = truth(rows)
    print(f"{rows:,} detections\n")
    print("| format | MiB | CPU s | Polars CPU s | ratio | DuckDB CPU s | ratio | wall s | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    answers = set()
    for name, write in FORMATS.items():
        if name in SKIPPED:
            continue
        path = folder / f"{name}.csv"
        path.write_bytes(write(heard))
        ours, polars = once("ours", path), once("polars", path)
        duck = once("duckdb", path) if name != "vue_apart" else {"cpu": float("nan")}  # DuckDB reads no UTF-16
        answers.add(ours["answer"])
        size = path.stat().st_size / 2**20
        print(
            f"| {name} | {size:.0f} | {ours['cpu']:.2f} | {polars['cpu']:.2f} | {ours['cpu'] / polars['cpu']:.1f} | {duck['cpu']:.2f} |"
            f" {ours['cpu'] / duck['cpu']:.1f} | {ours['wall']:.2f} | {ours['mib']:.0f} |",
            flush=True,
        )
        path.unlink()
    if len(answers) != 1:
        raise SystemExit(f"the formats do not give the same detections: {answers}")


def sheets(folder: Path) -> None:
    """Sheets of a thousand rows: read, typed, judged."""
    from otn_dagster.demo import dirt, files
    from otn_dagster.demo.network import make_network
    from otn_dagster.telemetry.files import container, deployments, tags
    from otn_dagster.telemetry.files.typed import Situation

    network = make_network(7)
    makers = {
        "tags": (files.TAG_HEADER, [files._tag_cells(tag) for tag in network.tags], tags.find, tags.type_tags),
        "deployments": (
            files.DEPLOYMENT_HEADER,
            [files._deployment_cells(d, dt.datetime(2100, 1, 1)) for d in network.deployments],
            deployments.find,
            deployments.type_deployments,
        ),
    }
    print("\n| sheet of 1,000 rows | CPU s |\n|---|---:|")
    for kind, (header, rows, find, how) in makers.items():
        many = [list(rows[i % len(rows)]) for i in range(1_000)]
        for i, row in enumerate(many):
            row[5 if kind == "tags" else 9] = 100_000 + i
        for ending in ("xlsx", "csv"):
            path = folder / f"{kind}.{ending}"
            dressed = dirt.words_for_nothing(header, many)
            path.write_bytes(files.workbook("S", [], *dressed) if ending == "xlsx" else files.sheet_csv(*dressed))
            find(container.read_sheets(path))  # imports
            best = min(
                timed(
                    lambda p=path, f=find, h=how: h(
                        f(container.read_sheets(p)).tables, Situation("X", dt.datetime(2026, 11, 1))
                    )
                )
                for _ in range(3)
            )
            print(f"| {kind}, {ending} | {best:.3f} |")


def timed(work) -> float:
    """CPU seconds of a call."""
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
