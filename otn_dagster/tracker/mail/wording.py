"""Words of mails and pages: templates, and where a node may put its own.

Belongs here: rendering. Does not belong here: what is said when (``notices.py``, ``web/``).

A template in ``<config>/templates/`` is used before the one of the same name in ``otn_dagster/templates/``. Values are escaped in HTML;
a name that a template misspells is an error, not an empty place.
"""

import datetime as dt
import functools
from pathlib import Path
from typing import Any

import jinja2

from otn_dagster.config import configuration_folder

OWN = Path(__file__).parents[2] / "templates"


@functools.cache
def environment(folder: Path) -> jinja2.Environment:
    """Templates of a node over those of the project."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder / "templates", OWN]),
        autoescape=lambda name: bool(name) and ".txt" not in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters |= {"moment": moment, "age": age, "words": words}
    return made


def render(template: str, /, **values: Any) -> str:
    """A template with its values."""
    return environment(configuration_folder()).get_template(template).render(**values)


def moment(at: dt.datetime | None) -> str:
    """``2026-11-21 08:15`` in UTC."""
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M}" if at else ""


def age(since: dt.datetime | None) -> str:
    """How long ago, in its largest unit."""
    if since is None:
        return ""
    seconds = max(0, int((dt.datetime.now(dt.UTC) - since).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def words(name: str | None) -> str:
    """``needs_researcher`` as people write it."""
    return (name or "").replace("_", " ")
