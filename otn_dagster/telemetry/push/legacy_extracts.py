"""Extracts in the lower-case layouts of before 2025, for tools that still read them (resonATe, glatos' old format).

Belongs here: renaming and splitting the columns of 2.0 extracts. Does not belong here: their rows (``extracts.py``).

Source: real extracts of 2023 (matched v1c, 34 columns; qualified, 25 columns).
"""

from pathlib import Path

import polars as pl

from otn_dagster.config import Settings
from otn_dagster.telemetry.push.delivering import csv_bytes, write_zip
from otn_dagster.telemetry.push.extracts import FILE_WORD
from otn_dagster.telemetry.push.snapshot import push_folder

MATCHED = """collectioncode,catalognumber,scientificname,commonname,datelastmodified,detectedby,receiver_group,station,receiver,
bottom_depth,receiver_depth,tagname,codespace,sensorname,sensorraw,sensortype,sensorvalue,sensorunit,datecollected,timezone,
longitude,latitude,the_geom,yearcollected,monthcollected,daycollected,julianday,timeofday,local_area,notes,citation,unqdetecid,
contact_poc,contact_pi""".replace("\n", "").split(",")
QUALIFIED = """basisofrecord,institutioncode,collectioncode,datelastmodified,datecollected,timezone,trackercode,fieldnumber,
catalognumber,yearcollected,monthcollected,daycollected,julianday,timeofday,station,collectornumber,latitude,longitude,
rcvrcatnumber,sensorname,sensorraw,the_geom,notes,tag_contact_pi,tag_contact_poc""".replace("\n", "").split(",")
UNQUALIFIED = [name for name in QUALIFIED if name not in ("trackercode", "tag_contact_pi", "tag_contact_poc")]
COLUMNS = {"t": MATCHED, "q": QUALIFIED, "u": UNQUALIFIED, "s": UNQUALIFIED}

RENAMED = {
    "bottomDepth": "bottom_depth",
    "receiverDepth": "receiver_depth",
    "dateCollectedUTC": "datecollected",
    "decimalLongitude": "longitude",
    "decimalLatitude": "latitude",
    "geometry": "the_geom",
    "localArea": "local_area",
}
BY_SIDE = {
    "t": {"contactPOC": "contact_poc", "contactPI": "contact_pi"},
    "q": {
        "tagName": "fieldnumber",
        "receiverSerial": "collectornumber",
        "contactPOC": "tag_contact_poc",
        "contactPI": "tag_contact_pi",
    },
    "u": {"tagName": "fieldnumber", "receiverSerial": "collectornumber"},
    "s": {"tagName": "fieldnumber", "receiverSerial": "collectornumber"},
}


def legacy_frame(extract: pl.DataFrame, extract_type: str) -> pl.DataFrame:
    """A 2.0 extract in its old layout; collection codes lose the node's prefix."""
    names = {name: name.lower() for name in extract.columns} | RENAMED | BY_SIDE[extract_type]
    at = pl.col("datecollected")
    midnight = at.dt.truncate("1d")
    frame = extract.rename({old: new for old, new in names.items() if old in extract.columns}).with_columns(
        timezone=pl.lit("UTC"),
        yearcollected=at.dt.year(),
        monthcollected=at.dt.month(),
        daycollected=at.dt.day(),
        julianday=at.dt.ordinal_day(),
        timeofday=(at - midnight).dt.total_milliseconds() / 3_600_000,
        notes=pl.lit(None, pl.String),
        receiver_group=pl.lit(None, pl.String),
        collectioncode=pl.col("collectioncode").str.split(".").list.last(),
    )
    if "detectedby" in frame.columns:
        frame = frame.with_columns(
            detectedby=pl.col("detectedby").str.split(".").list.last(),
            receiver_group=pl.col("detectedby").str.split(".").list.last(),
        )
    return frame.select(COLUMNS[extract_type])


def write_legacy(settings: Settings, push_date: str, collectioncode: str, out: Path) -> list[Path]:
    """Every extract of a project in a push, in the old layout, as zipped csv; the files written. Safe to repeat."""
    source = push_folder(settings, push_date) / "extracts" / collectioncode
    out.mkdir(parents=True, exist_ok=True)
    written = []
    letters = {word: letter for letter, word in FILE_WORD.items()}
    for path in sorted(source.glob("*.parquet")):
        word = path.stem.split("_detections_")[0].rsplit("_", 1)[-1]
        target = out / f"{path.stem}.zip"
        write_zip(target, {f"{path.stem}.csv": csv_bytes(legacy_frame(pl.read_parquet(path), letters[word]))})
        written.append(target)
    return written
