"""Real files, and OTN's own results: the same must come out."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from otn_dagster.telemetry import rules
from otn_dagster.telemetry.checks import catalog, registry
from otn_dagster.telemetry.push import extracts
from otn_dagster.telemetry.push.extracts import MATCHED_COLUMNS, QUALIFIED_COLUMNS
from tests.support.node import Node

WHEN = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture
def pushed(node: Node, real: Path) -> Path:
    """The Halifax Line and its blue sharks, loaded and pushed."""
    node.drop_tree(real / "hfx-nsbs-2022" / "incoming")
    states = node.load()
    assert set(states.values()) == {"loaded"} and len(states) == 5
    return node.push()


def expected(real: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(real / "hfx-nsbs-2022" / "expected" / name, infer_schema_length=None)


def extract(folder: Path, code: str, word: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "extracts" / code / f"{code.lower()}_{word}_detections_2022.parquet")


def test_every_detection_is_at_the_station_that_otn_assigned(node: Node, real: Path, pushed: Path):
    rows = node.rows(
        "select fieldnumber, collectornumber::bigint, datecollected, station, rcvrcatnumber from obis.otn_detections"
    )
    ours = pl.DataFrame(rows, ["tagName", "receiverSerial", "time", "ours", "rcvr"], orient="row")
    theirs = expected(real, "hfx_detections_2022_with_station.csv").with_columns(
        time=pl.col("dateCollectedUTC").str.to_datetime(WHEN, time_unit="us")
    )
    joined = theirs.join(ours, on=["tagName", "receiverSerial", "time"], how="left")
    assert joined.height == 11_311 and joined.filter(pl.col("station") != pl.col("ours").fill_null("")).is_empty()
    # Where OTN's receiver catalog number has today's form, ours is the same.
    today = joined.filter(pl.col("rcvrCatNumber").str.contains(r"-VR\d-\d+-\d{4}_\d\d_\d\dT\d\d$"))
    assert today.height == 8_880 and (today["rcvrCatNumber"] == today["rcvr"]).all()


def test_matched_to_the_sharks_as_otn_matched_them(real: Path, pushed: Path):
    theirs = expected(real, "nsbs_matched_detections_2022_by_HFX.csv").with_columns(
        # Seven of OTN's times carry fractions of a second, which the export made from its other extract does not.
        pl.col("dateCollectedUTC").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ms").dt.truncate("1s")
    )
    ours = extract(pushed, "NSBS", "matched").filter(pl.col("receiver") != "release")
    key = ["catalogNumber", "tagName", "station", "dateCollectedUTC"]
    assert ours.height == theirs.height == 3_050
    joined = theirs.join(ours, on=key, suffix="_ours")
    assert joined.height == 3_050
    for column in [
        "collectionCode",
        "organismID",
        "scientificName",
        "commonName",
        "detectedBy",
        "codeSpace",
        "geodeticDatum",
    ]:
        assert (joined[column] == joined[f"{column}_ours"]).all(), column
    assert (joined["receiver"].cast(pl.String) == joined["receiver_ours"]).all()
    for column in ["decimalLongitude", "decimalLatitude", "bottomDepth", "receiverDepth"]:
        different = joined.filter((pl.col(column) - pl.col(f"{column}_ours")).abs() > 1e-5)
        assert different.is_empty(), column
    assert joined.filter(pl.col("geometry") != pl.col("geometry_ours").bin.encode("hex").str.to_uppercase()).is_empty()


def test_release_rows_are_those_of_otn_and_the_four_that_it_misses(real: Path, pushed: Path):
    theirs = expected(real, "nsbs_release_rows_2022.csv")
    ours = extract(pushed, "NSBS", "matched").filter(pl.col("receiver") == "release")
    assert theirs.height == 183 and ours.height == 187
    joined = theirs.join(ours, on=["unqDetecID", "station", "decimalLatitude", "decimalLongitude"], suffix="_ours")
    assert joined.height == 183
    assert joined.filter(pl.col("geometry") != pl.col("geometry_ours").bin.encode("hex").str.to_uppercase()).is_empty()
    missing = ours.join(theirs, on="unqDetecID", how="anti")
    assert set(missing["catalogNumber"]) == {"NSBS-Lips-2019-08-25", "NSBS-Not so lucky"}


def test_qualified_are_the_same_3050_and_the_rest_is_unqualified(real: Path, pushed: Path):
    theirs = expected(real, "hfx_qualified_detections_2022_NSBS.csv").with_columns(
        pl.col("dateCollectedUTC").str.to_datetime(WHEN, time_unit="ms"), pl.col("receiverSerial").cast(pl.String)
    )
    ours = extract(pushed, "HFX", "qualified")
    key = ["tagName", "station", "receiverSerial", "dateCollectedUTC"]
    joined = theirs.join(ours, on=key, suffix="_ours")
    assert ours.height == theirs.height == joined.height == 3_050
    for column in ["trackerCode", "scientificName", "basisOfRecord", "collectionCode"]:
        assert (joined[column] == joined[f"{column}_ours"]).all(), column
    assert joined.filter(pl.col("geometry") != pl.col("geometry_ours").bin.encode("hex").str.to_uppercase()).is_empty()
    unqualified = extract(pushed, "HFX", "unqualified")
    assert unqualified.height == 8_261 and set(unqualified["reason"]) == {"u3_no_release"}
    assert sorted(p.name for p in (pushed / "extracts").iterdir()) == ["HFX", "NSBS"]


def test_headers_are_those_of_real_extracts(real: Path):
    contacts = ["contactPOC", "contactPI"]  # not in the published sample
    assert [*expected(real, "nsbs_matched_detections_2022_by_HFX.csv").columns, *contacts] == MATCHED_COLUMNS
    assert [*expected(real, "hfx_qualified_detections_2022_NSBS.csv").columns, *contacts] == QUALIFIED_COLUMNS
    assert extracts.COLUMNS["t"][: len(MATCHED_COLUMNS)] == MATCHED_COLUMNS


def load_vr2w(node: Node, real: Path) -> None:
    node.drop_form("LAKE", latitude=45, longitude=-83)
    source = real / "vr2w-109924"
    node.drop("OTN/LAKE/detections", "VR2W.csv", source / "VR2W_109924_20110718_1.csv")
    node.drop("OTN/LAKE/events", "events.csv", source / "VR2W_receiverEvents_109924_20110718_1.csv")
    node.drop("OTN/LAKE/deployments", "d.csv", VR2W_DEPLOYMENT)
    assert set(node.load().values()) == {"loaded"}


VR2W_DEPLOYMENT = b"""OTN_ARRAY,STATION_NO,DEPLOY_DATE_TIME (yyyy),DEPLOY_LAT,DEPLOY_LONG,INS_MODEL_NO,INS_SERIAL_NO,RECOVER_DATE_TIME
LAKE,L1,2011-03-08T00:00:00,45.1,-83.1,VR2W,109924,2011-07-18T17:00:00
"""


def test_vr2w_counts_and_clock(node: Node, real: Path):
    load_vr2w(node, real)
    assert node.value("select count(*) from platform.detections") == 69_708
    spaces = dict(
        node.rows("select substring(transmitter from '^[^-]+-[^-]+'), count(*) from platform.detections group by 1")
    )
    assert spaces == {"A69-1601": 66_658, "A69-9001": 1_820, "A69-9002": 1_227, "A69-1303": 3}
    assert node.value("select count(distinct transmitter) from platform.detections") == 73
    times = dict(node.rows("select uncorrected_datecollected, min(datecollected) from obis.otn_detections group by 1"))
    for device, true in {
        "2011-04-11 20:17:49": "2011-04-11 20:17:18.845",
        "2011-06-18 17:45:24": "2011-06-18 17:43:55.702",
        "2011-07-18 16:20:12": "2011-07-18 16:18:18.062",
    }.items():
        assert times[dt.datetime.fromisoformat(device)] == dt.datetime.fromisoformat(true)


def test_vr2w_daily_counts_agree_with_its_own_event_log(node: Node, real: Path):
    load_vr2w(node, real)
    rows = node.rows(
        "select substring(description from 'on (.*)$'), sum(data::int) from platform.events"
        " where description like 'Daily Detections on%%' group by 1"
    )
    assert dict(rows)["A69-1601"] == 66_658 and dict(rows)["A69-9001/9002"] == 1_820 + 1_227


def test_vr2w_false_detections_as_glatos_counts_them(node: Node, real: Path):
    """Glatos' filter at 3,600 s finds 29 on the raw times, which is where it counted them."""
    node.drop_form("LAKE", latitude=45, longitude=-83)
    node.drop("OTN/LAKE/detections", "VR2W.csv", real / "vr2w-109924" / "VR2W_109924_20110718_1.csv")
    node.drop("OTN/LAKE/deployments", "d.csv", VR2W_DEPLOYMENT)
    node.load()
    folder = node.push()
    matches = pl.read_parquet(folder / "matches" / "bucket-000.parquet")
    passed = (pl.col("min_lag") <= rules.FALSE_DETECTION_SECONDS).fill_null(False)
    assert matches.height == 69_708 and matches.filter(~passed).height == 29


def test_checks_of_the_real_sheets_say_what_is_odd_in_them(node: Node, real: Path, pushed: Path):
    with node.connect() as connection:
        from otn_dagster.telemetry import submissions

        sheets = {s.kind: s for s in submissions.by_state(connection, ["loaded"])}
        found = {}
        for kind, stage in (("tags", "tag_cache"), ("deployments", "moorings"), ("detections", "detections")):
            evidence = registry.Evidence(connection, node.settings, sheets[kind])
            found |= {r.check.check_id: r for r in registry.run(evidence, catalog.of_stage(stage))}
    assert found["T7"].passed is None and "WoRMS" in str(found["T7"].why)
    assert found["T10"].passed is None
    assert [row["serial"] for row in found["R6"].rows] == ["250099"]  # never recovered, redeployed elsewhere
    assert [row["receiver"] for row in found["D11"].rows] == ["VR3-250331"]
    assert found["D9"].passed and found["D12"].passed
