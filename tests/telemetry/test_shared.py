"""What two projects claim in one push, against loops over every pair of rows."""

import random
from itertools import product
from pathlib import Path

import polars as pl
import pytest

from otn_dagster.telemetry.push import matching, parting, shared, verification
from otn_dagster.telemetry.push.shared import Shared
from otn_dagster.telemetry.push.snapshot import Snapshot
from otn_dagster.telemetry.push.verifying.evidence import Evidence

PROJECTS = ["HFX", "NSBS", "SHRK"]
FOREVER = 2**62


class Invented:
    """A small snapshot on few keys, so that much of it is shared; its rows are kept as dictionaries too."""

    def __init__(self, folder: Path, seed: int):
        """Write it."""
        chance = random.Random(seed)
        self.tags = [
            self._use(chance, "transmitter", "trackercode", "catalognumber", "release_ms", "end_ms", n)
            for n in range(30)
        ]
        self.deployments = [
            self._use(chance, "rcv_serial_no", "collectioncode", "rcvrcatnumber", "start_ms", "recovered_ms", n)
            for n in range(30)
        ]
        self.detections = [
            {
                "receiver_key": chance.randrange(30),
                "transmitter_key": chance.randrange(2),
                "device_ms": chance.randrange(2),
                "sensor_value": chance.choice([None, 1.0, 2.0]),
                "det_key": number,
                "submission_no": chance.randrange(6),
            }
            for number in range(150)
        ]
        receivers = [{"receiver_key": key, "rcv_serial_no": f"R{key}"} for key in range(30)]
        submissions = [{"submission_no": no, "submission_key": f"file {no}"} for no in range(6)]
        tables = {
            "tags": self.tags,
            "deployments": self.deployments,
            "receivers": receivers,
            "submissions": submissions,
        }
        for name, rows in tables.items():
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / f"{name}.parquet")
        (folder / "detections").mkdir()
        listed = {}
        for project, year in product(PROJECTS, (2022, 2023)):
            rows = [row for row in self.detections if self.project(row) == project and row["det_key"] % 2 == year % 2]
            name = f"detections/{project}-{year}.parquet"
            kinds = {
                "receiver_key": pl.Int32,
                "transmitter_key": pl.Int32,
                "sensor_value": pl.Float64,
                "submission_no": pl.Int32,
            }
            pl.DataFrame(rows, schema_overrides=kinds).write_parquet(folder / name)
            listed[name] = {"rows": len(rows)}
        self.snapshot = Snapshot(folder, {"files": listed})

    @staticmethod
    def _use(chance: random.Random, what: str, project: str, number: str, start: str, end: str, no: int) -> dict:
        begin = chance.randrange(100)
        ends = chance.choice([None, begin + chance.randrange(40)])
        return {
            what: f"X{chance.randrange(5)}",
            project: chance.choice(PROJECTS),
            number: f"C{no:02d}",
            start: begin,
            end: ends,
        }

    @staticmethod
    def project(row: dict) -> str:
        """Two files of each project."""
        return PROJECTS[row["submission_no"] // 2]


def _overlap(a: dict, b: dict, start: str, end: str) -> bool:
    return a[start] <= (FOREVER if b[end] is None else b[end]) and b[start] <= (FOREVER if a[end] is None else a[end])


def _found(name: str, invented: Invented, code: str) -> list[dict]:
    evidence = Evidence(None, None, Shared(invented.snapshot))  # type: ignore[arg-type]
    (one,) = [check for check in verification.CHECKS if check.function.__name__ == name]
    found = one.function(evidence)
    return [{key: value for key, value in row.items() if key != "project"} for row in found if row["project"] == code]


@pytest.fixture(params=range(5))
def invented(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invented:
    """In several ranges of receivers, as a large network is read."""
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", 60)
    monkeypatch.setattr(parting, "ROWS_AT_ONCE", 50)
    return Invented(tmp_path, request.param)


@pytest.mark.parametrize("code", PROJECTS)
def test_a_tag_that_is_live_twice_is_named_on_either_side(invented: Invented, code: str) -> None:
    pairs = [
        (a, b)
        for a, b in product(invented.tags, repeat=2)
        if a is not b and a["transmitter"] == b["transmitter"] and _overlap(a, b, "release_ms", "end_ms")
    ]
    numbers = {(a["catalognumber"], b["catalognumber"]): (a["trackercode"], b["trackercode"]) for a, b in pairs}
    two = {pair for pair, (mine, other) in numbers.items() if mine == code != other}
    own = {pair for pair, (mine, other) in numbers.items() if mine == other == code and pair[0] < pair[1]}
    assert {
        (r["catalognumber"], r["other_catalognumber"]) for r in _found("tag_on_two_projects", invented, code)
    } == two
    assert {(r["catalognumber"], r["other_catalognumber"]) for r in _found("tag_live_twice", invented, code)} == own
    assert two


@pytest.mark.parametrize("code", PROJECTS)
def test_a_receiver_in_two_projects_at_once_is_named(invented: Invented, code: str) -> None:
    expected = {
        (a["rcvrcatnumber"], b["rcvrcatnumber"])
        for a, b in product(invented.deployments, repeat=2)
        if a["rcv_serial_no"] == b["rcv_serial_no"]
        and a["collectioncode"] == code != b["collectioncode"]
        and a["start_ms"] < (FOREVER if b["recovered_ms"] is None else b["recovered_ms"])
        and b["start_ms"] < (FOREVER if a["recovered_ms"] is None else a["recovered_ms"])
    }
    found = _found("receiver_on_two_projects", invented, code)
    assert {(r["rcvrcatnumber"], r["other_rcvrcatnumber"]) for r in found} == expected
    assert expected


@pytest.mark.parametrize("code", PROJECTS)
def test_detections_that_another_project_sent_too_are_counted(invented: Invented, code: str) -> None:
    expected: dict[tuple[str, str], int] = {}
    for a, b in product(invented.detections, repeat=2):
        if invented.project(a) == code != invented.project(b) and all(a[name] == b[name] for name in shared.SAME):
            pair = (f"R{a['receiver_key']}", f"file {b['submission_no']}")
            expected[pair] = expected.get(pair, 0) + 1
    found = _found("double_reporting", invented, code)
    assert {(r["rcv_serial_no"], r["also_in"]): r["detections"] for r in found} == expected
    assert expected
