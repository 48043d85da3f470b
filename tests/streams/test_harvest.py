"""Every scenario in which the predecessor lost, doubled or tore data, on a local OOINet."""

import datetime as dt
import random

import numpy as np
import pytest

from otn_dagster.demo.ocean import Instrument, Quirks
from otn_dagster.streams import arrays, asking, ingesting, looking, requests, timeaxis
from otn_dagster.streams.harvest import Harvester
from otn_dagster.streams.requests import Request
from otn_dagster.streams.sources.base import SourceUnavailable
from tests.support.harvest import CTD, MINUTE, START, Harvest, assert_is_truth, every

KEY = CTD.key


def test_a_new_stream_is_built_whole_and_grows_day_by_day(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 600)})
    request = harvest.run(KEY)
    assert request and (request.state, request.mode) == ("published", "refresh")
    assert_is_truth(harvest.group(KEY), every(60, 600))
    upstream.deployments[1] = every(60, 900)
    request = harvest.run(KEY)
    assert request and (request.state, request.mode) == ("published", "append")
    assert_is_truth(harvest.group(KEY), every(60, 900))
    assert harvest.run(KEY) is None, "nothing new is not asked for"
    assert len(harvest.server.requests) == 2


def test_the_last_sample_is_stored_although_the_end_time_is_cut_to_milliseconds(harvest: Harvest) -> None:
    times = every(1, 600, START + 283_976)
    harvest.add(CTD, {1: times})
    harvest.run(KEY, "refresh")
    assert_is_truth(harvest.group(KEY), times)


def test_a_refresh_after_an_unfinished_append_takes_the_whole_series(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 599)})
    harvest.run(KEY)
    upstream.deployments[1] = every(60, 660)
    left_over = asking.ask(harvest.harvester, KEY, by="daily").request
    request = harvest.run(KEY, "refresh")
    assert left_over and request and request.state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 660))
    with harvest.harvester.connect() as connection:
        assert requests.get(connection, left_over.request_no).state == "skipped"


def test_a_second_refresh_asks_again_and_sees_what_grew(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 599)})
    harvest.run(KEY, "refresh")
    upstream.deployments[1] = every(60, 900)
    harvest.run(KEY, "refresh")
    assert_is_truth(harvest.group(KEY), every(60, 900))


def test_a_failure_of_the_source_is_not_remembered(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 300)})
    harvest.server.faults.refuse_requests = 500
    first = harvest.run(KEY, "refresh", rounds=2)
    assert first and first.state == "requested" and "500" in (first.reason or "")
    harvest.server.faults.refuse_requests = 0
    assert harvest.go_on(first.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 300))


@pytest.mark.parametrize("fault", ["failure_in_status", "status_json_failure"])
def test_a_failure_where_success_is_expected_never_touches_the_store(harvest: Harvest, fault: str) -> None:
    harvest.add(CTD, {1: every(60, 599)})
    harvest.run(KEY)
    setattr(harvest.server.faults, fault, True)
    request = harvest.run(KEY, "refresh")
    assert request and request.state == "failed"
    assert request.reason and ("Aggregation failed" in request.reason or "sub-job" in request.reason)
    assert_is_truth(harvest.group(KEY), every(60, 599))
    setattr(harvest.server.faults, fault, False)
    again = harvest.run(KEY, "refresh")
    assert again and again.state == "published"


def test_an_answer_that_is_late_expires_and_is_asked_for_again(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 100)}, most_attempts=2, expires_hours=1)
    harvest.server.faults.never_ready = True
    asked = asking.ask(harvest.harvester, KEY, by="test").request
    assert asked
    for _ in range(4):
        harvest.let_time_pass()
        with harvest.harvester.connect() as connection:
            connection.execute("update platform.stream_request_parts set asked_at = asked_at - interval '2 hours'")
        request = looking.look(harvest.harvester, asked.request_no)
    assert request.state == "expired" and request.reason and "1 hours" in request.reason
    assert len(harvest.server.requests) == 2
    harvest.server.faults.never_ready = False
    assert harvest.run(KEY).state == "published"  # type: ignore[union-attr]


def test_a_partial_listing_never_replaces_what_is_stored(harvest: Harvest) -> None:
    deployments = {1: every(60, 1500), 2: every(60, 1500, START + 1500 * MINUTE)}
    harvest.add(CTD, deployments)
    harvest.run(KEY)
    harvest.server.faults.list_only = 1
    request = harvest.run(KEY, "refresh")
    assert request and request.held and "announced_rows" in request.held["why"]
    assert_is_truth(harvest.group(KEY), every(60, 3000))
    assert len(harvest.server.requests) == 4, "asked again before a person is needed"
    harvest.server.faults.list_only = None
    assert harvest.run(KEY, "refresh", force=True).state == "published"  # type: ignore[union-attr]
    assert harvest.harvester.store(KEY).repository.list_branches() == {"main"}, "what was given up leaves nothing"


def test_a_missing_deployment_is_held_until_a_person_accepts(harvest: Harvest) -> None:
    upstream = harvest.add(
        CTD,
        {1: every(60, 200), 2: every(60, 10, START + 200 * MINUTE)},
        tolerances={"least_share_of_announced": 0, "least_share_of_before": 0},
    )
    harvest.run(KEY)
    harvest.server.faults.list_only = 1
    request = harvest.run(KEY, "refresh")
    assert request and request.held and "deployments" in request.held["why"], request
    with harvest.harvester.connect() as connection:
        requests.accept(connection, request.request_no, "Ada", "deployment 2 was withdrawn")
    assert harvest.go_on(request.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), upstream.deployments[1])


def test_a_duplicate_stamp_is_no_poison(harvest: Harvest) -> None:
    harvest.server.faults.files_of_each_deployment = 3
    harvest.server.faults.share_boundary_stamp = True
    harvest.add(CTD, {1: every(60, 600)})
    request = harvest.run(KEY)
    assert request and request.state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 600))
    facts = harvest.harvester.store(KEY).head().facts["parts"][0]  # type: ignore[union-attr]
    assert (facts["repeats"], facts["conflicts"]) == (2, 0)


def test_rows_that_disagree_about_an_instant_are_reported_with_both_values(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 100), 2: every(60, 50, START + 90 * MINUTE)})
    upstream.quirks[2] = Quirks(offset=0.5)
    request = harvest.run(KEY)
    assert request and request.state == "published"
    with harvest.harvester.connect() as connection:
        rows = connection.execute(
            "select variable, kept, dropped from platform.stream_conflicts where variable = 'sea_water_temperature'"
        ).fetchall()
    assert len(rows) == 10 and all(abs(float(kept) - float(dropped) - 0.5) < 1e-9 for _, kept, dropped in rows)
    np.testing.assert_array_equal(harvest.times(KEY), np.unique(np.concatenate(list(upstream.deployments.values()))))


def test_an_answer_that_is_ingested_twice_changes_nothing(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 300)})
    harvest.run(KEY)
    upstream.deployments[1] = every(60, 400)
    request = harvest.run(KEY)
    assert request
    before = harvest.harvester.store(KEY).head()
    with harvest.harvester.connect() as connection:
        connection.execute("alter table platform.stream_requests disable trigger all")
        connection.execute(
            "update platform.stream_requests set state = 'ready' where request_no = %s", [request.request_no]
        )
        connection.execute(
            "update platform.stream_request_parts set state = 'complete'  where request_no = %s", [request.request_no]
        )
    assert harvest.go_on(request.request_no).state == "published"
    assert harvest.harvester.store(KEY).head() == before
    repeated = harvest.run(KEY, window=(START, START + 400 * MINUTE))
    assert repeated and repeated.state == "published" and harvest.harvester.store(KEY).head() == before


def test_overlap_unsorted_and_late_data_find_their_place(harvest: Harvest) -> None:
    kept = np.delete(every(60, 600), np.s_[100:160])
    upstream = harvest.add(CTD, {1: kept})
    harvest.run(KEY)
    assert_is_truth(harvest.group(KEY), kept)
    upstream.deployments[1] = every(60, 700)
    harvest.server.faults.shuffle = True
    harvest.run(KEY)
    window = (START + 80 * MINUTE, START + 200 * MINUTE)
    request = harvest.run(KEY, window=window)
    assert request and request.state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 700))


def test_a_row_without_time_is_reported_and_the_others_are_stored(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 100)}, tolerances={"least_share_of_announced": 0.9})
    upstream.quirks[1] = Quirks(nan_times=(7,))
    harvest.run(KEY)
    assert_is_truth(harvest.group(KEY), np.delete(every(60, 100), 7))
    part = harvest.harvester.store(KEY).head().facts["parts"][0]  # type: ignore[union-attr]
    assert part["without_time"][0]["row"] == 7


@pytest.mark.parametrize(
    ("quirks", "kind"),
    [
        (Quirks(rename={"sea_water_density": "density"}), "renamed"),
        (Quirks(without=("sea_water_density",)), "missing"),
        (Quirks(extra=("new_qartod_results",)), "new"),
        (Quirks(retype={"pressure": "f8"}), "retyped"),
    ],
)
def test_a_schema_change_waits_for_a_person_and_never_breaks_the_store(
    harvest: Harvest, quirks: Quirks, kind: str
) -> None:
    upstream = harvest.add(CTD, {1: every(60, 300)})
    harvest.run(KEY)
    upstream.deployments[2] = every(60, 300, START + 300 * MINUTE)
    upstream.quirks[2] = quirks
    request = harvest.run(KEY)
    assert request and request.held and kind in request.held["why"]
    assert_is_truth(harvest.group(KEY), every(60, 300))
    with harvest.harvester.connect() as connection:
        requests.accept(connection, request.request_no, "Ada", "the new firmware")
    assert harvest.go_on(request.request_no).state == "published"
    group = harvest.group(KEY)
    stored = {name: np.asarray(arrays.array_of(group, name)[:]) for name in group.array_keys()}
    assert {len(values) for values in stored.values()} == {600}
    if kind == "new":
        assert set(stored["new_qartod_results"][:300]) == {2}, "not evaluated, never 0"
    if kind in ("renamed", "missing"):
        assert (
            np.isnan(stored["sea_water_density"][300:]).all() and not np.isnan(stored["sea_water_density"][:300]).any()
        )
    if kind == "renamed":
        assert np.isnan(stored["density"][:300]).all()
    if kind == "retyped":
        assert stored["pressure"].dtype == np.float64


def test_other_units_need_a_refresh(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 100)})
    harvest.run(KEY)
    upstream.deployments[2] = every(60, 100, START + 100 * MINUTE)
    upstream.quirks[2] = Quirks(units={"sea_water_temperature": "K"})
    request = harvest.run(KEY)
    assert request and request.held and "A refresh is needed" in request.held["why"]


def test_files_of_an_ancillary_stream_are_left_alone(harvest: Harvest) -> None:
    harvest.server.faults.ancillary = True
    harvest.add(CTD, {1: every(60, 300)})
    harvest.run(KEY)
    assert_is_truth(harvest.group(KEY), every(60, 300))


def test_a_maintenance_page_is_named_and_tried_later(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 30)})
    harvest.server.faults.maintenance = True
    with pytest.raises(SourceUnavailable, match="maintenance"):
        asking.ask(harvest.harvester, KEY, by="test")
    harvest.server.faults.maintenance = False
    assert harvest.run(KEY).state == "published"  # type: ignore[union-attr]


def test_a_file_that_breaks_off_is_not_ingested(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 300)})
    harvest.server.faults.cut_off = True
    asked = asking.ask(harvest.harvester, KEY, by="test").request
    assert asked
    harvest.let_time_pass()
    assert looking.look(harvest.harvester, asked.request_no).state == "ready"
    with pytest.raises(SourceUnavailable, match="GET"):
        harvest.ingest(asked.request_no)
    assert "attempt 1 ended: SourceUnavailable: GET" in harvest.history(asked.request_no)[-1]
    for job in harvest.server.jobs.values():
        job.faults.cut_off = harvest.server.faults.cut_off = False
    assert harvest.go_on(asked.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), every(60, 300))


def test_wavelengths_of_different_number_are_padded(harvest: Harvest) -> None:
    optaa = Instrument("RS01SLBS-LJ01A-11-OPTAAC103", "streamed", "optaa_sample", "optaa")
    upstream = harvest.add(optaa, {1: every(60, 50), 2: every(60, 50, START + 50 * MINUTE)}, padded={"wavelength": 92})
    upstream.quirks[2] = Quirks(wavelengths=92)
    assert harvest.run(optaa.key).state == "published"  # type: ignore[union-attr]
    group = harvest.group(optaa.key)
    signal = np.asarray(arrays.array_of(group, "optical_absorption")[:])
    assert signal.shape == (100, 92)
    assert np.isnan(signal[:50, 83:]).all() and not np.isnan(signal[50:]).any()
    np.testing.assert_array_equal(arrays.array_of(group, "wavelength")[:], np.arange(92))


def test_a_coordinate_that_is_not_a_number_is_an_error_and_not_a_skipped_file(harvest: Harvest) -> None:
    optaa = Instrument("RS01SLBS-LJ01A-11-OPTAAC103", "streamed", "optaa_sample", "optaa")
    upstream = harvest.add(optaa, {1: every(60, 50)}, most_attempts=1)
    upstream.quirks[1] = Quirks(nan_coordinate=True)
    request = harvest.run(optaa.key)
    assert (
        request and request.state == "failed" and "coordinate 'wavelength' is nan at index 3" in (request.reason or "")
    )


def test_a_refresh_in_many_windows_goes_on_where_it_was(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(600, 1000)}, refresh_window_days=1, parts_at_once=1)
    request = harvest.run(KEY, rounds=3)
    assert request and request.is_active and not harvest.harvester.store(KEY).exists(), "half of it is never seen"
    assert harvest.go_on(request.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), every(600, 1000))
    assert len(harvest.harvester.store(KEY).history()) == 1, "a refresh is one commit"
    assert len(harvest.harvester.store(KEY).head().facts["parts"]) == 7  # type: ignore[union-attr]


def test_a_reader_keeps_its_version_through_a_refresh_and_can_go_back_by_date(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 300)})
    harvest.run(KEY)
    reading = harvest.group(KEY)
    first = harvest.harvester.store(KEY).head()
    upstream.quirks[1] = Quirks(offset=1.0)
    harvest.run(KEY, "refresh")
    assert_is_truth(reading, every(60, 300))
    assert_is_truth(harvest.group(KEY), every(60, 300), offset=1.0)
    store = harvest.harvester.store(KEY)
    assert first and store.commit_as_of(first.at).snapshot == first.snapshot
    tag = store.roll_back(first.snapshot, first.at)
    assert_is_truth(harvest.group(KEY), every(60, 300))
    assert tag in store.repository.list_tags()


def test_mode_and_end_of_a_request_never_change(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 30)})
    request = harvest.run(KEY)
    assert request
    for change in ("mode = 'append'", "state = 'ready'"):
        with pytest.raises(Exception, match=r"never change|stays so"), harvest.harvester.connect() as connection:
            connection.execute(
                f"update platform.stream_requests set {change} where request_no = %s", [request.request_no]
            )


def test_integers_depth_and_provenance_are_kept(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 300)})
    request = harvest.run(KEY)
    group = harvest.group(KEY)
    pressure = arrays.array_of(group, "pressure")
    assert pressure.dtype == np.int32 and pressure.attrs["_FillValue"] == -9999999
    assert arrays.array_of(group, "depth").dtype == np.float32
    executed = arrays.array_of(group, "sea_water_temperature_qartod_executed")
    assert executed.attrs["tests_executed"] == "gross_range_test, climatology_test"
    assert set(np.asarray(executed[:])) <= {b"11", b"31"}
    part = harvest.harvester.store(KEY).head().facts["parts"][0]  # type: ignore[union-attr]
    assert part["files"][0]["sha256"] and part["source"]["request_uuid"]
    assert request and part["name"] == f"{request.request_no}/1"
    assert arrays.array_of(group, "time").attrs["units"] == timeaxis.UNITS


def test_an_old_job_of_somebody_is_never_taken_for_an_answer(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 600)})
    harvest.run(KEY)
    upstream.deployments[1] = every(60, 300)
    source, stream = harvest.harvester.source(KEY), harvest.streams[KEY]
    source.ask(stream, (START, START + 300 * MINUTE))  # somebody's finished job of half the series lies there
    upstream.deployments[1] = every(60, 600)
    harvest.server.faults.refuse_requests = 500
    request = harvest.run(KEY, "refresh", rounds=3)
    assert request and request.state == "requested"
    assert_is_truth(harvest.group(KEY), every(60, 600))


@pytest.mark.parametrize("seed", range(4))
def test_a_harvester_that_dies_between_any_two_steps_goes_on(
    harvest: Harvest, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every transaction of the record is a place to die at; each life gets a few of them, then the next begins."""
    upstream = harvest.add(CTD, {1: every(600, 400)}, refresh_window_days=1, parts_at_once=3)
    connect, left, chance = Harvester.connect, [0], random.Random(seed)

    def dying(self: Harvester):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return connect(self)

    def live() -> Request | None:
        with connect(harvest.harvester) as connection:
            connection.execute(
                "update platform.stream_request_parts set next_look_at = clock_timestamp() - interval '1 s'"
            )
            active = requests.active(connection, KEY)
        left[0] = chance.randint(0, 12)
        with monkeypatch.context() as patched:
            patched.setattr(Harvester, "connect", dying)
            try:
                if not active:
                    return asking.ask(harvest.harvester, KEY, by="test").request
                request = looking.look(harvest.harvester, active[0].request_no)
                return (
                    ingesting.bring_in(harvest.harvester, request.request_no).request
                    if request.state != "requested"
                    else request
                )
            except KeyboardInterrupt:
                left[0] = 10**6  # what a dying process would not do, it does not do here either
                return None

    for expected in (every(600, 400), every(600, 500)):
        upstream.deployments[1] = expected
        for _ in range(400):
            request = live()
            if request and request.state == "published":
                break
            with connect(harvest.harvester) as connection:
                connection.execute("update platform.stream_requests set ingest_attempts = 0")
        else:
            pytest.fail(f"not done: {harvest.history(1)[-5:]}")
        assert_is_truth(harvest.group(KEY), expected)
    assert len(harvest.harvester.store(KEY).history()) == 2, "each request left one commit"


def test_a_source_that_fails_again_and_again_fails_the_request_with_the_last_reason(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 30)})
    harvest.server.faults.cut_off = True
    asked = asking.ask(harvest.harvester, KEY, by="test").request
    assert asked
    pauses, request = [], asked
    for _ in range(8):
        harvest.let_time_pass()
        request = looking.look(harvest.harvester, asked.request_no)
        if not request.is_due(dt.datetime.now(dt.UTC)):
            break
        try:
            request = harvest.ingest(asked.request_no).request
        except SourceUnavailable:
            with harvest.harvester.connect() as connection:
                pauses.append(requests.get(connection, asked.request_no).next_ingest_at - dt.datetime.now(dt.UTC))
    assert request.state == "failed" and "SourceUnavailable" in (request.reason or "")
    assert len(pauses) == 5 and pauses == sorted(pauses) and pauses[-1] > dt.timedelta(minutes=15)


def test_rows_that_the_source_withdrew_go_only_when_a_person_accepts(harvest: Harvest) -> None:
    upstream = harvest.add(CTD, {1: every(60, 600)}, most_attempts=1)
    harvest.run(KEY)
    fewer = np.delete(every(60, 600), np.s_[200:260])
    upstream.deployments[1] = fewer
    request = harvest.run(KEY, window=(START + 150 * MINUTE, START + 400 * MINUTE))
    assert (
        request and request.held and "rows_before: found 190 rows, expected at least 249 of 250" in request.held["why"]
    )
    assert_is_truth(harvest.group(KEY), every(60, 600))
    with harvest.harvester.connect() as connection:
        requests.accept(connection, request.request_no, "Ada", "the sensor was in the lab")
    assert harvest.go_on(request.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), fewer)
