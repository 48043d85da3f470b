"""Gaps, annotations, inventory and catalog say what is true, keep what was, and survive one that fails."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import polars as pl
import pystac
import pytest
import yaml

from otn_dagster.streams import annotations, catalog, gaps, inventory, published, timeaxis
from otn_dagster.streams.location import Location
from otn_dagster.streams.sources.ooinet import OOINet
from tests.support.harvest import CTD, MINUTE, START, Harvest, assert_is_truth, every

KEY = CTD.key
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def find(harvest: Harvest) -> gaps.Gaps:
    stream, source = harvest.streams[KEY], harvest.harvester.source(KEY)
    return gaps.find(harvest.group(KEY), source.bins(stream), source.deployments(stream), 0.98)


def test_rows_that_come_late_are_found_and_asked_for_by_themselves(harvest: Harvest) -> None:
    whole = every(60, 4 * 1440)
    kept = np.delete(whole, np.s_[1440 + 300 : 1440 + 700])
    upstream = harvest.add(CTD, {1: kept})
    harvest.run(KEY)
    assert find(harvest).windows == [] and find(harvest).missing == 0
    upstream.deployments[1] = whole
    found = find(harvest)
    assert found.missing == 400
    bad = found.table.filter((pl.col("kind") == "bin") & (pl.col("missing") > 0))
    assert bad.select("expected", "observed", "missing").rows() == [(1440, 1040, 400)]
    asked = gaps.ask_again(harvest.harvester, harvest.streams[KEY], found)
    assert asked and asked.request and harvest.go_on(asked.request.request_no).state == "published"
    assert_is_truth(harvest.group(KEY), whole)
    assert find(harvest).windows == []


def test_a_window_is_not_asked_for_again_for_ever(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 3 * 1440)}, most_windows_asked_again=2)
    harvest.run(KEY)
    real = harvest.harvester.source(KEY).bins
    bins = real(harvest.streams[KEY])
    found = gaps.find(
        harvest.group(KEY), [b if i != 1 else type(b)(b.start, b.end, 5000) for i, b in enumerate(bins)], [], 0.98
    )
    assert len(found.windows) == 1
    for _ in range(2):
        asked = gaps.ask_again(harvest.harvester, harvest.streams[KEY], found)
        assert asked and asked.request
        harvest.go_on(asked.request.request_no)
        with harvest.harvester.connect() as connection:
            connection.execute(
                "update platform.stream_requests set state = 'skipped' where state in ('requested', 'ready')"
            )
    assert gaps.ask_again(harvest.harvester, harvest.streams[KEY], found) is None


def test_every_version_of_an_annotation_is_kept_and_one_failing_instrument_stops_nobody(harvest: Harvest) -> None:
    source = OOINet(harvest.server.url)
    record = {
        "id": 7,
        "beginDT": 1_700_000_000_000,
        "endDT": None,
        "annotation": "biofouling",
        "exclusionFlag": False,
        "qcFlag": "suspect",
    }
    harvest.server.annotations["A"] = [record]
    harvest.server.annotations["B"] = [{**record, "id": 8}]
    with harvest.harvester.connect() as connection:
        first = annotations.harvest(connection, ["A", "B"], source.annotations, NOW)
    assert (first.new, first.current) == (2, 2)
    harvest.server.annotations["A"] = [{**record, "qcFlag": "fail"}]
    harvest.server.faults.broken_annotations = ("B",)
    later = NOW + dt.timedelta(days=1)
    with harvest.harvester.connect() as connection:
        second = annotations.harvest(connection, ["A", "B"], source.annotations, later)
        third = annotations.harvest(connection, ["A", "B"], source.annotations, later + dt.timedelta(days=1))
        now, before = annotations.table(connection), annotations.table(connection, as_of=NOW)
    assert (second.changed, second.new, second.current) == (1, 0, 2) and "500" in second.failed["B"]
    assert (third.changed, third.new, third.gone) == (0, 0, 0)
    assert now.select("refdes", "qc_flag").rows() == [("A", "fail"), ("B", "suspect")]
    assert before.select("refdes", "qc_flag").rows() == [("A", "suspect"), ("B", "suspect")]
    harvest.server.annotations["A"] = []
    with harvest.harvester.connect() as connection:
        assert annotations.harvest(connection, ["A"], source.annotations, later + dt.timedelta(days=2)).gone == 1


def test_the_mask_covers_exclusions_and_bad_flags_of_the_stream(harvest: Harvest) -> None:
    times = every(60, 100)
    at = lambda minute: int(timeaxis.instant(START + minute * MINUTE).timestamp() * 1000)  # noqa: E731
    rows = [
        {"id": 1, "beginDT": at(10), "endDT": at(19), "annotation": "", "exclusionFlag": False, "qcFlag": "fail"},
        {
            "id": 2,
            "beginDT": at(30),
            "endDT": at(34),
            "annotation": "",
            "exclusionFlag": True,
            "qcFlag": None,
            "stream": "another",
        },
        {"id": 3, "beginDT": at(50), "endDT": at(59), "annotation": "", "exclusionFlag": False, "qcFlag": "suspect"},
        {"id": 4, "beginDT": at(95), "endDT": None, "annotation": "", "exclusionFlag": True, "qcFlag": None},
    ]
    with harvest.harvester.connect() as connection:
        annotations.harvest(connection, ["A"], lambda refdes: rows, NOW)
        table = annotations.table(connection, "A")
    masked = np.flatnonzero(annotations.mask(times, table, "streamed", "ctdbp_no_sample")).tolist()
    assert masked == [*range(10, 20), *range(95, 100)]


def test_the_inventory_is_never_replaced_by_nothing(harvest: Harvest) -> None:
    harvest.add(CTD, {1: every(60, 10)})
    source = OOINet(harvest.server.url)
    table = inventory.m2m_inventory(source.inventory())
    assert table.select("reference_designator", "stream", "count").rows() == [(CTD.refdes, CTD.stream, 10)]
    streams, parameters = inventory.streams_and_parameters(table, source.stream_row)
    assert streams["binsize_minutes"].to_list() == [1440] and parameters["netcdf_name"].to_list() == ["time"]
    with pytest.raises(inventory.EmptyInventory):
        inventory.m2m_inventory({"instruments": []})


def test_the_catalog_names_the_commit_that_the_view_shows(harvest: Harvest, tmp_path: Path) -> None:
    harvest.add(CTD, {1: every(60, 100)})
    harvest.run(KEY)
    store = harvest.harvester.store(KEY)
    view = Location(str(tmp_path / "view"))
    done = published.publish(store, view, dt.timedelta(0))
    one = catalog.entry(KEY, store, view.url, published.published(view))
    assert one
    documents = catalog.stac([one])
    for name, document in documents.items():
        path = tmp_path / "stac" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    found = list(pystac.Catalog.from_file(str(tmp_path / "stac" / "catalog.json")).get_children())
    assert [c.id for c in found] == [KEY]
    assert found[0].assets["icechunk"].extra_fields["icechunk:snapshot_id"] == done.commit
    assert found[0].assets["zarr"].extra_fields["commit"] == done.commit
    source = yaml.safe_load(catalog.intake([one]))["sources"][KEY]
    assert source["driver"] == "zarr" and source["args"] == {"urlpath": view.url, "consolidated": True}
    assert catalog.stats([one], NOW)["streams"][KEY]["rows"] == 100
