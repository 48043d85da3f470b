"""What there is to read: STAC, an intake catalog, an index and statistics, of all stores.

Belongs here: documents about stores. Does not belong here: the stores.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from otn_dagster.config import Settings
from otn_dagster.late import late
from otn_dagster.streams import arrays, configuration, tables, timeaxis
from otn_dagster.streams.configuration import StreamSettings
from otn_dagster.streams.published import Published, published
from otn_dagster.streams.refresh import span
from otn_dagster.streams.store import Commit, StreamStore

if TYPE_CHECKING:
    import pystac
else:
    pystac = late("pystac")


@dataclass(frozen=True)
class Entry:
    """One stream as catalogs show it."""

    key: str
    store_url: str
    zarr_url: str | None
    commit: Commit
    published: Published | None
    attributes: dict[str, Any]
    variables: dict[str, dict[str, Any]]
    first: int
    last: int
    bytes: int


def entry(key: str, store: StreamStore, zarr_url: str | None, published: Published | None) -> Entry | None:
    """A stream's entry; None while it has no data."""
    head = store.head() if store.exists() else None
    if head is None:
        return None
    group = store.read(head.snapshot)
    first, last = span(group)
    variables = {
        name: {
            "dtype": v.dtype,
            "dimensions": ["time", *v.dims],
            "units": str(v.attributes.get("units", "")),
            "long_name": str(v.attributes.get("long_name", "")),
        }
        for name, v in arrays.layout_of(group).variables.items()
    }
    return Entry(
        key,
        store.location.url,
        zarr_url,
        head,
        published,
        dict(group.attrs),
        variables,
        first,
        last,
        store.bytes_stored(),
    )


def stac(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """STAC documents by path: a catalog, and a collection for each stream with its store and view as assets."""
    catalog = pystac.Catalog("streams", "Ocean streams of this node", "Ocean streams")
    for one in entries:
        catalog.add_child(_collection(one))
    catalog.catalog_type = pystac.CatalogType.SELF_CONTAINED  # links are relative, so that the folder can be moved
    catalog.normalize_hrefs("/streams")
    documents = {"catalog.json": catalog.to_dict(include_self_link=False)}
    for child in catalog.get_children():
        documents[f"{child.id}/collection.json"] = child.to_dict(include_self_link=False)
    return documents


def _collection(one: Entry) -> pystac.Collection:
    lat, lon = one.attributes.get("lat"), one.attributes.get("lon")
    box: Any = (
        [lon, lat, lon, lat] if isinstance(lat, int | float) and isinstance(lon, int | float) else [-180, -90, 180, 90]
    )
    extent = pystac.Extent(
        pystac.SpatialExtent([box]), pystac.TemporalExtent([[timeaxis.instant(one.first), timeaxis.instant(one.last)]])
    )  # type: ignore[arg-type]
    extra = {
        "rows": one.commit.rows,
        "cube:variables": {
            name: {"type": "data", "dimensions": v["dimensions"], "unit": v["units"]}
            for name, v in one.variables.items()
        },
    }
    collection = pystac.Collection(
        one.key,
        str(one.attributes.get("summary", one.key)),
        extent,
        str(one.attributes.get("title", one.key)),
        extra_fields=extra,
    )
    collection.license = "other"
    collection.add_asset(
        "icechunk",
        pystac.Asset(one.store_url, "Record, with history", extra_fields={"icechunk:snapshot_id": one.commit.snapshot}),
    )
    if one.zarr_url and one.published:
        fields = {
            "xarray:open_kwargs": {"engine": "zarr", "consolidated": True},
            "commit": one.published.commit,
            "published": one.published.at,
        }
        collection.add_asset(
            "zarr",
            pystac.Asset(
                one.zarr_url, "Plain zarr v3", media_type="application/vnd+zarr; version=3", extra_fields=fields
            ),
        )
    return collection


def intake(entries: list[Entry]) -> str:
    """An intake catalog of the plain zarr views."""
    sources = {
        one.key: {
            "driver": "zarr",
            "description": str(one.attributes.get("title", one.key)),
            "args": {"urlpath": one.zarr_url, "consolidated": True},
            "metadata": {"data_products": sorted(one.variables), "commit": one.published.commit},
        }
        for one in entries
        if one.zarr_url and one.published
    }
    return yaml.safe_dump(
        {"metadata": {"version": 1}, "plugins": {"source": [{"module": "intake_xarray"}]}, "sources": sources},
        sort_keys=True,
    )


def index(entries: list[Entry]) -> dict[str, Any]:
    """Every store with its versions and where to read it."""
    return {
        one.key: {
            "store": one.store_url,
            "snapshot": one.commit.snapshot,
            "zarr": one.zarr_url,
            "published": one.published.commit if one.published else None,
        }
        for one in entries
    }


def stats(entries: list[Entry], now: dt.datetime) -> dict[str, Any]:
    """Rows, bytes, range of time and variables of every store."""
    streams = {
        one.key: {
            "rows": one.commit.rows,
            "bytes": one.bytes,
            "start": timeaxis.text(one.first),
            "end": timeaxis.text(one.last),
            "variables": sorted(one.variables),
        }
        for one in entries
    }
    return {
        "at": now.isoformat(timespec="seconds"),
        "streams": streams,
        "rows": sum(one.commit.rows for one in entries),
        "bytes": sum(one.bytes for one in entries),
    }


def write(settings: Settings, streams: StreamSettings, folder: Path, now: dt.datetime) -> dict[str, Any]:
    """STAC, intake, index and statistics of the newest version of every store; the statistics. Safe to repeat."""
    entries = []
    for key, stream in sorted(streams.streams.items()):
        store = StreamStore(configuration.store_location(settings, streams, key))
        view = configuration.published_location(settings, streams, key)
        shown = published(view) if stream.publish else None
        one = entry(key, store, view.url if stream.publish else None, shown)
        entries += [one] if one else []
    for path, document in stac(entries).items():
        tables.write_document(document, folder / path)
    tables.write_document(intake(entries), folder / "catalog.yaml")
    tables.write_document(index(entries), folder / "index.json")
    found = stats(entries, now)
    tables.write_document(found, folder / "stats.json")
    return found
