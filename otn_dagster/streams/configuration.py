"""Streams are configuration: one yaml each in ``config/streams/``, and what they share in ``config/streams.yaml``.

Belongs here: what may be set, its default and its meaning. Does not belong here: anything that opens a connection.

The yaml files of the Regional Cabled Array's data-vent load unchanged, ``assigness`` included; its keys that have no meaning
here (``labels``, ``workflow_config``, most of ``harvest_options``) are read and left alone. A key that neither knows is
refused: a misspelt setting must not be a setting that is silently off.

Environment: ``OTN_STREAMS_URL`` (stores), ``OTN_PUBLISHED_URL`` (plain zarr), ``AWS_ENDPOINT_URL``, ``OOINET_URL``,
``OOI_USERNAME`` and ``OOI_TOKEN``.
"""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from otn_dagster.config import BadConfiguration, Settings, Strict, configuration_folder, explain, read_mapping
from otn_dagster.explained import Unknown
from otn_dagster.streams.location import Location

REFDES = re.compile(r"^[A-Z0-9]{2,8}(-[A-Za-z0-9]+){1,4}$")


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class StreamName(Strict):
    """Delivery method and name of a stream."""

    method: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")


class CustomRange(_Lenient):
    """The only part of time that a refresh asks for."""

    start: str
    end: str


class HarvestOptions(_Lenient):
    """data-vent's options; those that have no meaning here are left alone."""

    goldcopy: bool = False
    custom_range: CustomRange | None = None


class Source(Strict):
    """Where a stream comes from."""

    kind: Literal["ooinet", "erddap", "folder"] = "ooinet"
    url: str | None = None
    dataset: str | None = None
    pattern: str = "*.nc"


class Tolerances(Strict):
    """How much a new version may lack before it is refused."""

    least_share_of_announced: float = Field(default=0.98, ge=0, le=1)
    least_share_of_before: float = Field(default=0.999, ge=0, le=1)


class Stream(Strict):
    """One stream: an instrument's data of one kind, by one delivery method."""

    instrument: str
    stream: StreamName
    assigness: list[Any] = []
    assignees: list[Any] = []
    labels: list[Any] = []
    harvest_options: HarvestOptions = HarvestOptions()
    workflow_config: dict[str, Any] = {}
    enabled: bool = True
    source: Source = Source()
    publish: bool = True
    machine: str = "2vcpu_16gb"
    refresh_machine: str | None = None
    refresh_window_days: int = Field(default=366, ge=1)
    parts_at_once: int = Field(default=4, ge=1)
    expires_hours: float = Field(default=48, gt=0)
    most_attempts: int = Field(default=3, ge=1)
    most_windows_asked_again: int = Field(default=3, ge=0)
    padded: dict[str, int] = {}
    tolerances: Tolerances = Tolerances()
    sampling_seconds: float | None = Field(default=None, gt=0)
    qc: dict[str, dict[str, dict[str, Any]]] = {}
    ocean_variables: list[str] = []
    spread: Literal["none", "dask"] = "none"
    dask_scheduler: str | None = None
    silent_after_hours: float = Field(default=48, gt=0)

    @property
    def key(self) -> str:
        """Its name everywhere: partition, folder, URL."""
        return f"{self.instrument}-{self.stream.method}-{self.stream.name}"

    @property
    def machine_of_refresh(self) -> str:
        """The size of machine that a refresh needs."""
        return self.refresh_machine or self.machine


class Place(Strict):
    """Where stores lie; without a URL, a folder under the data root."""

    url: str | None = None
    region: str | None = None
    endpoint: str | None = None
    anonymous: bool = False


class Retention(Strict):
    """How long versions and answers are kept."""

    versions_days: float = Field(default=30, gt=0)
    grace_days: float = Field(default=7, ge=0)
    answers_days: float = Field(default=7, ge=0)


class StreamSettings(Strict):
    """Contents of ``config/streams.yaml`` and all streams."""

    store: Place = Place()
    published: Place = Place()
    retention: Retention = Retention()
    ooinet_url: str = "https://ooinet.oceanobservatories.org/api/m2m"
    machines: dict[str, dict[str, int]] = {}
    ocean_distance_km: float = Field(default=50, gt=0)
    ocean_hours: float = Field(default=6, gt=0)
    qartod_tables: str | None = None
    streams: dict[str, Stream] = {}

    def stream(self, key: str) -> Stream:
        """The stream of this name; KeyError says where it would be."""
        if key not in self.streams:
            raise Unknown(f"stream {key!r} is in no file of config/streams/ (known: {len(self.streams)} streams)")
        return self.streams[key]


def load_streams(folder: Path | None = None) -> StreamSettings:
    """Read ``config/streams.yaml`` and ``config/streams/**/*.yaml``; raises BadConfiguration naming file and key."""
    folder = folder or configuration_folder()
    shared_file = folder / "streams.yaml"
    shared = read_mapping(shared_file) if shared_file.exists() else {}
    defaults, by_stream_name = shared.pop("defaults", {}), shared.pop("by_stream_name", {})
    streams: dict[str, Stream] = {}
    origin: dict[str, Path] = {}
    for path in sorted((folder / "streams").glob("**/*.yaml")):
        stream = _read(path, defaults, by_stream_name)
        if stream.key in streams:
            raise BadConfiguration(f"{path} and {origin[stream.key]} both describe {stream.key}; keep one")
        streams[stream.key], origin[stream.key] = stream, path
    try:
        settings = StreamSettings(**shared, streams=streams)
    except ValidationError as error:
        raise BadConfiguration(explain(shared_file, error)) from error
    url = os.environ.get("OOINET_URL")
    return settings.model_copy(update={"ooinet_url": url}) if url else settings


def _read(path: Path, defaults: dict[str, Any], by_stream_name: dict[str, dict[str, Any]]) -> Stream:
    written = read_mapping(path)
    name = (written.get("stream") or {}).get("name", "") if isinstance(written.get("stream"), dict) else ""
    try:
        stream = Stream(**{**defaults, **by_stream_name.get(name, {}), **written})
    except ValidationError as error:
        raise BadConfiguration(explain(path, error)) from error
    if not REFDES.match(stream.instrument):
        raise BadConfiguration(
            f"{path}: instrument is {stream.instrument!r}, expected a reference designator such as CE04OSPS-SF01B-4F-PCO2WA102"
        )
    return stream


def stores(settings: Settings, streams: StreamSettings) -> Location:
    """Where all stores lie."""
    return _location(streams.store, "OTN_STREAMS_URL", settings.data / "streams" / "stores")


def store_location(settings: Settings, streams: StreamSettings, key: str) -> Location:
    """Where the store of a stream lies."""
    return stores(settings, streams).below(key)


def qc_location(settings: Settings, streams: StreamSettings, key: str) -> Location:
    """Where the QC flags of a stream lie."""
    return stores(settings, streams).below(f"{key}.qc")


def published_location(settings: Settings, streams: StreamSettings, key: str) -> Location:
    """Where the plain zarr view of a stream lies."""
    return _location(streams.published, "OTN_PUBLISHED_URL", settings.data / "streams" / "published").below(key)


def answers_folder(settings: Settings, key: str) -> Path:
    """Where the files of answers are kept until what was made of them is published."""
    return settings.data / "streams" / "answers" / key


def described_folder(settings: Settings) -> Path:
    """Where tables about streams lie: annotations, metadata, catalog, gaps."""
    return settings.data / "streams" / "described"


def machine_tags(streams: StreamSettings, machine: str) -> dict[str, Any]:
    """Run tags that Kubernetes and ECS launchers read; an unknown size has none."""
    size = streams.machines.get(machine)
    if not size:
        return {}
    cpu, memory = size["cpu"], size["memory"]
    resources = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}
    return {
        "otn/machine": machine,
        "ecs/cpu": str(cpu * 1024 // 1000),
        "ecs/memory": str(memory),
        "dagster-k8s/config": {"container_config": {"resources": {"requests": resources, "limits": resources}}},
    }


def run_tags(streams: StreamSettings, key: str, refresh: bool = False) -> dict[str, Any]:
    """Run tags of a stream: its name, and the size of machine that it needs, for run launchers."""
    stream = streams.stream(key)
    return {"otn/stream": key, **machine_tags(streams, stream.machine_of_refresh if refresh else stream.machine)}


def hours(value: float) -> dt.timedelta:
    """A duration."""
    return dt.timedelta(hours=value)


def _location(place: Place, variable: str, folder: Path) -> Location:
    url = os.environ.get(variable) or place.url or str(folder)
    return Location(url, place.region, os.environ.get("AWS_ENDPOINT_URL") or place.endpoint, place.anonymous)
