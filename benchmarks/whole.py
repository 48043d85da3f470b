"""The whole push, from a loaded node database to the mails: step by step, against PostgreSQL doing it and against the floor.

Called by ``benchmarks.push --whole``. PostgreSQL does what a node would do today: the core in SQL on tables that are loaded and indexed,
then one ``COPY (select ...)`` for every extract, with the same columns in the same order, zipped. It writes no Parquet, no certificate, no
summary, no report. The floor reads what is read and writes the same files, computing nothing: it scans the snapshot, encodes the matches
and every extract as Parquet, packs every csv, reads and hashes every file once. The rows of every extract of the two are compared before
anything is printed.
"""

import json
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import psycopg
from psycopg import sql

from benchmarks import node
from benchmarks.measuring import Memory, tree_cpu
from benchmarks.network import make_snapshot
from otn_dagster import database, files, transfer
from otn_dagster.config import load_settings
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.node import NodeConfig
from otn_dagster.publish import discovery, erddap, geoserver
from otn_dagster.publish.writing import write_schema
from otn_dagster.telemetry.push import (
    certificate,
    delivering,
    extracts,
    extracts_list,
    matching,
    snapshot,
    sources,
    verification,
)
from otn_dagster.telemetry.push.report import write_reports
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.mail import notices, sending

FIRST, SECOND = "2026-02-19", "2026-06-18"
HERE = Path(__file__).parent


class Steps:
    """What each step costs: CPU of this process and of the database, wall, peak memory of this process, files and bytes written."""

    def __init__(self, server: EmbeddedServer, folder: Path):
        self.server, self.folder, self.rows = server, folder, []
        self._before = self._size()

    def _size(self) -> tuple[int, int]:
        found = [path.stat() for path in self.folder.rglob("*") if path.is_file()]
        return len(found), sum(one.st_size for one in found)

    def _database(self) -> float:
        pid = self.server.pid()
        return tree_cpu(psutil.Process(pid)) if pid else 0.0

    def take(self, name: str, work: Callable[[], Any]) -> Any:
        memory = Memory(psutil.Process().pid, servers=False)
        memory.start()
        wall, cpu, there = time.perf_counter(), time.process_time(), self._database()
        result = work()
        row = {"step": name, "cpu": time.process_time() - cpu, "database": self._database() - there}
        row |= {"wall": time.perf_counter() - wall}
        memory.go = False
        memory.join()
        after = self._size()
        row |= {"peak": memory.peak, "files": after[0] - self._before[0], "bytes": after[1] - self._before[1]}
        self._before = after
        self.rows.append(row)
        return result


def run(data: Path, work: Path, incremental: float, scattered: bool) -> dict[str, Any]:
    """Fill a node, push it, change some of its receivers, push again."""
    import os

    os.environ["OTN_DATA"] = str(work / "data")
    os.environ.pop("OTN_DATABASE_URL", None)
    settings = load_settings()
    server = EmbeddedServer(settings.data)
    server.start()
    try:
        invented = make_snapshot(data, 0)
        with database.connect(settings) as connection:
            node.fill(connection, invented)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("analyze")
        _warm(work)
        found = {"whole": push(settings, server, FIRST)}
        if incremental:
            with database.connect(settings) as connection:
                found["changed"] = node.change(connection, invented, incremental, scattered)
            found["again"] = push(settings, server, SECOND)
        return found
    finally:
        server.stop()


def _warm(work: Path) -> None:
    """Imports and the making of SQL are not the push's: a tiny network is matched first."""
    tiny = make_snapshot(work / "tiny", 20_000)
    matching.match(tiny, work / "tiny")
    extracts_list.write_list(matching.read(work / "tiny"), None, tiny.table("projects"), work / "tiny")
    shutil.rmtree(work / "tiny")


def push(settings: Any, server: EmbeddedServer, date: str) -> dict[str, Any]:
    """Every step of a push, as its assets call them."""
    folder, config = snapshot.push_folder(settings, date), NodeConfig()
    folder.mkdir(parents=True)
    steps = Steps(server, folder)

    def connected(ask: Callable[[database.Connection], Any]) -> Any:
        with database.connect(settings) as connection:
            return ask(connection)

    frozen = steps.take("freeze", lambda: connected(lambda c: snapshot.freeze(c, settings, date)))
    assert not frozen.rehearsal
    steps.take(
        "verify",
        lambda: verification.write(
            connected(lambda c: verification.verify(c, settings, Shared(frozen))), frozen, folder
        ),
    )
    earlier = snapshot.previous(settings, date)
    before = None
    if earlier:
        there = snapshot.push_folder(settings, earlier)
        before = snapshot.read(settings, earlier), matching.read(there)
    found = steps.take("match", lambda: matching.match(frozen, folder, before))
    projects = frozen.table("projects")
    listed = steps.take("list", lambda: extracts_list.write_list(found, before and before[1], projects, folder))
    changed_by = steps.take(
        "what changed what", lambda: sources.of_extracts(frozen, before and before[0], found, listed)
    )
    steps.take(
        "list into the database",
        lambda: connected(
            lambda c: extracts_list.record_list(c, listed, date, follow_pushes.links(c, listed, changed_by, "http://x"))
        ),
    )
    context = extracts.Context.of(frozen, found)
    codes = projects["collectioncode"].sort().to_list()
    steps.take("extracts", lambda: delivering.write_extracts(context, listed, codes, folder))
    steps.take("certificate", lambda: certificate.certify(frozen, found, listed, folder, before and before[1]))
    for name, module in (("discovery", discovery), ("erddap", erddap), ("geoserver", geoserver)):
        rows = module.tables
        steps.take(
            name, lambda n=name, r=rows: connected(lambda c: write_schema(c, n, r(context), date, False, folder))
        )
    steps.take("reports", lambda: list(write_reports(context, listed, folder, codes)))
    mail = config.tracker.mail.model_copy(update={"mode": "simulate"})
    tracker = config.tracker.model_copy(update={"mail": mail})
    steps.take("mails", lambda: connected(lambda c: notices.extracts(c, tracker, date, listed, folder)))
    steps.take("mails, simulated", lambda: sending.send_due(settings, mail, lambda _: None))
    return {
        "steps": steps.rows,
        "rows": found.counts,
        "extracts": listed.height,
        "projects": len(codes),
        "folder": str(folder),
    }


def floor(folder: Path, work: Path) -> dict[str, Any]:
    """Read what the push read, write what it wrote. What is written lies in memory before the clock runs."""
    frozen = Snapshot(folder / "snapshot", json.loads((folder / "snapshot" / snapshot.MANIFEST).read_text()))
    spent: dict[str, float] = {}

    def take(name: str, job: Callable[[], Any]) -> Any:
        before = time.process_time()
        result = job()
        spent[name] = spent.get(name, 0.0) + time.process_time() - before
        return result

    took = time.perf_counter()
    for path in frozen.detections.values():
        frame = take("scan the snapshot", lambda p=path: pl.read_parquet(p))
        take("write the snapshot", lambda f=frame: snapshot.write_parquet(f, work / "x"))
    for path in matching.read(folder).buckets:
        frame = pl.read_parquet(path)
        take(
            "write the matches", lambda f=frame: f.write_parquet(work / "x", compression="lz4", row_group_size=122_880)
        )
        take("scan the matches", lambda p=path: pl.read_parquet(p))
    for path in sorted((folder / "extracts").glob("*/*.parquet")):
        frame, packed = pl.read_parquet(path), path.with_suffix(".zip")
        with zipfile.ZipFile(packed) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        plain = delivering.as_text(frame)
        take(
            "encode the extracts",
            lambda f=frame: f.write_parquet(work / "x", compression="zstd", row_group_size=122_880),
        )
        take("write csv", lambda t=plain: t.write_csv(work / "y"))
        take("pack csv", lambda m=members: delivering.write_zip(work / "z", m))
        for file in (path, packed):
            take("read and hash", lambda f=file: files.sha256_of(f))
    for path in sorted((folder / "summaries").rglob("*.parquet")):
        frame = pl.read_parquet(path)
        take("write the summaries", lambda f=frame: f.write_parquet(work / "x", compression="zstd"))
    return {"steps": spent, "wall": time.perf_counter() - took}


def postgres(folder: Path, work: Path, core: list[tuple[str, list[str]]]) -> dict[str, Any]:
    """The core in SQL, then a ``COPY`` for every extract, zipped; on tables that are loaded, indexed and analyzed."""
    frozen = Snapshot(folder / "snapshot", json.loads((folder / "snapshot" / snapshot.MANIFEST).read_text()))
    listed = pl.read_parquet(folder / extracts_list.LIST_FILE)
    server = EmbeddedServer(work / "data")
    server.start()
    pid = server.pid()
    assert pid is not None
    process, spent, counts = psutil.Process(pid), {}, {}
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for setting in (
                "work_mem = '512MB'",
                "maintenance_work_mem = '512MB'",
                "max_parallel_workers_per_gather = 1",
                "jit = off",
            ):
                connection.execute(f"set {setting}")  # type: ignore[arg-type]
            _load(connection, frozen)
            began = time.perf_counter()
            for name, statements in [*core, *_prepared()]:
                before = tree_cpu(process) + time.process_time()
                for statement in statements:
                    connection.execute(statement)  # type: ignore[arg-type]
                spent[name] = tree_cpu(process) + time.process_time() - before
            keys = dict(frozen.table("projects").select("collectioncode", "project_key").iter_rows())
            before, packing = tree_cpu(process) + time.process_time(), 0.0
            for code, year, letter in listed.select("collectioncode", "year", "extract_type").iter_rows():
                text = _copied(connection, keys[code], code, year, letter)
                counts[f"{code},{year},{letter}"] = text.count(b"\n") - 1
                start = time.process_time()
                with zipfile.ZipFile(work / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(f"{code}.csv", text)
                packing += time.process_time() - start
            spent["COPY of every extract"] = tree_cpu(process) + time.process_time() - before - packing
            spent["zip"] = packing
            return {"steps": spent, "wall": time.perf_counter() - began, "counts": counts}
    finally:
        server.stop()


def _load(connection: psycopg.Connection, frozen: Snapshot) -> None:
    frames = {path.stem: pl.read_parquet(path) for path in sorted(frozen.folder.glob("*.parquet"))}
    frames["segments"] = frames.pop("clock_segments")
    kinds = {pl.Int64: "bigint", pl.Int32: "integer", pl.Int16: "smallint", pl.Float64: "double precision"}
    detections = [("detections", pl.read_parquet(path)) for path in frozen.detections.values()]
    for name, frame in [*frames.items(), *detections]:
        columns = ", ".join(f"{column} {kinds.get(type(kind), 'text')}" for column, kind in frame.schema.items())
        connection.execute(f"create unlogged table if not exists {name} ({columns})")  # type: ignore[arg-type]
        transfer.copy_in(connection, sql.Identifier(name), frame)
    connection.execute("analyze")


def _prepared() -> list[tuple[str, list[str]]]:
    """What the extracts are copied from: indexes, and the joins that all extracts of a type share."""
    text = (HERE / "extracts.sql").read_text(encoding="utf-8")
    return [("index, views", [one.strip() for one in text.split(";\n") if one.strip()])]


def _copied(connection: psycopg.Connection, key: int, code: str, year: int, letter: str) -> bytes:
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in extracts.COLUMNS[letter])
    query = sql.SQL("select {} from extract_{} where key = {} and year = {} order by {}, {}, {}").format(
        columns,
        sql.SQL(letter),
        sql.Literal(key),
        sql.Literal(year),
        sql.Identifier("catalogNumber"),
        sql.Identifier("dateCollectedUTC"),
        sql.Identifier("det_key"),
    )
    if letter == "t":
        released = sql.SQL("select {} from releases({}, {})").format(columns, sql.Literal(code), sql.Literal(year))
        query = sql.SQL("select * from (({}) union all ({})) rows order by {}, {}").format(
            sql.SQL("select {} from extract_t where key = {} and year = {}").format(
                columns, sql.Literal(key), sql.Literal(year)
            ),
            released,
            sql.Identifier("catalogNumber"),
            sql.Identifier("dateCollectedUTC"),
        )
    parts = []
    with connection.cursor().copy(sql.SQL("copy ({}) to stdout (format csv, header)").format(query)) as copy:
        parts.extend(bytes(block) for block in copy)
    return b"".join(parts)


def compare(folder: Path, counts: dict[str, int]) -> None:
    """Every extract has as many rows by both."""
    listed = pl.read_parquet(folder / extracts_list.LIST_FILE)
    mine = {}
    for code in listed["collectioncode"].unique():
        entries = json.loads((folder / "extracts" / code / "manifest.json").read_text())
        mine |= {name.removesuffix(".zip"): entry["rows"] for name, entry in entries.items() if name.endswith(".zip")}
    wrong = []
    for code, year, letter in listed.select("collectioncode", "year", "extract_type").iter_rows():
        rows, theirs = mine[extracts.file_stem(code, letter, year)], counts[f"{code},{year},{letter}"]
        if rows != theirs:
            wrong.append(f"{code},{year},{letter}: {rows:,} rows, PostgreSQL has {theirs:,}")
    if wrong:
        raise SystemExit(f"{len(wrong)} extracts of {listed.height} differ: {wrong[:5]}")
    print(f"the rows of all {listed.height:,} extracts are the same: {sum(mine.values()):,}")


def report(found: dict[str, Any]) -> None:
    """The tables, in Markdown."""
    for name in ("whole", "again"):
        if name in found:
            one = found[name]
            print(
                f"\n{name}: {sum(one['rows'].values()):,} detections, {one['projects']} projects, {one['extracts']:,} extracts\n"
            )
            print(
                "| step | CPU s | of the database | wall s | peak GiB | files | MB |\n|---|---:|---:|---:|---:|---:|---:|"
            )
            for row in one["steps"]:
                print(
                    f"| {row['step']} | {row['cpu']:.1f} | {row['database']:.1f} | {row['wall']:.1f} | {row['peak'] / 2**30:.2f} |"
                    f" {row['files']:,} | {row['bytes'] / 1e6:,.0f} |"
                )
            print(
                f"| **all** | {total(one):.1f} | {sum(r['database'] for r in one['steps']):.1f} | {sum(r['wall'] for r in one['steps']):.1f} | |"
            )
    mine = total(found["whole"]) + sum(row["database"] for row in found["whole"]["steps"])
    for name in ("floor", "postgres"):
        if name in found:
            spent = sum(found[name]["steps"].values())
            steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in found[name]["steps"].items())
            print(f"\n{name}: {spent:.1f} CPU s, {spent / mine:.2f} of the whole ({steps})")
    if "again" in found:
        again = total(found["again"]) + sum(row["database"] for row in found["again"]["steps"])
        print(f"\nagain, after {found['changed']}: {again:.1f} CPU s, {100 * again / mine:.1f} % of the whole")


def total(one: dict[str, Any]) -> float:
    """CPU seconds of this process."""
    return sum(row["cpu"] for row in one["steps"])
