"""The small tables of a snapshot: which there are, and the types of their columns.

Belongs here: one ``Table`` for each. Does not belong here: what they select (``sql/<name>.sql``), freezing (``snapshot.py``).
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import polars as pl

TEXT, REAL, KEY, TIME = pl.String, pl.Float64, pl.Int32, pl.Int64


@dataclass(frozen=True)
class Table:
    """One table. ``extends``: its query takes by how many months each node extends the end of a tag, as JSON by node."""

    name: str
    schema: dict[str, Any]
    extends: bool = False

    @property
    def query(self) -> str:
        """What it selects, in the order of its columns."""
        return files(__package__).joinpath("sql", f"{self.name}.sql").read_text(encoding="utf-8")


TABLES = [
    Table("receivers", {"receiver_key": KEY, "rcv_serial_no": TEXT}),
    Table("transmitters", {"transmitter_key": KEY, "transmitter": TEXT}),
    Table(
        "tags",
        {
            "tag_key": KEY,
            "animal_key": KEY,
            "transmitter_key": KEY,
            "transmitter": TEXT,
            "trackercode": TEXT,
            "tracker_key": pl.Int16,
            "catalognumber": TEXT,
            "release_ms": TIME,
            "end_ms": TIME,
            "last_ms": TIME,
            "modified_day": KEY,
            "serialnumber": TEXT,
            "tag_model": TEXT,
            "scientificname": TEXT,
            "commonname": TEXT,
            "release_location": TEXT,
            "release_latitude": REAL,
            "release_longitude": REAL,
            "stock": TEXT,
            "wild_ind": TEXT,
            "length": REAL,
            "lengthtype": TEXT,
            "weight": REAL,
            "lifestage": TEXT,
            "age": REAL,
            "sex": TEXT,
            "collector": TEXT,
            "window_code": TEXT,
        },
        extends=True,
    ),
    Table(
        "animals",
        {
            "animal_key": KEY,
            "collectioncode": TEXT,
            "catalognumber": TEXT,
            "scientificname": TEXT,
            "commonname": TEXT,
            "release_ms": TIME,
            "latitude": REAL,
            "longitude": REAL,
            "stock": TEXT,
            "wild_ind": TEXT,
            "length": REAL,
            "lengthtype": TEXT,
            "weight": REAL,
            "lifestage": TEXT,
            "age": REAL,
            "sex": TEXT,
        },
    ),
    Table(
        "station_tags",
        {
            "mooring_key": KEY,
            "transmitter_key": KEY,
            "transmitter": TEXT,
            "collectioncode": TEXT,
            "station": TEXT,
            "start_ms": TIME,
            "end_ms": TIME,
        },
    ),
    Table(
        "projects",
        {
            "project_key": pl.Int16,
            **dict.fromkeys(
                [
                    "collectioncode",
                    "node",
                    "projecttype",
                    "resource_full_name",
                    "abstract",
                    "citation",
                    "website",
                    "institutioncode",
                    "local_area",
                    "locality",
                    "ocean",
                    "country",
                    "state",
                    "seriescode",
                    "shortname",
                    "longname",
                    "collaborationtype",
                    "status",
                ],
                TEXT,
            ),
            **dict.fromkeys(["westbl", "eastbl", "southbl", "northbl"], REAL),
            "sdate": TEXT,
            "edate": TEXT,
            "modified_day": KEY,
        },
    ),
    Table(
        "contacts",
        {
            "collectioncode": TEXT,
            "name": TEXT,
            "email": TEXT,
            "affiliation": TEXT,
            "role": TEXT,
            "point_of_contact": KEY,
        },
    ),
    Table("repeated", {"project": TEXT, "rcv_serial_no": TEXT, "also_in": TEXT, "detections": TIME}),
    Table("overrides", {"action": TEXT, "subject": TEXT, "decided_by": TEXT, "decided_why": TEXT}),
    Table(
        "sensor_specs",
        {"transmitter": TEXT, "sensor_type": TEXT, "sensor_unit": TEXT, "slope": REAL, "intercept": REAL},
    ),
    Table(
        "findings",
        {
            "submission_no": KEY,
            **dict.fromkeys(["collectioncode", "kind", "file_name", "code"], TEXT),
            "severity": KEY,
            **dict.fromkeys(["column_name", "found", "expected", "remedy", "first_rows"], TEXT),
            "row_count": TIME,
        },
    ),
    Table(
        "submissions",
        {
            "submission_no": KEY,
            **dict.fromkeys(["submission_key", "node", "collectioncode", "kind", "sha256", "state"], TEXT),
            **dict.fromkeys(["raw_rows", "loaded_rows", "duplicate_rows", "refused_rows", "waiting_rows"], TIME),
        },
    ),
]
