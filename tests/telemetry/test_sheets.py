"""Cells and sheets as people send them."""

import datetime as dt
import io
import zipfile
from pathlib import Path

import pytest

from otn_dagster.demo.files import TAG_HEADER, sheet_csv, workbook
from otn_dagster.telemetry.files import cells, tags, times
from otn_dagster.telemetry.files.cells import Quantity
from otn_dagster.telemetry.files.container import read_sheets
from otn_dagster.telemetry.files.refusals import BadFile
from otn_dagster.telemetry.files.tables import Table, normalise_header

DAYS = Quantity("days", 0, 7305, zero=False)


def read_sheet(path: Path) -> Table:
    return tags.find(read_sheets(path)).tables[0]


def moment(cell: object) -> dt.datetime | None:
    read = times.read_times([cell])  # type: ignore[list-item]
    found = read.by_cell.get(cell)  # type: ignore[call-overload]
    return times.utc(found, None)[0] if found else None


def days(cell: object) -> object:
    return DAYS.read(cell, None, None).value  # type: ignore[arg-type]


def number(cell: object) -> object:
    return Quantity().read(cell, None, None).value  # type: ignore[arg-type]


def serial(cell: object) -> object:
    return cells.serial(cell).value  # type: ignore[arg-type]


def text(cell: object) -> object:
    return cells.text(cell).value  # type: ignore[arg-type]


def latitude(cell: object) -> object:
    return cells.degrees(cell, 90).value  # type: ignore[arg-type]


def longitude(cell: object) -> object:
    return cells.degrees(cell, 180).value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("ANIMAL_ID   (floy tag ID, pit tag code, etc.)", "animal_id"),
        ("LENGTH (m)", "length"),
        ("DEPLOY_DATE_TIME   (yyyy-mm-ddThh:mm:ss)", "deploy_date_time"),
        (" Harvest_Date ", "harvest_date"),
        ("Deployment Type", "deployment_type"),
        ("Date and Time (UTC)", "date_and_time"),
        (None, ""),
    ],
)
def test_headers_are_known_by_name(header: str, name: str):
    assert normalise_header(header) == name


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("2022-08-29T14:05:00", dt.datetime(2022, 8, 29, 14, 5)),
        ("2022-08-29 14:05:00.250", dt.datetime(2022, 8, 29, 14, 5, 0, 250_000)),
        ("2022-08-29T14:05:00Z", dt.datetime(2022, 8, 29, 14, 5)),
        ("2022-08-29T10:05:00-04:00", dt.datetime(2022, 8, 29, 14, 5)),
        ("2022/08/29 14:05", dt.datetime(2022, 8, 29, 14, 5)),
        ("2022-08-29", dt.datetime(2022, 8, 29)),
        ("29-Aug-2022 14:05", dt.datetime(2022, 8, 29, 14, 5)),
        ("29/08/2022 2:05 PM", dt.datetime(2022, 8, 29, 14, 5)),
        (44802.5, dt.datetime(2022, 8, 29, 12)),  # Excel's serial date
        ("44802.5", dt.datetime(2022, 8, 29, 12)),
        (None, None),
    ],
)
def test_times(cell: object, value: dt.datetime | None):
    assert moment(cell) == value


@pytest.mark.parametrize("cell", ["yesterday", "1e308", "NaT", "2022-13-45", "31/31/2022"])
def test_what_is_no_time_is_said_so(cell: str):
    assert moment(cell) is None


@pytest.mark.parametrize(
    ("parse", "cell", "value"),
    [
        (days, "3650 days", 3650.0),
        (days, "3650", 3650.0),
        (days, 3650, 3650.0),
        (serial, 1166129.0, "1166129"),
        (serial, "1.166129E6", "1166129"),
        (serial, "012", "012"),
        (text, "  common   snook ", "common snook"),
        (number, "1,5", 1.5),
        (latitude, "44.2", 44.2),
    ],
)
def test_values(parse, cell: object, value: object):
    assert parse(cell) == value


@pytest.mark.parametrize(
    ("parse", "cell"),
    [
        (latitude, 144.2),
        (longitude, -190),
        (number, "1e999"),
        (number, "nan"),
        (days, "long"),
    ],
)
def test_impossible_values(parse, cell: object):
    assert parse(cell) is None


ROW = ["A1", "ACOUSTIC", "Innovasea", "V16", 1166129, 26651, "A69-9001"]


def files(tmp_path: Path) -> dict[str, Path]:
    """The same table as xlsx with banners, as xls, and as csv with BOM, with CRLF, in ISO-8859-1 and with semicolons."""
    import xlwt

    row = [*ROW, *[None] * (len(TAG_HEADER) - len(ROW))]
    row[TAG_HEADER.index("RELEASE_LOCATION")] = "Baie-Comeau, Québec"
    row[TAG_HEADER.index("RELEASE_LATITUDE")] = 49.2
    made = {"xlsx": workbook("Tag Metadata", [["TAG"], ["DATA"], ["a"], ["b"]], TAG_HEADER, [row])}
    text = sheet_csv(TAG_HEADER, [row]).decode()
    made |= {
        "bom.csv": b"\xef\xbb\xbf" + text.encode(),
        "latin.csv": text.encode("iso-8859-1"),
        "utf16.csv": text.encode("utf-16"),
        "lf.csv": text.replace("\r\n", "\n").encode(),
    }
    book = xlwt.Workbook()
    sheet = book.add_sheet("Tag Metadata")
    for r, line in enumerate([TAG_HEADER, row]):
        for c, cell in enumerate(line):
            if cell is not None:
                sheet.write(r, c, cell)
    buffer = io.BytesIO()
    book.save(buffer)
    made["xls"] = buffer.getvalue()
    paths = {}
    for name, data in made.items():
        paths[name] = tmp_path / f"tags.{name}"
        paths[name].write_bytes(data)
    return paths


def test_one_table_in_many_dresses(tmp_path: Path):
    for name, path in files(tmp_path).items():
        sheet = read_sheet(path)
        assert len(sheet.rows) == 1, name
        row = sheet.rows[0].cells
        assert serial(row["tag_serial_number"]) == "1166129", name
        assert text(row["release_location"]) == "Baie-Comeau, Québec", name
        assert sheet.rows[0].number == sheet.header_row + 1, name


def test_row_numbers_are_those_of_the_file(tmp_path: Path):
    path = files(tmp_path)["xlsx"]
    assert read_sheet(path).header_row == 5 and read_sheet(path).rows[0].number == 6


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (300 * 2**20))
    return path


def test_a_zip_bomb_is_not_opened(tmp_path: Path):
    with pytest.raises(BadFile, match="unpacks to 300 MiB"):
        read_sheet(bomb(tmp_path / "bomb.xlsx"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.xlsx", b"", "the file is empty"),
        ("torn.xlsx", b"PK\x03\x04 torn", "cannot be read"),
        ("renamed.xlsx", b"a,b\n1,2\n", "not a workbook"),
        ("wrong.csv", b"colour,size\nred,3\n", "no header row"),
        ("none.csv", b"TAG_SERIAL_NUMBER,TAG_ID_CODE,TAG_CODE_SPACE\n", "no rows"),
        ("xxe.xlsx", b"PK\x03\x04", "cannot be read"),
    ],
)
def test_bad_files_say_what_and_what_to_do(tmp_path: Path, name: str, content: bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message) as error:
        read_sheet(path)
    assert error.value.remedy


def test_an_entity_bomb_in_a_workbook_is_refused(tmp_path: Path):
    path = files(tmp_path)["xlsx"]
    source = zipfile.ZipFile(path)
    evil = tmp_path / "evil.xlsx"
    with zipfile.ZipFile(evil, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == "xl/workbook.xml":
                data = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>' + data.replace(b"Tag Metadata", b"&a;")
            target.writestr(member.filename, data)
    with pytest.raises(BadFile, match="cannot be read"):
        read_sheet(evil)
