"""Clients of Opendatasoft's push API and of ERDDAP's EDDTableFromHttpGet, by their documented examples."""

import base64
import json
from typing import Any

import pytest

from tests.support.livenode import LiveNode, plain

MESSAGE = {"message": "Hello World!"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
HELLO = {"message": "text", "image_field": {"type": "file", "content_types": ["image/jpg", "image/png"]}}
BUOY = {
    "key": ["stationID", "time"],
    "fields": {"stationID": "text", "time": "time", "airTemp": "number", "waterTemp": "number", "count": "integer"},
    "erddap": {"enabled": True},
}


def rows(api: Any, live: LiveNode, name: str, token: str) -> list[dict[str, Any]]:
    live.apply(name)
    records = api.call("GET", f"/v1/datasets/{name}/records", token=token).json()["records"]
    return [plain(record) for record in records]


class TestOpendatasoft:
    @pytest.fixture
    def ods(self, live: LiveNode):
        live.configure("hello", key=[], fields=HELLO, opendatasoft={"enabled": True})
        token = live.key("hello")
        with live.serve() as api:

            def call(
                path: str, body: Any = None, method: str = "POST", key: str = f"pushkey={token}", **headers: str
            ) -> Any:
                content = None if body is None else json.dumps(body)
                return api.client.request(
                    method, f"/api/push/1.0/hello/realtime/{path}?{key}", content=content, headers=headers
                )

            yield api, call, token

    @pytest.mark.parametrize("slash", ["/", ""])
    def test_push_one_and_push_many(self, ods: Any, live: LiveNode, slash: str):
        api, call, token = ods
        for body in (MESSAGE, [MESSAGE, {"message": "Hello again!"}]):
            # curl -d sends this content type by itself
            answer = call(f"push{slash}", body, **{"Content-Type": "application/x-www-form-urlencoded"})
            assert answer.status_code == 200 and answer.json() == {"status": "OK"}
        assert sorted(row["message"] for row in rows(api, live, "hello", token)) == ["Hello World!", "Hello again!"]

    @pytest.mark.parametrize("slash", ["/", ""])
    def test_delete_by_values(self, ods: Any, live: LiveNode, slash: str):
        api, call, token = ods
        call("push/", [MESSAGE, {"message": "stays"}])
        assert call(f"delete{slash}", MESSAGE).json() == {"status": "OK"}
        assert rows(api, live, "hello", token) == [{"message": "stays"}]

    @pytest.mark.parametrize("spelling", ["content-type", "content_type"])
    def test_an_image(self, ods: Any, live: LiveNode, spelling: str):
        api, call, token = ods
        answer = call("push/", {"message": "x", "image_field": {"content": PNG, spelling: "image/png"}})
        assert answer.json() == {"status": "OK"}
        (row,) = rows(api, live, "hello", token)
        assert row["image_field"]["content_type"] == "image/png"
        got = api.call("GET", f"/v1/datasets/hello/files/{row['image_field']['sha256']}", token=token)
        assert got.content == base64.b64decode(PNG) and got.headers["content-type"] == "image/png"
        assert "attachment" in got.headers["content-disposition"]

    def test_delete_by_id_is_off_unless_switched_on(self, ods: Any, live: LiveNode):
        api, call, token = ods
        call("push/", MESSAGE)
        live.apply("hello")
        record_id = api.call("GET", "/v1/datasets/hello/records", token=token).json()["records"][0]["_record_id"]
        assert call(f"{record_id}/delete/", method="GET").status_code == 405
        live.configure("hello", key=[], fields=HELLO, opendatasoft={"enabled": True, "delete_by_get": True})
        api.client.app.state.service.refresh()
        assert call(f"{record_id}/delete", method="GET").json() == {"status": "OK"}
        assert rows(api, live, "hello", token) == []

    def test_errors_in_their_shape(self, ods: Any, live: LiveNode):
        _, call, _ = ods
        bad = call("push/", [{"message": 1}])
        assert bad.status_code == 422 and bad.json()["error_code"] == "validation_error"
        assert list(bad.json()["detail"]) == ["message"]
        assert call("push/", key="pushkey=wrong", body=MESSAGE).status_code == 401
        assert call("push/", key="", body=MESSAGE).json()["error_code"] == "bad_key"
        assert call("push/", body=None).json()["error_code"] == "bad_request"
        assert live.log("hello") == 0

    def test_a_dataset_that_did_not_switch_them_on_is_not_there(self, live: LiveNode):
        live.configure()
        with live.serve() as api:
            answer = api.client.post(f"/api/push/1.0/ctd/realtime/push/?pushkey={live.key()}", json={})
        assert answer.status_code == 401


class TestErddap:
    @pytest.fixture
    def erddap(self, live: LiveNode):
        live.configure("buoys", **BUOY)
        token = live.key("buoys", author="JohnSmith")
        with live.serve() as api:

            def call(
                query: str, command: str = "insert", method: str = "GET", author: str = f"JohnSmith_{token}"
            ) -> Any:
                path = f"/erddap/tabledap/buoys.{command}"
                query += f"&author={author}" if author else ""
                if method == "POST":
                    return api.client.post(
                        path, content=query, headers={"Content-Type": "application/x-www-form-urlencoded"}
                    )
                return api.client.get(f"{path}?{query}")

            yield api, call, token

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_insert_of_one_row(self, erddap: Any, live: LiveNode, method: str):
        api, call, token = erddap
        answer = call("stationID=46088&time=2016-06-23T19:53:00Z&airTemp=14.2&waterTemp=12.1", method=method)
        assert answer.status_code == 200
        said = answer.json()
        assert list(said) == ["status", "nRowsReceived", "stringTimestamp", "numericTimestamp"]
        assert (said["status"], said["nRowsReceived"]) == ("success", 1)
        assert said["stringTimestamp"].endswith("Z") and said["numericTimestamp"] > 1.7e9
        expected = {"stationID": "46088", "time": "2016-06-23T19:53:00Z", "airTemp": 14.2, "waterTemp": 12.1}
        assert rows(api, live, "buoys", token) == [expected]

    def test_arrays_with_a_scalar_repeated(self, erddap: Any, live: LiveNode):
        api, call, token = erddap
        times = "%5B2016-06-23T19:53:00Z,2016-06-23T19:54:00Z,2016-06-23T19:55:00Z%5D"
        answer = call(f"stationID=46088&time={times}&airTemp=[15.2,15.1,NaN]&waterTemp=[12.1,12.1,12.1]")
        assert answer.json()["nRowsReceived"] == 3
        found = rows(api, live, "buoys", token)
        assert [row.get("airTemp") for row in found] == [15.2, 15.1, None] and {r["stationID"] for r in found} == {
            "46088"
        }
        answer = call('stationID=["a","b,c"]&time=["2016-06-23T19:53:00Z","2016-06-23T19:53:00Z"]')
        assert answer.json()["nRowsReceived"] == 2
        assert {row["stationID"] for row in rows(api, live, "buoys", token)} == {"46088", "a", "b,c"}

    def test_an_insert_replaces_the_whole_row_and_a_delete_removes_it(self, erddap: Any, live: LiveNode):
        api, call, token = erddap
        call("stationID=46088&time=2016-06-23T19:53:00Z&airTemp=14.2&waterTemp=12.1")
        call("stationID=46088&time=2016-06-23T19:53:00Z&airTemp=15")
        assert rows(api, live, "buoys", token) == [
            {"stationID": "46088", "time": "2016-06-23T19:53:00Z", "airTemp": 15.0}
        ]
        answer = call("stationID=46088&time=2016-06-23T19:53:00Z", "delete")
        assert (answer.json()["status"], answer.json()["nRowsReceived"]) == ("success", 1)
        assert rows(api, live, "buoys", token) == []

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("stationID=46088&airTemp=1", "required variables are missing: time"),
            ("stationID=46088&time=2016-06-23T19:53:00Z&salinity=1", "no variable"),
            ("stationID=46088&stationID=46088&time=2016-06-23T19:53:00Z", "more than once"),
            ("stationID=46088&time=2016-06-23T19:53:00Z&timestamp=1", "set by the server"),
            ("stationID=46088&time=2016-06-23T19:53:00Z&command=1", "set by the server"),
            ("stationID=[a,b]&time=[2016-06-23T19:53:00Z]", "different lengths"),
            ("stationID=[46088,]&time=2016-06-23T19:53:00Z", "stationID"),
            ("stationID=46088&time=[2016-06-23T19:53:00Z", "has no end"),
            ("stationID=46088&time=2016-06-23T19:53:00Z&count=1.5", "expected an integer"),  # ERDDAP would round it
            ("stationID=46088&time=2016-06-23T19:53:00Z&airTemp=1e999", "finite"),  # and make this one missing
            ("stationID=46088&time=yesterday", "expected ISO 8601"),
        ],
    )
    def test_what_fails_says_why_and_keeps_nothing(self, erddap: Any, live: LiveNode, query: str, says: str):
        _, call, _ = erddap
        answer = call(query)
        assert (
            answer.status_code in (400, 422) and answer.text.startswith("Error {\n    code=4") and says in answer.text
        )
        assert live.log("buoys") == 0

    def test_the_author_must_be_last_and_right(self, erddap: Any, live: LiveNode):
        _, call, token = erddap
        whole = "stationID=46088&time=2016-06-23T19:53:00Z"
        assert "must be author" in call(f"author=JohnSmith_{token}&{whole}", author="").text
        for author in ("JohnSmith_wrong", f"Someone_{token}", token, "JohnSmith", f"JohnSmith_{token}x"):
            answer = call(whole, author=author)
            assert answer.status_code == 403 and "code=403" in answer.text, author
        assert live.log("buoys") == 0
