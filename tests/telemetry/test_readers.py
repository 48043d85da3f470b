"""The tools that researchers use open what they are sent."""

import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import polars as pl
import pytest

from otn_dagster.telemetry.push.legacy_extracts import MATCHED, QUALIFIED, write_legacy
from tests.support.node import NEXT_PUSH, Node
from tests.support.sheets import deployments, tag_sheet, vue

# What glatos' read_otn_detections needs by name.
GLATOS = [
    "catalogNumber",
    "commonName",
    "receiver",
    "station",
    "tagName",
    "codeSpace",
    "dateCollectedUTC",
    "decimalLongitude",
    "decimalLatitude",
]
TYPES = {"matched": "NSBS", "qualified": "HFX", "unqualified": "HFX", "sentinel": "HFX"}


@pytest.fixture
def pushed(node: Node) -> Path:
    """A push with all four types of extracts."""
    node.drop_form("HFX")
    node.drop_form("NSBS")
    node.drop("OTN/NSBS/tags", "t.csv", tag_sheet({}))
    node.drop(
        "OTN/HFX/deployments",
        "d.csv",
        deployments("HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,A69-1601-7"),
    )
    rows = [
        f"2024-07-0{d}T10:00:00 VR2W-111 {tag}"
        for d in (1, 2)
        for tag in ("A69-1602-100", "A69-1601-7", "A69-9001-5 12")
    ]
    node.drop("OTN/HFX/detections", "a.csv", vue(*rows, "2024-07-02T10:01:00 VR2W-111 A69-1602-100"))
    assert set(node.load().values()) == {"loaded"}
    return node.push() / "extracts"


def csv_of(path: Path) -> pl.DataFrame:
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".csv")]
        return pl.read_csv(io.BytesIO(archive.read(name)), infer_schema_length=None)


@pytest.mark.parametrize("word", TYPES)
def test_every_type_has_what_readers_need_and_csv_equals_parquet(pushed: Path, word: str):
    code = TYPES[word]
    stem = pushed / code / f"{code.lower()}_{word}_detections_2024"
    table, parquet = csv_of(stem.with_suffix(".zip")), pl.read_parquet(stem.with_suffix(".parquet"))
    assert set(GLATOS) <= set(table.columns) and table.columns == parquet.columns
    assert table.height == parquet.height > 0
    for name in ("dateLastModified", "dateCollectedUTC", "uncorrectedDateCollectedUTC"):
        assert parquet[name].dtype == pl.Datetime("ms")
    for name in ("decimalLongitude", "decimalLatitude", "sensorRaw", "min_lag"):
        assert parquet[name].dtype == pl.Float64
    assert parquet["geometry"].dtype == pl.Binary
    assert table["dateCollectedUTC"].str.contains(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?$").all()


def test_quality_columns_say_what_glatos_says(pushed: Path):
    rows = csv_of(pushed / "NSBS" / "nsbs_matched_detections_2024.zip").filter(pl.col("receiver") != "release")
    assert rows.sort("dateCollectedUTC").select("min_lag", "passed_filter").rows() == [
        (86_400.0, 0),
        (60.0, 1),
        (60.0, 1),
    ]


def test_the_old_layout_has_the_old_columns(pushed: Path, node: Node, tmp_path: Path):
    written = write_legacy(node.settings, NEXT_PUSH, "NSBS", tmp_path) + write_legacy(
        node.settings, NEXT_PUSH, "HFX", tmp_path
    )
    frames = {path.stem: csv_of(path) for path in written}
    assert frames["nsbs_matched_detections_2024"].columns == MATCHED and len(MATCHED) == 34
    assert frames["hfx_qualified_detections_2024"].columns == QUALIFIED
    row = frames["hfx_qualified_detections_2024"].sort("datecollected").row(0, named=True)
    assert (row["collectioncode"], row["yearcollected"], row["julianday"], row["timeofday"]) == ("HFX", 2024, 183, 10.0)


def test_glatos_opens_all_four(pushed: Path):
    if shutil.which("Rscript") is None:
        pytest.skip("there is no R on this machine")
    known = subprocess.run(
        ["Rscript", "-e", 'quit(status = !requireNamespace("glatos", quietly = TRUE))'],
        capture_output=True,
        check=False,
    )
    if known.returncode != 0:
        pytest.skip("R is here, the package glatos is not (install it from its own repository to run this)")
    for word, code in TYPES.items():
        path = pushed / code / f"{code.lower()}_{word}_detections_2024.zip"
        script = f'd <- glatos::read_otn_detections("{path}"); stopifnot(nrow(d) > 0); cat(nrow(d))'
        done = subprocess.run(
            ["Rscript", "-e", script],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stderr
