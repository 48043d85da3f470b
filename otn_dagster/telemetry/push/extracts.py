"""Detection extracts: what every project is sent, in OTN's 2.0 format as csv in zip and as Parquet.

Belongs here: the columns of the four types, their order, their encodings, and writing them. Does not belong here: which
extracts are written (``extracts_list.py``), older formats (``legacy_extracts.py``).

Source: real extracts of 2025. The columns of a type come first, in their order; after them stand those that readers ask
for in every type (``commonName``, ``receiver``, ``codeSpace``: glatos) and what is computed once for everybody
(``min_lag`` in seconds, ``passed_filter`` of glatos' false-detection filter at 3600 s, ``reason`` of an unqualified one).
No source shows a sentinel extract: it has the layout of the unqualified one.
"""

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import matching
from otn_dagster.telemetry.push.extracts_list import TYPES
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot, entry_of

MATCHED_COLUMNS = """collectionCode,catalogNumber,organismID,scientificName,commonName,dateLastModified,detectedBy,station,
receiver,bottomDepth,receiverDepth,tagName,codeSpace,sensorName,sensorRaw,sensorType,sensorValue,sensorUnit,dateCollectedUTC,
uncorrectedDateCollectedUTC,decimalLongitude,decimalLatitude,geodeticDatum,geometry,localArea,citation,unqDetecID,contactPOC,
contactPI""".replace("\n", "").split(",")
QUALIFIED_COLUMNS = """basisOfRecord,institutionCode,collectionCode,dateLastModified,dateCollectedUTC,
uncorrectedDateCollectedUTC,trackerCode,tagName,catalogNumber,station,receiverSerial,decimalLongitude,decimalLatitude,
geodeticDatum,rcvrCatNumber,sensorType,sensorName,sensorRaw,geometry,scientificName,contactPOC,contactPI""".replace(
    "\n", ""
).split(",")
UNQUALIFIED_COLUMNS = [
    c for c in QUALIFIED_COLUMNS if c not in ("trackerCode", "scientificName", "contactPOC", "contactPI")
]
QUALITY = ["min_lag", "passed_filter"]
FOR_READERS = ["commonName", "receiver", "codeSpace"]
COLUMNS = {
    "t": [*MATCHED_COLUMNS, *QUALITY, "tagWindow"],  # why the end of the tag's window is not known; empty where it is
    "q": [*QUALIFIED_COLUMNS, *FOR_READERS, *QUALITY],
    "u": [*UNQUALIFIED_COLUMNS, *FOR_READERS, *QUALITY, "reason"],
    "s": [*UNQUALIFIED_COLUMNS, *FOR_READERS, *QUALITY],
}
FILE_WORD = {"t": "matched", "q": "qualified", "u": "unqualified", "s": "sentinel"}
OUTCOMES_OF = {
    "t": [rules.MATCHED, rules.MATCHED_OWN],
    "q": [rules.MATCHED],
    "u": rules.UNQUALIFIED,
    "s": [rules.SENTINEL],
}
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
DATUM = "EPSG:4326"


@dataclass(frozen=True)
class Context:
    """What every extract of a push is made from."""

    snapshot: Snapshot
    matches: Matches
    deployments: pl.DataFrame
    tags: pl.DataFrame
    projects: pl.DataFrame
    contacts: pl.DataFrame
    transmitters: pl.DataFrame
    specs: pl.DataFrame

    def matches_in_words(self) -> pl.LazyFrame:
        """All matches with reason, collectioncode, trackercode and year."""
        return matching.named(pl.scan_parquet(self.matches.buckets), self.projects)

    @classmethod
    def of(cls, snapshot: Snapshot, matches: Matches) -> "Context":
        """Read the small tables once."""
        projects = snapshot.table("projects").with_columns(full_code=pl.format("{}.{}", "node", "collectioncode"))
        return cls(
            snapshot,
            matches,
            snapshot.table("deployments"),
            snapshot.table("tags"),
            projects,
            _contact_lines(snapshot.table("contacts")),
            snapshot.table("transmitters"),
            snapshot.table("sensor_specs").unique("transmitter", keep="first", maintain_order=True),
        )


def write_extracts(
    context: Context, extracts: pl.DataFrame, collectioncode: str, folder: Path
) -> dict[str, dict[str, object]]:
    """All listed extracts of one project into ``folder/extracts/<COLLECTION>``; manifest entries by file name.

    extracts: the project's rows of the list. Safe to repeat and to kill: the project's folder is written aside and
    renamed whole; its bytes depend on the snapshot alone.
    """
    target = folder / "extracts" / collectioncode
    staging = folder / "extracts" / f".{collectioncode}"
    shutil.rmtree(staging, ignore_errors=True)
    if extracts.is_empty():
        shutil.rmtree(target, ignore_errors=True)
        return {}
    staging.mkdir(parents=True)
    entries: dict[str, dict[str, object]] = {}
    for extract_type, years in _years_by_type(extracts).items():
        frames = extract_frames(context, collectioncode, extract_type, years)
        for year in years:
            entries |= _write(frames[year], staging, collectioncode, extract_type, year)
    (staging / "manifest.json").write_text(json.dumps(entries, indent=1, sort_keys=True), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return entries


def _years_by_type(extracts: pl.DataFrame) -> dict[str, list[int]]:
    years: dict[str, list[int]] = {}
    for row in extracts.sort("extract_type", "year").iter_rows(named=True):
        years.setdefault(row["extract_type"], []).append(row["year"])
    return years


def extract_frames(
    context: Context, collectioncode: str, extract_type: str, years: list[int]
) -> dict[int, pl.DataFrame]:
    """The rows of one type for some years, by year, in the order of the file."""
    rows = _rows(context, collectioncode, extract_type, years)
    make: Callable[[Context, str, pl.DataFrame], pl.DataFrame] = _tracker if extract_type == "t" else _array_side
    full = make(context, collectioncode, rows)
    frames = {}
    for year in years:
        frame = full.filter(pl.col("year") == year)
        if extract_type == "t":
            frame = pl.concat([frame, _release_rows(context, collectioncode, year)], how="diagonal_relaxed")
        key = "unqDetecID" if extract_type == "t" else "det_key"
        ordered = frame.sort("catalogNumber", "dateCollectedUTC", key).select(COLUMNS[extract_type])
        frames[year] = ordered.with_columns(pl.selectors.datetime().cast(pl.Datetime("ms")))
    return frames


def _rows(context: Context, collectioncode: str, extract_type: str, years: list[int]) -> pl.DataFrame:
    side = "tracker_key" if extract_type == "t" else "project_key"
    mine = context.projects.filter(pl.col("collectioncode") == collectioncode)["project_key"].to_list()
    scanned = pl.scan_parquet(context.matches.buckets).filter(
        pl.col(side).is_in(mine), pl.col("outcome").is_in(OUTCOMES_OF[extract_type])
    )
    rows = matching.named(scanned, context.projects).filter(pl.col("year").is_in(years)).collect()
    deployments = context.deployments.select(
        "deployment_key",
        "rcvrcatnumber",
        "rcv_serial_no",
        "station",
        "latitude",
        "longitude",
        "bottom_depth",
        "receiver_depth",
    )
    rows = rows.join(context.transmitters, on="transmitter_key", how="left").join(
        deployments, on="deployment_key", how="left"
    )
    rows = rows.join(context.specs, on="transmitter", how="left")
    return rows.with_columns(
        dateLastModified=pl.from_epoch("modified_day", time_unit="d").cast(pl.Datetime("ms")),
        dateCollectedUTC=pl.from_epoch("time_ms", time_unit="ms"),
        uncorrectedDateCollectedUTC=pl.from_epoch("device_ms", time_unit="ms"),
        decimalLongitude=pl.col("longitude").round(5),
        decimalLatitude=pl.col("latitude").round(5),
        geodeticDatum=pl.lit(DATUM),
        tagName=pl.col("transmitter"),
        codeSpace=_code_space(pl.col("transmitter")),
        receiver=pl.col("rcv_serial_no"),
        sensorName=pl.when(pl.col("sensor_value").is_not_null()).then("transmitter"),
        sensorRaw=pl.col("sensor_value"),
        sensorType=pl.when(pl.col("sensor_value").is_null()).then(pl.lit("pinger")).otherwise(pl.col("sensor_type")),
        sensorValue=pl.col("slope") * pl.col("sensor_value") + pl.col("intercept"),
        sensorUnit=pl.when(pl.col("sensor_value").is_not_null()).then("sensor_unit"),
        passed_filter=(pl.col("min_lag") <= rules.FALSE_DETECTION_SECONDS).fill_null(False).cast(pl.Int32),
    )


def _tracker(context: Context, collectioncode: str, rows: pl.DataFrame) -> pl.DataFrame:
    arrays = context.projects.select(
        "collectioncode", detectedBy="full_code", localArea="local_area", citation="citation"
    )
    tags = context.tags.select("tag_key", "catalognumber", "scientificname", "commonname", tagWindow="window_code")
    joined = rows.join(arrays, on="collectioncode", how="left").join(tags, on="tag_key", how="left")
    joined = joined.join(context.contacts, on="collectioncode", how="left")
    return joined.with_columns(
        collectionCode=pl.lit(_full_code(context, collectioncode)),
        catalogNumber=pl.col("catalognumber"),
        organismID=pl.col("catalognumber"),
        scientificName=pl.col("scientificname"),
        commonName=pl.col("commonname"),
        bottomDepth=pl.col("bottom_depth"),
        receiverDepth=pl.col("receiver_depth"),
        geometry=_points(joined, ewkb=True),
        unqDetecID=pl.format("{}-{}-{}", "collectioncode", "transmitter", "det_key"),
    )


def _release_rows(context: Context, collectioncode: str, year: int) -> pl.DataFrame:
    """One row for every tag that is alive in the year, heard or not: where and when its animal was released."""
    start, end = (pl.datetime(y, 1, 1).dt.epoch("ms") for y in (year, year + 1))
    tags = context.tags.filter(
        pl.col("trackercode") == collectioncode,
        pl.col("release_ms") < end,
        pl.col("end_ms").is_null() | (pl.col("end_ms") >= start),
        pl.col("release_latitude").is_not_null() & pl.col("release_longitude").is_not_null(),
    )
    tags = tags.with_columns(longitude=pl.col("release_longitude"), latitude=pl.col("release_latitude"))
    tags = tags.with_columns(decimalLongitude=pl.col("longitude").round(5), decimalLatitude=pl.col("latitude").round(5))
    project = context.projects.filter(pl.col("collectioncode") == collectioncode)
    citation = project["citation"].to_list()[0] if project.height else None
    contacts = context.contacts.filter(pl.col("collectioncode") == collectioncode)
    released = pl.from_epoch("release_ms", time_unit="ms")
    return tags.select(
        collectionCode=pl.lit(_full_code(context, collectioncode)),
        catalogNumber="catalognumber",
        organismID="catalognumber",
        scientificName="scientificname",
        commonName="commonname",
        dateLastModified=pl.from_epoch("modified_day", time_unit="d").cast(pl.Datetime("ms")),
        detectedBy=pl.lit(_full_code(context, collectioncode)),
        station="release_location",
        receiver=pl.lit("release"),
        tagName="transmitter",
        tagWindow="window_code",
        dateCollectedUTC=released,
        uncorrectedDateCollectedUTC=released,
        decimalLongitude="decimalLongitude",
        decimalLatitude="decimalLatitude",
        geodeticDatum=pl.lit(DATUM),
        geometry=_points(tags, ewkb=True),
        localArea="release_location",
        citation=pl.lit(citation, pl.String),
        unqDetecID=pl.format("{}-release-{}", "catalognumber", "transmitter"),
        contactPOC=pl.lit(contacts["contactPOC"].to_list()[0] if contacts.height else None, pl.String),
        contactPI=pl.lit(contacts["contactPI"].to_list()[0] if contacts.height else None, pl.String),
    ).with_columns(
        *[pl.lit(None, kind).alias(name) for name, kind in _EMPTY_IN_RELEASES.items()],
    )


_EMPTY_IN_RELEASES = {
    **dict.fromkeys(["codeSpace", "sensorName", "sensorType", "sensorUnit"], pl.String),
    **dict.fromkeys(["bottomDepth", "receiverDepth", "sensorRaw", "sensorValue", "min_lag"], pl.Float64),
    "passed_filter": pl.Int32,
}


def _array_side(context: Context, collectioncode: str, rows: pl.DataFrame) -> pl.DataFrame:
    own = context.projects.filter(pl.col("collectioncode") == collectioncode)
    node, institution = (own["node"].to_list()[0], own["institutioncode"].to_list()[0]) if own.height else (None, None)
    trackers = context.projects.select(
        trackercode="collectioncode",
        trackerCode=pl.when(pl.col("node") == node).then("collectioncode").otherwise("full_code"),
    )
    tags = context.tags.select("tag_key", scientificName="scientificname", commonName="commonname")
    joined = rows.join(trackers, on="trackercode", how="left").join(tags, on="tag_key", how="left")
    joined = joined.join(context.contacts, left_on="trackercode", right_on="collectioncode", how="left")
    return joined.with_columns(
        basisOfRecord=pl.lit("MachineObservation"),
        institutionCode=pl.lit(institution, pl.String),
        collectionCode=pl.lit(_full_code(context, collectioncode)),
        catalogNumber=pl.format("{}-{}", "transmitter", "det_key"),
        receiverSerial=pl.col("rcv_serial_no"),
        rcvrCatNumber=pl.col("rcvrcatnumber"),
        geometry=_points(joined, ewkb=False),
    )


def _full_code(context: Context, collectioncode: str) -> str:
    full = context.projects.filter(pl.col("collectioncode") == collectioncode)["full_code"]
    return full.to_list()[0] if len(full) else collectioncode


def _code_space(transmitter: pl.Expr) -> pl.Expr:
    return pl.when(transmitter.str.starts_with("A")).then(transmitter.str.extract(r"^([^-]+-[^-]+)"))


def _points(frame: pl.DataFrame, ewkb: bool) -> pl.Series:
    """Points as (E)WKB, little-endian. OTN rounds the coordinate columns, not the geometry. Each place is encoded once."""
    head = b"\x01\x01\x00\x00\x20\xe6\x10\x00\x00" if ewkb else b"\x01\x01\x00\x00\x00"
    known: dict[tuple[float, float], bytes] = {}
    values = []
    for point in zip(frame["longitude"], frame["latitude"], strict=True):
        if None in point:
            values.append(None)
            continue
        if point not in known:
            known[point] = head + struct.pack("<dd", *point)
        values.append(known[point])
    return pl.Series("geometry", values, pl.Binary)


def _contact_lines(contacts: pl.DataFrame) -> pl.DataFrame:
    """``Name (email), Name (email)`` of each project's points of contact and principal investigators."""
    person = pl.when(pl.col("email").is_null()).then("name").otherwise(pl.format("{} ({})", "name", "email"))
    lines = contacts.with_columns(person=person)
    pocs = lines.filter(pl.col("point_of_contact") == 1).group_by("collectioncode", maintain_order=True)
    pis = lines.filter(pl.col("role") == "Principal Investigator").group_by("collectioncode", maintain_order=True)
    joined = pl.col("person").unique(maintain_order=True).str.join(", ")
    return (
        lines.select("collectioncode")
        .unique(maintain_order=True)
        .join(pocs.agg(contactPOC=joined), on="collectioncode", how="left")
        .join(pis.agg(contactPI=joined), on="collectioncode", how="left")
    )


def file_stem(collectioncode: str, extract_type: str, year: int) -> str:
    """``hfx_qualified_detections_2022``."""
    return f"{collectioncode.lower()}_{FILE_WORD[extract_type]}_detections_{year}"


def _write(
    frame: pl.DataFrame, folder: Path, collectioncode: str, extract_type: str, year: int
) -> dict[str, dict[str, object]]:
    stem = file_stem(collectioncode, extract_type, year)
    frame.write_parquet(folder / f"{stem}.parquet", compression="zstd", row_group_size=122_880)
    write_zip(
        folder / f"{stem}.zip",
        {f"{stem}.csv": csv_bytes(frame), "data_description.txt": description(extract_type)},
    )
    return {name: entry_of(folder / name, frame.height) for name in (f"{stem}.parquet", f"{stem}.zip")}


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """UTF-8 csv: times as ``YYYY-MM-DD HH:MM:SS[.fff]``, days without a time, geometry in hex."""
    times = []
    for name, kind in frame.schema.items():
        if name == "dateLastModified":
            times.append(pl.col(name).dt.strftime("%Y-%m-%d"))
        elif isinstance(kind, pl.Datetime):
            whole, exact = (
                pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S"),
                pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.3f"),
            )
            times.append(pl.when(pl.col(name).dt.millisecond() == 0).then(whole).otherwise(exact).alias(name))
        elif kind == pl.Binary:
            times.append(pl.col(name).bin.encode("hex").str.to_uppercase())
    buffer = io.BytesIO()
    frame.with_columns(times).write_csv(buffer)
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """A zip whose bytes depend on its members alone: fixed times, order and attributes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def description(extract_type: str) -> bytes:
    """What stands beside every csv: what the file is, and what its less obvious columns mean."""
    what = {
        "t": "Detections of this project's animals, wherever they were heard, and one release row for every tag alive in the year.",
        "q": "Animals of other projects heard on this project's receivers. Detections of the project's own tags are not here.",
        "u": "Detections on this project's receivers that belong to no animal the network knows; reason says why.",
        "s": "Detections on this project's receivers of test, sentinel and transceiver tags.",
    }[extract_type]
    return f"""{TYPES[extract_type]} detections

{what}

Times are UTC. dateCollectedUTC is corrected for the drift of the receiver's clock, uncorrectedDateCollectedUTC is as recorded.
Positions are decimal degrees, WGS84, rounded to five places; depths are metres.
min_lag: seconds to the nearest other detection of the same transmitter on the same receiver.
passed_filter: 1 where min_lag is at most {rules.FALSE_DETECTION_SECONDS} s, else 0 (a possible false detection; nothing was removed).
reason (unqualified): u1_unreported_test, u2_ambiguous, u3_no_release, u4_sensor_unresolved, u5_outside_window, u6_unmatched.
""".encode()
