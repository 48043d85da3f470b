"""What a store says of itself: CF and ACDD attributes, units and flags in the words of the standards.

Belongs here: attributes of variables and of the whole. Does not belong here: values.

Sources: CF-1.11, ACDD-1.3, the QARTOD flag scheme; renamings of units as data-vent makes them, because its readers rely on
them.
"""

import datetime as dt
import re
from dataclasses import replace
from typing import Any

from otn_dagster.streams.configuration import Stream
from otn_dagster.streams.layout import Layout, Variable

UNITS = {"ºC": "degree_C", "deg_C": "degree_C", "ºC/s": "degree_C s-1", "": "1"}
QARTOD_VALUES = [1, 2, 3, 4, 9]
QARTOD_MEANINGS = "pass not_evaluated suspect_or_of_high_interest fail missing_data"
# About the source's own processing of one file; untrue of a store made of many. The commits keep them.
OF_ONE_FILE = re.compile(
    r"uuid|requestUUID|history|id|feature_?Type|date_(created|issued|downloaded|processed)|time_coverage_.*|time_chunk.*|coordinates"
    r"|creator_email|contributor_name|contributor_role|acknowledgement"
)


def with_meanings(layout: Layout) -> Layout:
    """The layout with attributes as the standards want them."""
    return replace(layout, variables={name: _meaning(variable) for name, variable in layout.variables.items()})


def _meaning(variable: Variable) -> Variable:
    attributes = {
        k: v for k, v in variable.attributes.items() if k not in ("coordinates", "DIMENSION_LABELS") and v != ""
    }
    if "units" in variable.attributes:
        attributes["units"] = UNITS.get(str(variable.attributes["units"]), str(variable.attributes["units"]))
    if "ancillary_variables" in attributes:
        attributes["ancillary_variables"] = " ".join(str(attributes["ancillary_variables"]).replace(",", " ").split())
    if variable.name.endswith("_qartod_results"):
        attributes |= {"flag_values": QARTOD_VALUES, "flag_meanings": QARTOD_MEANINGS}
    if " since " in str(attributes.get("units", "")):
        attributes.setdefault("standard_name", "time")
    attributes.setdefault("long_name", variable.name.replace("_", " "))
    attributes.setdefault("coverage_content_type", _content_type(variable, attributes))
    return replace(variable, attributes=attributes)


def _content_type(variable: Variable, attributes: dict[str, Any]) -> str:
    """What kind of content it is, in the words of ISO 19115."""
    if "_qartod_" in variable.name or variable.name.endswith(("_qc_executed", "_qc_results")):
        return "qualityInformation"
    if " since " in str(attributes.get("units", "")) or variable.name == "deployment":
        return "referenceInformation"
    return "physicalMeasurement"


def attributes(stream: Stream, layout: Layout) -> dict[str, Any]:
    """Attributes of the whole, as they are after a merge."""
    kept = {k: v for k, v in layout.attributes.items() if not OF_ONE_FILE.fullmatch(k)}
    out = {
        **kept,
        "Conventions": "CF-1.11, ACDD-1.3",
        "id": stream.key,
        "naming_authority": "org.oceanobservatories" if stream.source.kind == "ooinet" else "otn-dagster",
        "title": str(kept.get("title") or f"{stream.stream.name} of {stream.instrument}, {stream.stream.method}"),
        "summary": str(
            kept.get("summary")
            or f"Stream {stream.stream.name} of instrument {stream.instrument}, delivered {stream.stream.method}."
        ),
        "instrument": stream.instrument,
        "keywords": ", ".join(
            sorted(
                {
                    str(v.attributes["standard_name"])
                    for v in layout.variables.values()
                    if v.attributes.get("standard_name")
                }
            )
        ),
        "standard_name_vocabulary": "CF Standard Name Table v85",
        "cdm_data_type": "Station",
        "date_modified": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if isinstance(kept.get("lat"), float) and isinstance(kept.get("lon"), float):
        lat, lon = kept["lat"], kept["lon"]
        out |= {"geospatial_lat_min": lat, "geospatial_lat_max": lat, "geospatial_lon_min": lon, "geospatial_lon_max": lon,
                "geospatial_lat_units": "degrees_north", "geospatial_lon_units": "degrees_east"}  # fmt: skip
    return out
