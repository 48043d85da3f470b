"""A network of two projects in which there is something to set right, and lists of fixes as people send them."""

from pathlib import Path

import polars as pl

from otn_dagster import decisions
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.push.extracts_list import DETAILS_FILE, LIST_FILE
from tests.support.node import Node
from tests.support.sheets import deployments, tag_sheet, vue

H1, H2 = "H1-VR2W-111-2024_05_01T00", "H2-VR2W-112-2024_05_01T00"
SHARK, TAG = "HFX-A", "HFX-A-A69-1602-100"


def network(node: Node) -> None:
    """HFX: two receivers (one with a transmitter of its own), three tags on two animals; SHRK: a receiver and an animal."""
    node.drop_form("HFX")
    node.drop_form("SHRK")
    rows = [
        "HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,",
        "HFX,H1,2025-05-01T00:00:00,44.1,-63.1,VR2W,114,y,2025-12-01T00:00:00,",
        "HFX,H2,2024-05-01T00:00:00,44.2,-63.2,VR2W,112,y,2024-12-01T00:00:00,A69-1601-9001",
    ]
    node.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    node.drop(
        "OTN/HFX/tags",
        "tags.csv",
        tag_sheet(
            {},
            {"TAG_ID_CODE": "101", "TAG_SERIAL_NUMBER": "2"},
            {"ANIMAL_ID": "B", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "3"},
        ),
    )
    shark = "SHRK,S1,2024-05-01T00:00:00,45.1,-62.1,VR2W,113,y,2024-12-01T00:00:00,"
    node.drop("OTN/SHRK/deployments", "dep.csv", deployments(shark))
    node.drop(
        "OTN/SHRK/tags", "tags.csv", tag_sheet({"ANIMAL_ID": "S", "TAG_ID_CODE": "300", "TAG_SERIAL_NUMBER": "4"})
    )
    codes = ("1602-100", "1602-101", "1602-200", "1602-300", "1601-9001", "1602-999")
    for name, code, receivers in (("h.csv", "HFX", (111, 112, 115)), ("s.csv", "SHRK", (113,))):
        heard = [
            f"2024-0{month}-0{1 + (n + k) % 9}T1{n}:00:0{k} VR2W-{receiver} A69-{tag}"
            for month in (6, 7, 8)
            for n, tag in enumerate(codes)
            for k, receiver in enumerate(receivers)
        ]
        node.drop(f"OTN/{code}/detections", name, vue(*heard))


def send(node: Node, name: str, text: str, code: str = "HFX") -> str:
    """A list of fixes comes, and waits for a person or is refused; its key."""
    node.drop(f"OTN/{code}/fix", name, text.encode())
    states = node.load()
    (key,) = [key for key in states if name in key] or [None]
    assert key, states
    return key


def shown(node: Node, key: str) -> list[str]:
    """What a person sees of it."""
    with node.connect() as connection:
        return decisions.details(connection, Topic.FIX, key)


def accept(node: Node, key: str) -> str:
    """A second person applies it; its state then."""
    with node.connect() as connection:
        decisions.settle(connection, Topic.FIX, key, "accept", "bob", "it is so")
    node.load()
    return state(node, key)[0]


def state(node: Node, key: str) -> tuple[str, str | None]:
    with node.connect() as connection:
        found = submissions.get(connection, key)
    return found.state, found.reason


def consequences(node: Node, key: str) -> dict:
    return node.value("select consequences from platform.fix_consequences where submission_key = %s", key)


def listed(folder: Path) -> list[dict]:
    """What a push lists."""
    frame = pl.read_parquet(folder / LIST_FILE)
    return frame.select("detection_extract", "added", "changed", "withdrawn").to_dicts()


def details(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / DETAILS_FILE)
