"""Remote sources: fetched when they changed, taken whole or not at all, over HTTP and FTP, in every format."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from otn_dagster.live import remote
from tests.support.livenode import LiveNode, record
from tests.support.remote import TABLE, Handler, Remote, configure, csv_of


def fetch(live: LiveNode, name: str = "bottles") -> tuple[str, remote.Taken | None]:
    """A look, and what a run makes of it."""
    found = remote.look(live.settings, live.dataset(name))
    taken = remote.take(live.settings, live.dataset(name))
    live.apply(name)
    return found.outcome, taken


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "xlsx", "parquet"])
def test_every_format_makes_the_same_table(live: LiveNode, origin: Remote, form: str):
    buffer = io.BytesIO()
    plain = json.loads(TABLE.to_json(orient="records", date_format="iso"))
    plain[2]["depth"] = 2**53 + 1
    match form:
        case "csv":
            buffer.write(csv_of(TABLE))
        case "json":
            buffer.write(json.dumps(plain).encode())
        case "ndjson":
            buffer.write("\n".join(json.dumps(item) for item in plain).encode())
        case "xlsx":
            TABLE.assign(time=TABLE.time.dt.tz_localize(None), depth=[3, None, None]).to_excel(buffer, index=False)
        case "parquet":
            TABLE.to_parquet(buffer)
    origin.content = buffer.getvalue()
    configure(live, f"{origin.url}/bottles.{'jsonl' if form == 'ndjson' else form}")
    outcome, taken = fetch(live)
    assert outcome == "changed" and taken and (taken.records, taken.refused) == (3, 0), taken
    found = live.rows("select station_id, time, temperature, depth, ok from live_data.bottles order by 1, 2")
    expected = TABLE.astype(object).where(TABLE.notna(), None).values.tolist()
    if form == "xlsx":
        expected[2][3] = None  # a sheet has no integers above 2**53
    assert [list(row) for row in found] == [[i, t.to_pydatetime(), *rest] for i, t, *rest in expected]


@pytest.mark.parametrize("validators", [True, False])
def test_an_unchanged_source_is_only_noted(live: LiveNode, origin: Remote, validators: bool):
    origin.validators, origin.content = validators, csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv")
    assert fetch(live)[0] == "changed"
    assert [fetch(live)[0] for _ in range(3)] == ["unchanged"] * 3
    assert origin.sent == (1 if validators else 4)
    assert live.log("bottles") == 1
    origin.content = csv_of(TABLE.assign(temperature=[1.0, 2.0, 3.0]))
    assert fetch(live)[0] == "changed" and live.value("select sum(temperature) from live_data.bottles") == 6
    origin.content = csv_of(TABLE)  # back to what it was is a change, too
    assert fetch(live)[0] == "changed" and live.value("select max(temperature) from live_data.bottles") == 15
    assert not list(remote.spool(live.settings, "bottles").iterdir())


def test_a_look_is_taken_once_whatever_dies_between(live: LiveNode, origin: Remote, monkeypatch: pytest.MonkeyPatch):
    origin.content = csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv")
    dataset = live.dataset("bottles")
    assert remote.look(live.settings, dataset).outcome == "changed"
    assert remote.look(live.settings, dataset).outcome == "unchanged"  # it waits
    origin.status, origin.validators = 500, False
    assert remote.look(live.settings, dataset).outcome == "failed"
    origin.status = 200
    settle = remote._settle
    monkeypatch.setattr(remote, "_settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        remote.take(live.settings, dataset)
    assert live.log("bottles") == 0
    monkeypatch.setattr(remote, "_settle", settle)
    for path in remote.spool(live.settings, "bottles").iterdir():
        path.unlink()  # even the file is gone
    assert remote.take_all(live.settings, dataset)[-1].records == 3
    assert remote.take(live.settings, dataset) is None
    assert live.log("bottles") == 1


def test_a_bad_row_refuses_the_file_and_a_new_schema_tries_it_again(live: LiveNode, origin: Remote):
    origin.content = b"station_id,time,temperature,salinity\n46088,2026-01-01,warm,1\n46088,2026-01-02,1.5,2\n"
    configure(live, f"{origin.url}/bottles.csv")
    outcome, taken = fetch(live)
    assert outcome == "changed" and taken and taken.seq is None
    assert taken.what == "nothing was taken; 2 bad, first: temperature record 1: expected a number, got text 'warm'"
    assert fetch(live)[0] == "unchanged"  # the same bytes against the same schema
    fields = {"station_id": "text", "time": "time", "temperature": "text", "salinity": "number"}
    configure(live, f"{origin.url}/bottles.csv", fields=fields)
    outcome, taken = fetch(live)
    assert outcome == "changed" and taken and taken.records == 2
    refused = live.rows("select code, field, index from platform.live_refused order by refused_no limit 2")
    assert refused == [("type", "temperature", 0), ("unknown_field", "salinity", 0)]


def test_partial_mode_takes_the_good_rows(live: LiveNode, origin: Remote):
    origin.content = b"station_id,time,temperature\n46088,2026-01-01,warm\n46088,2026-01-02,1.5\n"
    configure(live, f"{origin.url}/bottles.csv", mode="partial")
    _, taken = fetch(live)
    assert taken and (taken.records, taken.refused) == (1, 1)


def test_a_replacing_source_deletes_what_it_leaves_out_but_not_too_much(live: LiveNode, origin: Remote):
    origin.content = json.dumps([record(hour=h) for h in range(10)]).encode()
    configure(live, f"{origin.url}/bottles.json", source={"replace": True})
    fetch(live)
    origin.content = json.dumps([record(hour=h) for h in range(9)]).encode()
    assert fetch(live)[1].records == 9  # type: ignore[union-attr]
    assert live.value("select count(*) from live_data.bottles") == 9
    origin.content = json.dumps([record()]).encode()
    _, taken = fetch(live)
    assert taken and taken.seq is None and "would remove 8 of 9" in taken.what
    assert live.value("select count(*) from live_data.bottles") == 9


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"station_id,time\n46088,2026-01-01\n46", "x.csv", "row 3: found 1 cells, expected 2"),
        (b'[{"station_id":"46088"', "x.json", "broken off"),
        (b'{"station_id":"46088"}\n{"sta', "x.jsonl", "row 2"),
        (b"", "x.csv", "row 1: found nothing"),
        (b"PK", "x.xlsx", "not an xlsx"),
        (b"PAR1", "x.parquet", "not a Parquet"),
        (b"station_id,time\n\xff,2026-01-01\n", "x.csv", "not UTF-8"),
    ],
)
def test_a_broken_file_is_refused_whole(live: LiveNode, origin: Remote, content: bytes, name: str, says: str):
    origin.content = content
    configure(live, f"{origin.url}/{name}")
    _, taken = fetch(live)
    assert taken and taken.seq is None and says in taken.what, taken
    assert live.log("bottles") == 0


def test_a_source_that_fails_is_noted_and_nothing_is_taken(live: LiveNode, origin: Remote):
    origin.content = csv_of(TABLE) * 100
    configure(live, f"{origin.url}/bottles.csv")
    origin.cut = 500  # breaks off
    assert fetch(live) == ("failed", None)
    origin.cut, origin.status = 0, 404
    assert fetch(live)[0] == "failed"
    origin.status = 200
    configure(live, f"{origin.url}/bottles.csv", source={"most_mb": 0.001})
    assert fetch(live)[0] == "failed"
    configure(live, "http://127.0.0.1:9/bottles.csv")
    assert fetch(live)[0] == "failed"
    said = [what for (what,) in live.rows("select what from platform.live_fetches order by fetch_no")]
    assert "answered 404" in said[1] and "more than 0.001 MB" in said[2] and "ConnectError" in said[3]
    assert live.log("bottles") == 0
    assert not list(remote.spool(live.settings, "bottles").iterdir())


def test_a_source_that_is_too_slow_for_a_look_is_fetched_by_a_run(live: LiveNode, origin: Remote):
    origin.content = csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv")
    assert remote.look(live.settings, live.dataset("bottles"), seconds=-1).outcome == "slow"
    with live.connect() as connection:
        assert remote.waiting(connection) == {"bottles": 1}
    assert remote.take_all(live.settings, live.dataset("bottles"))[-1].records == 3
    with live.connect() as connection:
        assert remote.waiting(connection) == {}


def test_secrets_come_from_the_environment_and_are_in_no_message(
    live: LiveNode, origin: Remote, monkeypatch: pytest.MonkeyPatch
):
    origin.content = csv_of(TABLE)
    headers = {"headers_from_environment": {"X-Key": "BOTTLES_KEY"}}
    configure(live, f"{origin.url}/secret/bottles.csv?token=hidden", source=headers | {"format": "csv"})
    assert fetch(live)[0] == "failed"
    monkeypatch.setenv("BOTTLES_KEY", "s3cret")
    assert fetch(live)[0] == "changed"
    said = str(live.rows("select what from platform.live_fetches"))
    assert "BOTTLES_KEY is not set" in said and "hidden" not in said and "s3cret" not in said


@pytest.fixture
def ftp(tmp_path: Path):
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    folder = tmp_path / "ftp" / "dir"
    folder.mkdir(parents=True)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(folder.parent))

    class Counting(FTPHandler):
        sent = 0

        def on_file_sent(self, file: str) -> None:
            Counting.sent += 1

    Counting.authorizer = authorizer
    server = ThreadedFTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.1}, daemon=True)
    thread.start()
    yield server.address[1], folder, Counting
    server.close_all()
    thread.join(10)


def test_ftp_is_asked_for_time_and_size_first(live: LiveNode, ftp: Any):
    import os
    import time

    port, folder, counting = ftp
    (folder / "bottles.csv").write_bytes(csv_of(TABLE))
    configure(live, f"ftp://127.0.0.1:{port}/dir/bottles.csv")
    assert fetch(live)[0] == "changed" and live.value("select count(*) from live_data.bottles") == 3
    assert fetch(live)[0] == "unchanged"
    os.utime(folder / "bottles.csv", (time.time() + 60, time.time() + 60))
    assert fetch(live)[0] == "unchanged"  # touched: fetched, and the hash says that it is the same
    (folder / "bottles.csv").write_bytes(csv_of(TABLE.head(2)))
    os.utime(folder / "bottles.csv", (time.time() + 120, time.time() + 120))
    assert fetch(live)[0] == "changed"
    (folder / "bottles.csv").unlink()
    assert fetch(live)[0] == "failed"
    time.sleep(0.2)
    assert counting.sent == 3


def test_what_was_refused_is_tried_again_once_its_cause_is_gone(live: LiveNode, origin: Remote):
    from otn_dagster.live import registry

    origin.content = b"station_id;time;temperature\n46088;2026-01-01;1.5\n"
    configure(live, f"{origin.url}/bottles.csv")
    assert fetch(live)[1].seq is None  # type: ignore[union-attr]
    assert fetch(live)[0] == "unchanged"
    configure(live, f"{origin.url}/bottles.csv", source={"separator": ";"})
    assert fetch(live)[1].records == 1  # type: ignore[union-attr]
    origin.content += b"46088;2026-01-02;2.5\n"
    with live.connect() as connection:
        registry.switch(connection, "bottles", "disabled", True, "N", "x")
    assert fetch(live)[1].seq is None  # type: ignore[union-attr]
    with live.connect() as connection:
        registry.switch(connection, "bottles", "disabled", False, "N", "x")
    assert fetch(live)[1].records == 2  # type: ignore[union-attr]


def test_files_that_waited_are_all_taken_in_their_order(live: LiveNode, origin: Remote):
    configure(live, f"{origin.url}/rolling.json")
    for hour in range(3):  # a file that holds the newest only
        origin.content = json.dumps([record(hour=hour)]).encode()
        assert remote.look(live.settings, live.dataset("bottles")).outcome == "changed"
    assert [taken.records for taken in remote.take_all(live.settings, live.dataset("bottles"))] == [1, 1, 1]
    live.apply("bottles")
    assert live.value("select count(*) from live_data.bottles") == 3


def test_a_cut_workbook_is_refused_and_pushes_go_on(live: LiveNode, origin: Remote):
    buffer = io.BytesIO()
    TABLE.assign(time=TABLE.time.dt.tz_localize(None), depth=None).to_excel(buffer, index=False)
    for cut in (100, 1000, 3000):
        origin.content = buffer.getvalue()[:-cut]
        configure(live, f"{origin.url}/bottles.xlsx")
        _, taken = fetch(live)
        assert taken and "not an xlsx" in taken.what


def test_nan_in_a_key_is_refused(live: LiveNode, origin: Remote):
    origin.content = b"k,v\n1,2\nNaN,3\n"
    configure(live, f"{origin.url}/bottles.csv", key=["k"], fields={"k": "number", "v": "number"})
    _, taken = fetch(live)
    assert taken and taken.seq is None and "expected a value of type number, it is 'NaN'" in taken.what


def test_secrets_are_for_the_source_alone_and_in_no_message(
    live: LiveNode, origin: Remote, monkeypatch: pytest.MonkeyPatch
):
    origin.content = csv_of(TABLE)
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("X-Key"))
            self.send_response(302)
            self.send_header("Location", f"{origin.url}/secret")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        headers = {"headers_from_environment": {"X-Key": "BOTTLES_KEY"}, "format": "csv"}
        configure(live, f"http://127.0.0.1:{other.server_port}/x?token=hidden", source=headers)
        monkeypatch.setenv("BOTTLES_KEY", " s3cret\n")
        assert fetch(live)[0] == "failed"  # the origin wants the secret, and does not get it
        other.shutdown()
    assert seen == ["s3cret"]
    monkeypatch.setenv("BOTTLES_KEY", "s3cr\x01et")
    assert fetch(live)[0] == "failed"
    said = str(live.rows("select f::text from platform.live_fetches f"))
    assert "hidden" not in said and "s3cr" not in said and "answered 403" in said
    from otn_dagster.config import BadConfiguration

    with pytest.raises(BadConfiguration, match="do not belong into the URL"):
        configure(live, "ftp://user:password@host/x.csv")


def test_what_is_compressed_or_too_much_is_not_unpacked(
    live: LiveNode, origin: Remote, monkeypatch: pytest.MonkeyPatch
):
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", bytes(30_000_000))
    origin.content = buffer.getvalue()
    configure(live, f"{origin.url}/bottles.xlsx", source={"most_mb": 1})
    _, taken = fetch(live)
    assert taken and "when it is unpacked" in taken.what
    origin.content = csv_of(TABLE)
    configure(live, f"{origin.url}/bottles.csv", source={"most_records": 2})
    _, taken = fetch(live)
    assert taken and "more than 2 records" in taken.what
    monkeypatch.setattr(
        Handler,
        "send_response",
        lambda self, code: (
            BaseHTTPRequestHandler.send_response(self, code),
            self.send_header("Content-Encoding", "gzip"),
        ),
    )
    assert remote.look(live.settings, live.dataset("bottles")).outcome in ("failed", "unchanged")
    origin.content += b"x,2026-01-01,,,\n"
    found = remote.look(live.settings, live.dataset("bottles"))
    assert found.outcome == "failed" and "compressed" in found.what
