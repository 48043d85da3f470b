"""QARTOD flags are the same however a stream was cut, and they are those of the library on the whole series."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ioos_qc import qartod as library

from otn_dagster.demo.ocean import write_file
from otn_dagster.streams import arrays, ingest, qartod, qartod_tables, qc, timeaxis
from otn_dagster.streams.ingest import Answer
from otn_dagster.streams.location import Location
from otn_dagster.streams.qartod import BadLimits
from otn_dagster.streams.store import StreamStore
from tests.support import effort
from tests.support.harvest import CTD, START, every, stream_of

STREAM = stream_of(CTD, tolerances={"least_share_of_announced": 0, "least_share_of_before": 0})
LIMITS = {
    "sea_water_temperature": {
        "gross_range_test": {"suspect_span": [6, 10], "fail_span": [5, 11]},
        "spike_test": {"suspect_threshold": 0.02, "fail_threshold": 0.08},
        "rate_of_change_test": {"threshold": 0.0005, "fail_threshold": 0.002},
        "flat_line_test": {"suspect_threshold": 600, "fail_threshold": 1200, "tolerance": 0.12},
        "attenuated_signal_test": {"suspect_threshold": 0.05, "fail_threshold": 0.02, "test_period": 900, "min_obs": 5},
    },
    "sea_water_pressure": {"gross_range_test": {"fail_span": [78, 82]}},
}
SAMPLING = 60.0


def stores(folder: Path) -> tuple[StreamStore, StreamStore]:
    return StreamStore(Location(str(folder / "data"))), StreamStore(Location(str(folder / "flags")))


def put(
    store: StreamStore, folder: Path, number: int, times: np.ndarray, window: tuple[int, int] | None = None
) -> None:
    path = write_file(folder / f"in{number}", CTD, 1, times)
    span = window or (int(times[0]), int(times[-1]) + 1)
    ingest.ingest(store, Answer(STREAM, number, 1, "append", span), [path])


def all_flags(store: StreamStore) -> dict[str, list[int]]:
    group = store.read()
    return {name: np.asarray(arrays.array_of(group, name)[:]).tolist() for name in sorted(group.array_keys())}


@settings(max_examples=effort.times(3), deadline=None)
@given(st.lists(st.integers(1, 399), min_size=1, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_flags_do_not_depend_on_the_cut_nor_on_the_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], chance
) -> None:
    times = every(60, 400)
    whole, pieces = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("pieces")
    data, flags = stores(whole)
    put(data, whole, 1, times)
    qc.flag(data, flags, LIMITS, SAMPLING)
    other, other_flags = stores(pieces)
    slices = np.split(times, sorted(cuts))
    order = list(range(len(slices)))
    chance.shuffle(order)
    for number, i in enumerate(order, start=1):
        put(other, pieces, number, slices[i])
        qc.flag(other, other_flags, LIMITS, SAMPLING)
    assert all_flags(other_flags) == all_flags(flags)


def test_flags_are_those_of_the_library_on_the_whole_series(tmp_path: Path) -> None:
    data, flags = stores(tmp_path)
    put(data, tmp_path, 1, every(60, 400))
    found = qc.flag(data, flags, LIMITS, SAMPLING)
    assert found and found.computed == 400
    values = np.asarray(arrays.array_of(data.read(), "sea_water_temperature")[:])
    when = timeaxis.datetimes(every(60, 400)).astype("datetime64[ns]")
    limits = LIMITS["sea_water_temperature"]
    expected = {
        "gross_range_test": library.gross_range_test(values, [5, 11], [6, 10]),
        "spike_test": library.spike_test(values, 0.02, 0.08),
        "rate_of_change_test": library.rate_of_change_test(values, when, 0.0005, 0.002),
        "flat_line_test": library.flat_line_test(values, when, 600, 1200, 0.12),
        "attenuated_signal_test": library.attenuated_signal_test(values, when, **limits["attenuated_signal_test"]),
    }
    stored = all_flags(flags)
    for test, flag in expected.items():
        assert stored[f"sea_water_temperature_qartod_{test}"] == np.asarray(flag).tolist(), test
        assert len(set(stored[f"sea_water_temperature_qartod_{test}"])) > 1, f"{test} flags nothing here"
    worst = np.asarray(library.qartod_compare(list(expected.values()))).tolist()
    assert stored["sea_water_temperature_qartod_aggregate"] == worst


def test_only_what_changed_is_flagged_again(tmp_path: Path) -> None:
    data, flags = stores(tmp_path)
    put(data, tmp_path, 1, every(60, 2000))
    qc.flag(data, flags, LIMITS, SAMPLING)
    assert qc.flag(data, flags, LIMITS, SAMPLING).computed == 0  # type: ignore[union-attr]
    put(data, tmp_path, 2, every(60, 100, START + 2000 * 60_000_000))
    again = qc.flag(data, flags, LIMITS, SAMPLING)
    assert again and again.rows == 2100 and 100 < again.computed < 150
    other = {"sea_water_pressure": {"gross_range_test": {"fail_span": [0, 10]}}}
    anew = qc.flag(data, flags, other, None)
    assert anew and anew.computed == 2100 and anew.counts == {"sea_water_pressure": {"4": 2100}}


def test_missing_values_are_flagged_missing_and_sub_second_rates_are_rates(tmp_path: Path) -> None:
    times = every(0.125, 80)
    values = np.sin(np.arange(80) / 5)
    values[10] = np.nan
    found = qartod.flags(values, times, {"rate_of_change_test": {"threshold": 1.0}}, 0.125)
    assert found["aggregate"][10] == 9
    assert found["rate_of_change_test"][1] == 3, "0.2 in an eighth of a second is more than 1 a second"


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"percentile_range": {}}, "not one of"),
        ({"flat_line_test": {"suspect_threshold": 1, "fail_threshold": 2}}, "sampling_seconds"),
        ({"attenuated_signal_test": {"suspect_threshold": 1, "fail_threshold": 0}}, "test_period"),
    ],
)
def test_limits_that_would_depend_on_the_cut_are_refused(limits: dict, match: str) -> None:
    with pytest.raises(BadLimits, match=match):
        qartod.check_limits("x", limits, None)


def test_the_tables_of_ooi_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "qartod" / "ctdbp"
    (folder / "climatology_tables").mkdir(parents=True)
    head = "subsite,node,sensor,stream,parameters,qcConfig,source,notes\n"
    row = "CE02SHBP,LJ01D,06-CTDBPN106,ctdbp_no_sample"
    (folder / "ctdbp_qartod_gross_range_test_values.csv").write_text(
        head
        + f"{row},{{'inp': 'sea_water_temperature'}},\"{{'qartod': {{'gross_range_test': {{'suspect_span': [6, 9], 'fail_span': [0, 30]}}}}}}\",,\n"
        + "CE01ISSM,LJ01D,06-CTDBPN106,ctdbp_no_sample,{'inp': 'other'},{'qartod': {}},,\n"
    )
    (folder / "ctdbp_qartod_flat_line_test_values.csv").write_text(
        head
        + f"{row},\"{{'tinp': 'time', 'inp': 'sea_water_temperature'}}\","
        + "\"{'qartod': {'flat_line_test': {'suspect_threshold': 0, 'fail_threshold': 0, 'tolerance': 0.0001}}}\",,\n"
    )
    (folder / "ctdbp_qartod_climatology_test_values.csv").write_text(
        head.replace("qcConfig", "climatologyTable")
        + f'{row},"{{""inp"": ""sea_water_temperature"", ""tinp"": ""time"", ""zinp"": null}}",climatology_tables/t.csv,,\n'
    )
    months = ",".join(f'"[{m}, {m}]"' for m in range(1, 13))
    ranges = ",".join('"[7.0, 9.0]"' if m == 10 else '"[0.0, 1.0]"' for m in range(1, 13))
    (folder / "climatology_tables" / "t.csv").write_text(f'"",{months}\n"[0, 0]",{ranges}\n')
    limits = qartod_tables.limits_of(tmp_path, CTD.refdes, "ctdbp_no_sample")
    assert set(limits) == {"sea_water_temperature"}
    assert set(limits["sea_water_temperature"]) == {"gross_range_test", "climatology_test"}, (
        "a flat line of 0 s was not set"
    )
    values, times = np.array([8.0, 6.5]), every(60, 2)
    assert timeaxis.instant(int(times[0])).month == 10
    found = qartod.flags(values, times, limits["sea_water_temperature"], None)
    assert found["climatology_test"].tolist() == [1, 3]
