"""Real files of eleven networks, years and programs: each comes out as its README says."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import Node

CASES = [
    "fact-teq-tqcs",
    "bush-2018-vue",
    "vr2w-109924-short-rows",
    "vue-date-time-columns",
    "vue-ms-and-short",
    "fathom-vr2ar-546310-lines",
    "glatos-workbook-small",
    "act-matos-deployments",
    "pbsm-2018-short-form",
    "xlsx-wrong-dimension",
    "foreign-formats",
]


def expected(real: Path, case: str) -> dict[str, Any]:
    return json.loads((real / case / "expected" / "expected.json").read_text(encoding="utf-8"))


def load(node: Node, real: Path, case: str, part: str = "incoming") -> dict[str, str]:
    if not (real / case).exists():
        pytest.skip(f"the real case {case} is not here")
    node.drop_tree(real / case / part)
    return node.load()


def reason(node: Node, name: str) -> str:
    return node.value("select reason from platform.submissions where file_name = %s", name)


@pytest.mark.parametrize("case", CASES)
def test_the_law_holds_for_every_file(node: Node, real: Path, case: str):
    load(node, real, case)
    rows = node.rows(
        "select submission_key, state, reason, container_rows, loaded_rows + duplicate_rows + refused_rows + waiting_rows, not_data_rows"
        " from platform.submissions left join platform.readings using (submission_key)"
    )
    for key, state, why, container, data, aside in rows:
        assert state in ("loaded", "refused"), (key, why)
        assert state == "loaded" or why, key
        if state == "loaded":
            assert container == data + aside, key


def test_facts_dialect_in_two_versions(node: Node, real: Path):
    load(node, real, "fact-teq-tqcs")
    for where, rows in expected(real, "fact-teq-tqcs")["loaded"].items():
        node_code, code, kind = where.split("/")
        found = node.value(
            "select loaded_rows from platform.submissions where node = %s and collectioncode = %s and kind = %s",
            node_code,
            code,
            kind,
        )
        assert found == rows, where
    assert node.value("select count(*) from obis.otn_animals") == 327
    marked = node.rows("select window_code, count(*) from obis.moorings where window_code is not null group by 1")
    assert marked == [("harvest_before_release", 1)]


def test_the_second_version_has_its_unreadable_cells_as_findings(node: Node, real: Path):
    load(node, real, "fact-teq-tqcs", "second")
    states = node.load()
    node.drop_tree(real / "fact-teq-tqcs" / "incoming" / "FACT" / "TQCS" / "project")
    node.drop_form("TEQ", "FACT", 27, -80)
    node.drop_form("TQCS", "FACT", 27, -80)
    states = node.load()
    assert set(states.values()) == {"loaded"}
    found = dict(
        node.rows("select column_name, sum(row_count)::int from platform.findings where severity <= 3 group by 1")
    )
    assert found["length"] == 1  # '#VALUE!'
    assert found["est_tag_life"] == 3  # blank
    assert node.value("select loaded_rows from platform.submissions where kind = 'tags'") == 326


def test_vue_exports_with_rows_of_three_eight_and_ten_fields(node: Node, real: Path):
    load(node, real, "bush-2018-vue")
    want = expected(real, "bush-2018-vue")
    rows = dict(
        node.rows("select split_part(file_name, '_', 1), raw_rows from platform.submissions where kind = 'detections'")
    )
    assert rows == want["rows"]
    folder = node.push()
    manifest = json.loads((folder / "matches" / "manifest.json").read_text())
    assert manifest["counts"]["matched_own"] == want["matched_own"]
    import polars as pl

    extract = pl.concat(
        pl.read_parquet(p) for p in sorted((folder / "extracts" / "BUSH").glob("bush_matched_*.parquet"))
    )
    per_tag = extract.filter(pl.col("receiver") != "release").group_by("tagName").len()
    assert dict(per_tag.iter_rows()) == want["per_tag"]


def test_short_rows_of_the_first_vue(node: Node, real: Path):
    load(node, real, "vr2w-109924-short-rows")
    assert node.value("select loaded_rows from platform.submissions where kind = 'detections'") == 69_708


def test_two_versions_of_vue_give_the_same_detections(node: Node, real: Path):
    load(node, real, "vue-date-time-columns")
    assert node.value("select count(*) from platform.detections") == 28
    load(node, real, "vue-date-time-columns", "second")
    assert node.value("select count(*) from platform.detections") == 28
    assert sorted(
        node.rows("select loaded_rows, duplicate_rows from platform.submissions where kind = 'detections'")
    ) == [(0, 28), (28, 0)]


def test_milliseconds_are_kept(node: Node, real: Path):
    load(node, real, "vue-ms-and-short")
    for where, want in expected(real, "vue-ms-and-short").items():
        code = where.split("/")[1]
        rows = node.value(
            "select count(*) from platform.detections join platform.submissions using (submission_no) where collectioncode = %s",
            code,
        )
        assert rows == want["distinct"]
        if "first" in want:
            first = node.value(
                "select min(datetime) from platform.detections join platform.submissions using (submission_no) where collectioncode = %s",
                code,
            )
            assert str(first)[:23] == want["first"]


def test_a_fathom_log_feeds_detections_events_clock_and_settings(node: Node, real: Path):
    load(node, real, "fathom-vr2ar-546310-lines")
    assert node.rows("select receiver, transmitter from platform.detections") == [("VR2AR-546310", "A69-1601-57060")]
    assert node.value("select offset_end from platform.time_drift_factors") == -1
    assert node.rows("select receiver, map_code from platform.receiver_config") == [("VR2AR-546310", "MAP-113")]
    states = dict(node.rows("select kind, state from platform.submissions"))
    assert states == {"project": "loaded", "detections": "loaded", "events": "loaded"}


def test_the_glatos_workbook(node: Node, real: Path):
    load(node, real, "glatos-workbook-small")
    want = expected(real, "glatos-workbook-small")
    assert node.value("select count(*) from obis.moorings where basisofrecord = 'RECEIVER'") == want["deployments"]
    assert node.value("select count(*) from obis.moorings where relationshiptype = 'ANIMAL'") == want["tags"]
    first = want["first"]
    deployed, recovered = node.rows(
        "select startdatetime, enddatetime from obis.moorings where basisofrecord = 'RECEIVER' and collectornumber = %s order by 1",
        first["serial"],
    )[0]
    assert (
        f"{deployed:%Y-%m-%d %H:%M}" == first["deployed_utc"]
        and f"{recovered:%Y-%m-%d %H:%M}" == first["recovered_utc"]
    )
    released = node.value("select startdatetime from obis.moorings where fieldnumber = %s", first["tag"])
    assert f"{released:%Y-%m-%d %H:%M}" == first["released_utc"]


def test_matos_export_of_a_deployment_sheet(node: Node, real: Path):
    load(node, real, "act-matos-deployments")
    assert node.value("select count(*) from obis.moorings where basisofrecord = 'RECEIVER'") == 126


def test_another_array_code_than_the_collection_is_said(node: Node, real: Path):
    load(node, real, "pbsm-2018-short-form")
    assert node.value("select count(*) from obis.moorings where basisofrecord = 'RECEIVER'") == 25
    said = node.rows("select found, row_count from platform.findings where code = 'other_collection'")
    assert said == [("DFO-AEIP", 25)]


def test_rows_beyond_a_wrong_dimension_are_seen(node: Node, real: Path):
    load(node, real, "xlsx-wrong-dimension")
    row = node.rows("select raw_rows, reason from platform.submissions where kind = 'deployments'")[0]
    assert row[0] == 40 and "INS_SERIAL_NO" in row[1] and "no rows" not in row[1]


def test_foreign_files_are_refused_by_name(node: Node, real: Path):
    load(node, real, "foreign-formats")
    for name, word in expected(real, "foreign-formats")["files"].items():
        state, why = node.rows("select state, reason from platform.submissions where file_name = %s", Path(name).name)[
            0
        ]
        assert state == "refused" and word in why, why
    assert node.value("select count(*) from platform.detections") == 0
    assert node.value("select count(*) from platform.refused_rows") == 0
