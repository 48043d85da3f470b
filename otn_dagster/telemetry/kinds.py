"""The kinds of file, each said once: its stages, its tables, the keys by which two versions of it are compared.

Belongs here: one ``Kind`` for each folder of ``incoming/<node>/<collection>/``. Does not belong here: what a stage does (``loading/``).

Add a kind: a reader in ``files/``, its steps in ``loading/``, its checks in ``checks/``, and an entry here; the assets, the jobs and the
sensor follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from otn_dagster.telemetry.files.fixes import SUBJECTS
from otn_dagster.telemetry.loading import steps
from otn_dagster.telemetry.loading.steps import StepReport


@dataclass(frozen=True)
class Stage:
    """One step of a kind's chain: the asset that people see, what it does and says, where its rows are.

    after: the stage whose rows it takes; without it, the one before. checked: the field's checks hang on it. with_it: another asset
    that the same transaction writes, and that its step reports first.
    """

    asset: str
    load: Callable[..., StepReport | tuple[StepReport, ...]]
    says: str
    storage: frozenset[str] = frozenset({"postgres"})
    after: str | None = None
    checked: bool = True
    with_it: str | None = None

    @property
    def assets(self) -> list[str]:
        """All assets that it writes, as its step reports them."""
        return [self.with_it, self.asset] if self.with_it else [self.asset]


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
            "project",
            (
                Stage(
                    "raw_project",
                    steps.raw_project,
                    "A project metadata form as it was received.",
                    storage=frozenset({"file"}),
                ),
                Stage(
                    "otn_resources",
                    steps.otn_resources,
                    "Projects with their people and species, in `obis.otn_resources`.",
                ),
            ),
            ("line",),
        ),
        Kind(
            "tags",
            (
                Stage(
                    "raw_tags",
                    steps.raw_tags,
                    "Rows of a tag sheet as submitted, in `c_tag_meta`.",
                    storage=frozenset({"file", "postgres"}),
                ),
                Stage("tag_cache", steps.tag_cache, "Typed rows of a tag sheet, animals and transmitters named."),
                Stage(
                    "otn_transmitters",
                    steps.otn_animals_and_transmitters,
                    "Transmitters on animals with their life, inherited into `obis.moorings`.",
                    with_it="otn_animals",
                ),
            ),
            ("animal_id", "tag_code_space", "tag_id_code"),
        ),
        Kind(
            "deployments",
            (
                Stage(
                    "raw_deployments",
                    steps.raw_deployments,
                    "Rows of a deployment sheet as submitted, in `c_shortform`.",
                    storage=frozenset({"file", "postgres"}),
                ),
                Stage("rcvr_locations", steps.rcvr_locations, "Typed rows of a deployment sheet, deployments named."),
                Stage(
                    "moorings",
                    steps.moorings,
                    "Stations, receivers, their transmitters and downloads, inherited into `obis.moorings`. Detections"
                    " that waited for these receivers are promoted.",
                ),
            ),
            ("otn_array", "station_no", "ins_serial_no", "deploy_date_time"),
        ),
        Kind(
            "detections",
            (
                Stage(
                    "raw_detections",
                    steps.raw_detections,
                    "A detections export (VUE, Fathom, Thelma) as one immutable Parquet file.",
                    storage=frozenset({"file", "parquet"}),
                ),
                Stage(
                    "detections",
                    steps.detections,
                    "Accepted detections, each once and with its det_key, in `detections_YYYY`.",
                ),
                Stage(
                    "otn_detections",
                    steps.otn_detections,
                    "Detections with corrected time and the deployment that heard them, in `otn_detections_YYYY`, inherited into `obis`.",
                ),
            ),
            ("datetime", "receiver", "transmitter", "sensor_value"),
        ),
        Kind(
            "events",
            (
                Stage(
                    "raw_events",
                    steps.raw_events,
                    "An events export (VUE, Fathom) as one immutable Parquet file.",
                    storage=frozenset({"file", "parquet"}),
                ),
                Stage("events", steps.events, "Receiver events, each once; uploads become DOWNLOAD rows of moorings."),
                Stage(
                    "time_drift_factors",
                    steps.time_drift_factors,
                    "How receivers' clocks drifted, piece by piece; detections are corrected by it.",
                ),
                Stage(
                    "receiver_config",
                    steps.receiver_config,
                    "Which code spaces receivers listened to.",
                    after="events",
                    checked=False,
                ),
            ),
            ("datetime", "receiver", "description", "data"),
        ),
        Kind(
            "vendor",
            (
                Stage(
                    "raw_vendor",
                    steps.raw_vendor,
                    "A manufacturer's tag specification sheet as it was received.",
                    storage=frozenset({"file"}),
                    checked=False,
                ),
                Stage(
                    "c_vemco_tags",
                    steps.c_vemco_tags,
                    "Tag life, sensor slope and intercept of every transmitter that manufacturers specified; tags without a life get it.",
                    checked=False,
                ),
            ),
            ("serial_no", "vue_tag_id"),
        ),
        Kind(
            "fix",
            (
                Stage(
                    "raw_fixes",
                    steps.raw_fixes,
                    "A list of fixes as it was received: what is loaded and wrong, and what is right.",
                    storage=frozenset({"file"}),
                    checked=False,
                ),
                Stage(
                    "fixed_rows",
                    steps.fixed_rows,
                    "Rows of the upper tables that were set right, as they were before and after; a second person saw first what changes.",
                    checked=False,
                ),
            ),
            SUBJECTS,
        ),
    )
}
# Assets of a chain, in order; and those of them on which checks hang.
ASSETS = {name: [asset for stage in kind.stages for asset in stage.assets] for name, kind in KINDS.items()}
CHECKED = {name: [stage.asset for stage in kind.stages if stage.checked] for name, kind in KINDS.items()}
