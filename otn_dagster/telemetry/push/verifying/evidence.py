"""What a check of the verification looks at, and how its rows begin with their project.

Belongs here: what all of them share. Does not belong here: a check.

Each check looks at all projects at once: the catalogue is read once, and cost grows with rows, never with projects times anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, LiteralString

import polars as pl
from psycopg import sql
from psycopg.rows import dict_row

from otn_dagster.config import Settings
from otn_dagster.database import Connection
from otn_dagster.telemetry.checks.registry import Rows
from otn_dagster.telemetry.files import positions
from otn_dagster.telemetry.project_tables import schema_of
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.verifying import promoted
from otn_dagster.telemetry.push.verifying.promoted import Promoted

VERIFIED = "verified_schema"  # the asset that is judged


@dataclass(frozen=True)
class Evidence:
    """The live schemas, and the snapshot across all nodes.

    looked_at: who signed each submission of a kind that the node wants looked at twice, by its key; None where it wants none.
    """

    connection: Connection
    settings: Settings
    shared: Shared
    looked_at: Mapping[str, Sequence[str]] | None = field(default=None)

    @property
    def snapshot(self) -> Snapshot:
        """What was frozen."""
        return self.shared.snapshot

    @cached_property
    def types(self) -> dict[str, str | None]:
        """Every project of the snapshot with its type."""
        return dict(self.snapshot.table("projects").select("collectioncode", "projecttype").iter_rows())

    @cached_property
    def promoted(self) -> Promoted:
        """Promoted detections against accepted ones; counted when it is first asked for."""
        return promoted.count(self.connection, self.settings, self.snapshot)

    def of_schemas(self, query: str) -> Rows:
        """Rows of a query on the catalogue that takes the projects' schemas, and gives the schema as ``project``."""
        codes = {schema_of(code): code for code in self.types}
        with self.connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query, [list(codes)]).fetchall()  # type: ignore[arg-type]
        return [row | {"project": codes[row["project"]]} for row in rows]

    def rows(self, query: LiteralString | sql.Composed, *parameters: Any) -> Rows:
        """Rows of a query on the upper tables, whose first column is ``project``; of the snapshot's projects."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query, parameters or None).fetchall()
        return [row for row in found if row["project"] in self.types]


def of(column: str, frame: pl.DataFrame) -> Rows:
    """Rows with times as times; the column that names the project as ``project``, and first."""
    times = [name for name in frame.columns if name.endswith("_ms")]
    dated = frame.with_columns(pl.from_epoch(name, time_unit="ms") for name in times)
    dated = dated.rename({name: name.removesuffix("_ms") for name in times})
    return dated.select(pl.col(column).alias("project"), pl.exclude(column)).sort("project").to_dicts()


def outside(evidence: Evidence, table: str, name: str) -> Rows:
    """Rows of a table of the snapshot whose position is outside the box of their project. name: the column that names them."""
    boxes = evidence.snapshot.table("projects").select("collectioncode", "westbl", "eastbl", "southbl", "northbl")
    columns = ["collectioncode", name, "latitude", "longitude"]
    joined = evidence.snapshot.table(table).select(columns).drop_nulls().join(boxes.drop_nulls(), on="collectioncode")
    return [
        {"project": code, name: called, "latitude": latitude, "longitude": longitude}
        for code, called, latitude, longitude, *box in joined.sort(columns).iter_rows()
        if not positions.inside((box[0], box[1], box[2], box[3]), latitude, longitude)
    ]
