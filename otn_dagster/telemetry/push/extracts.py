"""Detection extracts: what every project is sent, in OTN's 2.0 format.

Belongs here: the columns of the four types, and what stands in them. Does not belong here: which extracts are written
(``extracts_list.py``), their rows (``splitting.py``), their files (``delivering.py``), older formats (``legacy_extracts.py``).

Source: real extracts of 2025. The columns of a type come first, in their order; after them stand those that readers ask
for in every type (``commonName``, ``receiver``, ``codeSpace``: glatos) and what is computed once for everybody
(``min_lag`` in seconds, ``passed_filter`` of glatos' false-detection filter at 3600 s, ``reason`` of an unqualified one).
No source shows a sentinel extract: it has the layout of the unqualified one.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from otn_dagster.telemetry import rules
from otn_dagster.telemetry.push import matching
from otn_dagster.telemetry.push.matching import Matches
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.splitting import Piece

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

    @cached_property
    def heard(self) -> pl.DataFrame:
        """Detections by deployment, in one pass for all projects."""
        return (
            pl.scan_parquet(self.matches.buckets)
            .group_by("deployment_key")
            .len("detections")
            .collect(engine="streaming")
        )

    @cached_property
    def places(self) -> pl.DataFrame:
        """Where deployments were, each place encoded once."""
        rows = self.deployments.select(
            "deployment_key",
            "rcvrcatnumber",
            "rcv_serial_no",
            "station",
            "latitude",
            "longitude",
            "bottom_depth",
            "receiver_depth",
        )
        return rows.with_columns(ewkb=_points(rows, ewkb=True), wkb=_points(rows, ewkb=False))

    @cached_property
    def releases(self) -> pl.DataFrame:
        """Tags whose animal has a place of release, with it as a point."""
        tags = self.tags.filter(pl.col("release_latitude").is_not_null() & pl.col("release_longitude").is_not_null())
        tags = tags.with_columns(longitude=pl.col("release_longitude"), latitude=pl.col("release_latitude"))
        return tags.with_columns(geometry=_points(tags, ewkb=True))

    def matches_in_words(self) -> pl.LazyFrame:
        """All matches with reason, collectioncode, trackercode and year."""
        return self.in_words(pl.scan_parquet(self.matches.buckets))

    def in_words(self, matches: pl.LazyFrame) -> pl.LazyFrame:
        """Some of them."""
        return matching.named(matches, self.projects)

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


def in_full(context: Context, piece: Piece) -> dict[str, pl.DataFrame]:
    """The extracts of a piece by type: its columns in their order, and ``number`` of the extract; rows as they stand in the files."""
    letters = set(piece.extracts["extract_type"].to_list())
    kinds = piece.rows.join(piece.extracts.select("number", "extract_type"), on="number")
    found = {}
    if "t" in letters:
        rows = _tracker(context, _common(context, kinds.filter(pl.col("extract_type") == "t")))
        released = _release_rows(context, piece.extracts.filter(pl.col("extract_type") == "t"))
        found["t"] = pl.concat([rows, released], how="diagonal_relaxed")
    if letters - {"t"}:
        rows = _array_side(context, _common(context, kinds.filter(pl.col("extract_type") != "t")))
        found |= {letter: rows.filter(pl.col("extract_type") == letter) for letter in "qus" if letter in letters}
    return {letter: _ordered(rows, letter) for letter, rows in found.items()}


def _ordered(rows: pl.DataFrame, letter: str) -> pl.DataFrame:
    """Only the columns that stand in the files are put in order."""
    key = "unqDetecID" if letter == "t" else "det_key"
    wanted = rows.select(list(dict.fromkeys(["number", *COLUMNS[letter], key])))
    ordered = wanted.sort("number", "catalogNumber", "dateCollectedUTC", key).select("number", *COLUMNS[letter])
    return ordered.with_columns(pl.selectors.datetime().cast(pl.Datetime("ms")))


def _common(context: Context, rows: pl.DataFrame) -> pl.DataFrame:
    """What all types say of a detection: when, where, by which receiver, of which transmitter."""
    rows = rows.join(context.transmitters, on="transmitter_key", how="left")
    rows = rows.join(context.places, on="deployment_key", how="left").join(context.specs, on="transmitter", how="left")
    return rows.with_columns(
        reason=pl.col("outcome").replace_strict(rules.REASONS, return_dtype=pl.String),
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


def _tracker(context: Context, rows: pl.DataFrame) -> pl.DataFrame:
    """Detections of a project's animals, wherever they were heard."""
    arrays = context.projects.select(
        "project_key", array="collectioncode", detectedBy="full_code", localArea="local_area", citation="citation"
    )
    owners = context.projects.select(tracker_key="project_key", collectionCode="full_code")
    tags = context.tags.select("tag_key", "catalognumber", "scientificname", "commonname", tagWindow="window_code")
    joined = rows.join(arrays, on="project_key", how="left").join(tags, on="tag_key", how="left")
    joined = joined.join(owners, on="tracker_key", how="left")
    joined = joined.join(context.contacts, left_on="array", right_on="collectioncode", how="left")
    return joined.with_columns(
        catalogNumber=pl.col("catalognumber"),
        organismID=pl.col("catalognumber"),
        scientificName=pl.col("scientificname"),
        commonName=pl.col("commonname"),
        bottomDepth=pl.col("bottom_depth"),
        receiverDepth=pl.col("receiver_depth"),
        geometry=pl.col("ewkb"),
        unqDetecID=pl.format("{}-{}-{}", "array", "transmitter", "det_key"),
    )


def _release_rows(context: Context, extracts: pl.DataFrame) -> pl.DataFrame:
    """One row for every tag that is alive in an extract's year, heard or not: where and when its animal was released."""
    start, end = (pl.datetime(pl.col("year") + ahead, 1, 1).dt.epoch("ms") for ahead in (0, 1))
    wanted = extracts.select("number", "year", trackercode="collectioncode")
    tags = context.releases.join(wanted, on="trackercode").filter(
        pl.col("release_ms") < end, pl.col("end_ms").is_null() | (pl.col("end_ms") >= start)
    )
    owners = context.projects.select(trackercode="collectioncode", owner="full_code", citation="citation")
    tags = tags.join(owners, on="trackercode", how="left")
    tags = tags.join(context.contacts, left_on="trackercode", right_on="collectioncode", how="left")
    released = pl.from_epoch("release_ms", time_unit="ms")
    owner = pl.coalesce("owner", "trackercode")
    return tags.select(
        "number",
        collectionCode=owner,
        catalogNumber="catalognumber",
        organismID="catalognumber",
        scientificName="scientificname",
        commonName="commonname",
        dateLastModified=pl.from_epoch("modified_day", time_unit="d").cast(pl.Datetime("ms")),
        detectedBy=owner,
        station="release_location",
        receiver=pl.lit("release"),
        tagName="transmitter",
        tagWindow="window_code",
        dateCollectedUTC=released,
        uncorrectedDateCollectedUTC=released,
        decimalLongitude=pl.col("longitude").round(5),
        decimalLatitude=pl.col("latitude").round(5),
        geodeticDatum=pl.lit(DATUM),
        geometry="geometry",
        localArea="release_location",
        citation="citation",
        unqDetecID=pl.format("{}-release-{}", "catalognumber", "transmitter"),
        contactPOC="contactPOC",
        contactPI="contactPI",
    ).with_columns(
        *[pl.lit(None, kind).alias(name) for name, kind in _EMPTY_IN_RELEASES.items()],
    )


_EMPTY_IN_RELEASES = {
    **dict.fromkeys(["codeSpace", "sensorName", "sensorType", "sensorUnit"], pl.String),
    **dict.fromkeys(["bottomDepth", "receiverDepth", "sensorRaw", "sensorValue", "min_lag"], pl.Float64),
    "passed_filter": pl.Int32,
}


def _array_side(context: Context, rows: pl.DataFrame) -> pl.DataFrame:
    """Detections on a project's receivers: of others' animals, of nobody's, of stations' own tags."""
    own = context.projects.select(
        "project_key", collectionCode="full_code", institutionCode="institutioncode", own_node="node"
    )
    trackers = context.projects.select(
        tracker_key="project_key", trackercode="collectioncode", tracker_full="full_code", tracker_node="node"
    )
    tags = context.tags.select("tag_key", scientificName="scientificname", commonName="commonname")
    joined = rows.join(own, on="project_key", how="left").join(trackers, on="tracker_key", how="left")
    joined = joined.join(tags, on="tag_key", how="left")
    joined = joined.join(context.contacts, left_on="trackercode", right_on="collectioncode", how="left")
    same_node = pl.col("tracker_node") == pl.col("own_node")
    return joined.with_columns(
        basisOfRecord=pl.lit("MachineObservation"),
        trackerCode=pl.when(same_node).then("trackercode").otherwise("tracker_full"),
        catalogNumber=pl.format("{}-{}", "transmitter", "det_key"),
        receiverSerial=pl.col("rcv_serial_no"),
        rcvrCatNumber=pl.col("rcvrcatnumber"),
        geometry=pl.col("wkb"),
    )


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
