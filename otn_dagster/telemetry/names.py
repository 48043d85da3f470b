"""The natural keys of telemetry: how things are called in every table and file.

Belongs here: building and splitting names. Source: OTN node manager training and the extracts themselves (the forms
below rebuild 197 of 226 receivers of the Halifax Line and all 183 animals of its blue sharks).
"""

import datetime as dt
import re

COLLECTION_CODE = re.compile(r"^[A-Z][A-Z0-9]{1,15}$")


def transmitter_id(code_space: str, id_code: str) -> str:
    """Full transmitter id: ``A69-1602`` and ``12345`` → ``A69-1602-12345``."""
    return f"{code_space}-{id_code}"


def animal_catalognumber(
    collectioncode: str, animal_id: str | None, tag_serial_number: str | None, released: dt.datetime
) -> str:
    """``NSBS-Hooker`` by animal id, else ``NSBS-1250980-2022-08-29`` by tag serial and release day."""
    return f"{collectioncode}-{animal_id}" if animal_id else f"{collectioncode}-{tag_serial_number}-{released:%Y-%m-%d}"


def receiver_catalognumber(station: str, model: str, serial: str, deployed: dt.datetime) -> str:
    """``HFX036-VR4-250370-2022_04_14T14``."""
    return f"{station.upper()}-{model}-{serial}-{deployed:%Y_%m_%dT%H}"


def download_catalognumber(rcvrcatnumber: str, downloaded: dt.datetime) -> str:
    """``HFX036-VR4-250370-2022_04_14T14:2022-11-04``."""
    return f"{rcvrcatnumber}:{downloaded:%Y-%m-%d}"


def receiver_serial(receiver: str) -> str:
    """Serial of a receiver as instruments name it: ``VR2W-109924`` → ``109924``, ``VR2AR-X-551234`` → ``551234``."""
    return receiver.rsplit("-", 1)[-1]
