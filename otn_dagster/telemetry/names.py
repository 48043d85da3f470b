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
    collectioncode: str,
    animal_id: str | None,
    tag_serial_number: str | None,
    released: dt.datetime,
    transmitter: str | None = None,
) -> str:
    """``NSBS-Hooker`` by animal id, else ``NSBS-1250980-2022-08-29`` by tag serial (or else transmitter) and release day."""
    return (
        f"{collectioncode}-{animal_id}"
        if animal_id
        else f"{collectioncode}-{tag_serial_number or transmitter}-{released:%Y-%m-%d}"
    )


def receiver_catalognumber(station: str, model: str | None, serial: str, deployed: dt.datetime) -> str:
    """``HFX036-VR4-250370-2022_04_14T14``; without the model where nobody gave it."""
    return f"{station.upper()}-{f'{model}-' if model else ''}{serial}-{deployed:%Y_%m_%dT%H}"


def with_serial(rcvrcatnumber: str, serial: str) -> str:
    """The same deployment of another receiver: ``HFX036-VR4-250370-2022_04_14T14`` with 250371."""
    place, _, deployed = rcvrcatnumber.rsplit("-", 2)
    return f"{place}-{serial}-{deployed}"


def download_catalognumber(rcvrcatnumber: str, downloaded: dt.datetime) -> str:
    """``HFX036-VR4-250370-2022_04_14T14:2022-11-04``."""
    return f"{rcvrcatnumber}:{downloaded:%Y-%m-%d}"


def receiver_serial(receiver: str) -> str:
    """Serial of a receiver as instruments name it: ``VR2W-109924`` → ``109924``, ``VR2AR-X-551234`` → ``551234``."""
    return receiver.rsplit("-", 1)[-1]


RECEIVER = re.compile(r"^([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*?)(?:-(?:69|180|71|170|307|416)(?:KHZ)?)?-(\d{1,10})$")


def receiver(text: str) -> str | None:
    """A receiver as every format names it, model and serial: ``VR2W 109924``, ``VR2AR-69-546310`` → ``VR2AR-546310``.

    None for what names no receiver.
    """
    value = re.sub(r"[\s_]+", "-", text.strip().upper())
    found = RECEIVER.match(value)
    return f"{found[1]}-{int(found[2])}" if found else None
