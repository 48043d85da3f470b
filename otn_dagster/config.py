"""Typed settings of a node, read from ``config/*.yaml`` and the environment.

Belongs here: what a person who runs a node may set, with its default and its meaning.
Does not belong here: anything that opens a connection or a file of data.

Environment: ``OTN_DATA`` (data root, default ``./data``), ``OTN_DATABASE_URL`` (any PostgreSQL; without it an
embedded server is started), ``OTN_HOME`` (folder of the node, default the current one), ``OTN_CONFIG`` (folder of the yaml files,
default ``config/`` of the node), ``OTN_LOOK_SECONDS`` (how often sensors look, default 30: sooner costs CPU while nothing happens).
"""

import datetime as dt
import os
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from otn_dagster.explained import Explained, Unknown

PROJECT_ROOT = Path(__file__).resolve().parent.parent
_BESIDE = Path(__file__).resolve().parent / "beside"  # in a wheel: what stands beside the package in a checkout


class BadConfiguration(Explained, ValueError):
    """A configuration file that cannot be used: names file, key, what was found and what was expected."""


class Strict(BaseModel):
    """A block of configuration: a key that it does not know is refused, so that no misspelt setting is silently off."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_SAFE = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the same language, ten times as fast: every step reads its settings


def shipped() -> Path:
    """Where ``config/``, ``dagster.yaml``, ``workspace.yaml``, ``assets/`` and ``sensors/`` are as they were shipped."""
    return _BESIDE if _BESIDE.is_dir() else PROJECT_ROOT


def home() -> Path:
    """The folder of this node, with its ``config/``, ``dagster.yaml`` and ``workspace.yaml``.

    ``OTN_HOME``; or the first of the current folder and those above it that has them; or the checkout. Raises BadConfiguration.
    """
    if os.environ.get("OTN_HOME"):
        return Path(os.environ["OTN_HOME"]).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "config" / "nodes.yaml").is_file() and (folder / "workspace.yaml").is_file():
            return folder
    if shipped() == PROJECT_ROOT:
        return PROJECT_ROOT
    raise BadConfiguration(f"{here} is not the folder of a node; `otn-dagster init` makes one, or set OTN_HOME")


def configuration_folder() -> Path:
    """Where the yaml files are."""
    return Path(os.environ["OTN_CONFIG"]) if os.environ.get("OTN_CONFIG") else home() / "config"


def read_mapping(path: Path) -> dict[str, Any]:
    """A yaml file that holds a mapping, without its empty entries; raises BadConfiguration."""
    if not path.exists():
        raise BadConfiguration(f"{path} is not there; `otn-dagster init` writes a configuration with comments")
    try:
        written = yaml.load(path.read_text(encoding="utf-8"), Loader=_SAFE)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: not yaml: {error}") from error
    if not isinstance(written, dict):
        raise BadConfiguration(f"{path}: found {type(written).__name__}, expected a mapping of settings")
    return {key: value for key, value in written.items() if value is not None}


def explain(path: Path, error: ValidationError) -> str:
    """What is wrong with a file: each key, what was found, what was expected."""
    lines = []
    for problem in error.errors():
        says = problem["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in problem["loc"])
        lines.append(f"{where}: found {problem['input']!r}, {says[:1].lower()}{says[1:]}")
    return f"{path}: " + "; ".join(lines)


class Node(Strict):
    """One node of the network: where its projects belong and which of its policies differ."""

    code: str = Field(pattern=r"^[A-Z][A-Z0-9]{1,15}$")
    name: str
    time_zone: str
    publish_stations: bool = True

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("expected a time zone like America/Halifax or UTC") from None
        return value

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

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    source: str

    @field_validator("date", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return value.isoformat() if isinstance(value, dt.date) else value  # yaml reads 2026-02-19 as a date


class PushCalendarSettings(Strict):
    """Contents of ``config/pushes.yaml``."""

    rule: PushRule
    announced: list[AnnouncedPush] = []
    stops: list[str] = []  # checks of the verification whose findings stop a push, beside those that always do


class NodesFile(Strict):
    """Contents of ``config/nodes.yaml``; what ``defaults`` says holds for every node that does not say otherwise."""

    nodes: list[Node] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, written: Any) -> Any:
        if not isinstance(written, dict):
            return written
        defaults, nodes = written.get("defaults") or {}, written.get("nodes")
        if not isinstance(defaults, dict) or not isinstance(nodes, list):
            return {key: value for key, value in written.items() if key != "defaults"}
        others = {key: value for key, value in written.items() if key != "defaults"}
        return {**others, "nodes": [{**defaults, **node} if isinstance(node, dict) else node for node in nodes]}

    @model_validator(mode="after")
    def _nodes_are_unique(self) -> Self:
        codes = [node.code for node in self.nodes]
        if len(set(codes)) != len(codes):
            raise ValueError(f"a node is given more than once: {codes}")
        return self


class Settings(Strict):
    """Everything a process needs to know before it touches data."""

    data: Path
    database_url: str | None
    look_seconds: int  # between two looks of a sensor
    nodes: list[Node]
    pushes: PushCalendarSettings

    def node(self, code: str) -> Node:
        """The node with this code; KeyError names the ones that exist."""
        for node in self.nodes:
            if node.code == code:
                return node
        raise Unknown(f"node {code!r} is not in config/nodes.yaml (known: {[n.code for n in self.nodes]})")

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


def read_as[T: BaseModel](kind: type[T], path: Path) -> T:
    """A yaml file as a block of configuration; raises BadConfiguration naming file, key, found and expected."""
    try:
        return kind(**read_mapping(path))
    except ValidationError as error:
        raise BadConfiguration(explain(path, error)) from error


def load_settings(folder: Path | None = None) -> Settings:
    """Read ``nodes.yaml``, ``pushes.yaml`` and the environment; raises BadConfiguration naming what is wrong."""
    folder = folder or configuration_folder()
    data = Path(os.environ.get("OTN_DATA") or "data").expanduser().resolve()
    if set(str(data)) & set("*?["):  # readers of Parquet take these for patterns
        raise BadConfiguration(f"OTN_DATA: found {str(data)!r}, expected a folder whose name has none of * ? [")
    look = os.environ.get("OTN_LOOK_SECONDS") or "30"
    if not (look.isascii() and look.isdigit() and 1 <= int(look) <= 600):
        raise BadConfiguration(f"OTN_LOOK_SECONDS: found {look!r}, expected whole seconds from 1 to 600")
    return Settings(
        data=data,
        database_url=os.environ.get("OTN_DATABASE_URL") or None,
        look_seconds=int(look),
        nodes=read_as(NodesFile, folder / "nodes.yaml").nodes,
        pushes=read_as(PushCalendarSettings, folder / "pushes.yaml"),
    )
