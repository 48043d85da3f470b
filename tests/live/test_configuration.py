"""Datasets are configuration: what is wrong is named, and stops only its own dataset."""

from typing import Any

import pytest

from otn_dagster.config import BadConfiguration
from otn_dagster.live import configuration
from tests.support.livenode import LiveNode


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kye": []}, r"ctd\.yaml: kye: .*extra inputs"),
        ({"limits": {"records": 0}}, r"limits\.records: found 0"),
        ({"silence": {"warn_minutes": 10, "fail_minutes": 5}}, "must not be less"),
        ({"silence": {"warn_minutes": 1, "fail_minutes": 5, "per": ["buoy"]}}, "neither author nor a field"),
        ({"source": {"url": "file:///etc/passwd", "schedules": ["* * * * *"]}}, r"source\.url"),
        ({"source": {"url": "http://x/y.csv", "schedules": []}}, "schedules"),
        ({"source": {"url": "http://x/y.csv", "schedules": ["0 8 * *"]}}, "five parts"),
        ({"source": {"url": "http://x/y.csv", "schedules": ["0 8 * * *"], "time_zone": "Halifax"}}, "no time zone"),
        ({"time_field": "depth"}, "expected a field of type time"),
        ({"fields": {"a": "decimal"}, "key": []}, "expected one of text, integer"),
    ],
)
def test_what_is_wrong_is_named(live: LiveNode, changes: dict[str, Any], match: str):
    with pytest.raises(BadConfiguration, match=match):
        live.configure(**changes)


def test_one_bad_file_stops_only_its_dataset(live: LiveNode):
    live.configure("good")
    (live.folder / "live" / "bad.yaml").write_text("key: [", encoding="utf-8")
    (live.folder / "live" / "Bad Name.yaml").write_text("example: {a: 1}", encoding="utf-8")
    found = configuration.load_live()
    assert list(found.datasets) == ["good"] and len(found.problems) == 2
    with pytest.raises(KeyError, match=r"bad\.yaml: not yaml"):
        found.dataset("bad")
    with pytest.raises(KeyError, match=r"there is no config/live/other\.yaml"):
        found.dataset("other")


def test_a_dataset_from_an_example(live: LiveNode):
    path = configuration.write_dataset(
        "new", '{"station_id": "46088", "time": "2026-01-01T00:00:00Z", "t": 1.5}', ["station_id", "time"]
    )
    made = configuration.read_dataset(path)
    assert {n: f.type for n, f in made.schema_.fields.items()} == {"station_id": "text", "time": "time", "t": "number"}
    assert made.key == ["station_id", "time"] and made.time == "time"
    assert "46088" not in path.read_text()
    with pytest.raises(BadConfiguration, match="exists"):
        configuration.write_dataset("new", '{"a": 1}', [])
    for name, example in (("../evil", '{"a": 1}'), ("x", "no json"), ("x", "[1]"), ("x", "{}")):
        with pytest.raises(BadConfiguration):
            configuration.write_dataset(name, example, [])


def test_the_datasets_that_come_with_the_platform_can_be_used():
    from otn_dagster.config import PROJECT_ROOT

    assert configuration.load_live(PROJECT_ROOT / "config" / "live").problems == {}


def test_the_example_of_every_setting_has_every_setting():
    from otn_dagster.config import PROJECT_ROOT
    from otn_dagster.live.configuration import Dataset, Limits, RemoteSource, Silence

    path = PROJECT_ROOT / "docs" / "live-dataset.yaml"
    made, text = configuration.read_dataset(path), path.read_text()
    assert made.source and made.silence and made.schema_.files == ["photo"]
    for block in (Dataset, Limits, RemoteSource, Silence):
        assert [name for name in block.model_fields if f"{name}:" not in text and name != "name"] == []


def test_a_schema_is_a_new_version_only_where_it_changed(live: LiveNode):
    live.configure()
    live.configure(title="other words")
    assert live.value("select count(*) from platform.live_schemas") == 1
    live.configure(fields={"station_id": "text", "time": "time", "salinity": "number"})
    live.configure()
    assert live.rows("select version from platform.live_schemas order by 1") == [(1,), (2,), (3,)]
