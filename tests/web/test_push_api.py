"""The push API as its clients see it: every answer by example, and nothing lost or half applied."""

import gzip
import json
import threading
from typing import Any

import pytest

from otn_dagster.live import keys, registry
from tests.support.livenode import LiveNode, eventually, plain, record


@pytest.fixture
def api(live: LiveNode):
    live.configure()
    with live.serve() as api:
        api.token = live.key()
        yield api


def test_push_read_update_delete(api: Any, live: LiveNode):
    assert api.push(record()).json() == {"status": "ok", "received": 1, "seq": 1, "replayed": False, "dry_run": False}
    assert api.push([record(hour=1), record(hour=2)]).json()["received"] == 2
    lines = "\n".join(json.dumps(record(hour=h)) for h in (3, 4)).encode()
    answer = api.call(
        "POST", "/v1/datasets/ctd/records", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.json()["received"] == 2
    api.push(record(hour=1, temperature=None))  # a later record replaces the whole earlier one
    assert api.delete({"station_id": "46088", "time": "2026-01-01T02:00:00Z"}).status_code == 200
    live.apply()
    assert api.read() == [record(), record(hour=1, temperature=None), record(hour=3), record(hour=4)]
    page = api.call("GET", "/v1/datasets/ctd/records").json()
    gone = page["records"][0]["_record_id"]
    assert api.call("DELETE", f"/v1/datasets/ctd/records/{gone}").status_code == 200
    assert api.delete([page["records"][1]["_record_id"]]).status_code == 200
    live.apply()
    assert api.read() == [record(hour=3), record(hour=4)]


def test_every_bad_record_is_named_and_nothing_is_stored(api: Any, live: LiveNode):
    bad = [{"station_id": "46088", "time": "x"}, {"station_id": 7}, record(), {**record(hour=1), "salinity": 31}, 5]
    answer = api.push(bad)
    assert answer.status_code == 422
    body = answer.json()
    assert body["message"] == "4 invalid record(s); nothing was stored"
    assert [(e["index"], e["field"], e["code"]) for e in body["errors"]] == [
        (0, "time", "not_a_time"),
        (1, "station_id", "type"),
        (1, "time", "required"),
        (3, "salinity", "unknown_field"),
        (4, None, "not_an_object"),
    ]
    assert body["errors"][0]["message"] == "expected ISO 8601, got 'x'"
    assert live.log() == 0
    shown = eventually(lambda: api.call("GET", "/v1/datasets/ctd/errors").json()["errors"])
    assert {(e["index"], e["code"]) for e in shown} == {(e["index"], e["code"]) for e in body["errors"]}


def test_partial_mode_keeps_the_good_and_shows_the_bad(api: Any, live: LiveNode):
    answer = api.push([record(), {"station_id": "46088"}, record(hour=1)], params={"mode": "partial"})
    assert answer.status_code == 207
    body = answer.json()
    assert (body["status"], body["received"], body["accepted"]) == ("partial", 3, 2)
    assert [(e["index"], e["field"]) for e in body["rejected"]] == [(1, "time")]
    (refused,) = api.call("GET", "/v1/datasets/ctd/errors").json()["errors"]
    assert (refused["seq"], refused["index"], refused["record"]) == (body["seq"], 1, {"station_id": "46088"})
    live.apply()
    assert len(api.read()) == 2
    assert api.push([{"station_id": "1"}], params={"mode": "partial"}).status_code == 422  # nothing good in it


def test_dry_run_keeps_nothing(api: Any, live: LiveNode):
    assert api.push([record()], params={"dry_run": "1"}).json() == {
        "status": "ok",
        "received": 1,
        "seq": None,
        "replayed": False,
        "dry_run": True,
    }
    assert api.push([{}], params={"dry_run": "1"}).status_code == 422
    assert live.log() == 0 and live.value("select count(*) from platform.live_refused") == 0


def test_the_same_key_and_body_is_the_same_push(api: Any, live: LiveNode):
    first = api.push([record()], headers={"Idempotency-Key": "2026/1"}).json()
    again = api.push([record()], headers={"Idempotency-Key": "2026/1"}).json()
    assert again == {**first, "replayed": True}
    other = api.push([record(hour=1)], headers={"Idempotency-Key": "2026/1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert live.log() == 1
    partial = {"headers": {"Idempotency-Key": "p"}, "params": {"mode": "partial"}}
    one, two = (api.push([record(), {}], **partial).json() for _ in range(2))
    assert two == {**one, "replayed": True}
    assert live.value("select count(*) from platform.live_refused where seq = %s", one["seq"]) == 2


def test_a_replay_storm_adds_nothing(api: Any, live: LiveNode):
    live.configure(limits={"requests_per_second": 10_000})
    with live.serve() as api:
        api.token = live.key(author="storm")
        answers: list[tuple[int, int]] = []

        def storm(number: int) -> None:
            for key in range(20):
                answer = api.push([record(hour=key)], headers={"Idempotency-Key": f"k{key}"})
                answers.append((key, answer.json()["seq"]))

        threads = [threading.Thread(target=storm, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 160 and len(set(answers)) == 20 and live.log() == 20
    assert live.apply().outcome.inserted == 20


def test_two_clients_with_one_record_leave_one_and_out_of_order_is_kept_by_arrival(api: Any, live: LiveNode):
    first, second = live.key(author="one"), live.key(author="two")
    for number in range(10):
        api.push(record(temperature=float(number)), token=first if number % 2 else second)
    api.push(record(hour=5), token=first)
    api.push(record(hour=3), token=first)  # older time, later arrival: another record
    live.apply()
    assert api.read() == [record(temperature=9.0), record(hour=3), record(hour=5)]


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b'[{"station_id":"46088",]', 23),
        (b'{"temperature":NaN}', 15),
        (b'{"a":', 5),
        (b'[{"station_id":"\xff"}]', 16),
        (b"[" * 5000, 5000),
    ],
)
def test_malformed_json_is_told_by_its_byte(api: Any, live: LiveNode, body: bytes, offset: int):
    answer = api.push(body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert str(offset) in answer.json()["message"] or "deeply" in answer.json()["message"]
    assert live.log() == 0


def test_malformed_line_of_ndjson_is_told_by_its_byte_in_the_body(api: Any):
    good = json.dumps(record()).encode()
    answer = api.push(good + b'\n{"a":}\n', headers={"Content-Type": "application/x-ndjson"})
    assert f"byte {len(good) + 1 + 5}" in answer.json()["message"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("temperature", 2**53 + 1, "not_exact"),
        ("temperature", "14.2", "type"),
        ("temperature", True, "type"),
        ("depth", 2**63, "out_of_range"),
        ("depth", 1.5, "type"),
        ("depth", "3", "type"),
        ("ok", 1, "type"),
        ("station_id", "a\x00b", "null_character"),
        ("station_id", "", "required"),
        ("time", "2026-02-30T00:00:00Z", "not_a_time"),
        ("time", 1767225600, "not_a_time"),
    ],
)
def test_no_value_changes_in_silence(api: Any, live: LiveNode, field: str, value: Any, code: str):
    answer = api.push([{**record(), field: value}])
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)
    assert live.log() == 0


def test_large_integers_and_times_of_all_zones_are_kept_exactly(api: Any, live: LiveNode):
    api.push([{**record(), "depth": 2**63 - 1}, {**record(hour=1), "depth": 2**53 + 1}])
    api.push({"station_id": "z", "time": "2026-01-01T02:30:00.123456+02:30", "temperature": 1e300})
    live.apply()
    assert [r["depth"] for r in api.read()[:1] + api.read()[1:2] if "depth" in r] == [2**63 - 1]
    assert live.value("select max(depth) filter (where depth < 9e18::bigint) from live_data.ctd") == 2**53 + 1
    assert {r["time"] for r in api.read() if r["station_id"] == "z"} == {"2026-01-01T00:00:00.123456Z"}


def test_gzip_and_its_bombs(api: Any, live: LiveNode):
    packed = {"Content-Encoding": "gzip"}
    body = json.dumps([record(hour=h) for h in range(20)]).encode()
    assert api.push(gzip.compress(body[:100]) + gzip.compress(body[100:]), headers=packed).json()["received"] == 20
    bomb = api.push(gzip.compress(b" " * 500_000_000, 9), headers=packed)
    assert (bomb.status_code, bomb.json()["code"]) == (413, "too_large")
    for broken in (b"no gzip", gzip.compress(body)[:-9], b""):
        answer = api.push(broken, headers=packed)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    assert live.log() == 1 and api.client.app.state.service.budget.held == 0


def test_five_megabytes_are_taken_and_more_is_not(api: Any, live: LiveNode):
    items = [{**record(hour=n % 24), "station_id": f"{n:0490d}"} for n in range(8_500)]
    body = json.dumps(items).encode()
    assert 4_500_000 < len(body) < 5_000_000
    assert api.push(body).status_code == 200
    answer = api.push(body + b" " * 600_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    many = api.push(b"[" + b",".join([b"{}"] * 10_001) + b"]")
    assert (many.status_code, many.json()["code"]) == (413, "too_many_records")
    assert live.apply().rows == 8_500


def test_other_answers(api: Any, live: LiveNode):
    def code(answer: Any) -> tuple[int, str]:
        return answer.status_code, answer.json()["code"]

    assert code(api.push([])) == code(api.push(b"")) == (400, "no_records")
    assert code(api.push(b"x", headers={"Content-Type": "text/csv"})) == (415, "unsupported_type")
    assert code(api.push(b"x", headers={"Content-Encoding": "br"})) == (415, "unsupported_type")
    assert code(api.push([record()], params={"dryrun": "1"})) == (400, "bad_parameter")
    assert code(api.push([record()], params={"mode": "some"})) == (400, "bad_parameter")
    assert code(api.call("GET", "/v1/datasets/ctd/pushes/99")) == (404, "not_found")
    assert code(api.call("GET", "/v1/nothing")) == (404, "not_found")
    assert code(api.call("PATCH", "/v1/datasets/ctd/records")) == (405, "bad_method")
    assert code(api.delete(["no id"])) == (422, "invalid_records")
    assert live.log() == 0


def test_what_became_of_a_push(api: Any, live: LiveNode):
    seq = api.push([record(), record(hour=1)]).json()["seq"]
    before = api.call("GET", f"/v1/datasets/ctd/pushes/{seq}").json()
    assert (before["state"], before["records"], before["applied_at"]) == ("accepted", 2, None)
    live.apply()
    after = api.call("GET", f"/v1/datasets/ctd/pushes/{seq}").json()
    assert (after["state"], after["inserted"], after["run_id"]) == ("applied", 2, "run-1")


class TestKeys:
    def test_without_a_good_key_nothing_is_told(self, api: Any, live: LiveNode):
        good = live.key(author="x")
        wrong = [None, "push_000000000000_x", good + "x", good.replace("push_", "pull_"), "Bearer", "é"]
        said = set()
        for name in ("ctd", "no-such"):
            for token in wrong:
                headers = {"Authorization": f"Bearer {token}".encode("latin-1")} if token else {}
                answer = api.client.post(f"/v1/datasets/{name}/records", json=[record()], headers=headers)
                assert answer.status_code == 401
                said.add(answer.json()["code"])
                assert api.client.get(f"/v1/datasets/{name}/records", headers=headers).status_code == 401
        assert said == {"bad_key"} and live.log() == 0

    def test_a_key_in_the_url_is_not_looked_at(self, api: Any, live: LiveNode):
        answer = api.client.post(f"/v1/datasets/ctd/records?pushkey={live.key(author='y')}", json=[record()])
        assert answer.status_code == 401

    def test_a_key_does_what_it_may_for_its_dataset_only(self, api: Any, live: LiveNode):
        live.configure("other")
        pusher, reader = live.key(author="p", may="push"), live.key(author="r", may="read")
        assert api.push([record()], token=pusher).status_code == 200
        for method, path in (("GET", "records"), ("POST", "records:delete"), ("POST", "records:replace")):
            answer = api.call(method, f"/v1/datasets/ctd/{path}", token=pusher)
            assert (answer.status_code, answer.json()["code"]) == (403, "scope")
        assert api.push([record()], token=reader).status_code == 403
        assert api.push([record()], "other", token=pusher).status_code == 403
        assert api.push([record()], "no-such", token=pusher).status_code == 403

    def test_two_live_at_once_so_that_no_request_is_refused_in_rotation(self, api: Any, live: LiveNode):
        old = live.key(author="rotating")
        new = live.key(author="rotating")
        with pytest.raises(keys.KeyProblem, match="2 keys"):
            live.key(author="rotating")
        assert api.push([record()], token=old).status_code == api.push([record(hour=1)], token=new).status_code == 200
        with live.connect() as connection:
            keys.revoke(connection, old.split("_")[1])
        assert api.push([record(hour=2)], token=new).status_code == 200
        answer = api.push([record(hour=3)], token=old)  # the service knew it a moment ago
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_key")
        live.key(author="rotating")
        assert live.log() == 3

    def test_a_key_that_ends_while_its_body_is_on_its_way(self, api: Any, live: LiveNode):
        token = live.key(author="slow")

        def body():
            yield b"["
            with live.connect() as connection:
                keys.revoke(connection, token.split("_")[1])
            yield json.dumps(record()).encode() + b"]"

        api.push([record(hour=9)], token=token)
        answer = api.call(
            "POST", "/v1/datasets/ctd/records", content=body(), headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_key")
        assert live.log() == 1

    def test_an_expired_and_a_disabled_key(self, api: Any, live: LiveNode):
        expired = live.key(author="e", days=-1)
        assert api.push([record()], token=expired).status_code == 401
        token = live.key(author="d")
        with live.connect() as connection:
            keys.disable(connection, token.split("_")[1], True)
        assert api.push([record()], token=token).status_code == 401
        assert live.log() == 0

    def test_no_secret_is_kept(self, live: LiveNode):
        live.configure()
        secret = live.key().split("_", 2)[2]
        dump = str(live.rows("select k::text, encode(secret_sha256, 'escape') from platform.live_keys k"))
        assert secret not in dump


class TestSwitches:
    def test_a_closed_dataset_stores_nothing_and_keeps_what_it_has(self, api: Any, live: LiveNode):
        api.push([record()])
        live.apply()
        with live.connect() as connection:
            registry.switch(connection, "ctd", "disabled", True, "Naomi", "the sensor is in the laboratory")
        answer = api.push([record(hour=1)])
        assert (answer.status_code, answer.json()["code"]) == (409, "push_disabled")
        assert live.log() == 1 and api.read() == [record()]
        with live.connect() as connection:
            registry.switch(connection, "ctd", "disabled", False, "Naomi", "back in the water")
        api.client.app.state.service.refresh()
        assert api.push([record(hour=1)]).status_code == 200
        actions = live.rows("select action, by, why from platform.live_actions order by 1")
        assert actions == [
            ("disable", "Naomi", "the sensor is in the laboratory"),
            ("enable", "Naomi", "back in the water"),
        ]

    def test_the_service_says_who_closed_a_dataset(self, api: Any, live: LiveNode):
        with live.connect() as connection:
            registry.switch(connection, "ctd", "disabled", True, "Naomi", "moved")
        api.client.app.state.service.refresh()
        assert api.push([record()]).json()["message"] == "ctd takes no pushes: switched off by Naomi: moved"

    def test_unpublishing_hides_and_publishing_shows_the_same(self, api: Any, live: LiveNode):
        api.push([record()])
        live.apply()
        with live.connect() as connection:
            registry.switch(connection, "ctd", "unpublished", True, "Naomi", "embargo")
        assert api.call("GET", "/v1/datasets/ctd/records").status_code == 404
        assert api.push([record(hour=1)]).status_code == 200
        live.apply()
        assert live.value("select to_regclass('live_data.ctd')") is None
        with live.connect() as connection:
            registry.switch(connection, "ctd", "unpublished", False, "Naomi", "over")
        live.apply()
        assert api.read() == [record(), record(hour=1)] and live.value("select count(*) from live_data.ctd") == 2


class TestQuotas:
    def test_too_many_requests_in_a_second(self, live: LiveNode):
        live.configure(limits={"requests_per_second": 2})
        with live.serve() as api:
            api.token = live.key()
            answers = [api.push([record(hour=h)]) for h in range(5)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(refused) >= 2 and {r.json()["code"] for r in refused} == {"quota"}
        assert all(int(r.headers["Retry-After"]) >= 1 for r in refused)
        assert live.log() == 5 - len(refused)

    def test_records_of_a_day_count_over_a_restart(self, live: LiveNode):
        live.configure(limits={"records_per_day": 5})
        token = live.key()
        with live.serve() as api:
            assert api.push([record(hour=h) for h in range(3)], token=token).status_code == 200
            assert api.push([record(hour=h) for h in range(3)], token=token).status_code == 429
        with live.serve() as api:
            assert api.push([record(hour=h) for h in range(3)], token=token).status_code == 429
            assert api.push([record(hour=h) for h in range(2)], token=token).status_code == 200
        assert live.log() == 2


class TestReplace:
    def start(self, api: Any) -> str:
        return f"/v1/datasets/ctd/replacements/{api.call('POST', '/v1/datasets/ctd/records:replace').json()['replacement']}"

    def test_a_table_in_chunks(self, api: Any, live: LiveNode):
        api.push([record(hour=h) for h in range(10)])
        live.apply()
        path = self.start(api)
        api.call("PUT", f"{path}/chunks/1", json=[record(hour=h, temperature=9.0) for h in (5, 6)])
        early = api.call("POST", f"{path}:commit?chunks=2")
        assert (early.status_code, early.json()["code"]) == (409, "missing_chunks")
        for _ in range(2):  # safe to send again
            assert api.call("PUT", f"{path}/chunks/0", json=[record(hour=h) for h in range(5)]).status_code == 200
        changed = api.call("PUT", f"{path}/chunks/0", json=[record()])
        assert (changed.status_code, changed.json()["code"]) == (409, "other_chunk")
        assert len(api.read()) == 10
        first = api.call("POST", f"{path}:commit?chunks=2&confirm=3").json()
        again = api.call("POST", f"{path}:commit?chunks=2&confirm=3").json()
        assert first["received"] == 7 and again == {**first, "replayed": True}
        assert (closed := api.call("PUT", f"{path}/chunks/2", json=[record()])).status_code == 409, closed.text
        outcome = live.apply().outcome
        assert (outcome.updated, outcome.unchanged, outcome.deleted, outcome.inserted) == (2, 5, 3, 0)
        assert [r["temperature"] for r in api.read()] == [14.2] * 5 + [9.0] * 2

    def test_what_would_remove_too_much_must_be_confirmed(self, api: Any, live: LiveNode):
        api.push([record(hour=h) for h in range(10)])
        live.apply()
        path = self.start(api)
        api.call("PUT", f"{path}/chunks/0", json=[record(hour=h) for h in range(5)])
        answer = api.call("POST", f"{path}:commit?chunks=1")
        assert (answer.status_code, answer.json()["code"]) == (409, "would_remove")
        assert "5 of 10" in answer.json()["message"] and "confirm=5" in answer.json()["message"]
        assert api.call("POST", f"{path}:commit?chunks=1&confirm=4").status_code == 409
        assert api.call("DELETE", path).status_code == 200
        assert api.call("POST", f"{path}:commit?chunks=1&confirm=5").status_code == 404
        live.apply()
        assert len(api.read()) == 10

    def test_nobody_else_s_replacement(self, api: Any, live: LiveNode):
        path = self.start(api)
        other = live.key(author="somebody-else")
        assert api.call("PUT", f"{path}/chunks/0", json=[record()], token=other).status_code == 404
        assert api.call("PUT", "/v1/datasets/ctd/replacements/x'/chunks/0", json=[record()]).status_code == 404


def test_unknown_fields_are_refused_ignored_or_kept(live: LiveNode):
    for policy in ("forbid", "ignore", "keep"):
        live.configure(policy, unknown_fields=policy)
    with live.serve() as api:
        for policy, status in (("forbid", 422), ("ignore", 200), ("keep", 200)):
            item = {**record(), "extra": {"n": [1, None]}}
            assert api.push([item], policy, token=live.key(policy)).status_code == status
    for policy in ("ignore", "keep"):
        live.apply(policy)
    assert live.value('select _extra from live_data."ignore"') is None
    assert live.value("select _extra from live_data.keep") == {"extra": {"n": [1, None]}}


def test_without_a_key_the_same_record_is_one_record(live: LiveNode):
    live.configure("log", key=[])
    with live.serve() as api:
        api.token = live.key("log")
        api.push([record(), record(), record(temperature=1.0)], "log")
        api.push([{**record(), "time": "2026-01-01T01:00:00+01:00"}], "log")  # the same, written otherwise
        live.apply("log")
        assert sorted(r["temperature"] for r in api.read("log")) == [1.0, 14.2]
        api.delete([record()], "log")
        live.apply("log")
        assert [r["temperature"] for r in api.read("log")] == [1.0]


def test_a_dataset_that_is_configured_later_is_served_without_a_restart(api: Any, live: LiveNode):
    live.configure("later")
    token = live.key("later")
    api.client.app.state.service.refresh()
    assert api.push([record()], "later", token=token).status_code == 200
    (live.folder / "live" / "later.yaml").write_text("key: [nothing]", encoding="utf-8")
    api.client.app.state.service.refresh()
    assert api.push([record()], "later", token=token).status_code == 404  # its file is broken; the others go on
    assert api.push([record()], token=live.key(author="n")).status_code == 200


def test_the_description_is_valid_and_has_every_route(api: Any):
    from openapi_spec_validator import validate

    from otn_dagster.web import health
    from otn_dagster.web.api import push as push_api
    from otn_dagster.web.api import read as reading_api

    described = api.client.get("/v1/openapi.json").json()
    validate(described)
    for route in [*push_api.routes, *reading_api.routes, *health.routes]:
        for method in (route.methods or set()) - {"HEAD"}:
            assert method.lower() in described["paths"][route.path], (method, route.path)


def test_records_are_shown_with_what_the_platform_adds(api: Any, live: LiveNode):
    api.push([record()])
    live.apply()
    (shown,) = api.call("GET", "/v1/datasets/ctd/records").json()["records"]
    assert plain(shown) == record() and shown["_author"] == "buoy-7" and len(shown["_record_id"]) == 32


@pytest.mark.parametrize("policy", ["forbid", "ignore", "keep"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"station_id":"a","time":"2026-01-01T00:00:00Z"},{"station_id":"b","time":"2026-01-01T00:00:00Z"}', "json"),
        (b'{"station_id":"a","time":"2026-01-01T00:00:00Z","unit":"\xb0C"}', "json"),
        (b'{"station_id":"a","time":"2026-01-01T00:00:00Z","x":1e999}', "json"),
        (b'{"station_id":"a","time":"2026-01-01T00:00:00Z","x":%b}' % (b"[" * 5000 + b"]" * 5000), "json"),
        (
            b'[{"station_id":"a","time":"2026-01-01T00:00:00Z"},{"station_id":"b","time":"2026-01-01T00:00:00Z"}]',
            "ndjson",
        ),
        (b'{"station_id":"a","time":"2026-01-01T00:00:00Z"}{"station_id":"b","time":"2026-01-01T00:00:00Z"}', "ndjson"),
        (b'{"station_id":"a",\n"time":"2026-01-01T00:00:00Z"}', "ndjson"),
        (b'{"station_id":"a","time":"2026-01-01t00:00:00.1234567891234z"}', "json"),
        (b'\xef\xbb\xbf{"station_id":"a","time":"2026-01-01T00:00:00Z"}', "json"),
        (b'\n\n{"station_id":"a","time":"2026-01-01T00:00:00Z"}\r\n\n', "ndjson"),
    ],
)
def test_what_is_acknowledged_can_be_applied_and_what_cannot_is_refused(
    live: LiveNode, body: bytes, kind: str, policy: str
):
    live.configure(unknown_fields=policy)
    with live.serve() as api:
        content = {"json": "application/json", "ndjson": "application/x-ndjson"}[kind]
        answer = api.push(body, headers={"Content-Type": content}, token=live.key())
        applied = live.apply()
        if answer.status_code == 200:
            assert (applied.rows, applied.refused) == (answer.json()["received"], 0)
        else:
            assert answer.status_code in (400, 422) and live.log() == 0


def test_a_push_that_cannot_be_read_any_more_does_not_stop_those_after_it(api: Any, live: LiveNode):
    from otn_dagster.live import log

    api.push([record()])
    with live.connect() as connection:
        rubbish = log.Push("ctd", "buoy-7", None, "push", 1, 1, "json", b"x", b"not json")
        log.append(connection, [rubbish])
    api.push([record(hour=1)])
    applied = live.apply()
    assert (applied.rows, applied.refused) == (2, 1)
    (shown,) = api.call("GET", "/v1/datasets/ctd/errors").json()["errors"]
    assert (shown["seq"], shown["code"]) == (2, "malformed_json")


def test_a_push_that_was_kept_stays_kept_whatever_changed_since(api: Any, live: LiveNode):
    body, key = [{**record(), "depth": 3}, {}], {"headers": {"Idempotency-Key": "k"}, "params": {"mode": "partial"}}
    first = api.push(body, **key)
    fields = {"station_id": "text", "time": "time", "temperature": "text"}
    live.configure(fields=fields)
    api.client.app.state.service.refresh()
    again = api.push(body, **key)
    assert (again.status_code, again.json()) == (207, {**first.json(), "replayed": True})
    with live.connect() as connection:
        registry.switch(connection, "ctd", "disabled", True, "N", "x")
    assert api.push(body, **key).status_code == 207
    api.client.app.state.service.refresh()
    assert api.push(body, **key).status_code == 207
    assert api.push(body, **{**key, "headers": {"Idempotency-Key": "other"}}).status_code == 409
    assert live.log() == 1


def test_one_record_with_very_many_faults_is_told_and_kept_in_few(api: Any, live: LiveNode):
    monster = {**record(hour=1), **{f"field{n}\x00": n for n in range(10_000)}}
    answer = api.push([monster, record()], params={"mode": "partial"})
    assert answer.status_code == 207 and len(answer.json()["rejected"]) == 10 and len(answer.content) < 10_000
    size = live.value("select sum(length(body)) from platform.live_refused")
    assert live.value("select count(*) from platform.live_refused") == 10 and size < 50_000
    many = api.push([{}] * 5000 + [record()], params={"mode": "partial"})
    assert (many.json()["accepted"], len({r["index"] for r in many.json()["rejected"]})) == (1, 100)
    assert live.value("select refused from platform.live_log order by seq desc limit 1") == 5000


def test_a_replacement_counts_what_waits_in_the_log_too(api: Any, live: LiveNode):
    api.push([record(hour=h) for h in range(10)])  # not applied yet
    path = TestReplace().start(api)
    api.call("PUT", f"{path}/chunks/0", json=[record()])
    answer = api.call("POST", f"{path}:commit?chunks=1")
    assert answer.status_code == 409 and "9 of 10" in answer.json()["message"]
    first = api.call("POST", f"{path}:commit?chunks=1&confirm=9").json()
    api.push([record(hour=h) for h in range(10)])
    live.apply()
    again = api.call("POST", f"{path}:commit?chunks=1&confirm=9")
    assert again.json() == {**first, "replayed": True} and len(api.read()) == 10


def test_chunks_have_limits_and_few_replacements_are_open(live: LiveNode):
    live.configure(limits={"records": 3, "records_per_day": 5, "requests_per_second": 1000})
    with live.serve() as api:
        api.token = live.key()
        path = TestReplace().start(api)
        assert api.call("PUT", f"{path}/chunks/0", json=[record(hour=h) for h in range(4)]).status_code == 413
        assert api.call("PUT", f"{path}/chunks/0", json=[record(hour=h) for h in range(3)]).status_code == 200
        assert api.call("PUT", f"{path}/chunks/1", json=[record(hour=h) for h in range(3)]).status_code == 429
        codes = [api.call("POST", "/v1/datasets/ctd/records:replace").status_code for _ in range(6)]
        assert codes == [200] * 4 + [429] * 2


def test_without_the_right_to_read_one_sees_one_s_own_pushes_only(api: Any, live: LiveNode):
    alice, bob = live.key(author="alice", may="push"), live.key(author="bob", may="push")
    seq = api.push([record(), {"station_id": "SECRET"}], token=alice, params={"mode": "partial"}).json()["seq"]
    for token, status in ((alice, 200), (bob, 404), (live.key(author="r", may="read"), 200)):
        assert api.call("GET", f"/v1/datasets/ctd/pushes/{seq}", token=token).status_code == status
    assert "SECRET" not in api.call("GET", "/v1/datasets/ctd/errors", token=bob).text
    assert "SECRET" in api.call("GET", "/v1/datasets/ctd/errors", token=alice).text


def test_a_replacement_has_one_spelling(api: Any, live: LiveNode):
    path = TestReplace().start(api)
    api.call("PUT", f"{path}/chunks/0", json=[record()])
    assert api.call("POST", f"{path}:commit?chunks=1").status_code == 200
    base, batch_id = path.rsplit("/", 1)
    for spelling in (batch_id.upper(), f"{{{batch_id}}}", batch_id.replace("-", ""), f"urn:uuid:{batch_id}"):
        assert (
            api.client.post(
                f"{base}/{spelling}:commit?chunks=1", headers={"Authorization": f"Bearer {api.token}"}
            ).status_code
            == 404
        )
    answer = api.push([record()], headers={"Idempotency-Key": f"replacement {batch_id}"})
    assert answer.status_code == 400 and live.log() == 1


def test_files_that_the_quota_does_not_allow_are_not_kept(live: LiveNode):
    import base64

    fields = {"k": "text", "photo": "file"}
    live.configure("photos", key=["k"], fields=fields, limits={"mb_per_day": 0.01})
    content = base64.b64encode(bytes(20_000)).decode()
    with live.serve() as api:
        item = {"k": "a", "photo": {"content": content, "content-type": "application/octet-stream"}}
        assert api.push(item, "photos", token=live.key("photos")).status_code == 429
    assert not list((live.settings.data / "live").rglob("*"))


def test_refusing_for_the_quota_is_noted_once_a_minute(live: LiveNode):
    live.configure(limits={"requests_per_second": 1})
    with live.serve() as api:
        api.token = live.key()
        statuses = [api.push([record()]).status_code for _ in range(30)]
    assert statuses.count(429) > 20
    assert live.value("select count(*) from platform.live_refused") == 1


def test_very_deep_values_are_refused_whatever_becomes_of_them(live: LiveNode):
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    for policy in ("ignore", "keep"):
        live.configure(policy, unknown_fields=policy)
        with live.serve() as api:
            answer = api.push([{**record(), "x": deep}], policy, token=live.key(policy))
        assert answer.status_code == 422 and answer.json()["errors"][0]["code"] == "too_deep"
