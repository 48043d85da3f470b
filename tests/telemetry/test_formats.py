"""The same truth in every format gives the same detections; every dress of a sheet the same rows."""

import datetime as dt
import functools
import io
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otn_dagster.demo import dirt, files, formats
from otn_dagster.demo.formats import FORMATS, Heard
from otn_dagster.telemetry.files import container, deployments, tags, text
from otn_dagster.telemetry.files.reading import guarded, read_export
from otn_dagster.telemetry.files.refusals import BadFile, Undecided
from otn_dagster.telemetry.files.typed import Situation, Typed
from tests.support.effort import times
from tests.support.node import Node

NOW = dt.datetime(2026, 11, 1)
START = dt.datetime(2022, 8, 9, 23, 59, 30)


def truth(count: int = 60, milliseconds: bool = True) -> list[Heard]:
    """Detections of four receivers, some with sensors; times reach over a day above the 12th."""
    return [
        Heard(
            START + dt.timedelta(hours=3 * i, milliseconds=137 * i if milliseconds else 0),
            "VR2W",
            str(109_000 + i % 4),
            f"A69-{['1602', '9002', '1303'][i % 3]}-{4000 + i % 7}",
            float(i % 256) if i % 3 == 1 else None,
        )
        for i in range(count)
    ]


def plain(heard: list[Heard]) -> pl.DataFrame:
    rows = [(h.at, f"{h.model}-{h.serial}", h.transmitter, h.sensor) for h in heard]
    schema = {
        "datetime": pl.Datetime("us"),
        "receiver": pl.String,
        "transmitter": pl.String,
        "sensor_value": pl.Float64,
    }
    return pl.DataFrame(rows, schema, orient="row").sort("datetime", "receiver", "transmitter")


def read(tmp_path: Path, data: bytes) -> pl.DataFrame:
    path = tmp_path / "file.csv"
    path.write_bytes(data)
    export = read_export(path, "detections", tmp_path / "out.parquet", {})
    assert export.refused_rows == 0 and export.container_rows == export.usable + sum(export.not_data.values())
    return export.rows.select("datetime", "receiver", "transmitter", "sensor_value").sort(
        "datetime", "receiver", "transmitter"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_detections(tmp_path: Path, name: str):
    heard = truth(milliseconds=name != "vue_1_from_a_spreadsheet")
    assert read(tmp_path, FORMATS[name](heard)).equals(plain(heard))


@pytest.mark.parametrize("name", FORMATS)
def test_block_by_block_is_the_same_as_at_once(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    heard = truth(milliseconds=name != "vue_1_from_a_spreadsheet")
    monkeypatch.setattr(text, "BLOCK_BYTES", 700)
    assert read(tmp_path, FORMATS[name](heard)).equals(plain(heard))


@pytest.mark.parametrize("write", [formats.thelma_old, formats.thelma_new])
def test_thelma_receivers_hear_the_same(tmp_path: Path, write):
    heard = [Heard(h.at.replace(microsecond=h.at.microsecond // 1000 * 1000), "TBR", h.serial, f"A69-1303-{4000 + i % 7}", h.sensor)
             for i, h in enumerate(truth())]  # fmt: skip
    assert read(tmp_path, write(heard)).equals(plain(heard))


def test_a_fathom_log_after_a_vue_export_adds_nothing(node: Node):
    heard = truth()
    whole = [Heard(h.at.replace(microsecond=0), h.model, h.serial, h.transmitter, h.sensor) for h in heard]
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", "vue.csv", formats.vue(whole))
    node.load()
    node.drop("OTN/HFX/detections", "fathom.csv", formats.fathom_2(heard))
    node.drop("OTN/HFX/detections", "again.csv", formats.vue_1(heard))
    node.load()
    assert node.value("select count(*) from platform.detections") == len(heard)
    found = node.rows(
        "select file_name, loaded_rows, duplicate_rows from platform.submissions where kind = 'detections' order by 1"
    )
    assert found == [("again.csv", 0, 60), ("fathom.csv", 0, 60), ("vue.csv", 60, 0)]


def test_two_detections_within_a_second_are_two(node: Node):
    first = Heard(START, "VR2W", "109000", "A69-1602-4000")
    second = Heard(START + dt.timedelta(milliseconds=400), "VR2W", "109000", "A69-1602-4000")
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", "a.csv", formats.fathom_2([first, second]))
    node.load()
    node.drop("OTN/HFX/detections", "b.csv", formats.vue([first]))
    node.load()
    assert node.value("select count(*) from platform.detections") == 2


def test_another_time_zone_is_held(node: Node):
    heard = truth(400)
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", "utc.csv", formats.vue(heard))
    node.load()
    shifted = [
        Heard(h.at - dt.timedelta(hours=3, minutes=30), h.model, h.serial, h.transmitter, h.sensor) for h in heard
    ]
    node.drop("OTN/HFX/detections", "local.csv", formats.vue_short(shifted))
    assert set(node.load().values()) == {"held"}
    assert node.value("select count(*) from platform.detections") == 400
    assert node.rows("select topic from platform.decisions") == [("time_zone",)]


@functools.cache
def tag_sheet() -> tuple[list[str], list[list[object]]]:
    """Twelve tags of one project, as the demo writes them."""
    from otn_dagster.demo.network import make_network

    network = make_network(7)
    mine = [tag for tag in network.tags if tag.project.node != "FACT"][:12]
    return list(files.TAG_HEADER), [files._tag_cells(tag) for tag in mine]


@functools.cache
def deployment_sheet() -> tuple[list[str], list[list[object]]]:
    from otn_dagster.demo.network import make_network

    network = make_network(7)
    mine = [d for d in network.deployments if d.project.node != "FACT"][:12]
    return list(files.DEPLOYMENT_HEADER), [files._deployment_cells(d, dt.datetime(2100, 1, 1)) for d in mine]


def typed(tmp_path: Path, kind: str, header: list[str], rows: list[list[object]], as_csv: bool) -> Typed:
    path = tmp_path / ("sheet.csv" if as_csv else "sheet.xlsx")
    path.write_bytes(files.sheet_csv(header, rows) if as_csv else files.workbook("Sheet", [["BANNER"]], header, rows))
    module, how = (tags, tags.type_tags) if kind == "tags" else (deployments, deployments.type_deployments)
    found = module.find(container.read_sheets(path))
    result = how(found.tables, Situation("HFX", NOW))
    assert found.rows == result.loaded + result.repeated + len(result.refused)
    return result


DECIDING = {
    "tags": [
        "catalognumber",
        "transmitter",
        "utc_release_date_time",
        "est_tag_life",
        "harvest_date",
        "length",
        "release_latitude",
    ],
    "deployments": [
        "catalognumber",
        "station_name",
        "rcv_serial_no",
        "deploy_date",
        "recover_date",
        "dep_lat",
        "bottom_depth",
        "transmitter",
    ],
}


@pytest.mark.parametrize("kind", ["tags", "deployments"])
@pytest.mark.parametrize("as_csv", [True, False])
@pytest.mark.parametrize("dress", dirt.DRESSES)
def test_a_dress_changes_nothing_of_what_a_sheet_says(tmp_path: Path, kind: str, dress: str, as_csv: bool):
    header, rows = tag_sheet() if kind == "tags" else deployment_sheet()
    plain_rows = typed(tmp_path, kind, header, rows, as_csv).rows
    dressed = typed(tmp_path, kind, *dirt.DRESSES[dress](header, rows), as_csv)
    assert not dressed.refused
    for column in DECIDING[kind]:
        for one, other in zip(plain_rows, dressed.rows, strict=True):
            same = (
                one[column] == pytest.approx(other[column], abs=1e-6)
                if isinstance(one[column], float)
                else one[column] == other[column]
            )
            assert same, (column, one[column], other[column])


ANY_CELL = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2200, 1, 1)),
    st.dates(dt.date(1900, 3, 1), dt.date(2200, 1, 1)),
    st.times(),
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=4000)),
    st.sampled_from(
        [
            "Unknown",
            "#VALUE!",
            "1,234",
            "25715-25716",
            "~12 kg",
            "05/11/2014",
            "13/05/2014 25:00",
            "A69-1303-0481",
            "1e999",
            "9" * 400,
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x0b\x0c\x0e\x0f\x1e\x1f"), max_size=60),
)


@pytest.mark.parametrize("kind", ["tags", "deployments"])
@settings(
    max_examples=times(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_value_in_any_cell_ends_in_a_verdict(tmp_path: Path, kind: str, data: st.DataObject):
    """And a cell that decides nothing changes nothing of what decides."""
    import openpyxl

    header, rows = tag_sheet() if kind == "tags" else deployment_sheet()
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(header) - 1))
    value = data.draw(ANY_CELL)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for cells in [header, *rows]:
        sheet.append([c if isinstance(c, str | int | float | dt.datetime | None) else str(c) for c in cells])
    try:
        sheet.cell(row + 2, column + 1).value = value
    except (ValueError, openpyxl.utils.exceptions.IllegalCharacterError):
        return
    buffer = io.BytesIO()
    book.save(buffer)
    path = tmp_path / "fuzzed.xlsx"
    path.write_bytes(buffer.getvalue())
    module, how = (tags, tags.type_tags) if kind == "tags" else (deployments, deployments.type_deployments)
    before = plain_of(kind)
    try:
        with guarded(path):
            found = module.find(container.read_sheets(path))
            after = how(found.tables, Situation("HFX", NOW))
    except (BadFile, Undecided) as verdict:
        assert "our fault" not in str(verdict), verdict
        assert str(verdict)
        return
    assert found.rows == after.loaded + after.repeated + len(after.refused)
    name = header[column].split(" ")[0].lower()
    if name in DESCRIPTIVE[kind]:
        assert [[r[c] for c in DECIDES_MATCHES[kind]] for r in after.rows] == [
            [r[c] for c in DECIDES_MATCHES[kind]] for r in before.rows
        ]


DESCRIPTIVE = {
    "tags": {
        "age",
        "sex",
        "weight",
        "tagger",
        "stock",
        "comments",
        "life_stage",
        "tag_model",
        "capture_latitude",
        "length_type",
        "dna_sample_taken",
    },
    "deployments": {
        "otn_array",
        "bottom_depth",
        "comments",
        "deployed_by",
        "recovered",
        "filename",
        "download_date_time",
        "recover_lat",
    },
}
DECIDES_MATCHES = {
    "tags": ["catalognumber", "transmitter", "utc_release_date_time", "est_tag_life", "harvest_date"],
    "deployments": ["catalognumber", "rcv_serial_no", "deploy_date", "recover_date", "dep_lat", "dep_long"],
}


@functools.cache
def plain_of(kind: str) -> Typed:
    """The sheet as it is before anything was put into it."""
    header, rows = tag_sheet() if kind == "tags" else deployment_sheet()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.xlsx"
        path.write_bytes(files.workbook("Sheet", [], header, rows))
        module, how = (tags, tags.type_tags) if kind == "tags" else (deployments, deployments.type_deployments)
        return how(module.find(container.read_sheets(path)).tables, Situation("HFX", NOW))
