"""Settings of the tracker, from ``config/tracker.yaml``: access, second looks, quarantine, mail.

Belongs here: their shape and defaults. Does not belong here: acting on them.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from otn_dagster.config import Strict, configuration_folder, read_as
from otn_dagster.telemetry.submissions import KINDS


class Access(Strict):
    """What is readable without signing in, and for how long one is signed in."""

    open_projects: list[str] = []
    open_streams: bool = False
    session_hours: float = Field(default=12, gt=0, le=24 * 30)


class Quarantine(Strict):
    """How much a new version of a file may take away or change before a person looks at it."""

    dropped_keys_percent: float = Field(default=5, ge=0, le=100)
    changed_count_percent: float = Field(default=20, ge=0)


class MailSettings(Strict):
    """How mails are sent, and to whom what."""

    mode: Literal["off", "simulate", "allowlist", "live"] = "simulate"
    sender: str = "otn-dagster@localhost"
    cc: list[str] = []
    allowlist: list[str] = []
    roles: list[str] = ["Principal Investigator"]
    operators: list[str] = []
    most_a_day: int = Field(default=2000, ge=1)
    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_starttls: bool = False


class TrackerSettings(Strict):
    """Contents of ``config/tracker.yaml``."""

    dagster_url: str = "http://127.0.0.1:3000"
    web_url: str = "http://127.0.0.1:3001"
    access: Access = Access()
    second_look: list[str] = []  # kinds of file whose verification a second person signs
    quarantine: Quarantine = Quarantine()
    release: Literal["person", "automatic"] = "person"  # whether somebody looks at a push before its mails go
    mail: MailSettings = MailSettings()

    @field_validator("second_look")
    @classmethod
    def _kinds_are_known(cls, value: list[str]) -> list[str]:
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a kind of file, expected some of {', '.join(KINDS)}")
        return value


def load_tracker(folder: Path | None = None) -> TrackerSettings:
    """Read the file, or take the defaults where there is none; raises BadConfiguration naming what is wrong."""
    path = (folder or configuration_folder()) / "tracker.yaml"
    return read_as(TrackerSettings, path) if path.exists() else TrackerSettings()
