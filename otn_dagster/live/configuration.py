"""Live datasets are configuration: one yaml each in ``config/live/``, named as the dataset.

Belongs here: what may be set, its default and its meaning. Does not belong here: anything that opens a connection.
"""

import datetime as dt
import json
import re
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from otn_dagster.config import BadConfiguration, Settings, Strict, configuration_folder, explain, read_mapping
from otn_dagster.explained import Unknown
from otn_dagster.live import schema as schemas
from otn_dagster.live.schema import Schema

DATASET_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,47}$")
CRON = re.compile(r"^[0-9A-Za-z*,/#? -]+$")
DETECTION_FIELDS = {"time": "time", "receiver": "text", "transmitter": "text"}


class Limits(Strict):
    """What one push, and one key in a second and in a day, may bring."""

    body_mb: float = Field(default=5, gt=0, le=30)
    records: int = Field(default=10_000, ge=1)
    requests_per_second: float = Field(default=20, gt=0)
    records_per_day: int = Field(default=5_000_000, ge=1)
    mb_per_day: float = Field(default=5_000, gt=0)


class Silence(Strict):
    """After how many minutes without a record somebody is told; ``per`` names ``author`` or fields of the dataset."""

    warn_minutes: float = Field(gt=0)
    fail_minutes: float = Field(gt=0)
    per: list[str] = []
    expected: dict[str, list[str]] = {}

    @model_validator(mode="after")
    def _warn_first(self) -> Self:
        if self.fail_minutes < self.warn_minutes:
            raise ValueError("fail_minutes must not be less than warn_minutes")
        return self


class RemoteSource(Strict):
    """A file elsewhere that is fetched on its schedules when it has changed."""

    url: str = Field(pattern=r"^(https?|ftp)://")
    format: Literal["csv", "json", "ndjson", "xlsx", "parquet"] | None = None
    schedules: list[str] = Field(min_length=1)
    time_zone: str = "UTC"
    replace: bool = False
    most_mb: float = Field(default=240, gt=0)
    sheet: str | None = None
    separator: str = ","
    most_records: int = Field(default=5_000_000, ge=1)
    headers_from_environment: dict[str, str] = {}
    user_from_environment: str | None = None
    password_from_environment: str | None = None

    @field_validator("schedules")
    @classmethod
    def _are_cron(cls, lines: list[str]) -> list[str]:
        for line in lines:
            if len(line.split()) != 5 or not CRON.match(line):
                raise ValueError(f"found {line!r}, expected the five parts of cron like '30 14 * * WED'")
        return lines

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in zoneinfo.available_timezones():
            raise ValueError(f"{name!r} is no time zone, expected a name like America/Halifax")
        return name

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        if "@" in url.split("/")[2]:
            raise ValueError("user and password do not belong into the URL; name environment variables that hold them")
        return url

    @property
    def kind(self) -> str:
        """Its format, by its name where none is set."""
        if self.format:
            return self.format
        ending = self.url.split("?")[0].rsplit(".", 1)[-1].lower()
        return {"csv": "csv", "json": "json", "jsonl": "ndjson", "ndjson": "ndjson", "xlsx": "xlsx"}.get(
            ending, "parquet" if ending in ("parquet", "pq") else "csv"
        )


class Opendatasoft(Strict):
    """Whether clients of Opendatasoft's push API are served; their keys stand in the URL."""

    enabled: bool = False
    delete_by_get: bool = False


class Erddap(Strict):
    """Whether clients of ERDDAP's EDDTableFromHttpGet are served."""

    enabled: bool = False


class Dataset(Strict):
    """One live dataset."""

    name: str
    title: str = ""
    kind: Literal["records", "detections"] = "records"
    node: str | None = None
    collectioncode: str | None = None
    key: list[str] = []
    example: dict[str, Any] = {}
    fields: dict[str, str | dict[str, Any]] = {}
    unknown_fields: Literal["forbid", "ignore", "keep"] = "forbid"
    time_field: str | None = None
    mode: Literal["atomic", "partial"] = "atomic"
    enabled: bool = True
    published: bool = True
    read: Literal["key", "everyone"] = "key"
    most_removed_percent: float = Field(default=20, ge=0, le=100)
    limits: Limits = Limits()
    silence: Silence | None = None
    source: RemoteSource | None = None
    opendatasoft: Opendatasoft = Opendatasoft()
    erddap: Erddap = Erddap()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not DATASET_NAME.match(self.name):
            raise ValueError(
                f"the dataset is named {self.name!r}, expected small letters, digits, - and _ (at most 48), a letter first"
            )
        made = self.schema_
        if self.time_field and (self.time_field not in made.fields or made.fields[self.time_field].type != "time"):
            raise ValueError(f"time_field is {self.time_field!r}, expected a field of type time")
        if self.kind == "detections":
            self._can_be_loaded(made)
        for name in (self.silence.per if self.silence else []) + list(self.silence.expected if self.silence else []):
            if name != "author" and name not in made.fields:
                raise ValueError(f"silence names {name!r}, which is neither author nor a field")
        return self

    def _can_be_loaded(self, made: Schema) -> None:
        if not (self.node and self.collectioncode):
            raise ValueError("a dataset of kind detections needs node and collectioncode")
        for name, kind in DETECTION_FIELDS.items():
            if name not in made.fields or made.fields[name].type != kind:
                raise ValueError(f"a dataset of kind detections needs a field {name} of type {kind}")

    @property
    def schema_(self) -> Schema:
        """Its schema, declared or taken from the example; raises ValueError."""
        return schemas.make(self.example, self.fields, self.key, self.unknown_fields)

    @property
    def time(self) -> str | None:
        """The field of time by which one reads: as configured, or the first of that type."""
        return self.time_field or next((n for n, f in self.schema_.fields.items() if f.type == "time"), None)


@dataclass(frozen=True)
class LiveDatasets:
    """All datasets whose files can be used, and what is wrong with the others: one bad file stops only its dataset."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # by the name of the dataset

    def dataset(self, name: str) -> Dataset:
        """The dataset of this name; KeyError says where it would be."""
        if name not in self.datasets:
            why = self.problems.get(name, f"there is no config/live/{name}.yaml")
            raise Unknown(f"live dataset {name!r}: {why}")
        return self.datasets[name]


def live_folder() -> Path:
    """Where the datasets' files are."""
    return configuration_folder() / "live"


def load_live(folder: Path | None = None) -> LiveDatasets:
    """Read ``config/live/*.yaml``; never raises: what cannot be used is named in ``problems``."""
    datasets: dict[str, Dataset] = {}
    problems: dict[str, str] = {}
    for path in sorted((folder or live_folder()).glob("*.yaml")):
        try:
            datasets[path.stem] = read_dataset(path)
        except BadConfiguration as error:
            problems[path.stem] = str(error)
    return LiveDatasets(datasets, problems)


def read_dataset(path: Path) -> Dataset:
    """One dataset; raises BadConfiguration naming file, key, found and expected."""
    try:
        return Dataset(**{**read_mapping(path), "name": path.stem})
    except ValidationError as error:
        raise BadConfiguration(explain(path, error)) from error


def stamp_of(folder: Path | None = None) -> tuple[tuple[str, int, int], ...]:
    """What changes when any dataset's file does."""
    found = sorted((folder or live_folder()).glob("*.yaml"))
    stats = [(path.name, path.stat()) for path in found if path.exists()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def write_dataset(name: str, example: str, key: list[str], title: str = "") -> Path:
    """Write ``config/live/<name>.yaml`` from an example record; raises BadConfiguration.

    Never overwrites: a dataset that exists is edited by hand, under review.
    """
    path = live_folder() / f"{name}.yaml"
    try:
        record = json.loads(example)
        dataset = Dataset(name=name, title=title, example=record, key=key)
    except (ValueError, TypeError) as error:
        text = explain(path, error) if isinstance(error, ValidationError) else f"the example is not JSON: {error}"
        raise BadConfiguration(text) from error
    fields = {name: _written(field) for name, field in dataset.schema_.fields.items()}
    settings = {"title": title or name, "key": key, "fields": fields, "unknown_fields": dataset.unknown_fields}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True, width=120)
    except FileExistsError:
        raise BadConfiguration(f"{path} exists; edit it, or choose another name") from None
    return path


def _written(field: schemas.Field) -> str | dict[str, Any]:
    return field.type if not field.required else {"type": field.type, "required": True}


def live_data(settings: Settings) -> Path:
    """Where files that came in records, and fetched files, are kept."""
    return settings.data / "live"


def minutes(value: float) -> dt.timedelta:
    """A duration."""
    return dt.timedelta(minutes=value)
