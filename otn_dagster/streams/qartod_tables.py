"""OOI's own tables of QARTOD limits, as its qc-lookup repository keeps them.

Belongs here: reading ``<class>_qartod_<test>_values.csv`` and the climatology tables beside them. Does not belong here:
running tests (``qartod.py``).

Columns: subsite, node, sensor, stream, parameters (a literal with ``inp``), qcConfig (a literal) or climatologyTable (a path
to monthly ranges by depth). A flat line whose thresholds are 0 is one that was not set.
"""

import ast
import csv
import json
from pathlib import Path
from typing import Any

from otn_dagster.streams.configuration import Stream, StreamSettings
from otn_dagster.streams.qartod import BadLimits, Limits


def limits_of(folder: Path, refdes: str, stream: str) -> dict[str, Limits]:
    """Limits by variable and test for a stream; raises BadLimits naming file and line."""
    site, node, sensor = refdes.split("-", 2)
    found: dict[str, Limits] = {}
    for path in sorted(folder.glob("**/*_qartod_*_values.csv")):
        with path.open(encoding="utf-8-sig", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle), start=2):
                if (row["subsite"], row["node"], row["sensor"], row["stream"]) != (site, node, sensor, stream):
                    continue
                variable, limits = _limits(path, number, row)
                found.setdefault(variable, {}).update(limits)
    return found


def _limits(path: Path, number: int, row: dict[str, str]) -> tuple[str, Limits]:
    parameters = _literal(path, number, "parameters", row["parameters"])
    if row.get("climatologyTable"):
        return parameters["inp"], {"climatology_test": {"config": _climatology(path.parent / row["climatologyTable"])}}
    config = _literal(path, number, "qcConfig", row["qcConfig"])["qartod"]
    flat = config.get("flat_line_test")
    if flat and not flat.get("suspect_threshold"):
        config = {name: settings for name, settings in config.items() if name != "flat_line_test"}
    return parameters["inp"], config


def _literal(path: Path, number: int, column: str, text: str) -> dict[str, Any]:
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, dict):
            return value
    raise BadLimits(
        f"{path.name}, row {number}, column {column}: found {text!r}, expected a literal such as {{'inp': 'temperature'}}"
    )


def _climatology(path: Path) -> list[dict[str, Any]]:
    """Monthly ranges; the depths of fixed instruments are one bin, written [0, 0]."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        header, *rows = csv.reader(handle)
    months = [json.loads(text) for text in header[1:]]
    if len(rows) != 1 or json.loads(rows[0][0]) != [0, 0]:
        raise BadLimits(
            f"{path.name}: found {len(rows)} bins of depth, expected the one bin [0, 0] of a fixed instrument"
        )
    return [
        {"tspan": month, "vspan": json.loads(span), "period": "month"}
        for month, span in zip(months, rows[0][1:], strict=True)
    ]


def limits_for(shared: StreamSettings, stream: Stream) -> dict[str, Limits]:
    """Limits of a stream: OOI's tables where they are configured, and over them what its own file says."""
    limits = (
        limits_of(Path(shared.qartod_tables), stream.instrument, stream.stream.name) if shared.qartod_tables else {}
    )
    for variable, tests in stream.qc.items():
        limits[variable] = {**limits.get(variable, {}), **tests}
    return limits
