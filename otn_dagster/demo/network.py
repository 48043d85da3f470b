"""A simulated network whose truth is known: nodes, projects, stations, receivers with drifting clocks, tagged animals.

Belongs here: what is where and when, and what each receiver would record. Does not belong here: file formats
(``files.py``), any rule of the platform: the truth comes from who pinged, not from matching.
"""

import datetime as dt
import random
from dataclasses import dataclass, field

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
SPRING, FALL, NEXT_SPRING, NEXT_FALL = (
    dt.datetime(2025, 4, 15, 12),
    dt.datetime(2025, 10, 20, 12),
    dt.datetime(2026, 4, 20, 12),
    dt.datetime(2026, 10, 1, 12),
)


@dataclass(frozen=True)
class Project:
    """A project, its node and where it works."""

    node: str
    code: str
    kind: str  # tracker, deployment, data
    title: str
    place: str
    latitude: float
    longitude: float
    species: tuple[str, str]  # common, scientific

    @property
    def has_receivers(self) -> bool:
        """Whether it deploys receivers."""
        return self.kind in ("deployment", "data")

    @property
    def has_tags(self) -> bool:
        """Whether it tags animals."""
        return self.kind in ("tracker", "data")


@dataclass(frozen=True)
class Deployment:
    """A receiver at a station, with the offset of its clock at recovery (it was set at deployment)."""

    project: Project
    station: str
    serial: str
    model: str
    latitude: float
    longitude: float
    depth: float
    deployed: dt.datetime
    recovered: dt.datetime
    drift_seconds_per_day: float
    transmitter: str | None = None
    sheet_wave: int = 1  # in which wave its metadata is submitted

    @property
    def initialized(self) -> dt.datetime:
        """When its clock was set."""
        return self.deployed - HOUR

    @property
    def offloaded(self) -> dt.datetime:
        """When it was read out, in true time."""
        return (self.recovered + 2 * HOUR).replace(microsecond=0)

    def device_time(self, true_time: dt.datetime) -> dt.datetime:
        """What its clock shows, in whole seconds as instruments record."""
        elapsed = (true_time - self.initialized).total_seconds()
        drift = self.drift_seconds_per_day * elapsed / 86_400
        return (true_time + dt.timedelta(seconds=drift)).replace(microsecond=0)


@dataclass(frozen=True)
class Tag:
    """A transmitter on an animal."""

    project: Project
    animal_id: str
    serial: str
    transmitter: str
    life_days: int
    released: dt.datetime
    latitude: float
    longitude: float
    length: float
    sex: str
    harvested: dt.datetime | None = None
    sensor: bool = False
    sheet_wave: int = 1

    @property
    def catalognumber(self) -> str:
        """The animal's catalog number."""
        return f"{self.project.code}-{self.animal_id}"


@dataclass(frozen=True)
class Heard:
    """One record of a receiver with its truth: which outcome is right, whose animal it is, where and when it was."""

    deployment: Deployment
    transmitter: str
    true_time: dt.datetime
    device_time: dt.datetime
    sensor_value: int | None
    reason: str
    animal: str | None
    tracker: str | None


@dataclass
class Network:
    """The whole simulated network."""

    seed: int
    projects: list[Project]
    deployments: list[Deployment] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


PROJECTS = [
    Project("OTN", "HFXL", "deployment", "A line of receivers off Halifax", "Halifax, NS", 44.2, -63.4, ("", "")),
    Project(
        "OTN", "SHRK", "tracker", "Blue sharks of the Scotian Shelf", "Halifax, NS", 44.1, -63.2,
        ("blue shark", "Prionace glauca"),
    ),
    Project(
        "OTN", "SABL", "data", "Salmon leaving the Bras d'Or lakes", "Baddeck, NS", 46.1, -60.7,
        ("Atlantic salmon", "Salmo salar"),
    ),
    Project("FACT", "REEF", "deployment", "Receivers on nearshore reefs", "Jupiter, FL", 26.95, -80.0, ("", "")),
    Project(
        "FACT", "SNOOK", "tracker", "Common snook in the Indian River", "Stuart, FL", 27.2, -80.2,
        ("common snook", "Centropomus undecimalis"),
    ),
    Project(
        "FACT", "CAPE", "data", "Blacktip sharks at the Cape", "Cape Canaveral, FL", 28.4, -80.5,
        ("blacktip shark", "Carcharhinus limbatus"),
    ),
    Project("ACT", "CHES", "deployment", "Mouth of the Chesapeake", "Norfolk, VA", 36.95, -76.0, ("", "")),
    Project(
        "ACT", "STRB", "tracker", "Striped bass of the Hudson", "New York, NY", 40.6, -74.0,
        ("striped bass", "Morone saxatilis"),
    ),
    Project(
        "ACT", "DELB", "data", "Sand tigers of Delaware Bay", "Lewes, DE", 38.9, -75.1,
        ("sand tiger", "Carcharias taurus"),
    ),
]  # fmt: skip
STATIONS_PER_PROJECT, ANIMALS_PER_PROJECT = 8, 10
MODELS = ["VR2W", "VR2W-69k", "VR2Tx", "VR4"]


def make_network(seed: int = 7) -> Network:
    """The network of a seed: the same every time."""
    chance = random.Random(seed)
    network = Network(seed, PROJECTS)
    _deploy(network, chance)
    _tag(network, chance)
    _swim(network, chance)
    network.heard.sort(key=lambda h: (h.deployment.serial, h.device_time, h.transmitter, h.true_time))
    network.heard = list(
        {(h.deployment.serial, h.device_time, h.transmitter, h.sensor_value): h for h in network.heard}.values()
    )
    return network


def _deploy(network: Network, chance: random.Random) -> None:
    """Three seasons at each station; a receiver that comes up goes down elsewhere, once even in another project."""
    serial = 480_000
    seasons = [(SPRING, FALL), (FALL, NEXT_SPRING), (NEXT_SPRING, NEXT_FALL)]
    for project in filter(lambda p: p.has_receivers, network.projects):
        serials = [str(serial + n) for n in range(STATIONS_PER_PROJECT)]
        serial += 100
        for season, (start, end) in enumerate(seasons):
            moved = serials[season:] + serials[:season]  # each season a receiver hangs one station further
            for number, one in enumerate(moved):
                if project.code == "CHES" and season == 2 and number == 0:
                    one = "480003"  # bought from the Halifax project after its last recovery there
                deployed = start + number * 2 * HOUR + (2 * DAY if season else dt.timedelta())
                recovered = end + number * 2 * HOUR
                if one == "480003" and project.code == "HFXL" and season == 2:
                    continue
                network.deployments.append(
                    Deployment(
                        project,
                        f"{project.code}{number + 1:02d}",
                        one,
                        "VR2W" if one == "480003" else MODELS[int(one) % len(MODELS)],
                        round(project.latitude + 0.04 * number + chance.uniform(-0.002, 0.002), 5),
                        round(project.longitude + 0.03 * number + chance.uniform(-0.002, 0.002), 5),
                        float(20 + 8 * number),
                        deployed,
                        recovered,
                        round(chance.uniform(-3, 3), 3),
                        transmitter=f"A69-1601-{60_000 + int(one) % 1000}" if number == 4 and season == 0 else None,
                        sheet_wave=2 if project.code == "REEF" and season == 1 and number == 2 else 1,
                    )
                )


def _tag(network: Network, chance: random.Random) -> None:
    code = 10_000
    for project in filter(lambda p: p.has_tags, network.projects):
        for number in range(ANIMALS_PER_PROJECT):
            code += 7
            sensor = number % 4 == 0
            network.tags.append(
                Tag(
                    project,
                    f"{project.code.title()}{number + 1:02d}",
                    str(1_200_000 + code),
                    f"{'A69-9002' if sensor else 'A69-1602'}-{code}",
                    60 if number == 9 else 1460,
                    SPRING + chance.uniform(20, 60) * DAY,
                    round(project.latitude + chance.uniform(-0.2, 0.2), 5),
                    round(project.longitude + chance.uniform(-0.2, 0.2), 5),
                    round(chance.uniform(0.5, 2.4), 2),
                    chance.choice("MFU"),
                    sensor=sensor,
                    sheet_wave=2 if project.code == "STRB" and number in (7, 8) else 1,
                )
            )
    by_id = {tag.animal_id: tag for tag in network.tags}
    # A tag that was harvested and used again a year later, and a code that two projects report at the same time.
    first, other = by_id["Snook02"], by_id["Cape03"]
    harvested = first.released + 40 * DAY
    network.tags[network.tags.index(first)] = _changed(first, harvested=harvested)
    network.tags.append(_changed(first, animal_id="Snook11", released=first.released + 300 * DAY, harvested=None))
    network.tags.append(
        _changed(
            other,
            project=by_id["Delb01"].project,
            animal_id="Delb11",
            serial="1299999",
            released=other.released + 100 * DAY,
        )
    )


def _changed(tag: Tag, **values: object) -> Tag:
    return Tag(**{**vars(tag), **values})  # type: ignore[arg-type]


def _swim(network: Network, chance: random.Random) -> None:
    """Animals, strangers and test tags near receivers: what is heard, and what the truth of each record is."""
    for tag in network.tags:
        for _ in range(chance.randint(10, 18)):
            deployment = chance.choice(_near(network, tag.project, chance))
            if deployment.recovered < tag.released:
                continue
            latest = min(deployment.recovered, tag.harvested or deployment.recovered)
            start = max(deployment.deployed, tag.released) + chance.random() * 0.9 * (
                latest - max(deployment.deployed, tag.released)
            )
            if latest > max(deployment.deployed, tag.released):
                _visit(network, chance, deployment, tag.transmitter, start, tag)
    for number in range(12):  # other networks' animals
        deployment_project = chance.choice([p for p in network.projects if p.has_receivers])
        for _ in range(6):
            deployment = chance.choice([d for d in network.deployments if d.project is deployment_project])
            stranger = f"A69-1105-{40 + number}" if number == 0 else f"A69-9001-{50_000 + number}"
            start = deployment.deployed + chance.random() * 0.9 * (deployment.recovered - deployment.deployed)
            _visit(network, chance, deployment, stranger, start, None)
    for deployment in network.deployments:
        if deployment.transmitter:  # its own sentinel tag, for three days
            time = deployment.deployed + 10 * DAY
            for _ in range(250):
                time += dt.timedelta(seconds=chance.uniform(900, 1200))
                _record(network, deployment, deployment.transmitter, time, None, "sentinel", None, None)


def _near(network: Network, project: Project, chance: random.Random) -> list[Deployment]:
    """Receivers of the animal's own waters, or once in four visits those of anywhere along the coast."""
    anywhere = chance.random() < 0.25
    return [d for d in network.deployments if anywhere or abs(d.project.latitude - project.latitude) < 3]


def _visit(
    network: Network,
    chance: random.Random,
    deployment: Deployment,
    transmitter: str,
    start: dt.datetime,
    tag: Tag | None,
) -> None:
    end = min(start + dt.timedelta(minutes=chance.lognormvariate(4, 0.7)), deployment.recovered - HOUR)
    time = start
    while time < end:
        time += dt.timedelta(seconds=chance.uniform(60, 180))
        if chance.random() < 0.55:
            value = chance.randint(0, 255) if tag and tag.sensor else None
            _record(network, deployment, transmitter, time, value, *_truth(network, deployment, transmitter, time, tag))


def _truth(
    network: Network, deployment: Deployment, transmitter: str, time: dt.datetime, tag: Tag | None
) -> tuple[str, str | None, str | None]:
    """What a perfect analyst would say, from who pinged: the generator knows, the platform must find out."""
    if tag is None:
        return ("u4_sensor_unresolved" if "-1105-" in transmitter else "u3_no_release"), None, None
    owners = [t for t in network.tags if t.transmitter == transmitter and _live(t, time)]
    if len(owners) > 1:
        return "u2_ambiguous", None, None
    if not owners:
        return "u5_outside_window", None, None
    return ("matched_own" if tag.project is deployment.project else "matched"), tag.catalognumber, tag.project.code


def _live(tag: Tag, time: dt.datetime) -> bool:
    """Whether a tag may still be heard: end of life or harvest, and three calendar months."""
    end = tag.harvested or tag.released + tag.life_days * DAY
    month = end.month + 3
    extended = end.replace(year=end.year + (month > 12), month=(month - 1) % 12 + 1, day=min(end.day, 28))
    return tag.released <= time <= extended


def _record(
    network: Network,
    deployment: Deployment,
    transmitter: str,
    time: dt.datetime,
    value: int | None,
    reason: str,
    animal: str | None,
    tracker: str | None,
) -> None:
    if deployment.deployed < time < deployment.recovered:
        device = deployment.device_time(time)
        network.heard.append(Heard(deployment, transmitter, time, device, value, reason, animal, tracker))
