"""Reading: by time, page by page, as of any moment, in every format."""

import csv
import io
import time
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from otn_dagster.live import reading
from tests.support.livenode import LiveNode, record

PATH = "/v1/datasets/ctd/records"


@pytest.fixture
def api(live: LiveNode):
    live.configure(limits={"requests_per_second": 1000})
    with live.serve() as api:
        api.token = live.key()
        yield api


def now(live: LiveNode) -> str:
    time.sleep(0.002)
    moment = live.value("select clock_timestamp()").isoformat()
    time.sleep(0.002)
    return moment


def test_as_of_every_earlier_moment(api: Any, live: LiveNode):
    moments, expected = [now(live)], [[]]
    for step in (
        lambda: api.push([record(hour=0), record(hour=1)]),
        lambda: api.push([record(hour=0, temperature=9.0)]),
        lambda: api.delete([record(hour=1)]),
        lambda: api.push([record(hour=2)]),
    ):
        step()
        live.apply()
        moments.append(now(live))
        expected.append(api.read())
    assert [len(rows) for rows in expected] == [0, 2, 2, 1, 2]
    assert [api.read(as_of=moment) for moment in moments] == expected
    assert [len(reading.frame("ctd", as_of=moment)) for moment in moments] == [0, 2, 2, 1, 2]


def test_pages_show_one_moment_whatever_comes_meanwhile(api: Any, live: LiveNode):
    api.push([record(hour=h) for h in range(10)] + [{**record(hour=h), "station_id": "other"} for h in range(10)])
    live.apply()
    before, seen, cursor = api.read(limit=100), [], None
    for number in range(30):
        answer = api.call("GET", PATH, params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [{k: v for k, v in r.items() if not k.startswith("_") and v is not None} for r in answer["records"]]
        cursor = answer["next"]
        if cursor is None:
            break
        api.push([record(hour=number, temperature=-1.0), {**record(), "station_id": f"new{number}"}])
        api.delete([record(hour=9)])
        live.apply()
    assert seen == before and len(seen) == 20


def test_records_without_a_time_are_paged_too(live: LiveNode):
    live.configure("loose", key=["k"], fields={"k": "text", "at": "time"})
    with live.serve() as api:
        api.token = live.key("loose")
        items = [{"k": f"{n}", **({"at": f"2026-01-0{n}T00:00:00Z"} if n < 4 else {})} for n in range(1, 9)]
        api.push(items, "loose")
        live.apply("loose")
        found, cursor = [], None
        while True:
            more = {"cursor": cursor} if cursor else {}
            answer = api.call("GET", "/v1/datasets/loose/records", params={"limit": 1, **more}).json()
            found += [r["k"] for r in answer["records"]]
            cursor = answer["next"]
            if cursor is None:
                break
    assert found[:3] == ["1", "2", "3"] and sorted(found) == [str(n) for n in range(1, 9)]


def test_a_range_of_time(api: Any, live: LiveNode):
    api.push([record(hour=h) for h in range(10)])
    live.apply()
    rows = api.read(start="2026-01-01T03:00:00Z", end="2026-01-01T07:00:00+01:00")
    assert [r["time"][11:13] for r in rows] == ["03", "04", "05"]
    assert len(reading.frame("ctd", "2026-01-01T03:00Z", "2026-01-01T06:00Z")) == 3


def test_every_format_says_the_same(api: Any, live: LiveNode):
    items = [{**record(hour=h), "depth": 2**53 + h, "ok": bool(h % 2)} for h in range(5)]
    items.append({"station_id": 'a "quoted", ünïcode\nline', "time": "2026-01-02T00:00:00.5Z"})
    api.push(items)
    live.apply()
    told = api.call("GET", PATH).json()["records"]
    text = api.call("GET", PATH, params={"format": "csv"}).text
    from_csv = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(r["station_id"], r["time"], r["depth"] or None) for r in from_csv] == [
        (r["station_id"], r["time"], None if r["depth"] is None else str(r["depth"])) for r in told
    ]
    table = pq.read_table(io.BytesIO(api.call("GET", PATH, params={"format": "parquet"}).content))
    frame = reading.frame("ctd")
    assert table.column("depth").to_pylist() == [r["depth"] for r in told]
    assert [t.isoformat() for t in table.column("time").to_pylist()] == [str(t.isoformat()) for t in frame["time"]]
    assert isinstance(frame, pd.DataFrame) and frame["station_id"].tolist() == [r["station_id"] for r in told]
    paged = api.call("GET", PATH, params={"format": "csv", "limit": 4})
    assert paged.text.count("2026-01-01") == 4 and 'rel="next"' in paged.headers["link"]
    rest = api.call("GET", paged.headers["link"].split(">")[0][1:])
    assert len(list(csv.DictReader(io.StringIO(rest.text, newline="")))) == 2


def test_who_may_read(live: LiveNode):
    live.configure("open", read="everyone")
    live.configure("closed")
    with live.serve() as api:
        api.push([record()], "open", token=live.key("open"))
        live.apply("open")
        assert len(api.client.get("/v1/datasets/open/records").json()["records"]) == 1
        assert api.client.get("/v1/datasets/closed/records").status_code == 401
        assert api.client.get("/v1/datasets/closed").status_code == 401
        assert api.client.get("/v1/datasets/open").json()["key"] == ["station_id", "time"]
        other = api.client.get("/v1/datasets/open/records", headers={"Authorization": "Bearer nonsense"})
        assert other.status_code == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 0},
        {"limit": 10_001},
        {"cursor": "x"},
        {"start": "today"},
        {"as_of": "1"},
        {"format": "xml"},
        {"order": "k"},
    ],
)
def test_a_question_that_cannot_be_answered(api: Any, live: LiveNode, parameters: dict[str, Any]):
    api.push([record()])
    live.apply()
    answer = api.call("GET", PATH, params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")


def test_nothing_yet(api: Any):
    assert api.call("GET", PATH).json()["code"] == "not_found"


def test_files_are_read_only_where_a_record_names_them(live: LiveNode):
    import base64

    live.configure("photos", key=["k"], fields={"k": "text", "photo": "file"})
    live.configure("others", key=["k"], fields={"k": "text", "photo": "file"})
    content = b"GIF89a" + bytes(100)
    with live.serve() as api:
        api.token = live.key("photos")
        item = {"k": "a", "photo": {"content": base64.b64encode(content).decode(), "content-type": "image/gif"}}
        api.push(item, "photos")
        live.apply("photos")
        (row,) = api.read("photos")
        path = f"files/{row['photo']['sha256']}"
        assert api.call("GET", f"/v1/datasets/photos/{path}").content == content
        reference = api.push({"k": "b", "photo": row["photo"]}, "photos")
        assert reference.status_code == 422  # somebody else's file cannot be named by its hash
        other = live.key("others")
        api.push({"k": "z"}, "others", token=other)
        live.apply("others")
        assert api.call("GET", f"/v1/datasets/others/{path}", token=other).status_code == 404
        assert (
            api.call("GET", "/v1/datasets/photos/files/..%2f..%2fx", token=live.key("photos", author="q")).status_code
            == 404
        )
        for wrong, code in (
            ({"content": "!!!", "content-type": "image/gif"}, "not_base64"),
            ({"content": base64.b64encode(b"<html>").decode(), "content-type": "image/gif"}, "content_type"),
            ("text", "type"),
        ):
            answer = api.push({"k": "c", "photo": wrong}, "photos", token=live.key("photos", author=f"x{code[:3]}"))
            assert answer.json()["errors"][0]["code"] == code
        found = live.replay("photos", dry_run=False)
        assert (found.changed, found.removed) == (0, 0)
