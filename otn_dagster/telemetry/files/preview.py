"""A file looked at before anybody has it: what it is, what would be read, refused, asked and remarked upon.

Belongs here: the whole verdict on a file without a node: its kind guessed from its content, its law, its findings. Does not belong
here: what it would change in what is loaded (``rehearsal.py``).
"""

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otn_dagster.telemetry.files import container, delimited, project_form, sheets, signatures, vdat
from otn_dagster.telemetry.files.cells import is_null, plain
from otn_dagster.telemetry.files.reading import guarded, read_export
from otn_dagster.telemetry.files.refusals import BadFile, Finding, Refusal, Topic, Undecided, ranked
from otn_dagster.telemetry.files.sheets import SHEETS
from otn_dagster.telemetry.files.tables import Found
from otn_dagster.telemetry.files.text import Head
from otn_dagster.telemetry.files.typed import Situation

MOST_REFUSALS = 200


@dataclass(frozen=True)
class Preview:
    """What a file is and what would become of it. ``verdict``: ready, refused, or asks (a person must answer before it is loaded)."""

    kind: str
    format: str
    verdict: str
    says: str
    law: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    question: Undecided | None = None
    collections: list[str] = field(default_factory=list)  # that the file itself names, most rows first
    receivers: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)


def look(
    path: Path,
    kind: str | None = None,
    collectioncode: str | None = None,
    now: dt.datetime | None = None,
    accepts: Collection[str] = (),
) -> Preview:
    """The verdict on a file; never raises for what is in it. kind and collection are guessed where they are not given."""
    found_kind = kind or guess_kind(path)
    if found_kind is None:
        refusal = _refusal(path)
        return Preview("unknown", signatures.name_of(path) or "unknown", "refused", str(refusal), {})
    at = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    try:
        with guarded(path):
            return _look(path, found_kind, collectioncode, at, accepts)
    except Undecided as question:
        return Preview(found_kind, signatures.name_of(path) or found_kind, "asks", str(question), {}, question=question)
    except BadFile as refusal:
        law = {"rows": refusal.rows} if refusal.rows is not None else {}
        return Preview(found_kind, signatures.name_of(path) or found_kind, "refused", str(refusal), law)


def guess_kind(path: Path) -> str | None:
    """The kind of a file by its content; None where it is no kind that is known."""
    if path.stat().st_size == 0:
        return None
    head = Head.of(path)
    if vdat.recognises(head):
        return "detections"
    if any("FORM START" in line for line in head.lines[:40]):
        return "project"
    layout = delimited.layout_of(head) if head.is_text else None
    if layout is not None:
        return layout.dialect.kind
    return _guess_sheet(path)


def _guess_sheet(path: Path) -> str | None:
    try:
        found = container.read_sheets(path)
    except BadFile:
        return None
    rows: Counter[str] = Counter()
    for kind, sheet in SHEETS.items():
        try:
            rows[kind] = sheet.find(found).rows
        except BadFile as error:
            if error.rows:
                rows[kind] = 0  # a sheet of this kind that lacks a column
    return rows.most_common(1)[0][0] if rows else None


def _refusal(path: Path) -> BadFile:
    """Why a file is of no kind: what it is by name, or why a workbook or table cannot be read."""
    if path.stat().st_size == 0:
        return BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
    head = Head.of(path)
    found = signatures.signature_of(head)
    if found is None or found.remedy in (signatures.METADATA, signatures.WORKBOOK):
        try:
            container.read_sheets(path)
        except BadFile as error:
            return error
    return signatures.refuse_by_name(head, "a form, a metadata sheet or an export that is known here")


def _look(path: Path, kind: str, collectioncode: str | None, now: dt.datetime, accepts: Collection[str]) -> Preview:
    if kind == "project":
        form = project_form.read_project_form(path)
        unread = f"; {len(form.unread)} line(s) could not be read: {form.unread[0][1]!r}" if form.unread else ""
        says = f"The form of {form.title!r} with {len(form.contacts)} people and {len(form.species)} species{unread}."
        return Preview(kind, "project metadata form", "ready", says, {}, collections=_code(form.code))
    if kind in ("detections", "events"):
        return _look_at_export(path, kind, accepts)
    return _look_at_sheet(path, kind, collectioncode, now)


def _code(code: str | None) -> list[str]:
    return [code.split(".")[-1].upper()] if code else []


def _look_at_export(path: Path, kind: str, accepts: Collection[str]) -> Preview:
    with tempfile.TemporaryDirectory(prefix="otn-check-") as folder:
        export = read_export(path, kind, Path(folder) / "rows.parquet", {}, accepts)
    law = {
        "rows of the file": export.container_rows,
        "usable": export.usable,
        "refused": export.refused_rows,
        "not data": export.not_data,
    }
    says = f"{export.usable:,} {kind} of {len(export.receivers)} receiver(s), {export.first} to {export.last} UTC."
    return Preview(
        kind,
        export.format,
        "ready",
        says,
        law,
        ranked(export.findings),
        export.refused[:MOST_REFUSALS],
        receivers=export.receivers,
        columns=export.columns,
    )


def _look_at_sheet(path: Path, kind: str, collectioncode: str | None, now: dt.datetime) -> Preview:
    found = sheets.find(path, kind)
    sheet = SHEETS[kind]
    named = _named_collections(found, sheet.collection)
    typed = sheet.type(found.tables, Situation(collectioncode or (named[0] if named else "XXX"), now))
    law = {
        "rows of the file": found.container_rows,
        "loaded": typed.loaded,
        "repeated": typed.repeated,
        "refused": len(typed.refused),
        "not data": {str(reason): rows for reason, rows in found.not_data.items()},
    }
    count = len({row[sheet.key] for row in typed.rows})
    return Preview(
        kind,
        sheets.format_of(kind, found),
        "ready",
        f"{typed.loaded:,} of {found.rows:,} rows can be loaded: {count:,} {sheet.counts}.",
        law,
        ranked([*found.findings, *typed.findings]),
        typed.refused[:MOST_REFUSALS],
        collections=named,
        columns=typed.columns,
    )


def _named_collections(found: Found, column: str) -> list[str]:
    counted: Counter[str] = Counter()
    for table in found.tables:
        for row in table.rows:
            cell = row.cells.get(column)
            if not is_null(cell):
                counted[plain(cell).upper().split(".")[-1]] += 1
    return [code for code, _ in counted.most_common()]


def as_json(preview: Preview) -> dict[str, Any]:
    """A preview for a machine."""
    question = preview.question
    return {
        "kind": preview.kind,
        "format": preview.format,
        "verdict": preview.verdict,
        "says": preview.says,
        "law": dict(preview.law),
        "columns": preview.columns,
        "collections": preview.collections,
        "findings": [
            {
                "code": f.code,
                "severity": f.severity.name.lower(),
                "column": f.column,
                "found": f.found,
                "expected": f.expected,
                "remedy": f.remedy,
                "rows": list(f.rows),
                "count": f.count,
            }
            for f in preview.findings
        ],
        "refused": [
            {"row": r.row_number, "column": r.column, "found": r.found, "expected": r.expected, "remedy": r.remedy}
            for r in preview.refused
        ],
        "question": {"topic": str(Topic(question.topic)), "says": question.problem, "details": question.details}
        if question
        else None,
    }
