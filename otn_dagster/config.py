"""Typed settings of a node, read from ``config/*.yaml`` and the environment.

Belongs here: what a person who runs a node may set, with its default and its meaning.
Does not belong here: anything that opens a connection or a file of data.

Environment: ``OTN_DATA`` (data root, default ``./data``), ``OTN_DATABASE_URL`` (any PostgreSQL; without it an
embedded server is started), ``OTN_CONFIG`` (folder of the yaml files, default ``config/`` of the project).
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class BadConfiguration(ValueError):
    """A configuration file that cannot be used: names file, key, what was found and what was expected."""


class Strict(BaseModel):
    """A block of configuration: a key that it does not know is refused, so that no misspelt setting is silently off."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_SAFE = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the same language, ten times as fast: every step reads its settings


def configuration_folder() -> Path:
    """Where the yaml files are."""
    return Path(os.environ.get("OTN_CONFIG") or PROJECT_ROOT / "config")


def read_mapping(path: Path) -> dict[str, Any]:
    """A yaml file that holds a mapping, without its empty entries; raises BadConfiguration."""
    try:
        written = yaml.load(path.read_text(encoding="utf-8"), Loader=_SAFE)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: not yaml: {error}") from error
    if not isinstance(written, dict):
        raise BadConfiguration(f"{path}: found {type(written).__name__}, expected a mapping of settings")
    return {key: value for key, value in written.items() if value is not None}


def explain(path: Path, error: ValidationError) -> str:
    """What is wrong with a file: each key, what was found, what was expected."""
    lines = [f"{'.'.join(str(p) for p in e['loc'])}: found {e['input']!r}, {e['msg'].lower()}" for e in error.errors()]
    return f"{path}: " + "; ".join(lines)


class Node(Strict):
    """One node of the network: where its projects belong and which of its policies differ."""

    code: str = Field(pattern=r"^[A-Z][A-Z0-9]{1,15}$")
    name: str
    time_zone: str
    publish_stations: bool = True
    months_to_extend_enddate: int = Field(default=3, ge=0, le=120)
    max_clock_drift_seconds_per_day: float = Field(default=10, gt=0)
    receives: list[
        Literal["ETN detections", "IMOS detections"]
    ] = []  # extracts of other networks that this node loads as detections


class PushRule(Strict):
    """The rule that fills the calendar where no date was announced."""

    weekday: str
    nth: int = Field(ge=1, le=4)
    months: list[int]
    first_year: int


class AnnouncedPush(Strict):
    """A push date that the network announced, with where it was read."""

    date: str
    source: str


class PushCalendarSettings(Strict):
    """Contents of ``config/pushes.yaml``."""

    rule: PushRule
    announced: list[AnnouncedPush]


class Settings(Strict):
    """Everything a process needs to know before it touches data."""

    data: Path
    database_url: str | None
    nodes: list[Node]
    pushes: PushCalendarSettings

    @model_validator(mode="after")
    def _nodes_are_unique(self) -> Self:
        codes = [node.code for node in self.nodes]
        if len(set(codes)) != len(codes):
            raise ValueError(f"config/nodes.yaml names a node twice: {codes}")
        return self

    def node(self, code: str) -> Node:
        """The node with this code; KeyError names the ones that exist."""
        for node in self.nodes:
            if node.code == code:
                return node
        raise KeyError(f"node {code!r} is not in config/nodes.yaml (known: {[n.code for n in self.nodes]})")

    @property
    def incoming(self) -> Path:
        """Where people drop files: ``incoming/<node>/<collection>/<kind>/``."""
        return self.data / "incoming"

    @property
    def submissions(self) -> Path:
        """Where each received file is kept unchanged, with the Parquet file made from it."""
        return self.data / "submissions"

    @property
    def pushes_folder(self) -> Path:
        """Where each push keeps its snapshot and its products: ``pushes/<date>/``."""
        return self.data / "pushes"


def load_settings() -> Settings:
    """Read ``config/*.yaml`` and the environment; raises ValueError naming what is wrong."""
    folder = configuration_folder()
    nodes_file = read_mapping(folder / "nodes.yaml")
    defaults = nodes_file.get("defaults") or {}
    pushes = read_mapping(folder / "pushes.yaml")
    announced = [AnnouncedPush(**{**entry, "date": str(entry["date"])}) for entry in pushes["announced"]]
    return Settings(
        data=Path(os.environ.get("OTN_DATA") or "data").expanduser().resolve(),
        database_url=os.environ.get("OTN_DATABASE_URL") or None,
        nodes=[Node(**{**defaults, **entry}) for entry in nodes_file["nodes"]],
        pushes=PushCalendarSettings(rule=pushes["rule"], announced=announced),
    )
