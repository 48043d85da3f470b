"""A file of any kind, read once: its format found, and every exception a verdict.

Belongs here: the one guard inside which every reader runs, and which formats belong to which kind of file. Does not belong here:
a format.

A reader raises BadFile (refused), Undecided (held for a person) or nothing. Whatever else it raises is our fault: the file is refused
with a reference, and the log has the whole story under it.
"""

import hashlib
import logging
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from otn_dagster.telemetry.files import container, delimited, signatures, vdat
from otn_dagster.telemetry.files.dialects import DIALECTS
from otn_dagster.telemetry.files.exports import Export
from otn_dagster.telemetry.files.refusals import BadFile, Undecided
from otn_dagster.telemetry.files.text import Head

GLATOS_SHEETS = {"deployment", "recovery", "tagging"}
logger = logging.getLogger(__name__)
WANTED = {"detections": "a detections export (VUE, Fathom, Thelma)", "events": "an events export (VUE, Fathom)"}


class OurFault(BadFile):
    """A file on which the platform failed."""


def as_verdict(file_name: str, error: Exception) -> BadFile:
    """Any exception as a refusal: itself where it is one, else our fault, with the reference under which the log has it."""
    if isinstance(error, BadFile):
        return error
    trace = "".join(traceback.format_exception(error))
    reference = hashlib.sha256(trace.encode()).hexdigest()[:8]
    logger.error("%s failed, reference %s\n%s", file_name, reference, trace)
    return OurFault(
        f"the file could not be read, and that is our fault, reference {reference} ({type(error).__name__}: {str(error)[:200]})",
        "Nothing of it is loaded; it is kept. Quote the reference to the node's data manager.",
    )


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Every exception of a reader as a verdict: BadFile and Undecided pass, anything else becomes OurFault with a reference."""
    try:
        yield
    except (BadFile, Undecided):
        raise
    except Exception as error:
        raise as_verdict(path.name, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what a library in Rust raises where it gives up is no Exception
            raise
        raise as_verdict(path.name, RuntimeError(str(error))) from error


def read_export(
    path: Path, kind: str, target: Path, answers: Mapping[str, str], accepts: Collection[str] = ()
) -> Export:
    """The detections or events of a file, its usable rows as Parquet at ``target``.

    accepts: dialects that are read only where a node says so. Raises BadFile and Undecided.
    """
    with guarded(path):
        if path.stat().st_size == 0:
            raise BadFile("the file is empty (0 bytes)", "Send it again; the transfer may have failed.")
        head = Head.of(path)
        if vdat.recognises(head):
            return vdat.read(head, kind, target, answers)
        layout = delimited.layout_of(head, kind) if head.is_text else None
        if layout is None or not (layout.dialect.accepted or layout.dialect.name in accepts):
            raise signatures.refuse_by_name(head, WANTED[kind])
        return delimited.read(head, layout, target, answers)


def kinds_fed(path: Path, kind: str) -> list[str]:
    """Kinds of file that a file is at once: a Fathom log is detections and events, a GLATOS workbook deployments and tags."""
    if path.stat().st_size == 0:
        return [kind]
    if kind in ("detections", "events"):
        both = vdat.recognises(Head.of(path))
        return ["detections", "events"] if both else [kind]
    if kind in ("tags", "deployments") and set(container.sheet_names(path)) >= GLATOS_SHEETS:
        return ["deployments", "tags"]
    return [kind]


def optional_dialects() -> list[str]:
    """Dialects that are read only where a node says that it receives them."""
    return [dialect.name for dialect in DIALECTS if not dialect.accepted]
