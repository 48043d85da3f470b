"""What a file is, by name: formats that are not read, or not in this folder, each with what to send instead.

Belongs here: one ``Signature`` a format. Does not belong here: reading.

A file that nobody can use is refused once, by its name: the person who sent it learns what it is and what to do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from otn_dagster.telemetry.files.refusals import BadFile
from otn_dagster.telemetry.files.text import Head, compact

EXPORT = "Convert it with Fathom Connect, VUE or vdat and send the csv; keep the original with it."
PLAIN = "Send the detections as csv with time (UTC), receiver, transmitter (code space and id)."
OWN_DATA = "Send what the receivers themselves gave: the VUE or Fathom export."
WORKBOOK = "Save the table as csv, or put a metadata sheet into its folder."
METADATA = "Put it into the folder of its kind: tags/ for tag sheets, deployments/ for deployment sheets, project/ for the form."


@dataclass(frozen=True)
class Signature:
    """A kind of file: its name, who makes it, how it is recognised, what to do instead."""

    name: str
    maker: str
    matches: Callable[[Head], bool]
    remedy: str


def _bytes(*starts: bytes) -> Callable[[Head], bool]:
    return lambda head: head.start.startswith(starts)


def _ending(*endings: str) -> Callable[[Head], bool]:
    return lambda head: head.path.suffix.lower() in endings and not head.is_text


def _text(pattern: str, lines: int = 15) -> Callable[[Head], bool]:
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda head: any(expression.search(line) for line in head.lines[:lines])


def _columns(*names: str) -> Callable[[Head], bool]:
    def matches(head: Head) -> bool:
        if not head.is_text:
            return False
        return any({*names} <= {compact(field) for field in head.fields(line)} for line in head.lines[:15])

    return matches


SIGNATURES = [
    Signature("a VRL file, a receiver's raw log", "Innovasea / Vemco", _bytes(b"VRLF"), EXPORT),
    Signature("a VDAT file, a receiver's raw log", "Innovasea", _ending(".vdat"), EXPORT),
    Signature(
        "a VUE database",
        "Innovasea / Vemco",
        _ending(".vdb", ".vrn", ".vfd"),
        "Export detections and events from VUE as csv.",
    ),
    Signature(
        "a VR2 text dump of before 2006", "Vemco", _text(r"^\*0?1,Dataformat"), "Import it in VUE and export the csv."
    ),
    Signature(
        "a log of a VR2C cabled receiver", "Vemco", _text(r"^\d{6},\d{3},\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,STS,"), EXPORT
    ),
    Signature("raw pulses of an HTI receiver", "HTI / Innovasea", _text(r"^\* System# \d+ Model 29\d/29\d"), PLAIN),
    Signature(
        "an ATS JSATS receiver log (SR3000)",
        "ATS",
        _text(r"ATS Sonic Receiver|SR30\d\d|, SiteName,,, DateTime, TagCode"),
        PLAIN,
    ),
    Signature(
        "a Teknologic JSATS summary (.SUM)",
        "Teknologic",
        _text(r"^Detection,Serial Number,Date Time,TagCode,Tilt|^FPGA Version:"),
        PLAIN,
    ),
    Signature(
        "a Lotek receiver log",
        "Lotek",
        _text(
            r"^WHS .*Receiver Data File|^Decoded Tag Data:|Superheader Section|^Tag Records|IEEE 8601 Date/Time,Description,Details"
        ),
        PLAIN,
    ),
    Signature(
        "a live log of a Thelma receiver",
        "Thelma Biotel",
        _text(r"^\$\d{6,7},\d{10},\d{1,3},"),
        "Send the csv that ComPort exports.",
    ),
    Signature(
        "a table of detections for the actel package",
        "the analyst's own R scripts",
        _columns("timestamp", "receiver", "codespace", "signal"),
        OWN_DATA,
    ),
    Signature(
        "a detection extract of GLATOS",
        "GLATOS",
        _columns("animalid", "detectiontimestamputc", "glatosarray"),
        OWN_DATA,
    ),
    Signature(
        "a detection extract of IMOS",
        "IMOS Animal Tracking",
        _columns("detectiondatetime", "transmitterid", "receivername"),
        OWN_DATA,
    ),
    Signature(
        "a detection extract of the ETN data platform",
        "ETN",
        _columns("detectionid", "acoustictagid", "receiverid"),
        OWN_DATA,
    ),
    Signature(
        "a matched detection extract",
        "an OTN node",
        _columns("catalognumber", "datecollectedutc", "unqdetecid"),
        OWN_DATA,
    ),
    Signature(
        "a matched detection extract", "an OTN node", _columns("catalognumber", "datecollected", "unqdetecid"), OWN_DATA
    ),
    Signature(
        "a qualified or unqualified detection extract",
        "an OTN node",
        _columns("basisofrecord", "datecollectedutc", "rcvrcatnumber"),
        OWN_DATA,
    ),
    Signature(
        "a qualified or unqualified detection extract",
        "an OTN node",
        _columns("basisofrecord", "datecollected", "catalognumber"),
        OWN_DATA,
    ),
    Signature(
        "a Movebank export", "Movebank", _columns("eventid", "timestamp", "locationlong", "locationlat"), OWN_DATA
    ),
    Signature(
        "a list of active transmitters of MATOS", "MATOS / ACT", _columns("tagidcodestandard", "idstandard"), METADATA
    ),
    Signature("a tag metadata sheet", "an OTN template", _columns("tagidcode", "tagcodespace"), METADATA),
    Signature(
        "a deployment metadata sheet", "an OTN template", _columns("stationno", "deploylat", "insserialno"), METADATA
    ),
    Signature("a project metadata form", "an OTN template", _text(r"===\s*FORM START"), METADATA),
    Signature(
        "a VUE export of receiver events",
        "Innovasea / Vemco",
        _columns("receiver", "description", "data"),
        "Put it into events/.",
    ),
    Signature(
        "an Excel workbook",
        "a spreadsheet program",
        _bytes(b"PK", b"\xd0\xcf\x11\xe0"),
        WORKBOOK,
    ),
    Signature("a PDF document", "any program", _bytes(b"%PDF"), "Send the data as csv or xlsx."),
    Signature(
        "a compressed archive",
        "any program",
        _bytes(b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"),
        "Unpack it and send the files.",
    ),
    Signature(
        "a picture", "any program", _bytes(b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "Send the data as csv or xlsx."
    ),
    Signature(
        "a web page",
        "a browser",
        _text(r"^\s*<(!DOCTYPE html|html)", 3),
        "A download that needed a login? Send the file itself.",
    ),
]


def signature_of(head: Head) -> Signature | None:
    """The first signature that a file has."""
    return next((signature for signature in SIGNATURES if signature.matches(head)), None)


def refuse_by_name(head: Head, wanted: str) -> BadFile:
    """The refusal of a file that is not what its folder wants: by its name where it is known."""
    found = signature_of(head)
    if found:
        return BadFile(f"the file is {found.name} ({found.maker}), not {wanted}", found.remedy)
    if not head.is_text:
        return BadFile(f"the file is binary, expected {wanted}", EXPORT)
    first = next((line for line in head.lines if line.strip()), "")
    return BadFile(
        f"no header of {wanted} among the first lines; the file begins with {first[:120]!r}",
        "Is this the right kind of file for this folder? Detections and events go to folders of their own.",
    )


def name_of(path: Path) -> str | None:
    """What a file is, in words, where it is known."""
    found = signature_of(Head.of(path)) if path.stat().st_size else None
    return found.name if found else None
