"""A large simulated network, written as a push snapshot: what ``benchmarks/push.py`` computes on.

The shape follows a real network: visits in bursts of a few dozen detections, 60 to 180 seconds apart with losses; unknown
codes, test tags, isolated false detections, copies from overlapping offloads, reused and ambiguous codes, receivers that
move between projects, receivers without metadata, drifting clocks.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from otn_dagster import files as disk
from otn_dagster.telemetry.inputs import DEPLOYMENTS, DETECTIONS, SEGMENTS
from otn_dagster.telemetry.push.snapshot import MANIFEST, Snapshot
from otn_dagster.telemetry.push.tables import TABLES

HOUR, DAY = 3_600_000, 86_400_000
SCHEMAS = {table.name: table.schema for table in TABLES} | {"deployments": DEPLOYMENTS, "clock_segments": SEGMENTS}
START = 1_451_606_400_000  # 2016-01-01
YEARS = 10
ROWS_PER_PROJECT = 25_000


def make_snapshot(folder: Path, rows: int, seed: int = 1) -> Snapshot:
    """A snapshot of about this many detections; made once, kept for the next call with the same arguments."""
    if (folder / MANIFEST).exists():
        return Snapshot(folder, json.loads((folder / MANIFEST).read_text()))
    (folder / "detections").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    projects = int(np.clip(rows // ROWS_PER_PROJECT, 6, 560))
    codes = [f"P{number:03d}" for number in range(projects)]
    every, segments = _deployments(random, codes)
    deployments = every.filter(
        pl.col("deployment_key") % 500 != 7
    )  # one in 500 was never reported: no receiver metadata
    tags, transmitters = _tags(random, codes)
    files = _write_tables(folder, codes, deployments, segments, tags, transmitters)
    files |= _write_detections(folder, random, codes, every, segments, tags, transmitters, rows)
    files |= _write_submissions(folder, [folder / name for name in files if name.startswith("detections/")])
    for name, entry in files.items():
        entry["sha256"] = disk.sha256_of(folder / name)
    manifest = {
        "push_date": "2027-02-18",
        "rehearsal": True,
        "files": files,
        "database_id": "benchmark",
        "publish_stations": {"OTN": True},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Snapshot(folder, manifest)


def _deployments(random: np.random.Generator, codes: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two receivers a station-year on average; one in twenty goes to another project when it comes up."""
    receivers = len(codes) * 12
    home = np.arange(receivers) % len(codes)
    starts = START + (np.arange(YEARS)[None, :] * 365 * DAY) + random.integers(0, 60 * DAY, (receivers, YEARS))
    ends = starts + random.integers(200 * DAY, 300 * DAY, (receivers, YEARS))
    place = np.where(
        random.random((receivers, YEARS)) < 0.05, random.integers(0, len(codes), (receivers, YEARS)), home[:, None]
    )
    number = np.arange(receivers * YEARS)
    frame = pl.DataFrame(
        {
            "deployment_key": number + 1,
            "receiver_key": np.repeat(np.arange(receivers) + 1, YEARS),
            "collectioncode": np.array(codes)[place.ravel()],
            "project_key": place.ravel() + 1,
            "start_ms": starts.ravel(),
            "recovered_ms": ends.ravel(),
            "modified_day": np.full(number.shape, 19_000),
        }
    ).with_columns(
        rcvrcatnumber=pl.format("S{}-VR2W-{}", "deployment_key", "receiver_key"),
        rcv_serial_no=pl.col("receiver_key").cast(pl.String),
        rcv_model_no=pl.lit("VR2W"),
        station=pl.format("S{}", pl.col("deployment_key") // YEARS),
        latitude=pl.lit(44.0),
        longitude=pl.lit(-63.0),
        bottom_depth=pl.lit(100.0),
        receiver_depth=pl.lit(95.0),
        recover_ind=pl.lit("y"),
        notes=pl.lit(None, pl.String),
        last_download_ms=pl.col("recovered_ms"),
        downloads=pl.lit(1),
    )
    segments = frame.select(
        "receiver_key",
        segment=pl.lit(0),
        start_ms=pl.col("start_ms") - HOUR,
        end_ms=pl.col("recovered_ms") + HOUR,
        offset_ms=pl.lit(0.0),
        factor=pl.Series(random.uniform(-3, 3, frame.height) / 86_400),
        modified_day=pl.lit(19_000),
    )
    return frame.cast(DEPLOYMENTS), segments.cast(SEGMENTS)  # type: ignore[arg-type]


def _tags(random: np.random.Generator, codes: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    count = len(codes) * 215
    keys = np.arange(count) + 1
    reused = random.random(count) < 0.07
    transmitter = np.where(reused, random.integers(1, count, count), keys)
    release = START + random.integers(0, YEARS * 365 * DAY, count)
    trackers = random.integers(0, len(codes), count)
    life = random.integers(200 * DAY, 1500 * DAY, count)
    tags = pl.DataFrame(
        {
            "tag_key": keys,
            "animal_key": keys,
            "transmitter_key": transmitter,
            "trackercode": np.array(codes)[trackers],
            "tracker_key": trackers + 1,
            "release_ms": release,
            "end_ms": release + life,
            "last_ms": release + life + 91 * DAY,
            "modified_day": np.full(count, 19_000),
        }
    ).with_columns(
        transmitter=pl.format("A69-1602-{}", "transmitter_key"),
        catalognumber=pl.format("{}-{}", "trackercode", "tag_key"),
        scientificname=pl.lit("Prionace glauca"),
        commonname=pl.lit("blue shark"),
        release_latitude=pl.lit(44.0),
        release_longitude=pl.lit(-63.0),
    )
    schema = SCHEMAS["tags"]
    tags = tags.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in tags.columns
    )
    transmitters = pl.DataFrame({"transmitter_key": np.arange(int(count * 1.12)) + 1})
    transmitters = transmitters.with_columns(transmitter=pl.format("A69-1602-{}", "transmitter_key"))
    return tags.select(list(schema)).cast(schema), transmitters.cast(SCHEMAS["transmitters"])  # type: ignore[arg-type]


def _write_tables(
    folder: Path,
    codes: list[str],
    deployments: pl.DataFrame,
    segments: pl.DataFrame,
    tags: pl.DataFrame,
    transmitters: pl.DataFrame,
) -> dict[str, dict]:
    known = tags["tag_key"].len()
    tests = transmitters.filter(pl.col("transmitter_key") > known, pl.col("transmitter_key") % 3 == 0)
    frames = {
        "deployments": deployments,
        "clock_segments": segments,
        "tags": tags,
        "transmitters": transmitters,
        "receivers": segments.select("receiver_key", rcv_serial_no=pl.col("receiver_key").cast(pl.String))
        .unique()
        .sort("receiver_key"),
        "station_tags": tests.with_columns(mooring_key=pl.col("transmitter_key")),
        "projects": pl.DataFrame(
            {"project_key": np.arange(len(codes)) + 1, "collectioncode": codes, "node": ["OTN"] * len(codes)}
        ),
    }
    written = {}
    for name, schema in SCHEMAS.items():
        frame = frames.get(name, pl.DataFrame(schema=schema))
        frame = frame.with_columns(
            pl.lit(None, kind).alias(column) for column, kind in schema.items() if column not in frame.columns
        )
        frame.select(list(schema)).cast(schema).write_parquet(folder / f"{name}.parquet")  # type: ignore[arg-type]
        written[f"{name}.parquet"] = {"rows": frame.height, "sha256": ""}
    return written


def _write_detections(
    folder: Path,
    random: np.random.Generator,
    codes: list[str],
    deployments: pl.DataFrame,
    segments: pl.DataFrame,
    tags: pl.DataFrame,
    transmitters: pl.DataFrame,
    rows: int,
) -> dict[str, dict]:
    """Project by project, so that memory does not grow with the network; one file a project and year."""
    every = deployments.join(segments.select("receiver_key", segment_start=pl.col("start_ms") + HOUR, factor="factor"),
                             left_on=["receiver_key", "start_ms"], right_on=["receiver_key", "segment_start"])  # fmt: skip
    release, last = tags["release_ms"].to_numpy(), tags["last_ms"].to_numpy()
    codes_of_tags = tags["transmitter_key"].to_numpy()
    files, det_key = {}, 1
    copies = pl.DataFrame(schema=DETECTIONS)
    for code in codes:
        mine = every.filter(pl.col("collectioncode") == code)
        want = int(rows / len(codes) * random.uniform(0.7, 1.3))
        frame = _bursts(random, mine, release, last, codes_of_tags, transmitters.height, want)
        frame = pl.concat([frame, copies.select(frame.columns).cast(dict(frame.schema))])  # type: ignore[arg-type]
        copies = _sent_by_the_next_project_too(random, frame)
        frame = frame.with_columns(det_key=pl.int_range(det_key, det_key + frame.height))
        det_key += frame.height
        years = pl.from_epoch("device_ms", time_unit="ms").dt.year().alias("year")
        for (year,), part in sorted(frame.with_columns(years).partition_by("year", as_dict=True).items()):
            name = f"detections/{code}-{year}.parquet"
            ordered = (
                part.sort("receiver_key", "transmitter_key", "device_ms", "det_key")
                .select(list(DETECTIONS))
                .cast(DETECTIONS)
            )  # type: ignore[arg-type]
            ordered.write_parquet(folder / name, compression="zstd", row_group_size=122_880)
            files[name] = {"rows": part.height, "sha256": ""}
    return files


def _write_submissions(folder: Path, detections: list[Path]) -> dict[str, dict]:
    """The two files that all detections came in, with their counts: what the laws of a certificate add up."""
    counted = pl.scan_parquet(detections).group_by("submission_no").agg(loaded_rows=pl.len()).sort("submission_no")
    schema = SCHEMAS["submissions"]
    none = ("duplicate_rows", "refused_rows", "waiting_rows")
    words = {"node": "OTN", "collectioncode": "P000", "kind": "detections", "state": "loaded", "sha256": ""}
    frame = counted.collect().with_columns(
        pl.format("OTN:P000:{}", "submission_no").alias("submission_key"),
        *(pl.lit(text).alias(column) for column, text in words.items()),
        pl.col("loaded_rows").alias("raw_rows"),
        *(pl.lit(0).alias(column) for column in none),
    )
    frame.select(list(schema)).cast(schema).write_parquet(folder / "submissions.parquet")  # type: ignore[arg-type]
    return {"submissions.parquet": {"rows": frame.height, "sha256": ""}}


def _sent_by_the_next_project_too(random: np.random.Generator, frame: pl.DataFrame) -> pl.DataFrame:
    """Some rows of one receiver in five, as when two projects offload the same receiver; their second file is another one."""
    some = (
        (pl.col("receiver_key") % 5 == 0)
        & (pl.col("submission_no") == 1)
        & pl.Series(random.random(frame.height) < 0.1)
    )
    return frame.filter(some).with_columns(submission_no=pl.lit(2, pl.Int32))


def _bursts(
    random: np.random.Generator,
    mine: pl.DataFrame,
    release: np.ndarray,
    last: np.ndarray,
    codes: np.ndarray,
    transmitters: int,
    want: int,
) -> pl.DataFrame:
    visits = max(1, want // 24)
    hung = random.integers(0, mine.height, visits)
    start, end = mine["start_ms"].to_numpy()[hung], mine["recovered_ms"].to_numpy()[hung]
    begin = start + (random.random(visits) * (end - start)).astype(np.int64)
    # Mostly a tag that is alive then (the best of eight drawn), else a code that nobody reported or a test tag.
    drawn = random.integers(0, len(codes), (visits, 8))
    alive = (release[drawn] <= begin[:, None]) & (begin[:, None] <= last[drawn])
    chosen = codes[drawn[np.arange(visits), alive.argmax(axis=1)]]
    stranger = random.random(visits) < 0.14
    chosen = np.where(stranger, random.integers(len(codes) + 1, transmitters + 1, visits), chosen)
    length = np.clip(random.lognormal(2.7, 0.9, visits).astype(np.int64), 1, 400)
    which = np.repeat(np.arange(visits), length)
    gaps = random.integers(60_000, 180_000, len(which)) * random.geometric(0.55, len(which))
    total = np.cumsum(gaps)
    first = np.repeat(np.cumsum(length) - length, length)
    true = begin[which] + total - total[first]
    keep = true < end[which]
    which, true = which[keep], true[keep]
    device = true + (mine["factor"].to_numpy()[hung][which] * (true - start[which] + HOUR)).astype(np.int64)
    frame = pl.DataFrame(
        {
            "receiver_key": mine["receiver_key"].to_numpy()[hung][which],
            "transmitter_key": chosen[which],
            "device_ms": device // 1000 * 1000,
            "sensor_value": np.where(chosen[which] % 5 == 0, (true // 1000 % 256).astype(float), np.nan),
            "submission_no": np.ones(len(which), np.int32),
            "loaded_day": np.full(len(which), 19_500, np.int32),
        }
    ).with_columns(pl.col("sensor_value").fill_nan(None))
    return frame
