"""The simulated network as files, in the formats and with the faults that a node receives.

Belongs here: writing forms, sheets and exports. Does not belong here: what is in the water (``network.py``).

The faults are on rows that nothing else depends on, so the truth of the network stands: a release in the future, a tag without its
id code, a code space that is none, a deployment with swapped coordinates, an unreadable detection, a clock that nobody would
believe, an export in the wrong folder, an empty file, a collection without a form. Sheets are dressed as people dress them
(``dirt.py``): that changes nothing of the truth.
"""

import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import openpyxl

from otn_dagster import files
from otn_dagster.demo.dirt import dressed
from otn_dagster.demo.network import DAY, FALL, HOUR, NEXT_SPRING, Deployment, Heard, Network, Project, Tag

TAG_HEADER: list[str] = [
    *[
        "ANIMAL_ID   (floy tag ID, pit tag code, etc.)",
        "TAG_TYPE",
        "TAG_MANUFACTURER",
        "TAG_MODEL",
        "TAG_SERIAL_NUMBER",
        "TAG_ID_CODE",
        "TAG_CODE_SPACE",
        "TAG_IMPLANT_TYPE",
        "TAG_IMPLANT_METHOD",
        "TAG_ACTIVATION_DATE",
        "EST_TAG_LIFE",
        "TAGGER",
        "TAG_OWNER_PI",
        "TAG_OWNER_ORGANIZATION",
        "COMMON_NAME_E",
        "SCIENTIFIC_NAME",
        "CAPTURE_LOCATION",
        "CAPTURE_LATITUDE",
        "CAPTURE_LONGITUDE",
        "WILD_OR_HATCHERY",
        "STOCK",
        "LENGTH (m)",
        "WEIGHT (kg)",
        "LENGTH_TYPE",
        "LENGTH2 (m)",
        "LENGTH2_TYPE",
        "LIFE_STAGE",
        "AGE",
        "AGE_UNITS",
        "SEX",
        "DNA_SAMPLE_TAKEN",
        "TREATMENT_TYPE",
        "RELEASE_GROUP",
        "RELEASE_LOCATION",
        "RELEASE_LATITUDE",
        "RELEASE_LONGITUDE",
        "UTC_RELEASE_DATE_TIME",
        "HARVEST_DATE",
        "COMMENTS",
    ]
]
DEPLOYMENT_HEADER: list[str] = [
    *[
        "OTN_ARRAY",
        "STATION_NO",
        "DEPLOY_DATE_TIME   (yyyy-mm-ddThh:mm:ss)",
        "DEPLOY_LAT",
        "DEPLOY_LONG",
        "BOTTOM_DEPTH",
        "RISER_LENGTH",
        "INSTRUMENT_DEPTH",
        "INS_MODEL_NO",
        "INS_SERIAL_NO",
        "CODE_SET",
        "TRANSMITTER",
        "TRANSMIT_MODEL",
        "AR_MODEL_NO",
        "AR_SERIAL_NO",
        "DEPLOYED_BY (Lead Technicians)",
        "RECOVERED (y/n/l)",
        "RECOVER_DATE_TIME (yyyy-mm-ddThh:mm:ss)",
        "RECOVER_LAT (dd.ddddd)",
        "RECOVER_LONG (ddd.ddddd)",
        "DATA_DOWNLOADED (y/n)",
        "DOWNLOAD_DATE_TIME (yyyy-mm-ddThh:mm:ss)",
        "FILENAME",
        "COMMENTS",
    ]
]
VUE_HEADER = (
    "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit,Station Name,"
    "Latitude,Longitude"
)
EVENT_HEADER = "Date and Time (UTC),Receiver,Description,Data,Units"
SECOND_WAVE = {"HFXL", "REEF", "STRB", "DELB"}  # whose files come in the second wave
SPRING_OF_BAD_CLOCK = dt.datetime(2025, 5, 1, 9)
BANNER = ["INSTRUMENT METADATA", "DATA SHEET", "Please fill out as many columns as possible."]


def write_files(network: Network, incoming: Path, wave: int, faults: bool = True) -> list[Path]:
    """The files of wave 1 (up to the spring of 2026) or 2 (what came after, with the sheets corrected under their names).

    Safe to repeat: the same bytes every time.
    """
    written: list[Path] = []
    for project in network.projects:
        for kind, name, data in _files_of(network, project, wave, faults):
            written.append(_put(incoming / project.node / project.code / kind / name, data))
    if faults and wave == 1:
        sheet = sheet_csv(TAG_HEADER, [_tag_cells(network.tags[0])])
        written.append(_put(incoming / "OTN" / "GHOST" / "tags" / "GHOST_tags.csv", sheet))
    return written


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        files.write(path, data)
    return path


def _files_of(network: Network, project: Project, wave: int, faults: bool) -> Iterable[tuple[str, str, bytes]]:
    code = project.code
    if wave == 2 and code not in SECOND_WAVE:
        return
    if wave == 1:
        yield "project", f"{code}_project_metadata.txt", project_form(project)
    tags = [tag for tag in network.tags if tag.project is project and (tag.sheet_wave == wave or wave == 2)]
    if project.has_tags and (wave == 1 or any(tag.sheet_wave == 2 for tag in tags)):
        extra = _bad_tags(project) if faults and wave == 1 and code in ("SHRK", "SNOOK") else []
        yield ("tags", *_tag_sheet(project, tags, extra))
    if project.has_receivers:
        yield ("deployments", *_deployment_sheet(network, project, wave, faults and wave == 1))
        yield from _exports(network, project, wave, faults)
    if faults and wave == 1 and code == "REEF":
        yield "events", "REEF_downloads.csv", b""
    if faults and wave == 1 and code == "CHES":
        yield "events", "CHES_detections_by_mistake.csv", detections_export(network.heard[:5])


def project_form(project: Project) -> bytes:
    """OTN's project metadata form, filled in."""
    people = [
        f"Pat {project.code.title()}, {project.node} Institute, Principal Investigator, pat.{project.code.lower()}@example.org",
        f"Toni {project.code.title()}, {project.node} Institute, Technician, toni.{project.code.lower()}@example.org, point of contact",
    ]
    species = f"{project.species[0].capitalize()} ({project.species[1]})" if project.species[1] else ""
    corners = [
        f"{project.latitude - 0.5:.3f}/{project.longitude - 0.5:.3f}",
        f"{project.latitude + 0.8:.3f}/{project.longitude + 0.8:.3f}",
    ]
    questions = [
        ("0. Intended/preferred project code, if known?", [project.code]),
        ("1. Title-style description of the project?", [project.title]),
        ("2. Brief abstract of the project?", [f"{project.title}, to learn when and where they are there."]),
        (
            "3. Names, affiliations, email addresses, and ORCID of researchers involved in the project and their role.",
            people,
        ),
        ("4. Project URL - can be left blank", []),
        ("5. Species being studied?", [species]),
        ("6. Location of the project?", [project.place, *corners]),
        ("7. Start and end dates of the project, if known?", ["2025-01-01 to ongoing"]),
        ("8. Citation to use when referencing this project:", []),
    ]
    lines = ["===FORM START==="]
    for question, answers in questions:
        lines += [question, "format: as in the node's guide", "", *answers, ""]
    return "\n".join([*lines, "===FORM END===", ""]).encode()


def _tag_cells(tag: Tag) -> list[object]:
    space, id_code = tag.transmitter.rsplit("-", 1)
    sensor_model = "V16TP" if tag.sensor else "V16"
    place = [tag.project.place, tag.latitude, tag.longitude]
    life: object = f"{tag.life_days} days" if tag.project.node == "ACT" else tag.life_days
    return [
        tag.animal_id, "ACOUSTIC", "Innovasea", sensor_model, int(tag.serial), int(id_code), space, "INTERNAL", "SURGICAL", None, life,
        "Toni", "Pat", f"{tag.project.node} Institute", *tag.project.species, *place, "W", None, tag.length, None, "FORK",
        None, None, "ADULT", None, None, tag.sex, None, None, None, *place, tag.released.replace(microsecond=0),
        tag.harvested.replace(microsecond=0) if tag.harvested else None, None,
    ]  # fmt: skip


def _bad_tags(project: Project) -> list[list[object]]:
    model = Tag(
        project,
        "Bad",
        "1388000",
        "A69-1602-59000",
        1460,
        FALL - 120 * DAY,
        project.latitude,
        project.longitude,
        1.2,
        "F",
    )
    rows = []
    faults = [
        ("UTC_RELEASE_DATE_TIME", dt.datetime(2031, 5, 1)),
        ("TAG_ID_CODE", None),
        ("TAG_CODE_SPACE", "same as above"),
    ]
    for number, (column, value) in enumerate(faults):
        tag = Tag(**{**vars(model), "animal_id": f"Bad{number}", "transmitter": f"A69-1602-{59000 + number}"})
        cells = _tag_cells(tag)
        cells[TAG_HEADER.index(column)] = value
        rows.append(cells)
    return rows


def _tag_sheet(project: Project, tags: list[Tag], extra: list[list[object]]) -> tuple[str, bytes]:
    """OTN's template with its banner rows; FACT sends csv with a ProjectCode column and Harvest_Date at the end."""
    rows = [_tag_cells(tag) for tag in tags] + extra
    if project.node != "FACT":
        banner = [["TAG METADATA"], ["DATA SHEET"], BANNER[2:], ["One row for each tag"]]
        return f"{project.code}_tag_metadata.xlsx", workbook(
            "Tag Metadata", banner, *dressed(project.code, TAG_HEADER, rows)
        )
    harvest = TAG_HEADER.index("HARVEST_DATE")
    header = [
        "ProjectCode",
        *[name for name in TAG_HEADER if name != "HARVEST_DATE"],
        "Deployment Type",
        "Harvest_Date",
    ]
    cells = [[project.code, *row[:harvest], *row[harvest + 1 :], "Initial", row[harvest]] for row in rows]
    return f"{project.code}_metadata_tagging.csv", sheet_csv(header, cells)


def _deployment_cells(deployment: Deployment, known_until: dt.datetime) -> list[object]:
    is_up = deployment.recovered <= known_until
    return [
        deployment.project.code, deployment.station, f"{deployment.deployed:%Y-%m-%dT%H:%M:%S}", deployment.latitude,
        deployment.longitude, deployment.depth, None, deployment.depth - 3, deployment.model, int(deployment.serial), None,
        deployment.transmitter, "V16-6x" if deployment.transmitter else None, None, None, "Toni", "y" if is_up else None,
        f"{deployment.recovered:%Y-%m-%dT%H:%M:%S}" if is_up else None, None, None, "y" if is_up else "n",
        deployment.offloaded if is_up else None, None, None,
    ]  # fmt: skip


def _deployment_sheet(network: Network, project: Project, wave: int, faults: bool) -> tuple[str, bytes]:
    known_until = NEXT_SPRING + 3 * DAY if wave == 1 else dt.datetime(2100, 1, 1)
    mine = [
        d for d in network.deployments if d.project is project and d.sheet_wave <= wave and d.deployed <= known_until
    ]
    rows = [_deployment_cells(d, known_until) for d in mine]
    if faults and project.code == "HFXL":
        bad = _deployment_cells(mine[0], known_until)
        bad[1], bad[3], bad[4], bad[9] = "HFXL99", mine[0].longitude, mine[0].latitude, 489_999
        rows.append(bad)
    if project.node != "FACT":
        banner = [[b] for b in BANNER]
        sheet = workbook("Deployments", banner, *dressed(project.code, DEPLOYMENT_HEADER, rows))
        return f"{project.code}_deployment_metadata.xlsx", sheet
    header = ["ARRAY", *[name for name in DEPLOYMENT_HEADER[1:] if name != "CODE_SET"]]
    return f"{project.code}_Deployments.csv", sheet_csv(header, [[*row[:10], *row[11:]] for row in rows])


def _exports(network: Network, project: Project, wave: int, faults: bool) -> Iterable[tuple[str, str, bytes]]:
    """One detections and one events export a wave; some receivers' rows come again in the second one."""
    first = {d.deployed for d in network.deployments if d.recovered <= NEXT_SPRING + 2 * DAY}
    offloaded = [d for d in network.deployments if d.project is project and (d.deployed in first) == (wave == 1)]
    rows = [h for h in network.heard if h.deployment in offloaded]
    if wave == 2:
        again = [h for h in network.heard if h.deployment.project is project and h.deployment.deployed in first]
        rows += [h for h in again if int(h.deployment.serial) % 5 == 0][:400]
    bad_row = faults and wave == 1 and project.code == "SABL"
    bad_clock = faults and wave == 1 and project.code == "DELB"
    until = max(d.recovered for d in offloaded)
    yield "detections", f"{project.code}_VUE_{until:%Y_%m}.csv", detections_export(rows, bad_row)
    yield "events", f"{project.code}_events_{until:%Y_%m}.csv", events_export(offloaded, bad_clock)


def detections_export(rows: list[Heard], bad_row: bool = False) -> bytes:
    """VUE's detections export: UTF-8 with BOM, CRLF."""
    lines = [VUE_HEADER]
    for heard in sorted(rows, key=lambda h: (h.deployment.serial, h.device_time)):
        model = heard.deployment.model.split("-")[0]
        sensor = f"{heard.sensor_value},ADC" if heard.sensor_value is not None else ","
        lines.append(
            f"{heard.device_time:%Y-%m-%d %H:%M:%S},{model}-{heard.deployment.serial},{heard.transmitter},,,{sensor},,+0,+0"
        )
    if bad_row:
        lines.append("2025-08-01 10:00:00,VR2W-480200,#REF!,,,,,,+0,+0")
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


def events_export(deployments: list[Deployment], bad_clock: bool = False) -> bytes:
    """VUE's event export in ISO-8859-1: initialization, upload, and the PC's time at both."""
    lines = [EVENT_HEADER]
    for deployment in deployments:
        receiver = f"{deployment.model.split('-')[0]}-{deployment.serial}"
        start, end = deployment.initialized, deployment.device_time(deployment.offloaded)
        lines += [f"{start:%Y-%m-%d %H:%M:%S},{receiver},{line}" for line in _events_at_start(start)]
        file = f"{receiver}_{end:%Y%m%d}_1.vrl"
        lines.append(f"{end:%Y-%m-%d %H:%M:%S},{receiver},Data Upload,{file},")
        lines.append(
            f"{end:%Y-%m-%d %H:%M:%S},{receiver},PC Time,{deployment.offloaded - 4 * HOUR:%Y-%m-%d %H:%M:%S} UTC-04:00,"
        )
    if bad_clock:
        at = SPRING_OF_BAD_CLOCK
        lines.append(f"{at:%Y-%m-%d %H:%M:%S},VR2W-489998,Initialization,,")
        lines.append(f"{at + 10 * DAY:%Y-%m-%d %H:%M:%S},VR2W-489998,Data Upload,VR2W-489998_1.vrl,")
        lines.append(f"{at + 10 * DAY:%Y-%m-%d %H:%M:%S},VR2W-489998,PC Time,{at + 9 * DAY:%Y-%m-%d %H:%M:%S} UTC,")
    lines.append(f"{FALL:%Y-%m-%d %H:%M:%S},{receiver},Temperature,12.5,°C")
    return ("\r\n".join(lines) + "\r\n").encode("iso-8859-1")


def _events_at_start(start: dt.datetime) -> list[str]:
    return [
        "Initialization,,",
        f"PC Time,{start - 4 * HOUR:%Y-%m-%d %H:%M:%S} UTC-04:00,",
        "Map,MAP-114 (A69-1105; A69-1303; A69-9001/9002; A69-1601; A69-1602),",
        "Battery,3.6,V",
    ]


def workbook(title: str, banner: list[list[str]], header: list[str], rows: list[list[object]]) -> bytes:
    """An xlsx file with banner rows above its header."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in [*banner, header, *rows]:
        sheet.append(row)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    book.save(buffer)
    return _without_times(buffer)


def _without_times(workbook_bytes: io.BytesIO) -> bytes:
    """The same workbook without the time of its making, so that the same rows are the same bytes."""
    result = io.BytesIO()
    with zipfile.ZipFile(workbook_bytes) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2025-01-01T00:00:00Z", data)
            target.writestr(zipfile.ZipInfo(member.filename, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return result.getvalue()


def sheet_csv(header: list[str], rows: list[list[object]]) -> bytes:
    """A csv sheet with times in ISO form."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{cell:%Y-%m-%dT%H:%M:%S}" if isinstance(cell, dt.datetime) else cell for cell in row])
    return buffer.getvalue().encode()
