"""Summaries: the columns of their schemas, written together or not at all, never by a rehearsal, never against policy."""

import dataclasses
from pathlib import Path

import polars as pl
import psycopg
import pytest

from otn_dagster.publish import discovery, erddap, geoserver, writing
from otn_dagster.telemetry.push import matching, snapshot
from otn_dagster.telemetry.push.extracts import Context
from tests.support.node import NEXT_PUSH, Node
from tests.support.sheets import deployments, tag_sheet, vue

LATER_PUSH = "2027-06-17"
MODULES = {"discovery": discovery, "erddap": erddap, "geoserver": geoserver}


@pytest.fixture
def context(node: Node) -> Context:
    """Two projects on two nodes, one of which does not publish where its stations are."""
    node.drop_form("HFX")
    node.drop_form("REEF", node="FACT")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({}))
    for home, serial in (("OTN/HFX", 111), ("FACT/REEF", 222)):
        code = home.split("/")[1]
        row = f"{code},{code}1,2024-05-01T00:00:00,44.1,-63.1,VR2W,{serial},y,2024-12-01T00:00:00,"
        node.drop(f"{home}/deployments", "d.csv", deployments(row))
        node.drop(
            f"{home}/detections",
            "a.csv",
            vue(*[f"2024-07-0{d}T10:00:00 VR2W-{serial} A69-1602-100" for d in (1, 2, 9)]),
        )
    assert set(node.load().values()) == {"loaded"}
    folder = node.push()
    return Context.of(snapshot.read(node.settings, NEXT_PUSH), matching.read(folder))


@pytest.mark.parametrize("schema", MODULES)
def test_tables_have_the_columns_of_their_schema(node: Node, context: Context, schema: str):
    tables = MODULES[schema].tables(context)
    live = node.rows(
        "select table_name, array_agg(column_name::text order by ordinal_position) from information_schema.columns"
        " where table_schema = %s group by 1",
        schema,
    )
    assert {name: whole(frame).columns for name, frame in tables.items()} == dict(live)


def whole(table: writing.Table) -> pl.DataFrame:
    """A table that may come part by part."""
    return table if isinstance(table, pl.DataFrame) else pl.concat(part.rows() for part in table)


def write(node: Node, context: Context, schema: str, rehearsal: bool = False, date: str = NEXT_PUSH) -> bool:
    with node.connect() as connection:
        folder = snapshot.push_folder(node.settings, NEXT_PUSH)
        tables = MODULES[schema].tables(context)
        return writing.write_schema(connection, schema, tables, date, rehearsal, folder).replaced


@pytest.mark.parametrize("schema", MODULES)
def test_writing_replaces_all_rows_and_repeats(node: Node, context: Context, schema: str):
    for _ in range(2):
        assert write(node, context, schema)
        for name, frame in MODULES[schema].tables(context).items():
            assert node.value(f"select count(*) from {schema}.{name}") == whole(frame).height


def test_a_rehearsal_leaves_what_is_public_alone(node: Node, context: Context):
    assert not write(node, context, "discovery", rehearsal=True)
    assert node.value("select count(*) from discovery.all_animals") == 0
    folder = snapshot.push_folder(node.settings, NEXT_PUSH)
    assert pl.read_parquet(folder / "summaries" / "discovery" / "all_animals.parquet").height == 1


def test_an_earlier_push_does_not_replace_a_later_one(node: Node, context: Context):
    write(node, context, "discovery")
    assert not write(node, context, "discovery", date="2026-10-15")


def test_a_failure_half_way_leaves_the_old_rows(node: Node, context: Context):
    write(node, context, "discovery")
    with node.connect() as connection:
        connection.execute(
            "alter table discovery.mstr_resources add constraint refuse check (totalrecords < 0) not valid"
        )
    before = node.rows("select * from discovery.all_animals")
    with pytest.raises(psycopg.errors.CheckViolation):
        write(node, context, "discovery")
    assert node.rows("select * from discovery.all_animals") == before


def test_stations_of_networks_that_do_not_publish_them_are_nowhere(node: Node, context: Context):
    for tables in (module.tables(context) for module in MODULES.values()):
        for name, frame in ((name, whole(table)) for name, table in tables.items()):
            stations = [column for column in frame.columns if "station" in column and frame[column].dtype == pl.String]
            if name != "detection_pre_summary":
                assert not any("REEF1" in frame[column].to_list() for column in stations), name
    public = whole(erddap.detections(context))
    hidden = public.filter(pl.col("detection_project_reference") == "REEF")
    assert hidden.height == 3 and hidden["latitude"].null_count() == 3


def test_weeks_begin_on_monday_and_counts_add_up(context: Context):
    weeks = discovery.detection_pre_summary(context)
    assert set(weeks["weekcollected"].dt.weekday()) == {1}
    assert weeks["detection_count"].sum() == 6
    row = weeks.filter(pl.col("collectioncode") == "HFX").row(0, named=True)
    assert (row["trackercode"], row["relationshiptype"], row["detection_count"]) == ("HFX", "ANIMAL", 2)


def in_database(node: Node) -> list[tuple]:
    return node.rows("select * from erddap.otn_aat_detections order by detection_id")


def fresh(context: Context) -> list[tuple]:
    return whole(erddap.detections(context)).sort("detection_id").rows()


def write_detections(node: Node, context: Context, date: str) -> Path:
    folder = snapshot.push_folder(node.settings, date)
    with node.connect() as connection:
        writing.write_schema(connection, "erddap", erddap.tables(context), date, False, folder)
    return folder / "summaries" / "erddap" / "otn_aat_detections"


def pushed(node: Node, date: str) -> Context:
    folder = node.push(date)
    return Context.of(snapshot.read(node.settings, date), matching.read(folder))


def test_only_what_changed_of_a_large_table_is_made_and_copied_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, context: Context
):
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", 3)  # a receiver in each
    first = pushed(node, NEXT_PUSH)
    before = {path.name: path.stat().st_ino for path in write_detections(node, first, NEXT_PUSH).iterdir()}
    copied = "select detection_serial_number, array_agg(distinct xmin::text) from erddap.otn_aat_detections group by 1"
    copies = dict(node.rows(copied))
    assert in_database(node) == fresh(first)
    node.drop("FACT/REEF/detections", "b.csv", vue("2024-07-20T10:00:00 VR2W-222 A69-1602-100"))
    assert set(node.load().values()) == {"loaded"}
    second = pushed(node, LATER_PUSH)
    after = {path.name: path.stat().st_ino for path in write_detections(node, second, LATER_PUSH).iterdir()}
    assert len(before) == len(after) == 3 and len(before.items() & after.items()) == 2
    assert in_database(node) == fresh(second) and len(fresh(second)) == 7
    again = dict(node.rows(copied))
    assert again["111"] == copies["111"] and again["222"] != copies["222"]


def test_a_part_is_made_anew_where_a_word_in_it_changed(node: Node, context: Context):
    write_detections(node, context, NEXT_PUSH)
    renamed = dataclasses.replace(context, tags=context.tags.with_columns(catalognumber=pl.lit("HFX-another")))
    folder = write_detections(node, renamed, NEXT_PUSH)
    assert in_database(node) == fresh(renamed) != fresh(context)
    assert len(list(folder.iterdir())) == 1


def test_parts_that_are_no_more_leave_no_rows(node: Node, context: Context, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", 3)
    write_detections(node, pushed(node, NEXT_PUSH), NEXT_PUSH)
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", 1_000)
    one = pushed(node, NEXT_PUSH)
    write_detections(node, one, NEXT_PUSH)
    assert len(one.matches.buckets) == 1 and in_database(node) == fresh(one)
