"""Streams are configuration, and data-vent's own files load as they are."""

from pathlib import Path

import pytest

from otn_dagster.streams import configuration
from otn_dagster.streams.configuration import BadConfiguration, load_streams

DATA_VENT = """assigness: []
harvest_options:
  goldcopy: false
  path: s3://ooi-data
  refresh: false
  test: false
{more}instrument: RS03AXPS-PC03A-06-VADCPB301
stream:
  method: streamed
  name: {name}
workflow_config:
  schedule: 0 0 * * *
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / "streams" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_files_of_data_vent_load_unchanged_typos_included(tmp_path: Path) -> None:
    write(
        tmp_path, "RS03AXPS-PC03A-06-VADCPB301/x_beam_5.yaml", DATA_VENT.format(more="", name="vadcp_b_velocity_beam5")
    )
    write(
        tmp_path,
        "RS03AXPS-PC03A-06-VADCPB301/x_beam.yaml",
        DATA_VENT.format(more="  rca_advanced_qaqc: true\n", name="vadcp_b_velocity_beam"),
    )
    ranged = (
        DATA_VENT.format(more="  custom_range: {start: '2020-01-01', end: '2021-01-01'}\n", name="ranged")
        + "assignees: [somebody]\nlabels: [x]\n"
    )
    write(tmp_path, "ranged.yaml", ranged)
    streams = load_streams(tmp_path).streams
    base = "RS03AXPS-PC03A-06-VADCPB301-streamed-"
    assert sorted(streams) == [base + name for name in ("ranged", "vadcp_b_velocity_beam", "vadcp_b_velocity_beam5")]
    custom = streams[base + "ranged"].harvest_options.custom_range
    assert custom and custom.start == "2020-01-01"


def test_defaults_of_all_and_of_streams_of_one_kind_hold_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "streams.yaml").write_text(
        "defaults: {machine: 8vcpu_60gb}\nby_stream_name: {optaa_sample: {padded: {wavelength: 92}, machine: 4vcpu_30gb}}\n"
        "machines: {4vcpu_30gb: {cpu: 4000, memory: 30720}}\n"
    )
    for name in ("optaa_sample", "other"):
        write(
            tmp_path,
            f"{name}.yaml",
            f"instrument: RS01SLBS-LJ01A-11-OPTAAC103\nstream: {{method: streamed, name: {name}}}\n",
        )
    shared = load_streams(tmp_path)
    optaa, other = (shared.stream(f"RS01SLBS-LJ01A-11-OPTAAC103-streamed-{name}") for name in ("optaa_sample", "other"))
    assert (optaa.padded, optaa.machine, other.machine) == ({"wavelength": 92}, "4vcpu_30gb", "8vcpu_60gb")
    tags = configuration.machine_tags(shared, optaa.machine)
    assert tags["ecs/cpu"] == "4096" and tags["ecs/memory"] == "30720"
    assert tags["dagster-k8s/config"]["container_config"]["resources"]["limits"] == {
        "cpu": "4000m",
        "memory": "30720Mi",
    }


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("instrument: A1234567-B-C\nstream: {method: streamed, name: x}\nqcc: {}\n", r"bad\.yaml: qcc: found \{\}"),
        ("instrument: ../../etc\nstream: {method: streamed, name: x}\n", "reference designator"),
        ("instrument: A1234567-B-C\nstream: {method: streamed, name: ../x}\n", r"stream\.name: found '\.\./x'"),
        ("- 1\n", "expected a mapping"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, text: str, match: str) -> None:
    write(tmp_path, "bad.yaml", text)
    with pytest.raises(BadConfiguration, match=match):
        load_streams(tmp_path)


def test_two_files_for_one_stream_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        write(tmp_path, name, "instrument: A1234567-B-C\nstream: {method: streamed, name: x}\n")
    with pytest.raises(BadConfiguration, match=r"b\.yaml and .*a\.yaml both describe"):
        load_streams(tmp_path)


def test_the_streams_of_this_repository_load() -> None:
    assert len(load_streams().streams) >= 3
