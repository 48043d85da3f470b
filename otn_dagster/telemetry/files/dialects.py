"""The columns of every delimited export that can be read: which of them say time, receiver, transmitter, sensor.

Belongs here: one ``Dialect`` for each format, by the names of its columns. Does not belong here: reading (``delimited.py``).

Add one: write its columns down here, a test with a few lines of it, and, if it is recognised by more than its columns, a signature.
Names are compared by letters and digits alone, so ``Date and Time (UTC)`` and R's ``Date.and.Time..UTC.`` are one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from otn_dagster.telemetry.files import codespaces


@dataclass(frozen=True)
class Dialect:
    """One format of detections or events.

    needs: columns that must be there, each by any of its names. fields: our column → its names there. time: one column, or date and
    time apart. ``code_space`` and ``id_code`` are joined where no column has a full id.
    """

    name: str
    kind: str
    needs: tuple[tuple[str, ...], ...]
    fields: Mapping[str, tuple[str, ...]]
    accepted: bool = True  # False: only where a node says that it receives this format
    receiver_prefix: str = ""  # for formats that give a bare serial
    full_id: Callable[[str], str | None] = field(default=codespaces.canonical_transmitter)


TIME = ("dateandtimeutc", "dateandtime", "datetimeutc", "datetime", "detectiontimestamputc")
VUE_FIELDS = {
    "time": TIME,
    "date": ("dateutc", "date"),
    "clock": ("timeutc", "time"),
    "receiver": ("receiver", "receiverid", "receivername"),
    "transmitter": ("transmitter", "transmitterid", "fullid"),
    "code_space": ("codespace",),
    "id_code": ("id",),
    "sensor_value": ("sensorvalue", "sensor1", "sensorvalueadc"),
    "sensor_unit": ("sensorunit", "units1"),
    "transmitter_name": ("transmittername",),
    "transmitter_serial": ("transmitterserial", "transmittersn"),
    "station_name": ("stationname",),
}
VUE_1 = Dialect("VUE 1 detections", "detections", (TIME, ("codespace",), ("id",), ("receivername",)), VUE_FIELDS)
VUE_2 = Dialect("VUE detections", "detections", (TIME, VUE_FIELDS["receiver"], VUE_FIELDS["transmitter"]), VUE_FIELDS)
VUE_APART = Dialect(
    "VUE detections, date and time apart",
    "detections",
    (VUE_FIELDS["date"], VUE_FIELDS["clock"], ("receiver",), ("transmitter",)),
    VUE_FIELDS,
)
FATHOM_TABLE = Dialect(
    "Fathom detections table",
    "detections",
    (("devicetimeutc",), ("fullid",), ("serialnumber",), ("model",)),
    {
        "time": ("devicetimeutc",),
        "model": ("model",),
        "serial": ("serialnumber",),
        "transmitter": ("fullid",),
        "sensor_value": ("rawdata",),
        "transmitter_serial": ("transmitterserial",),
        "station_name": ("stationname",),
    },
)
THELMA_OLD = Dialect(
    "Thelma detections (TBR)",
    "detections",
    (("dateandtimeutc",), ("tbrserialnumber",), ("codetype",), ("id",)),
    {
        "time": ("dateandtimeutc",),
        "millisecond": ("millisecond",),
        "receiver": ("tbrserialnumber",),
        "code_space": ("codetype",),
        "id_code": ("id",),
        "sensor_value": ("data",),
    },
    receiver_prefix="TBR",
)
THELMA_NEW = Dialect(
    "Thelma detections",
    "detections",
    (("dateandtimeutc",), ("protocol",), ("receiver",), ("id",)),
    {
        "time": ("dateandtimeutc",),
        "unix": ("unixtimestamputc",),
        "receiver": ("receiver",),
        "code_space": ("protocol",),
        "id_code": ("id",),
        "sensor_value": ("data",),
    },
    receiver_prefix="TBR",
)
ETN = Dialect(
    "ETN detections",
    "detections",
    (("detectionid",), ("datetime",), ("receiverid",), ("acoustictagid",)),
    {
        "time": ("datetime",),
        "receiver": ("receiverid",),
        "transmitter": ("acoustictagid",),
        "sensor_value": ("sensorvalue",),
        "sensor_unit": ("sensorunit",),
        "transmitter_serial": ("tagserialnumber",),
        "station_name": ("stationname",),
    },
    accepted=False,
)
IMOS = Dialect(
    "IMOS detections",
    "detections",
    (("detectiondatetime",), ("receivername",), ("transmitterid",)),
    {
        "time": ("detectiondatetime",),
        "receiver": ("receivername",),
        "transmitter": ("transmitterid",),
        "sensor_value": ("transmittersensorvalue",),
        "sensor_unit": ("transmittersensorunit",),
        "transmitter_serial": ("transmitterserialnumber",),
        "station_name": ("stationname",),
    },
    accepted=False,
)
EVENT_FIELDS = {
    "time": TIME,
    "date": ("dateutc", "date"),
    "clock": ("timeutc", "time"),
    "receiver": ("receiver", "receivername"),
    "description": ("description",),
    "data": ("data",),
    "units": ("units",),
}
VUE_EVENTS = Dialect("VUE events", "events", (TIME, EVENT_FIELDS["receiver"], ("description",)), EVENT_FIELDS)

DIALECTS = [IMOS, ETN, THELMA_OLD, THELMA_NEW, VUE_1, VUE_2, VUE_APART, FATHOM_TABLE, VUE_EVENTS]
