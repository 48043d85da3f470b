"""Streams against netCDF decoding alone and against data-vent's way: CPU and memory, in one run, as ratios.

    uv run python -m benchmarks.streams --rows 800000 --base-rows 3000000

A 40-array CTD stream. Bulk: a refresh of 8 files. Append: one day onto a store that has ``--base-rows`` rows. Each run is a
process of its own; CPU is that of the process within the work (imports are not counted), memory its peak. Before anything is
printed, what the two ways stored is compared, array by array.

data-vent's way is written anew from its description: files one after another, downloaded to a temporary file, opened by
xarray with masks applied, identifiers dropped, dimensions tested for missing values row by row (``any`` of Python over an
array), chunks of 100 MB, the first file written and the others appended by xarray, a refresh copied object by object from a
scratch store. ``--fair`` runs it a second time with that test vectorized.
"""

import argparse
import datetime as dt
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from otn_dagster.demo.ocean import Instrument, write_file
from otn_dagster.streams import timeaxis

CTD = Instrument("CE02SHBP-LJ01D-06-CTDBPN106", "streamed", "ctdbp_no_sample")
START = timeaxis.micros(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
FILES, DAY_ROWS = 8, 86_400
DROPPED = ("id", "obs", "provenance", "preferred_timestamp")


def times(rows: int, first: int = 0) -> np.ndarray:
    """Once a second."""
    return START + (first + np.arange(rows, dtype=np.int64)) * timeaxis.SECOND


def make_files(folder: Path, rows: int, base_rows: int) -> None:
    """Bulk files, the base of the append in files of half a million rows, and one day more; kept for the next call."""
    wanted = {
        "bulk": np.array_split(times(rows), FILES),
        "base": np.array_split(times(base_rows), max(1, base_rows // 500_000)),
    }
    wanted[f"day-after-{base_rows}"] = [times(DAY_ROWS, base_rows)]
    for name, pieces in wanted.items():
        target = folder / f"{name}-{sum(len(p) for p in pieces)}"
        if not target.exists():
            for number, piece in enumerate(pieces, start=1):
                write_file(folder / "making", CTD, number, piece)
            (folder / "making").rename(target)


def decode(files: list[Path], work: Path, append: bool) -> dict[str, Any]:
    """The floor: every variable that is kept is decoded, and nothing is done with it."""
    import netCDF4

    def run() -> None:
        for path in files:
            with netCDF4.Dataset(path) as data:
                for name in data.variables:
                    if name not in DROPPED:
                        data[name][:]

    return measured(run)


def ours(files: list[Path], work: Path, append: bool) -> dict[str, Any]:
    """The platform: one window, one commit, behind its gates."""
    from otn_dagster.streams import ingest
    from otn_dagster.streams.configuration import Stream
    from otn_dagster.streams.location import Location
    from otn_dagster.streams.store import StreamStore

    stream = Stream(instrument=CTD.refdes, stream={"method": CTD.method, "name": CTD.stream})  # type: ignore[arg-type]
    store = StreamStore(Location(str(work)))
    head = store.head() if append else None
    first = START + (head.rows if head else 0) * timeaxis.SECOND
    window = (first, first + 10**9 * timeaxis.SECOND)
    mode = "append" if append else "refresh"
    number = 2 if append else 1

    def run() -> None:
        ingest.ingest(store, ingest.Answer(stream, number, 1, mode, window), files)
        if not append:
            store.switch_to(ingest.refresh_branch(number), store.repository.lookup_branch("main"))

    return measured(run)


def data_vent(files: list[Path], work: Path, append: bool, fair: bool = False) -> dict[str, Any]:
    """The predecessor's way, from its description."""
    import numcodecs
    import xarray as xr

    def prepared(path: Path) -> xr.Dataset:
        data = xr.open_dataset(path, engine="netcdf4", decode_times=False).swap_dims(obs="time").reset_coords(drop=True)
        for name in list(data.variables):
            if data[name].dtype.kind in "OSU":
                data = (
                    data.assign({name: data[name].astype("S3")})
                    if "qartod_executed" in str(name)
                    else data.drop_vars(name)
                )
        return data.chunk(time=-1)

    def chunks(variable: xr.DataArray) -> tuple[int, ...]:
        rows = math.ceil(100e6 / variable.dtype.itemsize / max(1, math.prod(variable.shape[1:])))
        digits = 10 ** (len(str(rows)) - 2)
        return (rows // digits * digits, *variable.shape[1:])

    def encoding(data: xr.Dataset) -> dict[str, Any]:
        codec = numcodecs.Blosc(cname="zstd", clevel=3, shuffle=2)
        return {name: {"chunks": chunks(data[name]), "compressors": (codec,)} for name in data.data_vars}

    def has_missing(data: xr.Dataset) -> bool:
        found = [data[dim].isnull() for dim in data.dims if dim in data.coords]
        return any(bool(f.any()) for f in found) if fair else any(any(f) for f in found)

    def put(data: xr.Dataset, store: Path, first: bool) -> None:
        if first:
            for name in data.variables:
                data[name].encoding.clear()
            data.to_zarr(store, mode="w", consolidated=True, zarr_format=2, encoding=encoding(data))
            return
        if has_missing(data):
            return
        for name in data.variables:
            data[name].encoding.clear()
        data.to_zarr(store, mode="a", append_dim="time", safe_chunks=False, consolidated=True, zarr_format=2)

    def run() -> None:
        scratch = work if append else work.with_suffix(".scratch")
        for number, path in enumerate(files):
            with tempfile.NamedTemporaryFile(suffix=".nc") as local:
                local.write(path.read_bytes())
                local.flush()
                with prepared(Path(local.name)) as data:
                    put(data, scratch, number == 0 and not append)
        if not append:
            for path in sorted(p for p in scratch.rglob("*") if p.is_file()):
                target = work / path.relative_to(scratch)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
            shutil.rmtree(scratch)

    import dask

    with dask.config.set(scheduler="single-threaded"):
        return measured(run)


def data_vent_fair(files: list[Path], work: Path, append: bool) -> dict[str, Any]:
    """The same with its test for missing values vectorized."""
    return data_vent(files, work, append, fair=True)


def measured(run: Callable[[], None]) -> dict[str, Any]:
    """Seconds of CPU and of wall clock, and peak memory of this process in MB."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    status = Path("/proc/self/status").read_text(
        encoding="ascii"
    )  # getrusage would count what the parent had at its fork
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "peak": peak}


WAYS = {"decode": decode, "otn_dagster": ours, "data-vent": data_vent, "data-vent, vectorized": data_vent_fair}


def in_process(way: str, files: Path, work: Path, append: bool) -> dict[str, Any]:
    """One way in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.streams",
        "--run",
        way,
        "--files",
        str(files),
        "--work",
        str(work),
    ]
    done = subprocess.run(command + (["--append"] if append else []), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(ours_at: Path, theirs_at: Path) -> int:
    """Arrays that are equal in both stores after decoding; raises where one differs."""
    import xarray as xr

    from otn_dagster.streams.location import Location
    from otn_dagster.streams.store import StreamStore

    store = StreamStore(Location(str(ours_at)))
    mine = xr.open_zarr(
        store.repository.readonly_session("main").store, consolidated=False, chunks=None, decode_times=False
    )
    theirs = xr.open_zarr(theirs_at, chunks=None, decode_times=False)
    for name in mine.variables:
        one, other = mine[name].values, theirs[name].values
        if name == "time":
            one, other = one, np.rint(other * 1e6).astype(np.int64)
        if one.dtype.kind == "S":
            one, other = one.astype("S3"), other.astype("S3")
        if one.dtype.kind == "i" and other.dtype.kind == "f":
            one = np.where(one == mine[name].attrs.get("_FillValue", -(2**40)), np.nan, one)
        np.testing.assert_array_equal(one, other, err_msg=str(name))
    return len(mine.variables)


def main() -> None:
    """Make files, run each way, compare, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800_000)
    parser.add_argument("--base-rows", type=int, default=3_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "otn-benchmark-streams")
    parser.add_argument("--fair", action="store_true")
    for name in ("--run", "--files", "--work"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--append", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.run:
        print(json.dumps(WAYS[args.run](sorted(Path(args.files).iterdir()), Path(args.work), args.append)))
        return
    make_files(args.folder, args.rows, args.base_rows)
    bulk, base, day = (
        args.folder / name
        for name in (f"bulk-{args.rows}", f"base-{args.base_rows}", f"day-after-{args.base_rows}-{DAY_ROWS}")
    )
    ways = [way for way in WAYS if args.fair or way != "data-vent, vectorized"]
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        results = {"bulk": {way: in_process(way, bulk, Path(scratch) / way / "bulk", False) for way in ways}}
        arrays = compare(Path(scratch) / "otn_dagster" / "bulk", Path(scratch) / "data-vent" / "bulk")
        stores = {way: Path(scratch) / way / "append" for way in ways}
        for way in ways[1:]:
            in_process("data-vent, vectorized" if way.startswith("data-vent") else way, base, stores[way], False)
        results["append"] = {way: in_process(way, day, stores[way], True) for way in ways}
        compare(stores["otn_dagster"], stores["data-vent"])
        grown = in_process("otn_dagster", base, Path(scratch) / "large", False)
    print(f"{arrays} arrays equal in both stores")
    for case, found in results.items():
        print(
            f"\n{case}: {args.rows if case == 'bulk' else DAY_ROWS:,} rows"
            + ("" if case == "bulk" else f" onto {args.base_rows:,}")
        )
        mine = found["otn_dagster"]["cpu"]
        for way, r in found.items():
            print(
                f"  {way:24} {r['cpu']:8.2f} CPU s {r['wall']:8.2f} s {r['peak']:7.0f} MB   CPU {r['cpu'] / mine:6.2f} x ours"
            )
    print(
        f"\npeak of ours: {results['bulk']['otn_dagster']['peak']:.0f} MB with {args.rows:,} rows, {grown['peak']:.0f} MB with {args.base_rows:,}"
    )


if __name__ == "__main__":
    main()
