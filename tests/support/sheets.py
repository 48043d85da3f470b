"""Sheets, exports and forms as tests send them, good and bad."""

from otn_dagster.demo.files import TAG_HEADER, sheet_csv
from tests.support.node import Node

HEADER = "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit,Station Name,Latitude,Longitude"


def tag_sheet(*changes: dict, base: dict | None = None) -> bytes:
    """A tag sheet with one row for each dict of changes."""
    usual = {
        "ANIMAL_ID": "A", "TAG_TYPE": "ACOUSTIC", "TAG_MANUFACTURER": "Innovasea", "TAG_MODEL": "V16", "TAG_SERIAL_NUMBER": "1",
        "TAG_ID_CODE": "100", "TAG_CODE_SPACE": "A69-1602", "TAG_IMPLANT_TYPE": "INTERNAL", "EST_TAG_LIFE": "3650 days",
        "COMMON_NAME_E": "blue shark", "SCIENTIFIC_NAME": "Prionace glauca", "RELEASE_LOCATION": "Halifax", "RELEASE_LATITUDE": 44.2,
        "RELEASE_LONGITUDE": -63.4, "UTC_RELEASE_DATE_TIME": "2024-06-01T12:00:00", "LENGTH (m)": 1.5, "SEX": "F",
    }  # fmt: skip
    rows = []
    for change in changes:
        values = {**usual, **(base or {}), **change}
        rows.append([values.get(name.split("   ")[0]) for name in TAG_HEADER])
    return sheet_csv(TAG_HEADER, rows)


def deployments(*rows: str) -> bytes:
    head = "OTN_ARRAY,STATION_NO,DEPLOY_DATE_TIME,DEPLOY_LAT,DEPLOY_LONG,INS_MODEL_NO,INS_SERIAL_NO,"
    head += "RECOVERED (y/n/l),RECOVER_DATE_TIME,TRANSMITTER"
    return "\n".join([head, *rows, ""]).encode()


def vue(*rows: str) -> bytes:
    """Rows ``time receiver transmitter [sensor]`` as an export."""
    lines = [HEADER]
    for row in rows:
        time, receiver, transmitter, *sensor = row.split(" ")
        value = f"{sensor[0]},ADC" if sensor else ","
        lines.append(f"{time.replace('T', ' ')},{receiver},{transmitter},,,{value},,+0,+0")
    return ("\r\n".join(lines) + "\r\n").encode()


def fill(node: Node) -> None:
    """A project with one receiver, one tag and three detections, dropped and not yet loaded."""
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    node.drop(
        "OTN/HFX/deployments",
        "dep.csv",
        deployments("HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,"),
    )
    node.drop("OTN/HFX/detections", "a.csv", vue(*[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (1, 2, 3)]))


BAD_FILES = {
    "tags": {
        "empty.csv": b"",
        "torn.xlsx": b"PK\x03\x04",
        "wrong.csv": vue("2024-07-01T10:00:00 VR2W-111 A69-1602-100"),
    },
    "deployments": {
        "no_station.csv": b"OTN_ARRAY,DEPLOY_DATE_TIME,DEPLOY_LAT,DEPLOY_LONG,INS_MODEL_NO,INS_SERIAL_NO\nH,2024-01-01,1,1,V,1\n"
    },
    "detections": {
        "empty.csv": b"",
        "events.csv": b"Date and Time (UTC),Receiver,Description,Data,Units\n2024-01-01 00:00:00,VR2W-1,Battery,3.5,V\n",
        "cut.csv": HEADER.encode() + b"\n2024-07-01 10:00:00,VR2W-1,A69-1-1,,,,,,,\n2024-07-01 10:0",
        "old.csv": vue("1970-07-01T10:00:00 VR2W-111 A69-1602-100"),
        "future.csv": vue("2044-07-01T10:00:00 VR2W-111 A69-1602-100"),
        "binary.csv": b"\x00\x01\x02\x03" * 100,
    },
    "events": {"detections.csv": vue("2024-07-01T10:00:00 VR2W-111 A69-1602-100")},
    "project": {"note.txt": b"please add my project"},
}
