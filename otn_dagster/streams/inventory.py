"""What OOINet says that there is: instruments and streams, their parameters, global ranges, as tables.

Belongs here: turning OOINet's JSON into tables named as data-vent names them. Does not belong here: calling OOINet.
"""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

TEXT = pl.String


class EmptyInventory(RuntimeError):
    """OOINet listed nothing; the tables stay as they are."""


def m2m_inventory(toc: dict[str, Any]) -> pl.DataFrame:
    """One row for each stream of each instrument: reference_designator, method, stream, count, begin, end."""
    rows = [
        {"reference_designator": instrument["reference_designator"], "platform_code": instrument["platform_code"],
         "mooring_code": instrument["mooring_code"], "instrument_code": instrument["instrument_code"], "stream": stream["stream"],
         "method": stream["method"], "count": stream["count"], "beginTime": stream["beginTime"], "endTime": stream["endTime"]}
        for instrument in toc.get("instruments", [])
        for stream in instrument["streams"]
    ]  # fmt: skip
    if not rows:
        raise EmptyInventory("the table of contents of OOINet lists no instrument; tables are left as they are")
    return pl.DataFrame(rows).sort("reference_designator", "method", "stream")


def streams_and_parameters(
    inventory: pl.DataFrame, row_of: Callable[[str], dict[str, Any]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(one row for each stream, one for each parameter of each stream); ``row_of`` asks for a stream by name."""
    streams, parameters = [], []
    for name in inventory["stream"].unique().sort():
        row = row_of(name)
        streams.append({"stream_id": row["id"], "stream": name, "stream_type": _value(row, "stream_type"),
                        "stream_content": _value(row, "stream_content"), "binsize_minutes": row.get("binsize_minutes")})  # fmt: skip
        parameters += [_parameter(name, p) for p in row.get("parameters", [])]
    columns = {"stream": TEXT, "pid": pl.Int64, "parameter_name": TEXT, "netcdf_name": TEXT, "standard_name": TEXT, "description": TEXT,
               "unit": TEXT, "data_level": TEXT, "data_product_type": TEXT, "data_product_identifier": TEXT}  # fmt: skip
    return pl.DataFrame(streams), pl.DataFrame(parameters, schema=columns)


def _parameter(stream: str, row: dict[str, Any]) -> dict[str, Any]:
    plain = {name: row.get(name) for name in ("netcdf_name", "standard_name", "description", "data_product_identifier")}
    level = row.get("data_level")
    return {"stream": stream, "pid": row["id"], "parameter_name": row["name"], "unit": _value(row, "unit"),
            "data_level": None if level is None else str(level), "data_product_type": _value(row, "data_product_type"), **plain}  # fmt: skip


def _value(row: dict[str, Any], name: str) -> str | None:
    found = row.get(name)
    return found.get("value") if isinstance(found, dict) else found


def global_ranges(paths: Iterable[Path]) -> pl.DataFrame:
    """OOI's global range tables (csv of its qc-lookup), as one table of text."""
    rows = []
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows += list(csv.DictReader(handle))
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame()
