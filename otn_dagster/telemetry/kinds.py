"""The kinds of file, each said once: its stages, its tables, the keys by which two versions of it are compared.

Belongs here: one ``Kind`` for each folder of ``incoming/<node>/<collection>/``. Does not belong here: what a stage does (``loading/``).

Add a kind: a reader in ``files/``, its steps in ``loading/``, its checks in ``checks/``, and an entry here; the assets, the jobs and the
sensor follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from otn_dagster.telemetry.loading import steps


@dataclass(frozen=True)
class Stage:
    """One step of a kind's chain: the asset that people see, and what it does. ``checked``: the field's checks hang on it."""

    asset: str
    load: Callable[..., object]
    checked: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    name: str
    stages: tuple[Stage, ...]
    print_keys: tuple[str, ...]


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "project", (Stage("raw_project", steps.raw_project), Stage("otn_resources", steps.otn_resources)), ("line",)
        ),
        Kind(
            "tags",
            (
                Stage("raw_tags", steps.raw_tags),
                Stage("tag_cache", steps.tag_cache),
                Stage("otn_transmitters", steps.otn_animals_and_transmitters),
            ),
            ("animal_id", "tag_code_space", "tag_id_code"),
        ),
        Kind(
            "deployments",
            (
                Stage("raw_deployments", steps.raw_deployments),
                Stage("rcvr_locations", steps.rcvr_locations),
                Stage("moorings", steps.moorings),
            ),
            ("otn_array", "station_no", "ins_serial_no", "deploy_date_time"),
        ),
        Kind(
            "detections",
            (
                Stage("raw_detections", steps.raw_detections),
                Stage("detections", steps.detections),
                Stage("otn_detections", steps.otn_detections),
            ),
            ("datetime", "receiver", "transmitter", "sensor_value"),
        ),
        Kind(
            "events",
            (
                Stage("raw_events", steps.raw_events),
                Stage("events", steps.events),
                Stage("time_drift_factors", steps.time_drift_factors),
                Stage("receiver_config", steps.receiver_config, checked=False),
            ),
            ("datetime", "receiver", "description", "data"),
        ),
        Kind(
            "vendor",
            (
                Stage("raw_vendor", steps.raw_vendor, checked=False),
                Stage("c_vemco_tags", steps.c_vemco_tags, checked=False),
            ),
            ("serial_no", "vue_tag_id"),
        ),
    )
}
# Assets of a chain, in order; and those of them on which checks hang.
ASSETS = {
    name: [stage.asset for stage in kind.stages] + (["otn_animals"] if name == "tags" else [])
    for name, kind in KINDS.items()
}
CHECKED = {name: [stage.asset for stage in kind.stages if stage.checked] for name, kind in KINDS.items()}
