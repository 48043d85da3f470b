"""The kinds of metadata sheet, each said once: how it is found, typed and called.

Belongs here: one ``SheetKind`` for each. Does not belong here: the rules of a kind (``tags.py``, ``deployments.py``, ``vendor.py``), its
tables in the database (``loading/``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from otn_dagster.telemetry.files import container, deployments, fixes, glatos, tags, vendor
from otn_dagster.telemetry.files.columns import Column
from otn_dagster.telemetry.files.container import Sheet
from otn_dagster.telemetry.files.tables import Found, Table
from otn_dagster.telemetry.files.typed import Situation, Typed


@dataclass(frozen=True)
class SheetKind:
    """A kind of sheet. ``collection``: the column that names projects; ``counts``, ``key``: what its rows are and how told apart."""

    format: str
    find: Callable[[Sequence[Sheet]], Found]
    type: Callable[[Sequence[Table], Situation], Typed]
    columns: Sequence[Column]
    counts: str
    key: str
    collection: str = ""


SHEETS = {
    "tags": SheetKind(
        "tag metadata sheet",
        tags.find,
        tags.type_tags,
        [*tags.COLUMNS, *tags.OTHER_TIMES],
        "animals",
        "catalognumber",
        "project_code",
    ),
    "deployments": SheetKind(
        "deployment metadata sheet",
        deployments.find,
        deployments.type_deployments,
        [*deployments.COLUMNS, *deployments.OTHER_TIMES],
        "deployments",
        "catalognumber",
        "otn_array",
    ),
    "vendor": SheetKind(
        "tag specification sheet", vendor.find, vendor.type_specifications, vendor.COLUMNS, "transmitters", "vue_id"
    ),
    "fix": SheetKind("list of fixes", fixes.find, fixes.type_fixes, fixes.COLUMNS, "fixes", "subject"),
}


def find(path: Path, kind: str) -> Found:
    """The tables of a file of a kind. Raises BadFile where it is no such sheet."""
    return SHEETS[kind].find(container.read_sheets(path))


def format_of(kind: str, found: Found) -> str:
    """What a sheet is called: ``tag metadata sheet``, ``GLATOS workbook``."""
    is_glatos = any(table.role == glatos.DEPLOYMENT.role for table in found.tables)
    return "GLATOS workbook" if is_glatos else SHEETS[kind].format
