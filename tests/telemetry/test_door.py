"""The rules of the door, one by one, each on files that nobody sent yet."""

import datetime as dt
import json
import zipfile
from pathlib import Path

import openpyxl
import pytest

from otn_dagster.demo.files import DEPLOYMENT_HEADER, TAG_HEADER, sheet_csv, workbook
from otn_dagster.telemetry.files import codespaces, container, deployments, preview, tags
from otn_dagster.telemetry.files.cells import Quantity, comma_of
from otn_dagster.telemetry.files.reading import read_export
from otn_dagster.telemetry.files.refusals import BadFile, Code, Topic, Undecided, Why
from otn_dagster.telemetry.files.typed import Situation, Typed
from otn_dagster.telemetry.push import attention, snapshot
from tests.support.node import Node
from tests.support.sheets import deployments as deployment_sheet
from tests.support.sheets import tag_sheet, vue

NOW = dt.datetime(2026, 11, 1)
TAG = {
    "ANIMAL_ID   (floy tag ID, pit tag code, etc.)": "A", "TAG_TYPE": "ACOUSTIC", "TAG_SERIAL_NUMBER": "1388001", "TAG_ID_CODE": "100",
    "TAG_CODE_SPACE": "A69-1602", "EST_TAG_LIFE": "1460", "SCIENTIFIC_NAME": "Salmo salar", "RELEASE_LATITUDE": 44.2,
    "RELEASE_LONGITUDE": -63.4, "UTC_RELEASE_DATE_TIME": "2023-05-01T12:00:00",
}  # fmt: skip
DEPLOYMENT = {
    "OTN_ARRAY": "HFX", "STATION_NO": "HFX001", "DEPLOY_DATE_TIME   (yyyy-mm-ddThh:mm:ss)": "2023-05-01T12:00:00", "DEPLOY_LAT": 44.2,
    "DEPLOY_LONG": -63.4, "INS_MODEL_NO": "VR2W", "INS_SERIAL_NO": "109000",
    "RECOVER_DATE_TIME (yyyy-mm-ddThh:mm:ss)": "2023-11-01T12:00:00",
}  # fmt: skip


DEPLOYED = "HFX,HFX001,2025-01-01T00:00:00,44.2,-63.4,VR2W,109924,y,2025-12-01T00:00:00,"


def csv_of(header: list[str], usual: dict[str, object], *rows: dict[str, object]) -> bytes:
    names = [*header, *[n for row in rows for n in row if n not in header]]
    return sheet_csv(names, [[{**usual, **row}.get(n) for n in names] for row in rows])


def typed(tmp_path: Path, data: bytes, kind: str = "tags", name: str = "s.csv", **answers: str) -> Typed:
    path = tmp_path / name
    path.write_bytes(data)
    module, how = (tags, tags.type_tags) if kind == "tags" else (deployments, deployments.type_deployments)
    found = module.find(container.read_sheets(path))
    result = how(found.tables, Situation("HFX", NOW, None, answers))
    assert found.rows == result.loaded + result.repeated + len(result.refused)
    result.findings += found.findings
    return result


def tag_rows(tmp_path: Path, *rows: dict[str, object], **answers: str) -> Typed:
    return typed(tmp_path, csv_of(TAG_HEADER, TAG, *rows), **answers)


def deployment_rows(tmp_path: Path, *rows: dict[str, object], **answers: str) -> Typed:
    return typed(tmp_path, csv_of(DEPLOYMENT_HEADER, DEPLOYMENT, *rows), "deployments", **answers)


def codes(result: Typed) -> set[Code]:
    return {f.code for f in result.findings}


# A: what may refuse


def test_a_an_optional_cell_never_costs_a_row(tmp_path: Path):
    odd = {
        "AGE": "two and a bit",
        "LENGTH (m)": "long",
        "WEIGHT (kg)": "fat",
        "SEX": "?",
        "HARVEST_DATE": "soon",
        "EST_TAG_LIFE": "ages",
    }
    result = tag_rows(tmp_path, odd, {"TAG_ID_CODE": None, "UTC_RELEASE_DATE_TIME": None})
    assert result.loaded == 1 and len(result.refused) == 1
    row = result.rows[0]
    assert row["age"] is row["length"] is row["weight"] is None and row["window_code"] == "harvest_unreadable"
    assert row["other"]["age"] == "two and a bit"  # the raw cell is kept
    said = {(f.column, f.found) for f in result.findings}
    assert {("age", "two and a bit"), ("length", "long"), ("weight", "fat")} <= said


def test_a_one_finding_for_a_value_however_many_rows_have_it(tmp_path: Path):
    rows = [
        {"TAG_ID_CODE": str(n), "ANIMAL_ID   (floy tag ID, pit tag code, etc.)": f"A{n}", "AGE": "old"}
        for n in range(30)
    ]
    said = [f for f in tag_rows(tmp_path, *rows).findings if f.column == "age"]
    assert len(said) == 1 and said[0].count == 30 and said[0].rows[0] == 2


# B: nothing read is nothing dropped


def test_b_every_sheet_with_the_header_is_read(tmp_path: Path):
    import io

    import openpyxl

    book = openpyxl.Workbook()
    for number, name in enumerate(["Spring", "Fall", "Notes"]):
        sheet = book.create_sheet(name) if number else book.active
        assert sheet is not None
        sheet.title = name
        if name == "Notes":
            sheet.append(["written by Toni"])
            continue
        sheet.append(TAG_HEADER)
        row = {**TAG, "TAG_ID_CODE": str(number), "ANIMAL_ID   (floy tag ID, pit tag code, etc.)": name}
        sheet.append([row.get(n) for n in TAG_HEADER])
    buffer = io.BytesIO()
    book.save(buffer)
    result = typed(tmp_path, buffer.getvalue(), name="two.xlsx")
    assert {row["animal_id"] for row in result.rows} == {"Spring", "Fall"}
    assert any(f.code is Code.NOT_DATA and f.found == "Notes" for f in result.findings)


def test_b_a_size_that_the_sheet_claims_is_not_believed(tmp_path: Path):
    made = tmp_path / "made.xlsx"
    made.write_bytes(
        workbook(
            "Tags", [], TAG_HEADER, [[{**TAG, "TAG_ID_CODE": str(n)}.get(h) for h in TAG_HEADER] for n in range(7)]
        )
    )
    lying = tmp_path / "lying.xlsx"
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(lying, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename.startswith("xl/worksheets/"):
                import re

                data = re.sub(rb'<dimension ref="[^"]*"\s*/>', b'<dimension ref="A1:B2"/>', data)
                assert b"A1:B2" in data
            target.writestr(member, data)
    assert typed(tmp_path, lying.read_bytes(), name="x.xlsx").loaded == 7


def test_b_columns_without_a_name_and_repeated_ones_are_named(tmp_path: Path):
    header = [*TAG_HEADER, None, "COMMENTS", "MY COLUMN"]
    row = [*[TAG.get(n) for n in TAG_HEADER], "who knows", "another comment", 7]
    result = typed(tmp_path, sheet_csv([h or "" for h in header], [row]))
    kept = next(f for f in result.findings if f.code is Code.COLUMN_KEPT).found or ""
    assert "MY COLUMN" in kept and "without a name" in kept
    assert result.rows[0]["comments"] == "another comment"  # the column that holds something


def test_b_a_second_table_below_the_first_is_read_by_its_own_header(tmp_path: Path):
    rows = [{**TAG, "TAG_ID_CODE": str(n), "WEIGHT (kg)": n, "LENGTH (m)": 1} for n in (1, 2, 3, 4)]
    turned = TAG_HEADER[::-1]
    above = [[row.get(n) for n in TAG_HEADER] for row in rows[:2]]
    below = [[row.get(n) for n in turned] for row in rows[2:]]
    apart = ["Autumn", *[None] * (len(turned) - 1)]
    again = [TAG_HEADER, [{**TAG, "TAG_ID_CODE": "5"}.get(n) for n in TAG_HEADER]]
    path = workbook("Tags", [], TAG_HEADER, [*above, apart, turned, *below, *again])
    result = typed(tmp_path, path, name="stacked.xlsx")
    assert {row["tag_id_code"]: row["weight"] for row in result.rows} == {"1": 1, "2": 2, "3": 3, "4": 4, "5": None}


def test_b_what_an_old_workbook_could_not_compute_is_named(tmp_path: Path):
    import xlwt

    book = xlwt.Workbook()
    sheet = book.add_sheet("Tags", cell_overwrite_ok=True)
    for column, name in enumerate(TAG_HEADER):
        sheet.write(0, column, name)
        sheet.write(1, column, TAG.get(name))
    sheet.row(1).set_cell_error(TAG_HEADER.index("LENGTH (m)"), "#REF!")
    book.save(tmp_path / "old.xls")
    result = typed(tmp_path, (tmp_path / "old.xls").read_bytes(), name="old.xls")
    assert result.loaded == 1
    assert [(f.column, f.found) for f in result.findings if f.code is Code.VALUE_UNREADABLE] == [("length", "#REF!")]


# C: every exception is a verdict


def test_c_whatever_a_reader_raises_refuses_the_file_with_a_reference(node: Node, monkeypatch: pytest.MonkeyPatch):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({}))

    def breaks(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(container, "read_sheets", breaks)
    states = node.load()
    assert "refused" in states.values()
    reason = node.value("select reason from platform.submissions where kind = 'tags'")
    assert "our fault, reference " in reason and "ZeroDivisionError" in reason


def test_c_what_the_database_refuses_is_a_verdict_too(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "long.csv", tag_sheet({"ANIMAL_ID": "x" * 5_000}, {"ANIMAL_ID": "B", "TAG_ID_CODE": "7"}))
    assert set(node.load().values()) == {"loaded"}
    assert node.value("select count(*) from platform.findings where column_name = 'animal_id' and severity < 4") == 1


# D and E: words for nothing, numbers, units


@pytest.mark.parametrize(
    "word", ["Unknown", "unk", "NA", "n/a", "#N/A", "TBD", "-", "?", "none", "Not Recorded", "NaN", "1900-01-00"]
)
def test_d_words_for_nothing_are_nothing(tmp_path: Path, word: str):
    result = tag_rows(tmp_path, {"AGE": word, "LENGTH (m)": word, "STOCK": word, "HARVEST_DATE": word})
    assert result.loaded == 1 and result.rows[0]["window_code"] is None
    assert result.rows[0]["age"] is result.rows[0]["length"] is result.rows[0]["stock"] is None


@pytest.mark.parametrize("serial", ["0", "9999999", "1234567", "unk", "UNKNOWN", "00000"])
def test_d_two_animals_of_unknown_serial_stay_two(tmp_path: Path, serial: str):
    name = "ANIMAL_ID   (floy tag ID, pit tag code, etc.)"
    result = tag_rows(
        tmp_path,
        {name: None, "TAG_SERIAL_NUMBER": serial},
        {name: None, "TAG_SERIAL_NUMBER": serial, "TAG_ID_CODE": "101"},
    )
    assert len({row["catalognumber"] for row in result.rows}) == 2


@pytest.mark.parametrize(
    ("cells", "decimal"),
    [(["1,234", "1.234,5"], True), (["1,234", "12,5"], True), (["1,234", "1,234.5"], False), (["1,234"], None)],
)
def test_e_a_comma_is_decided_by_the_column(cells: list[str], decimal: bool | None):
    assert comma_of(list(cells)) is decimal
    value = Quantity("kg", 0, 100_000).read("1,234", None, decimal).value
    assert value == {True: 1.234, False: 1234.0, None: None}[decimal]


@pytest.mark.parametrize(
    ("header", "cell", "metres"),
    [
        ("LENGTH (cm)", "85", 0.85),
        ("LENGTH_MM", 850, 0.85),
        ("LENGTH (m)", "85 cm", 0.85),
        ("FORK LENGTH (in)", "33.5", 0.8509),
        ("LENGTH (m)", "~0.85*", 0.85),
    ],
)
def test_e_units_are_converted(tmp_path: Path, header: str, cell: object, metres: float):
    names = [header if n == "LENGTH (m)" else n for n in TAG_HEADER]
    result = typed(tmp_path, sheet_csv(names, [[{**TAG, header: cell}.get(n) for n in names]]))
    assert result.rows[0]["length"] == pytest.approx(metres)
    assert codes(result) & {Code.UNIT_CONVERTED, Code.VALUE_ADJUSTED}


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("WEIGHT (in grams)", "g"),
        ("LENGTH (fork, cm)", "cm"),
        ("BOTTOM_DEPTH (in feet)", "ft"),
        ("LENGTH (in)", "in"),
        ("LENGTH (FL)", None),
    ],
)
def test_e_units_stand_among_other_words(header: str, unit: str | None):
    from otn_dagster.telemetry.files.tables import Header

    assert Header("x", header).unit == unit and Header("x", header).strange_unit is None


@pytest.mark.parametrize("cell", ["5'4\"", "85 90", "12-14", "44.12.30", "1" + "." * 5_000 + "("])
def test_e_what_is_no_one_number_is_not_read_as_one(cell: str):
    assert Quantity("m", 0, 11_000).read(cell, None, None).value is None


def test_e_what_cannot_be_is_no_length_and_ten_years_are_days(tmp_path: Path):
    result = tag_rows(tmp_path, {"LENGTH (m)": 85, "EST_TAG_LIFE": "10 years"})
    assert result.rows[0]["length"] is None and Code.VALUE_OUT_OF_RANGE in codes(result)
    assert result.rows[0]["est_tag_life"] == 3652.5


# F: identifiers


@pytest.mark.parametrize(
    ("space", "code", "transmitters"),
    [
        ("A69-1303", "0481", ["A69-1303-481"]),
        ("a69 1303", "481.0", ["A69-1303-481"]),
        ("A69-1303-481", None, ["A69-1303-481"]),
        ("A69-1303-481", "481", ["A69-1303-481"]),
        (None, "A69-1303-481", ["A69-1303-481"]),
        ("A69-9002", "25715, 25716", ["A69-9002-25715", "A69-9002-25716"]),
        ("A69-9002", "25715/25716", ["A69-9002-25715", "A69-9002-25716"]),
        ("A69-9002", "25715-25716", ["A69-9002-25715", "A69-9002-25716"]),
        ("R64K", "481", ["A69-1303-481"]),
        ("S64K", "12", ["S64K-12"]),
    ],
)
def test_f_transmitters_in_one_form(tmp_path: Path, space: str | None, code: str | None, transmitters: list[str]):
    result = tag_rows(tmp_path, {"TAG_CODE_SPACE": space, "TAG_ID_CODE": code})
    assert [row["transmitter"] for row in result.rows] == transmitters and result.loaded == 1


def test_f_two_cells_that_contradict_each_other_are_refused():
    assert codespaces.split("A69-1602", "A69-1303-481") is None


@pytest.mark.parametrize("serial", ["VR2W-109000", "VR2W 109000", "109000.0", " 109000 "])
def test_f_receivers_in_one_form(tmp_path: Path, serial: str):
    assert deployment_rows(tmp_path, {"INS_SERIAL_NO": serial}).rows[0]["rcv_serial_no"] == "109000"


def test_f_near_misses_are_listed(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/deployments", "d.csv", deployment_sheet(DEPLOYED))
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({"TAG_CODE_SPACE": "A69-9001", "TAG_ID_CODE": "4711"}))
    rows = [f"2025-06-01T10:{n:02d}:00 VR2W-109924 A69-1601-4711" for n in range(12)]
    node.drop("OTN/HFX/detections", "v.csv", vue(*rows))
    assert set(node.load().values()) == {"loaded"}
    folder = node.push()
    found = attention.of_project(folder, "HFX")
    assert found is not None
    assert found.near_misses.select("transmitter", "known").rows() == [("A69-1601-4711", "A69-9001-4711")]


@pytest.mark.parametrize(
    ("written", "read"),
    [("04E1", "04E1"), ("4E1", "4E1"), ("1.166129E6", "1166129"), ("1.17E+06", None), ("1166129.0", "1166129")],
)
def test_f_what_a_spreadsheet_rounded_is_not_an_identifier(tmp_path: Path, written: str, read: str | None):
    assert tag_rows(tmp_path, {"TAG_SERIAL_NUMBER": written}).rows[0]["tag_serial_number"] == read


@pytest.mark.parametrize(
    ("space", "code"), [("A69-1303-481", "482"), ("A69-1303-999", "A69-1303-481"), ("A69-1602", "A69-1303-481")]
)
def test_f_cells_that_contradict_each_other_are_not_guessed(tmp_path: Path, space: str, code: str):
    result = tag_rows(tmp_path, {"TAG_CODE_SPACE": space, "TAG_ID_CODE": code})
    assert not result.rows and len(result.refused) == 1


def test_f_serials_that_are_no_numbers_stay_whole_and_zeros_meet(tmp_path: Path):
    rows = deployment_rows(
        tmp_path, {"INS_SERIAL_NO": "109924-2"}, {"INS_SERIAL_NO": "VR2W-000123", "STATION_NO": "B"}
    ).rows
    assert [row["rcv_serial_no"] for row in rows] == ["109924-2", "123"]


# G: one animal, one row


def test_g_a_name_used_for_two_animals_is_made_two(tmp_path: Path):
    second = {"TAG_ID_CODE": "101", "UTC_RELEASE_DATE_TIME": "2024-05-01T12:00:00", "LENGTH (m)": 0.5}
    result = tag_rows(tmp_path, {"LENGTH (m)": 0.9}, second, {"TAG_ID_CODE": "102", "LENGTH (m)": 0.9})
    names = [row["catalognumber"] for row in result.rows]
    assert names == ["HFX-A", "HFX-A-2024-05-01", "HFX-A"] and Code.NAME_TAKEN in codes(result)


# H: times


def test_h_days_and_months_by_the_whole_column(tmp_path: Path):
    rows = [{"UTC_RELEASE_DATE_TIME": "05/11/2014"}, {"UTC_RELEASE_DATE_TIME": "23/11/2014", "TAG_ID_CODE": "101"}]
    assert tag_rows(tmp_path, *rows).rows[0]["utc_release_date_time"] == dt.datetime(2014, 11, 5)
    rows[1]["UTC_RELEASE_DATE_TIME"] = "11/23/2014"
    assert tag_rows(tmp_path, *rows).rows[0]["utc_release_date_time"] == dt.datetime(2014, 5, 11)


@pytest.mark.parametrize("second", ["06/12/2014", "11/23/2014"])
def test_h_what_cannot_be_decided_is_asked_and_the_answer_taken(tmp_path: Path, second: str):
    rows = [{"UTC_RELEASE_DATE_TIME": "05/11/2014"}, {"UTC_RELEASE_DATE_TIME": second, "TAG_ID_CODE": "101"}]
    rows += [{"UTC_RELEASE_DATE_TIME": "23/11/2014", "TAG_ID_CODE": "102"}] if second == "11/23/2014" else []
    with pytest.raises(Undecided) as asked:
        tag_rows(tmp_path, *rows)
    assert asked.value.topic is Topic.DAY_ORDER and asked.value.details
    answered = tag_rows(tmp_path, *rows, day_order="month-first")
    assert answered.rows[0]["utc_release_date_time"] == dt.datetime(2014, 5, 11)


def test_h_an_answer_loads_the_file(node: Node):
    from otn_dagster import decisions

    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({"UTC_RELEASE_DATE_TIME": "05/11/2014"}))
    assert "held" in node.load().values()
    with node.connect() as connection:
        asked = decisions.open_questions(connection)[0]
        number, topic, details = asked.number, asked.topic, asked.details
        assert topic == "day_order" and "05/11/2014" in details[0]
        with pytest.raises(ValueError, match="day-first"):
            decisions.decide(connection, number, "accept", "Ada", "no")
    with node.connect() as connection:
        decisions.decide(connection, number, "day-first", "Ada", "asked the owner")
    assert set(node.load().values()) == {"loaded"}
    assert node.value("select datecollected from obis.otn_animals") == dt.datetime(2014, 11, 5)


@pytest.mark.parametrize(
    ("header", "cell", "utc"),
    [
        ("UTC_RELEASE_DATE_TIME", "2023-05-01T12:00:00-04:00", dt.datetime(2023, 5, 1, 16)),
        ("UTC_RELEASE_DATE_TIME (UTC-05:00)", "2023-05-01T12:00:00", dt.datetime(2023, 5, 1, 17)),
        ("UTC_RELEASE_DATE_TIME (America/Halifax)", "2023-05-01T12:00:00", dt.datetime(2023, 5, 1, 15)),
        ("UTC_RELEASE_DATE_TIME", "2023-05-01 12:00 EST", dt.datetime(2023, 5, 1, 17)),
        ("UTC_RELEASE_DATE_TIME (UTC+00:00)", "2023-05-01T12:00:00Z", dt.datetime(2023, 5, 1, 12)),
    ],
)
def test_h_zones_are_applied(tmp_path: Path, header: str, cell: str, utc: dt.datetime):
    names = [header if n == "UTC_RELEASE_DATE_TIME" else n for n in TAG_HEADER]
    result = typed(tmp_path, sheet_csv(names, [[{**TAG, header: cell}.get(n) for n in names]]))
    assert result.rows[0]["utc_release_date_time"] == utc


def test_h_local_time_without_a_zone_is_asked(tmp_path: Path):
    names = ["DEPLOY_DATE_TIME (local)" if n.startswith("DEPLOY_DATE_TIME") else n for n in DEPLOYMENT_HEADER]
    row = {**DEPLOYMENT, "DEPLOY_DATE_TIME (local)": "2023-05-01T12:00:00"}
    with pytest.raises(Undecided, match="local"):
        typed(tmp_path, sheet_csv(names, [[row.get(n) for n in names]]), "deployments")


def test_h_an_export_in_local_time_waits_for_an_answer(node: Node):
    node.drop_form("HFX")
    node.drop(
        "OTN/HFX/detections", "v.csv", vue("2025-06-01T10:00:00 VR2W-109924 A69-1602-7").replace(b"(UTC)", b"(local)")
    )
    assert "held" in node.load().values()
    assert node.rows("select topic from platform.decisions") == [("time_zone",)]


def test_h_redundant_columns_prove_each_other(tmp_path: Path):
    good = {"EST_RELEASE_DATE_TIME": "2023-05-01T08:00:00", "UTC_EST_Adjust": 4}
    assert tag_rows(tmp_path, good).loaded == 1
    with pytest.raises(Undecided, match="not the same instant"):
        tag_rows(tmp_path, {**good, "UTC_EST_Adjust": 5})


def test_h_a_recovery_without_a_time_of_day_ends_with_the_day(tmp_path: Path):
    days = {
        "DEPLOY_DATE_TIME   (yyyy-mm-ddThh:mm:ss)": "2023-05-01",
        "RECOVER_DATE_TIME (yyyy-mm-ddThh:mm:ss)": "2023-11-01",
    }
    row = deployment_rows(tmp_path, days).rows[0]
    assert row["deploy_date"] == dt.datetime(2023, 5, 1)
    assert row["recover_date"].date() == dt.date(2023, 11, 1) and row["recover_date"].time() > dt.time(23, 59)


# I: deployments


def test_i_rows_of_one_key_yield_to_the_longest(tmp_path: Path):
    zero = {"RECOVER_DATE_TIME (yyyy-mm-ddThh:mm:ss)": "2023-05-01T12:00:00"}
    result = deployment_rows(tmp_path, zero, {}, {"DEPLOY_DATE_TIME   (yyyy-mm-ddThh:mm:ss)": "2023-05-01T12:30:00"})
    assert [row["recover_date"] for row in result.rows] == [dt.datetime(2023, 11, 1, 12)] * 2 and result.repeated == 1
    assert len({row["catalognumber"] for row in result.rows}) == 2  # the same hour, another start


def test_i_an_odd_recovery_never_costs_the_row(tmp_path: Path):
    odd = [{"RECOVER_DATE_TIME (yyyy-mm-ddThh:mm:ss)": cell} for cell in ("2022-01-01T00:00:00", "lost at sea")]
    result = deployment_rows(tmp_path, odd[0], {**odd[1], "STATION_NO": "HFX002"})
    assert result.loaded == 2 and all(row["recover_date"] is None for row in result.rows)
    assert Code.RECOVERY in codes(result)


@pytest.mark.parametrize("marker", ["EXAMPLE", "as in: HFX", "Sample Data", "e.g. HFX001"])
def test_i_example_rows_are_not_data(tmp_path: Path, marker: str):
    result = deployment_rows(tmp_path, {"STATION_NO": marker, "INS_SERIAL_NO": "123456"}, {})
    assert result.loaded == 1 and Code.NOT_DATA in codes(result)


# J: text exports


def test_j_a_file_is_cut_off_only_where_its_last_line_is(tmp_path: Path):
    header = "Date and Time (UTC),Receiver,Transmitter,Transmitter Name,Transmitter Serial,Sensor Value,Sensor Unit"
    line = "2023-05-01 12:00:00,VR2W-109000,A69-1602-100"
    for end, verdict in (("\n", "ready"), ("", "ready"), ("\n  ", "ready"), ("\n2023-05-01 12:0", "refused")):
        path = tmp_path / "v.csv"
        path.write_text(f"{header}\n{line}\n{line.replace('12:00:00', '12:01:00')}{end}")
        assert preview.look(path).verdict == verdict, end


def test_j_banners_repeated_headers_and_tabs(tmp_path: Path):
    header = "Date and Time (UTC)\tReceiver\tTransmitter"
    lines = [
        "Exported by VUE",
        "",
        header,
        "2023-05-01 12:00:00\tVR2W-109000\tA69-1602-100",
        header,
        "2023-05-01 12:01:00\tVR2W-109000\tA69-1602-100",
    ]
    path = tmp_path / "v.txt"
    path.write_bytes("\r\n".join(lines).encode("utf-16"))
    one = preview.look(path)
    assert one.verdict == "ready" and one.law["usable"] == 2 and one.law["rows of the file"] == 5


def test_j_a_sensor_value_that_is_none_costs_nothing(tmp_path: Path):
    path = tmp_path / "v.csv"
    path.write_text(
        "Date and Time (UTC),Receiver,Transmitter,Sensor Value\n2023-05-01 12:00:00,VR2W-109000,A69-9002-100,NA\n"
        "2023-05-01 12:01:00,VR2W-109000,A69-9002-100,Sensor Fault\n"
    )
    one = preview.look(path)
    assert one.law["usable"] == 2 and any(f.found == "Sensor Fault" for f in one.findings)


def test_j_a_comma_that_nobody_quoted_moves_no_position_and_no_sensor_value(tmp_path: Path):
    good = [str(DEPLOYMENT.get(n, "")) for n in DEPLOYMENT_HEADER]
    odd = [cell.replace("44.2", "44,2").replace("-63.4", "-63,4") for cell in good]
    lines = [DEPLOYMENT_HEADER, good, odd]
    result = typed(tmp_path, "\n".join(map(",".join, lines)).encode(), "deployments")
    assert result.loaded == 1 and [(r.row_number, r.column) for r in result.refused] == [(3, None)]
    assert "quotation marks" in result.refused[0].remedy
    ended = "\n".join([",".join(DEPLOYMENT_HEADER), ",".join(good) + ","])
    assert typed(tmp_path, ended.encode(), "deployments").loaded == 1  # every line ends with a comma
    path = tmp_path / "v.csv"
    header = "Date and Time (UTC),Receiver,Transmitter,Sensor Value,Sensor Unit"
    line = "2023-05-01 12:00:00,VR2W-109000,A69-9002-100"
    path.write_text(f"{header}\n{line},12,ADC\n{line},12,5,ADC\n")
    export = read_export(path, "detections", tmp_path / "v.parquet", {})
    assert export.rows["sensor_value"].to_list() == [12, None]
    assert any(f.column == "sensor_value" and f.found == "12" for f in export.findings)


def test_j_a_quotation_mark_that_nobody_closed_swallows_nothing(tmp_path: Path):
    names = ["A", '"N', "C", "D", 'S"', "E"]
    path = tmp_path / "v.csv"
    rows = [f"2023-05-01 12:0{i}:00,VR2W-109000,A69-1602-100,{name}" for i, name in enumerate(names)]
    path.write_text("\n".join(["Date and Time (UTC),Receiver,Transmitter,Station Name", *rows, ""]))
    assert preview.look(path).law["usable"] == 6
    sheet = tmp_path / "t.csv"
    sheet.write_bytes(
        csv_of(TAG_HEADER, TAG, *[{"TAG_ID_CODE": str(n)} for n in range(6)]).replace(b"ACOUSTIC", b'"ACOUSTIC', 1)
    )
    one = preview.look(sheet)
    assert one.verdict == "refused" and "quotation mark" in one.says and "line 2" in one.says


def test_j_a_clock_at_year_zero_costs_its_row_only(tmp_path: Path):
    path = tmp_path / "v.csv"
    path.write_text(
        "Date and Time (UTC),Receiver,Transmitter\n0000-01-01 00:00:00,VR2W-1,A69-1602-1\n2023-01-01 00:00:00,VR2W-1,A69-1602-1\n"
    )
    one = preview.look(path)
    assert (one.law["usable"], one.law["refused"]) == (1, 1)


def test_j_a_cell_at_the_end_of_the_world_is_refused_before_it_is_read(tmp_path: Path):
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(TAG_HEADER)
    sheet["XFD1048576"] = "x"
    book.save(tmp_path / "far.xlsx")
    one = preview.look(tmp_path / "far.xlsx")
    assert one.verdict == "refused" and "more than 5,000,000 cells" in one.says


# K: foreign files are called by their name


@pytest.mark.parametrize(
    ("name", "start", "word"),
    [
        (
            "a.SUM",
            b"Site Name:2015-6001\nFPGA Version:0x830A\n\nDetection,Serial Number,Date Time,TagCode,Tilt,vBatt\n",
            "Teknologic",
        ),
        (
            "b.txt",
            b"WHS FSK Receiver Data File\nSerial Number:      WHS3K-1234567\nGMT Correction:     00:00\n",
            "Lotek",
        ),
        (
            "c.csv",
            b"animal_id,detection_timestamp_utc,glatos_array,station_no\n153,2012-04-29 01:48:37,TTB,2\n",
            "GLATOS",
        ),
        (
            "d.csv",
            b"basisOfRecord,institutionCode,collectionCode,dateLastModified,dateCollectedUTC,rcvrCatNumber\nx,y,z,1,2,3\n",
            "extract",
        ),
        ("e.csv", b"event-id,visible,timestamp,location-long,location-lat\n1,true,2020-01-01,1,2\n", "Movebank"),
        ("f.pdf", b"%PDF-1.7 ...", "PDF"),
        ("g.vdat", b"\x00\x01\x02vdat", "VDAT"),
        ("h.csv", b"$1000042,0000002202,615,S64K,1285,52428,24,69,11\n", "Thelma"),
    ],
)
def test_k_foreign_formats_are_refused_once_by_name(node: Node, name: str, start: bytes, word: str):
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", name, start)
    assert "refused" in node.load().values()
    reason = node.value("select reason from platform.submissions where kind = 'detections'")
    assert word in reason and node.value("select count(*) from platform.refused_rows") == 0


def test_k_a_sheet_in_the_folder_of_detections_is_sent_to_its_own(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", "tags.csv", tag_sheet({}))
    node.load()
    assert "tags/" in node.value("select reason from platform.submissions where kind = 'detections'")


# L: owners are told


def test_l_two_projects_with_one_tag_name_each_other(node: Node):
    for code in ("HFX", "REEF"):
        node.drop_form(code)
        node.drop(f"OTN/{code}/tags", "t.csv", tag_sheet({"ANIMAL_ID": code}))
    node.drop("OTN/HFX/deployments", "d.csv", deployment_sheet(DEPLOYED))
    transmitter = "A69-1602-100"
    rows = [f"2025-06-01T10:{n:02d}:00 VR2W-109924 {transmitter}" for n in range(5)]
    node.drop("OTN/HFX/detections", "v.csv", vue(*rows))
    assert set(node.load().values()) == {"loaded"}
    tag = node.value("select fieldnumber from obis.moorings where relationshiptype = 'ANIMAL' limit 1")
    folder = node.push()
    for mine, other in (("HFX", "REEF"), ("REEF", "HFX")):
        found = attention.of_project(folder, mine)
        assert (
            found is not None
            and (mine, tag, other) in found.shared.select("trackercode", "transmitter", "other").rows()
        )


def test_l_a_push_whose_sheets_were_refused_says_so(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/deployments", "d.csv", deployment_sheet(DEPLOYED))
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet(*[{"ANIMAL_ID": f"A{n}", "TAG_ID_CODE": None} for n in range(5)]))
    node.drop("OTN/HFX/detections", "v.csv", vue("2025-06-01T10:00:00 VR2W-109924 A69-1602-7"))
    node.load()
    folder = node.push()
    said = json.loads((folder / "certificate.json").read_text())["warnings"]
    assert any("5 of 5 rows of its tags were refused" in one for one in said["HFX"])
    assert any("matched an animal" in one for one in said[""])


def test_l_a_push_of_a_node_without_detections_succeeds(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({}))
    node.load()
    folder = node.push()
    assert (folder / "certificate.json").exists() and (folder / snapshot.MANIFEST).parent.exists()


def test_a_file_that_is_neither_is_refused_by_what_it_begins_with(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("colour,size\nred,3\n")
    with pytest.raises(BadFile, match="no header row"):
        tags.find(container.read_sheets(path))
    assert preview.look(path).verdict == "refused"


SPECIFICATION = """Sales Order,Serial No.,# of ID's,Researcher,Tag Family,VUE Tag ID,Est tag life (days),Sensor type,Range,Units,Slope,Intercept
1,1388001,2,Toni,V16TP,A69-1602-100,1825,T,-5 to 35,C,0.1569,-5
1,1388001,2,Toni,V16TP,A69-9002-101,1825,P,34,m,1.5162,-6.0645
1,1388002,1,Toni,V16,no id,1825,,,,,
"""


def test_a_specification_sheet_cures_a_blank_tag_life(node: Node):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({"EST_TAG_LIFE": None}))
    node.load()
    assert node.value("select window_code from obis.moorings where fieldnumber = 'A69-1602-100'") == "life_missing"
    node.drop("OTN/HFX/vendor", "TagSheet_1.csv", SPECIFICATION.encode())
    assert set(node.load().values()) == {"loaded"}
    row = node.rows(
        "select window_code, enddatetime - startdatetime from obis.moorings where fieldnumber = 'A69-1602-100'"
    )
    assert row == [(None, dt.timedelta(days=1825))]
    sensors = node.rows("select vue_id, slope, intercept from vendor.c_vemco_tags order by 1")
    assert sensors == [("A69-1602-100", 0.1569, -5.0), ("A69-9002-101", 1.5162, -6.0645)]
    assert node.rows("select row_number, found from platform.refused_rows") == [(4, "no id")]
    # A sheet that comes after it finds the life at once.
    node.drop(
        "OTN/HFX/tags",
        "u.csv",
        tag_sheet({"ANIMAL_ID": "B", "TAG_CODE_SPACE": "A69-9002", "TAG_ID_CODE": "101", "EST_TAG_LIFE": "NA"}),
    )
    node.load()
    assert node.value("select count(*) from obis.moorings where window_code is not null") == 0


GLATOS_DEPLOYMENT = ["GLATOS_ARRAY", "STATION_NO", "CONSECUTIVE_DEPLOY_NO", "INS_SERIAL_NO", "INS_MODEL_NO"]
GLATOS_DEPLOYMENT += ["GLATOS_DEPLOY_DATE_TIME", "GLATOS_TIMEZONE", "DEPLOY_LAT", "DEPLOY_LONG"]
GLATOS_RECOVERY = ["GLATOS_ARRAY", "STATION_NO", "CONSECUTIVE_DEPLOY_NO", "INS_SERIAL_NO", "GLATOS_RECOVER_DATE_TIME"]
GLATOS_RECOVERY += ["GLATOS_TIMEZONE", "RECOVERED", "RECOVER_LAT", "RECOVER_LONG"]


def glatos(tmp_path: Path, deployed: list[list[object]], recovered: list[list[object]]) -> Typed:
    """A workbook of GLATOS, typed; every row of it is loaded, said again or refused."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in (
        ("Deployment", [GLATOS_DEPLOYMENT, *deployed]),
        ("Recovery", [GLATOS_RECOVERY, *recovered]),
    ):
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(tmp_path / "glatos.xlsx")
    found = deployments.find(container.read_sheets(tmp_path / "glatos.xlsx"))
    result = deployments.type_deployments(found.tables, Situation("HFX", NOW))
    assert found.rows == result.loaded + result.repeated + len(result.refused)
    return result


def test_two_recoveries_of_one_deployment_the_first_stands_and_the_other_is_named(tmp_path: Path):
    deployed = [["TTB", station, 1, 109924, "VR2W", "2012-04-01 10:00", "UTC", 44.2, -63.4] for station in (1, "12²")]
    recovered = [
        ["TTB", 1, 1, 109924, at, "UTC", "YES", 44.2, -63.4] for at in ("2012-09-01 10:00", "2012-10-01 10:00")
    ]
    result = glatos(tmp_path, deployed, [*recovered, recovered[0]])
    assert [row["recover_date"] for row in result.rows] == [dt.datetime(2012, 9, 1, 10), None]
    assert result.repeated == 2 and [r.why for r in result.refused] == [Why.CONTRADICTS]
    assert "2012-10-01" in str(result.refused[0].found)
