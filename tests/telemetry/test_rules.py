"""The rules against a plain reading of them, on networks that nobody thought of; and the traps that were found, by name."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from otn_dagster.telemetry import engine, rules
from otn_dagster.telemetry.inputs import DEPLOYMENTS, DETECTIONS, SEGMENTS
from otn_dagster.telemetry.push import ordered
from otn_dagster.telemetry.push.ordered import Timeline
from tests.support import effort

Rows = list[dict[str, Any]]
TAGS = {
    "tag_key": pl.Int32, "animal_key": pl.Int32, "transmitter_key": pl.Int32, "tracker_key": pl.Int16, "release_ms": pl.Int64,
    "last_ms": pl.Int64, "modified_day": pl.Int32,
}  # fmt: skip


class Case:
    """A tiny network: rows of each table."""

    def __init__(
        self, detections: Rows, deployments: Rows = (), segments: Rows = (), tags: Rows = (), station_tags=(), tests=()
    ):
        self.detections = [
            {"det_key": n + 1, "submission_no": 1, "sensor_value": None, "loaded_day": 1, **row}
            for n, row in enumerate(detections)
        ]
        self.deployments = [
            {"deployment_key": n + 1, "project_key": 1, "modified_day": 1, "recovered_ms": None, **row}
            for n, row in enumerate(deployments)
        ]
        self.segments = [{"segment": n, "modified_day": 1, **row} for n, row in enumerate(segments)]
        self.tags = [
            {"tag_key": n + 1, "animal_key": n + 1, "tracker_key": 2, "modified_day": 1, "last_ms": None, **row}
            for n, row in enumerate(tags)
        ]
        self.station_tags, self.tests = list(station_tags), list(tests)
        codes = {row["transmitter_key"] for row in [*self.detections, *self.tags]}
        self.transmitters = {code: f"A69-{1105 if code == 5 else 1602}-{code}" for code in codes}

    def run(self, unmatched: tuple[int, ...] = ()) -> dict[int, dict[str, Any]]:
        """Rows of matches by det_key, by the expressions; those over rows in order must be the same, in the order of a push."""
        backend = engine.duckdb()

        def frame(rows: Rows, schema: dict) -> pl.DataFrame:
            full = [{name: row.get(name) for name in schema} for row in rows]
            return pl.DataFrame(full, schema=schema)

        receivers = pl.DataFrame(
            {"receiver_key": sorted({row["receiver_key"] for row in [*self.detections, *self.deployments]})},
            schema={"receiver_key": pl.Int32},
        )
        places = engine.receiver_timeline(
            backend, receivers, frame(self.segments, SEGMENTS), frame(self.deployments, DEPLOYMENTS)
        )
        keys = {"transmitter_key": pl.Int32}
        names = pl.DataFrame(
            {"transmitter_key": list(self.transmitters), "transmitter": list(self.transmitters.values())},
            schema={**keys, "transmitter": pl.String},
        )
        owners = rules.transmitter_timeline(
            engine.table(backend, "transmitters", names),
            rules.tag_windows(engine.table(backend, "tags", frame(self.tags, TAGS))),
            engine.table(backend, "station_tags", pl.DataFrame({"transmitter_key": self.station_tags}, schema=keys)),
            engine.table(backend, "test_tags", pl.DataFrame({"transmitter_key": self.tests}, schema=keys)),
        )
        owners = backend.create_table("owners", owners)
        found = rules.min_lag(
            rules.assigned(rules.clean(engine.table(backend, "detections", frame(self.detections, DETECTIONS))), places)
        )
        rows = rules.matched(found, owners, list(unmatched)).to_polars().sort(ordered.ORDER)
        timelines = [
            Timeline.of(one.to_polars(), key) for one, key in ((places, "receiver_key"), (owners, "transmitter_key"))
        ]
        backend.disconnect()
        backwards = frame(self.detections, DETECTIONS).reverse()
        quick = ordered.through_the_rules(backwards, *timelines, list(unmatched))
        assert_frame_equal(quick, rows)
        return {row["det_key"]: row for row in rows.sort("det_key").to_dicts()}


def plain(case: Case, unmatched: tuple[int, ...] = ()) -> dict[int, dict[str, Any]]:
    """The rules as a person would apply them, row by row, with no thought of speed."""
    kept: dict[tuple, dict] = {}
    for row in sorted(case.detections, key=lambda r: r["det_key"]):
        kept.setdefault((row["receiver_key"], row["transmitter_key"], row["device_ms"], row["sensor_value"]), dict(row))
    rows = list(kept.values())
    for row in rows:
        row["time_ms"] = row["device_ms"]
        for s in case.segments:
            if s["receiver_key"] == row["receiver_key"] and s["start_ms"] <= row["device_ms"] < s["end_ms"]:
                row["time_ms"] = row["device_ms"] - half_away(
                    s["offset_ms"] + s["factor"] * (row["device_ms"] - s["start_ms"])
                )
        mine = [
            d for d in case.deployments if d["receiver_key"] == row["receiver_key"] and d["start_ms"] <= row["time_ms"]
        ]
        last = max(mine, key=lambda d: (d["start_ms"], d["deployment_key"]), default=None)
        up = last is not None and (last["recovered_ms"] is None or row["time_ms"] <= last["recovered_ms"])
        row["deployment_key"], row["project_key"] = (
            (last["deployment_key"], last["project_key"]) if last and up else (None, None)
        )
        owners = {
            t["animal_key"]: t
            for t in reversed(case.tags)
            if t["transmitter_key"] == row["transmitter_key"]
            and t["release_ms"] <= row["time_ms"]
            and (t["last_ms"] is None or row["time_ms"] <= t["last_ms"])
        }
        row["outcome"], row["tag_key"] = outcome(case, row, owners, unmatched)
    for row in rows:
        others = [
            abs(o["time_ms"] - row["time_ms"])
            for o in rows
            if o is not row
            and (o["receiver_key"], o["transmitter_key"]) == (row["receiver_key"], row["transmitter_key"])
        ]
        row["min_lag"] = min(others) / 1000 if others else None
    return {row["det_key"]: row for row in rows}


def half_away(value: float) -> int:
    import math

    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def outcome(case: Case, row: dict, owners: dict, unmatched: tuple[int, ...]) -> tuple[int, int | None]:
    if row["deployment_key"] is None:
        return rules.NO_RECEIVER, None
    if len(owners) > 1:
        return rules.AMBIGUOUS, None
    if owners:
        (tag,) = owners.values()
        if row["det_key"] in unmatched:
            return rules.UNMATCHED, None
        return (rules.MATCHED_OWN if tag["tracker_key"] == row["project_key"] else rules.MATCHED), tag["tag_key"]
    code = row["transmitter_key"]
    if code in case.station_tags:
        return rules.SENTINEL, None
    if code in {t["transmitter_key"] for t in case.tags}:
        return rules.OUTSIDE_WINDOW, None
    if code in case.tests:
        return rules.UNREPORTED_TEST, None
    return (rules.SENSOR_UNRESOLVED if code == 5 else rules.NO_RELEASE), None


times = st.integers(0, 60).map(lambda n: n * 1000)
detection = st.fixed_dictionaries(
    {
        "receiver_key": st.integers(1, 2),
        "transmitter_key": st.integers(1, 6),
        "device_ms": times,
        "sensor_value": st.sampled_from([None, 0.0, 1.0]),
    }
)
deployment = st.fixed_dictionaries(
    {
        "receiver_key": st.integers(1, 2),
        "project_key": st.integers(1, 3),
        "start_ms": times,
        "recovered_ms": st.none() | times,
    }
).filter(lambda d: d["recovered_ms"] is None or d["recovered_ms"] >= d["start_ms"])
tag = st.fixed_dictionaries(
    {
        "transmitter_key": st.integers(1, 3),
        "tracker_key": st.integers(1, 3),
        "release_ms": times,
        "last_ms": st.none() | times,
    }
).filter(lambda t: t["last_ms"] is None or t["last_ms"] >= t["release_ms"])


@st.composite
def clocks(draw: Any) -> Rows:
    """Disjoint pieces of drift on each receiver."""
    found = []
    for receiver in (1, 2):
        cuts = sorted(draw(st.sets(st.integers(-5, 70).map(lambda n: n * 1000), max_size=4)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False):
            offset, factor = draw(st.integers(-3000, 3000)), draw(st.sampled_from([0.0, 0.01, -0.02, 0.1]))
            found.append(
                {
                    "receiver_key": receiver,
                    "start_ms": start,
                    "end_ms": end,
                    "offset_ms": float(offset),
                    "factor": factor,
                }
            )
    return found


@settings(max_examples=effort.times(25), deadline=None)
@given(
    st.lists(detection, min_size=1, max_size=25),
    st.lists(deployment, max_size=5),
    clocks(),
    st.lists(tag, max_size=5),
    st.sets(st.integers(1, 6), max_size=2),
    st.sets(st.integers(4, 6), max_size=1),
    st.sets(st.integers(1, 25), max_size=2),
)
def test_the_rules_say_what_a_plain_reading_of_them_says(
    detections, deployments, segments, tags, station_tags, tests, unmatched
):
    case = Case(detections, deployments, segments, tags, station_tags, tests)
    found, expected = case.run(tuple(unmatched)), plain(case, tuple(unmatched))
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for column in ("time_ms", "deployment_key", "project_key", "outcome", "min_lag", "tag_key"):
            if column == "tag_key" and row["outcome"] in (rules.MATCHED, rules.MATCHED_OWN):
                animals = {t["tag_key"]: t["animal_key"] for t in case.tags}
                assert animals[found[key]["tag_key"]] == animals[row["tag_key"]]
                continue
            assert found[key][column] == row[column], (column, key)


HERE = {"receiver_key": 1, "start_ms": 0}


def ping(second: float, code: int = 1, receiver: int = 1, **more: Any) -> dict[str, Any]:
    return {"receiver_key": receiver, "transmitter_key": code, "device_ms": int(second * 1000), **more}


def test_trap_a_copy_would_launder_a_false_detection():
    """Two offloads hold the same lone detection: without cleaning first its lag would be 0 and it would pass."""
    found = Case([ping(10), ping(10)], [HERE]).run()
    assert len(found) == 1 and found[1]["min_lag"] is None


def test_trap_same_time_other_sensor_value_is_no_copy():
    values = [0.0, None, -1.0]
    found = Case([ping(10, sensor_value=value) for value in values], [HERE]).run()
    assert len(found) == 3 and {row["min_lag"] for row in found.values()} == {0.0}


def test_trap_min_lag_sees_a_receiver_that_moved_between_projects():
    moved = [
        {**HERE, "recovered_ms": 20_000, "project_key": 1},
        {"receiver_key": 1, "start_ms": 25_000, "project_key": 2},
    ]
    found = Case([ping(19), ping(30)], moved).run()
    assert [row["project_key"] for row in found.values()] == [1, 2]
    assert [row["min_lag"] for row in found.values()] == [11.0, 11.0]


def test_trap_overlapping_tags_are_ambiguity_not_a_pick():
    tags = [
        {"transmitter_key": 1, "release_ms": 0, "last_ms": 50_000},
        {"transmitter_key": 1, "release_ms": 20_000, "last_ms": 90_000},
    ]
    found = Case([ping(10), ping(30), ping(60)], [HERE], tags=tags).run()
    assert [row["outcome"] for row in found.values()] == [rules.MATCHED, rules.AMBIGUOUS, rules.MATCHED]
    assert [row["tag_key"] for row in found.values()] == [1, None, 2]


def test_trap_a_short_tag_inside_a_long_one_loses_nothing():
    """The nearest earlier release (an as-of join) is not the tag that is still live."""
    tags = [
        {"transmitter_key": 1, "release_ms": 0, "last_ms": 90_000},
        {"transmitter_key": 1, "release_ms": 20_000, "last_ms": 30_000},
    ]
    assert Case([ping(60)], [HERE], tags=tags).run()[1]["tag_key"] == 1


def test_two_rows_of_one_animal_are_one_animal():
    tags = [
        {"transmitter_key": 1, "release_ms": 0, "animal_key": 7},
        {"transmitter_key": 1, "release_ms": 0, "animal_key": 7},
    ]
    assert Case([ping(10)], [HERE], tags=tags).run()[1]["outcome"] == rules.MATCHED


@pytest.mark.parametrize(("second", "inside"), [(9.999, False), (10, True), (50, True), (50.001, False)])
def test_windows_include_both_ends_to_the_millisecond(second: float, inside: bool):
    tags = [{"transmitter_key": 1, "release_ms": 10_000, "last_ms": 50_000}]
    assert (Case([ping(second)], [HERE], tags=tags).run()[1]["outcome"] == rules.MATCHED) is inside
    found = Case([ping(second)], [{**HERE, "start_ms": 10_000, "recovered_ms": 50_000}]).run()[1]
    assert (found["deployment_key"] is not None) is inside


def test_a_window_is_met_in_corrected_time():
    drift = [{"receiver_key": 1, "start_ms": 0, "end_ms": 1_000_000, "offset_ms": 0.0, "factor": 0.1}]
    found = Case([ping(105)], [{**HERE, "recovered_ms": 100_000}], drift).run()[1]
    assert found["time_ms"] == 94_500 and found["deployment_key"] == 1


def test_a_code_that_is_test_tag_and_animal_tag_is_the_animal_s():
    tags = [{"transmitter_key": 1, "release_ms": 10_000, "last_ms": 50_000}]
    found = Case([ping(20), ping(60)], [HERE], tags=tags, station_tags=[1]).run()
    assert [row["outcome"] for row in found.values()] == [rules.MATCHED, rules.SENTINEL]


def test_large_keys_do_not_wrap():
    found = Case([ping(10, det_key=4_000_000_000 + n) | {"device_ms": n * 60_000} for n in range(3)], [HERE]).run()
    assert sum(row["det_key"] for row in found.values()) == 12_000_000_003


def test_keys_and_times_too_wide_for_one_number_are_found_all_the_same():
    """A clock that was never set beside one of the far future, and a transmitter with a large key."""
    years = [0, 60_000, 200 * 365 * 86_400_000, 7_000 * 365 * 86_400_000]
    tags = [{"transmitter_key": 2_000_000_000, "release_ms": 50_000, "last_ms": years[2]}]
    pings = [ping(0, 2_000_000_000) | {"device_ms": at} for at in reversed(years)]
    found = Case(pings, [HERE], tags=tags).run()
    expected = [rules.OUTSIDE_WINDOW, rules.MATCHED, rules.MATCHED, rules.OUTSIDE_WINDOW]
    assert [row["outcome"] for row in found.values()] == expected


def test_milliseconds_are_those_of_the_worked_example():
    zero = dt.datetime(1970, 1, 1)

    def ms(text: str) -> int:
        return round((dt.datetime.fromisoformat(text) - zero).total_seconds() * 1000)

    start, end = ms("2011-03-07 15:10:43"), ms("2011-07-18 18:04:18")
    drift = [
        {
            "receiver_key": 1,
            "start_ms": start,
            "end_ms": end + 1,
            "offset_ms": 0.0,
            "factor": 114 / ((end - start) / 1000),
        }
    ]
    found = Case(
        [ping(ms(t) / 1000) for t in ("2011-04-11 20:17:49", "2011-06-18 17:45:24", "2011-07-18 16:20:12")],
        [HERE],
        drift,
    ).run()
    wanted = [ms(t) for t in ("2011-04-11 20:17:18.845", "2011-06-18 17:43:55.702", "2011-07-18 16:18:18.062")]
    assert [row["time_ms"] for row in found.values()] == wanted
