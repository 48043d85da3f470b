"""The push on a network whose truth is known: right, repeatable, incremental, provable."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import psycopg
import pytest

from otn_dagster import database
from otn_dagster.config import PROJECT_ROOT, Settings, load_settings
from otn_dagster.demo.files import write_files
from otn_dagster.demo.network import NEXT_SPRING, Heard, Network, make_network
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.telemetry import overrides, rules
from otn_dagster.telemetry.push import certificate, delivering, extracts, matching, parting, snapshot, splitting
from tests.support.databases import new_database
from tests.support.node import PAST_PUSH, Node, hashes

SECOND = {"HFXL", "REEF", "STRB", "DELB"}


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network(7)


@pytest.fixture(scope="module")
def first_wave(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory, network: Network) -> tuple[str, Path]:
    """(database name to copy, data folder to copy) of a node on which the first wave was loaded before a past cut-off."""
    folder = tmp_path_factory.mktemp("first-wave")
    url = new_database(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTN_DATA", str(folder))
        patch.setenv("OTN_DATABASE_URL", url)
        node = Node(load_settings())
        node.clock("2026-10-10 12:00")
        write_files(network, node.settings.incoming, 1)
        states = Counter(node.load().values())
    assert states["refused"] == 2 and states["waiting"] == 1 and states["held"] == 0
    database.ready.cache_clear()
    return url.split("?")[0].rsplit("/", 1)[-1], folder


@pytest.fixture
def node(server: EmbeddedServer, first_wave: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node of its own with the first wave loaded."""
    name, folder = first_wave
    with psycopg.connect(server.url.replace("/otn?", "/postgres?"), autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    shutil.copytree(folder, tmp_path / "data")
    monkeypatch.setenv("OTN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OTN_DATABASE_URL", new_database(server, name))
    return Node(load_settings())


def push_past(node: Node, **options: bool) -> Path:
    """The push of a cut-off that has passed."""
    node.clock("2026-10-16 12:00")
    folder = node.push(PAST_PUSH, **options)
    node.clock(None)
    return folder


def load_second_wave(node: Node, network: Network) -> None:
    write_files(network, node.settings.incoming, 2)
    states = node.load()
    assert set(states.values()) <= {"loaded"}, node.rows(
        "select reason from platform.submissions where state not in ('loaded', 'superseded')"
    )


Found = dict[tuple[str, str, str, float | None], tuple[str, str | None, str | None]]


def found_by_platform(node: Node, push_date: str) -> Found:
    """(serial, transmitter, device time, sensor) → (reason, animal, tracker), from the matches."""
    folder = snapshot.push_folder(node.settings, push_date)
    frozen = snapshot.read(node.settings, push_date)
    rows = matching.named(pl.scan_parquet(matching.read(folder).buckets), frozen.table("projects")).collect()
    rows = rows.join(frozen.table("receivers"), on="receiver_key").join(
        frozen.table("transmitters"), on="transmitter_key"
    )
    rows = rows.join(frozen.table("tags").select("tag_key", "catalognumber"), on="tag_key", how="left")
    rows = rows.with_columns(time=pl.from_epoch("device_ms", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S"))
    columns = ["rcv_serial_no", "transmitter", "time", "sensor_value", "reason", "catalognumber", "trackercode"]
    return {row[:4]: row[4:] for row in rows.select(columns).iter_rows()}


def key_of(heard: Heard) -> tuple[str, str, str, float | None]:
    value = float(heard.sensor_value) if heard.sensor_value is not None else None
    return heard.deployment.serial, heard.transmitter, f"{heard.device_time:%Y-%m-%d %H:%M:%S}", value


def truth(network: Network, wave: int) -> Found:
    """What is right after a wave, by the simulation: late tags are unknown in the first, a late sheet leaves no receiver."""
    late_tags = {tag.transmitter for tag in network.tags if tag.sheet_wave == 2}
    expected: Found = {}
    for heard in network.heard:
        last_season = heard.deployment.recovered > NEXT_SPRING.replace(day=28)
        if last_season and (wave == 1 or heard.deployment.project.code not in SECOND):
            continue
        outcome = (heard.reason, heard.animal, heard.tracker)
        if wave == 1 and heard.transmitter in late_tags:
            outcome = ("u3_no_release", None, None)
        if wave == 1 and heard.deployment.sheet_wave == 2:
            outcome = ("no_receiver", None, None)
        expected[key_of(heard)] = outcome
    return expected


@pytest.mark.parametrize("wave", [1, 2])
def test_precision_and_recall_are_one(node: Node, network: Network, wave: int):
    push_past(node)
    date = PAST_PUSH
    if wave == 2:
        load_second_wave(node, network)
        node.push()
        date = "2027-02-18"
    expected, found = truth(network, wave), found_by_platform(node, date)
    assert found.keys() == expected.keys()
    wrong = {key: (expected[key], found[key]) for key in expected if expected[key] != found[key]}
    assert not wrong, list(wrong.items())[:5]
    wanted = {
        "matched",
        "matched_own",
        "sentinel",
        "u2_ambiguous",
        "u3_no_release",
        "u4_sensor_unresolved",
        "u5_outside_window",
    }
    assert wanted <= {reason for reason, _, _ in found.values()}


def test_corrected_times_and_stations_are_the_true_ones(node: Node, network: Network):
    by_key = {key_of(heard): heard for heard in network.heard}
    rows = node.rows(
        "select o.collectornumber, o.fieldnumber, to_char(o.uncorrected_datecollected, 'YYYY-MM-DD HH24:MI:SS'), o.sensorraw,"
        " o.datecollected, o.station from obis.otn_detections o"
    )
    assert len(rows) > 10_000
    errors = []
    for *key, at, station in rows:
        heard = by_key[tuple(key)]  # type: ignore[arg-type]
        assert heard.deployment.station == station
        errors.append(abs((heard.true_time - at).total_seconds()))
    assert max(errors) < 2  # instruments record whole seconds; clocks here are off by up to 9 minutes


@pytest.mark.parametrize("rows_per_bucket", [4_000_000, 1_500])
def test_an_incremental_push_equals_a_full_one_byte_for_byte(
    node: Node, network: Network, rows_per_bucket: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", rows_per_bucket)
    push_past(node)
    load_second_wave(node, network)
    with node.connect() as connection:
        unmatched = "select collectioncode || '-' || fieldnumber || '-' || det_key from obis.otn_detections where fieldnumber = %s"
        row = connection.execute(unmatched, [network.tags[1].transmitter]).fetchone()
        assert row
        overrides.unmatch(connection, row[0], "Naomi", "improbable")
    incremental = hashes(node.push())
    full = hashes(node.push(full=True))
    products = {name for name in full if not name.startswith("snapshot/")}
    assert products == {name for name in incremental if not name.startswith("snapshot/")}
    assert {name: incremental[name] for name in products} == {name: full[name] for name in products}


def test_only_what_changed_is_computed_and_listed(node: Node):
    push_past(node)
    folder = node.push()  # nothing new since
    assert pl.read_parquet(folder / "extracts_list.parquet").is_empty()
    old = snapshot.push_folder(node.settings, PAST_PUSH)
    assert (folder / "matches" / "bucket-000.parquet").samefile(old / "matches" / "bucket-000.parquet")
    for path in (old / "snapshot" / "detections").iterdir():
        assert (folder / "snapshot" / "detections" / path.name).samefile(path)


def test_the_list_names_what_matches_touched(node: Node, network: Network):
    push_past(node)
    load_second_wave(node, network)
    before, after = truth(network, 1), truth(network, 2)
    by_key = {key_of(heard): heard for heard in network.heard}
    touched = set()
    for key in after:
        if before.get(key) == after[key]:
            continue
        array, year = by_key[key].deployment.project.code, by_key[key].true_time.year
        for reason, _, tracker in filter(None, [before.get(key), after[key]]):
            if reason in ("matched", "matched_own"):
                touched.add(f"{tracker},{year},t")
            if reason == "matched":
                touched.add(f"{array},{year},q")
            if reason == "sentinel":
                touched.add(f"{array},{year},s")
            if reason.startswith("u"):
                touched.add(f"{array},{year},u")
    listed = pl.read_parquet(node.push() / "extracts_list.parquet")
    # The corrected sheets also changed when rows were last modified, so more may be listed; nothing may be missing.
    assert touched <= set(listed["detection_extract"])
    assert listed.filter(pl.col("added") + pl.col("changed") + pl.col("withdrawn") == 0).is_empty()


def test_a_push_runs_again_with_the_same_bytes_and_survives_kills(node: Node):
    folder = push_past(node)
    first = hashes(folder)
    for name in ("matches", "extracts", "certificate.json", "extracts_list.parquet"):  # killed before each was written
        target = folder / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        (folder / ".matches-999").mkdir(exist_ok=True)
        (folder / ".matches-999" / "half.parquet").write_bytes(b"half")
        node.push(PAST_PUSH)
        assert hashes(folder) == first


# What appears while a step is at work: then its process is killed.
AT_WORK = [".snapshot-*", ".matches-*", "extracts/.*", "attention"]


def test_a_push_whose_process_is_killed_in_each_step_ends_with_the_same_bytes(node: Node):
    folder = push_past(node)
    first = hashes(folder)
    shutil.rmtree(folder)
    node.clock("2026-10-16 12:00")
    for pattern in AT_WORK:
        worker = subprocess.Popen([sys.executable, "-c", PUSHES, PAST_PUSH], cwd=PROJECT_ROOT)
        while not any(folder.glob(pattern)) and worker.poll() is None:
            time.sleep(0.001)
        worker.kill()
        worker.wait()
    node.push(PAST_PUSH)
    assert {name: one for name, one in hashes(folder).items() if not Path(name).name.startswith(".")} == first


PUSHES = """
import sys
from otn_dagster.config import PROJECT_ROOT, load_settings
from tests.support.node import Node
Node(load_settings()).push(sys.argv[1])
"""


def test_a_real_snapshot_is_immutable_and_later_loading_does_not_enter_it(node: Node, network: Network):
    first = hashes(push_past(node))
    load_second_wave(node, network)
    assert hashes(node.push(PAST_PUSH)) == first


def test_a_push_whose_cutoff_passed_before_anything_was_loaded_says_so(node: Node):
    with pytest.raises(snapshot.NothingToPush, match="loaded after it"):
        node.push("2022-06-23")


def test_a_rehearsal_is_marked_and_replaced_by_the_real_push(node: Node):
    node.clock("2026-10-12 12:00")
    folder = node.push(PAST_PUSH)
    assert json.loads((folder / "certificate.json").read_text())["rehearsal"] is True
    assert snapshot.previous(node.settings, "2027-02-18") is None
    push_past(node)
    assert json.loads((folder / "certificate.json").read_text())["rehearsal"] is False
    assert snapshot.previous(node.settings, "2027-02-18") == PAST_PUSH


def test_buckets_do_not_change_the_result(node: Node, monkeypatch: pytest.MonkeyPatch):
    """Sharded by receiver, so that min_lag sees all detections of a receiver that moved between projects."""
    folder = push_past(node)
    one = pl.read_parquet(matching.read(folder).buckets).sort("det_key")
    monkeypatch.setattr(matching, "ROWS_PER_BUCKET", 1_500)
    matches = matching.match(snapshot.read(node.settings, PAST_PUSH), folder)
    assert len(matches.buckets) >= 5
    assert pl.read_parquet(matches.buckets).sort("det_key").equals(one)
    monkeypatch.setattr(parting, "ROWS_AT_ONCE", 700)
    monkeypatch.setattr(parting, "MOST_HELD", 2_000)  # the rest lies aside meanwhile
    again = matching.match(snapshot.read(node.settings, PAST_PUSH), folder)
    assert again.manifest == matches.manifest
    assert not [path for path in folder.rglob("*") if "spill" in path.name]


def test_an_unmatched_detection_stays_unmatched(node: Node):
    folder = push_past(node)
    code = pl.read_parquet(folder / "extracts_list.parquet").filter(pl.col("extract_type") == "t")["collectioncode"][0]
    extract = next((folder / "extracts" / code).glob("*matched_detections*.parquet"))
    detection = pl.read_parquet(extract).filter(pl.col("receiver") != "release")["unqDetecID"][0]
    with node.connect() as connection:
        overrides.unmatch(connection, detection, "Naomi", "the researcher says so")
        with pytest.raises(ValueError, match="no detection"):
            overrides.unmatch(connection, "HFX-A69-1-1-999999999", "Naomi", "x")
    folder = node.push()
    rows = pl.read_parquet(matching.read(folder).buckets).filter(pl.col("det_key") == int(detection.rsplit("-", 1)[-1]))
    assert rows["outcome"].to_list() == [rules.UNMATCHED] and rows["tracker_key"].to_list() == [None]
    changes = pl.read_parquet(folder / "extract_changes.parquet").select("extract_type", "change", "detections")
    assert ("t", "withdrawn", 1) in changes.rows() and ("u", "added", 1) in changes.rows()
    withdrawn = pl.read_parquet(folder / "withdrawn_and_changed.parquet")
    assert set(withdrawn["det_key"]) == {int(detection.rsplit("-", 1)[-1])}


def test_an_unreported_test_tag_gets_its_reason(node: Node, network: Network):
    stranger = next(h.transmitter for h in network.heard if h.reason == "u3_no_release")
    with node.connect() as connection:
        overrides.declare_test_tag(connection, stranger, "Naomi", "told by mail")
    push_past(node)
    outcomes = {outcome[0] for key, outcome in found_by_platform(node, PAST_PUSH).items() if key[1] == stranger}
    assert outcomes == {"u1_unreported_test"}


def tamper_drop_row(folder: Path) -> None:
    path = next(p for p in sorted((folder / "extracts").rglob("*qualified*.parquet")) if "unqualified" not in p.name)
    pl.read_parquet(path).slice(1).write_parquet(path)


def tamper_zip(folder: Path) -> None:
    path = next(iter(sorted((folder / "extracts").rglob("*.zip"))))
    path.write_bytes(path.read_bytes() + b" ")


def tamper_matches(folder: Path) -> None:
    path = folder / "matches" / "bucket-000.parquet"
    pl.read_parquet(path).slice(1).write_parquet(path)


def tamper_own(folder: Path) -> None:
    path = next(p for p in sorted((folder / "extracts").rglob("*qualified*.parquet")) if "unqualified" not in p.name)
    frame = pl.read_parquet(path)
    frame.with_columns(trackerCode=pl.lit(path.parent.name)).write_parquet(path)


@pytest.mark.parametrize("tamper", [tamper_drop_row, tamper_zip, tamper_matches, tamper_own])
def test_a_broken_law_fails_the_push(node: Node, tamper):
    folder = push_past(node)
    tamper(folder)
    listed = pl.read_parquet(folder / "extracts_list.parquet")
    with pytest.raises(certificate.BrokenLaw):
        certificate.certify(snapshot.read(node.settings, PAST_PUSH), matching.read(folder), listed, folder)
    assert not (folder / "certificate.json").exists()


def test_extracts_do_not_depend_on_how_many_rows_are_in_memory(node: Node, monkeypatch: pytest.MonkeyPatch):
    folder = push_past(node)
    expected = hashes(folder / "extracts")
    listed = pl.read_parquet(folder / "extracts_list.parquet")
    projects = listed["collectioncode"].unique().sort().to_list()
    monkeypatch.setattr(splitting, "ROWS_PER_PIECE", 40)
    monkeypatch.setattr(splitting, "ROWS_AT_ONCE", 30)
    context = extracts.Context.of(snapshot.read(node.settings, PAST_PUSH), matching.read(folder))
    shutil.rmtree(folder / "extracts")
    delivering.write_extracts(context, listed, projects, folder)
    assert hashes(folder / "extracts") == expected
    assert not list(folder.glob(f"{splitting.PREFIX}*"))


def test_an_extract_that_the_list_forgot_breaks_a_law(node: Node):
    folder = push_past(node)
    listed = pl.read_parquet(folder / "extracts_list.parquet")
    frozen, found = snapshot.read(node.settings, PAST_PUSH), matching.read(folder)
    with pytest.raises(certificate.BrokenLaw, match="is listed"):
        certificate.certify(frozen, found, listed.filter(pl.col("extract_type") != "u"), folder)


def test_a_file_whose_rows_do_not_add_up_breaks_the_first_law(node: Node):
    with node.connect() as connection:
        connection.execute(
            "update platform.submissions set raw_rows = raw_rows + 1 where submission_no in"
            " (select min(submission_no) from platform.submissions where kind = 'detections')"
        )
    with pytest.raises(certificate.BrokenLaw, match="raw = loaded"):
        push_past(node)


def test_two_projects_that_send_the_same_data_at_once_are_counted_once(node: Node):
    """What slips past the loading's look elsewhere (two loads at the same instant) is caught by the push."""
    with node.connect() as connection:
        connection.execute("create table ches.detections_2024 () inherits (platform.detections)")
        connection.execute(
            "insert into ches.detections_2024 select nextval('platform.detections_seq'), (select submission_no from"
            " platform.submissions where collectioncode = 'CHES' and kind = 'detections'), row_number, receiver_key, transmitter_key,"
            " receiver, transmitter, datetime, sensor_value, sensor_unit, null, null, null, null, loaded_at"
            " from hfxl.detections_2025 limit 50"
        )
        connection.execute("insert into platform.partition_versions values ('CHES', 2024, 1)")
        connection.execute(
            "update platform.submissions set raw_rows = raw_rows + 50, loaded_rows = loaded_rows + 50 where collectioncode = 'CHES'"
            " and kind = 'detections'"
        )
    total = node.value("select count(*) from platform.detections")
    folder = push_past(node)
    assert sum(matching.read(folder).counts.values()) == total - 50


def test_settings_are_strict(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "nodes.yaml").write_text("nodes: [{code: OTN, name: x, time_zone: UTC, colour: red}]")
    (tmp_path / "pushes.yaml").write_text(
        "rule: {weekday: thursday, nth: 3, months: [2], first_year: 2022}\nannounced: []"
    )
    monkeypatch.setenv("OTN_CONFIG", str(tmp_path))
    with pytest.raises(ValueError, match="colour"):
        load_settings()
