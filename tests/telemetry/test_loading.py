"""Loading: once, again, corrected, held, locked, refused; nothing lost and nothing half applied."""

import datetime as dt

import pytest

from otn_dagster import decisions
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.checks import detections as d_checks
from otn_dagster.telemetry.checks.registry import Evidence
from otn_dagster.telemetry.files.refusals import Topic
from otn_dagster.telemetry.loading import detections
from otn_dagster.telemetry.push import snapshot
from otn_dagster.telemetry.push.shared import Shared
from tests.support.node import Node, table_dump
from tests.support.sheets import BAD_FILES, deployments, fill, tag_sheet, vue

UPPER = ["obis.otn_animals", "obis.moorings", "obis.otn_detections", "platform.detections", "platform.row_changes"]


def states(node: Node) -> dict[str, tuple[str, str | None]]:
    return {
        name: (state, reason)
        for name, state, reason in node.rows("select file_name, state, reason from platform.submissions")
    }


@pytest.fixture
def shark(node: Node) -> Node:
    """That project, loaded."""
    fill(node)
    assert set(node.load().values()) == {"loaded"}
    return node


def test_reloading_the_same_file_changes_nothing(shark: Node):
    before = table_dump(shark, *UPPER, "platform.submissions")
    for path in list(shark.settings.incoming.rglob("*.csv")):
        path.rename(path.with_name(f"again_{path.name}"))  # the same bytes under another name
    assert shark.load() == {}
    with shark.connect() as connection:
        every = submissions.by_state(connection, ["loaded"])
    for submission in every:
        assert shark.load_one(submission) == "loaded"
    after = table_dump(shark, *UPPER, "platform.submissions")
    assert after == before


def test_order_of_arrival_does_not_matter(node: Node):
    """Detections that came before their deployments are promoted when those come."""
    node.drop_form("HFX")
    node.drop("OTN/HFX/detections", "a.csv", vue("2024-07-01T10:00:00 VR2W-111 A69-1602-100"))
    node.load()
    assert node.value("select count(*) from obis.otn_detections") == 0
    node.drop("OTN/HFX/deployments", "dep.csv", deployments("HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,,,"))
    node.load()
    assert node.rows("select station, fieldnumber from obis.otn_detections") == [("H1", "A69-1602-100")]
    assert node.value("select count(*) from hfx.otn_detections_2024") == 1


def test_a_correction_says_which_cells_changed(shark: Node):
    shark.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"LENGTH (m)": 1.7}))
    assert set(shark.load().values()) == {"loaded"}
    changes = shark.rows("select row_key, column_name, old_value, new_value from platform.row_changes")
    assert changes == [("HFX-A", "length", "1.5", "1.7")]
    assert [s for s, _ in states(shark).values()].count("superseded") == 0  # states() shows the newest of the name
    assert shark.value("select count(*) from platform.submissions where state = 'superseded'") == 1


@pytest.mark.parametrize(
    "sheet", [tag_sheet({"SEX": None}), tag_sheet({"ANIMAL_ID": "B", "TAG_ID_CODE": "101", "TAG_SERIAL_NUMBER": "2"})]
)
def test_a_correction_that_removes_information_is_held_then_decided(shark: Node, sheet: bytes):
    before = table_dump(shark, *UPPER)
    shark.drop("OTN/HFX/tags", "tags.csv", sheet)
    assert list(shark.load().values()) == ["held"]
    assert table_dump(shark, *UPPER) == before
    with shark.connect() as connection:
        (asked,) = decisions.open_questions(connection)
        number, topic, details = asked.number, asked.topic, asked.details
        assert topic == "removal" and details
        decisions.decide(connection, number, "accept", "Naomi", "the researcher confirmed")
    assert list(shark.load().values()) == ["loaded"]
    assert shark.value("select count(*) from platform.row_changes") > 0
    assert table_dump(shark, *UPPER) != before


def test_a_rejected_correction_is_refused(shark: Node):
    shark.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"SEX": None}))
    shark.load()
    with shark.connect() as connection:
        number = decisions.open_questions(connection)[0].number
        decisions.decide(connection, number, "reject", "Naomi", "a slip")
    assert list(shark.load().values()) == ["refused"]
    assert shark.value("select sex from obis.otn_animals") == "F"


def test_det_keys_stay_when_a_file_is_corrected(shark: Node):
    before = dict(shark.rows("select datetime, det_key from platform.detections"))
    shark.drop(
        "OTN/HFX/detections", "a.csv", vue(*[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (3, 4, 2, 1)])
    )
    assert list(shark.load().values()) == ["loaded"]
    after = dict(shark.rows("select datetime, det_key from platform.detections"))
    assert {time: after[time] for time in before} == before and len(after) == 4


def test_withdrawn_detections_need_a_person_and_come_back_with_their_key(shark: Node):
    before = dict(shark.rows("select datetime, det_key from platform.detections"))
    full = vue(
        *[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (1, 2, 3)],
        "2024-07-09T10:00:00 VR2W-111 A69-1602-100",
    )
    shark.drop("OTN/HFX/detections", "a.csv", vue(*[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (1, 2)]))
    assert list(shark.load().values()) == ["held"]
    with shark.connect() as connection:
        number = decisions.open_questions(connection)[0].number
        decisions.decide(connection, number, "accept", "Naomi", "it was another receiver")
    shark.load()
    assert shark.value("select count(*) from obis.otn_detections") == 2
    shark.drop("OTN/HFX/detections", "a.csv", full)
    shark.load()
    after = dict(shark.rows("select datetime, det_key from platform.detections where withdrawn_at is null"))
    assert {time: after[time] for time in before} == before


def test_overlapping_offloads_are_loaded_once(shark: Node):
    shark.drop("OTN/HFX/detections", "b.csv", vue(*[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (3, 4, 4)]))
    shark.load()
    assert shark.value("select count(*) from platform.detections") == 4
    counts = shark.rows(
        "select raw_rows, loaded_rows, duplicate_rows from platform.submissions where file_name = 'b.csv'"
    )
    assert counts == [(3, 1, 2)]


def test_the_same_data_from_another_project_is_a_duplicate(shark: Node):
    shark.drop_form("GULF")
    shark.drop("OTN/GULF/detections", "b.csv", vue("2024-07-03T10:00:00 VR2W-111 A69-1602-100"))
    shark.load()
    assert shark.value("select count(*) from platform.detections") == 3


def test_double_reporting_is_seen_though_the_rows_were_dropped(node: Node):
    """Rows that another project had sent are not loaded again; D25 names both projects, of the submission and of the push."""
    node.drop_form("HFX")
    node.drop_form("NSBS")
    rows = [f"2024-07-0{day}T10:00:00 VR2W-111 A69-1602-100" for day in range(1, 6)]
    for code, some in (("HFX", rows[:4]), ("NSBS", rows[1:])):
        node.drop(f"OTN/{code}/detections", f"{code}.csv", vue(*some))
    for _ in range(2):  # loading it again counts nothing twice
        node.load()
    keys = dict(node.rows("select collectioncode, submission_key from platform.submissions where kind = 'detections'"))
    again = "select duplicate_rows from platform.submissions where submission_key = %s"
    first, second = sorted(keys, key=lambda code: node.value(again, keys[code]))
    assert node.value(again, keys[second]) == 3
    with node.connect() as connection:
        for key in keys.values():
            detections.load(connection, node.settings, submissions.get(connection, key))
        evidence = Evidence(connection, node.settings, submissions.get(connection, keys[second]))
        assert [dict(row) for row in d_checks.double_reporting.function(evidence)] == [
            {"receiver": "111", "also_in": keys[first], "detections": 3}
        ]
    folder = node.push()
    found = Shared(snapshot.read(node.settings, folder.name)).detections.rows()
    assert sorted(found) == sorted([(first, "111", keys[second], 3), (second, "111", keys[first], 3)])


def test_a_redeployed_receiver_is_where_it_was_deployed_last(node: Node):
    node.drop_form("HFX")
    rows = [
        "HFX,OLD,2020-01-01T00:00:00,44.1,-63.1,VR4,222,lost,,",
        "HFX,NEW,2024-01-01T00:00:00,44.2,-63.2,VR4,222,,,",
    ]
    node.drop("OTN/HFX/deployments", "dep.csv", deployments(*rows))
    node.drop(
        "OTN/HFX/detections",
        "a.csv",
        vue("2023-12-31T23:59:59 VR4-222 A69-1602-1", "2024-01-01T00:00:00 VR4-222 A69-1602-1"),
    )
    node.load()
    assert node.rows("select station from obis.otn_detections order by datecollected") == [("OLD",), ("NEW",)]


def test_refused_rows_are_kept_with_what_to_do(node: Node):
    node.drop_form("HFX")
    sheet = tag_sheet(
        {},
        {"ANIMAL_ID": "B", "TAG_ID_CODE": "101", "UTC_RELEASE_DATE_TIME": "2031-01-01"},
        {"ANIMAL_ID": "C", "TAG_ID_CODE": None},
        {"ANIMAL_ID": "D", "TAG_ID_CODE": "103", "UTC_RELEASE_DATE_TIME": "1971-01-01"},
        {"ANIMAL_ID": "E", "TAG_ID_CODE": "105", "UTC_RELEASE_DATE_TIME": "last summer"},
        {"ANIMAL_ID": "F", "TAG_ID_CODE": "106", "TAG_CODE_SPACE": "as before"},
    )
    node.drop("OTN/HFX/tags", "tags.csv", sheet)
    assert set(node.load().values()) == {"loaded"}
    refused = node.rows("select row_number, column_name, expected, remedy, why from platform.refused_rows order by 1")
    assert [(row, column, why) for row, column, _, _, why in refused] == [
        (3, "utc_release_date_time", "impossible"),
        (4, "tag_id_code", "missing"),
        (5, "utc_release_date_time", "impossible"),
        (6, "utc_release_date_time", "unreadable"),
        (7, "tag_code_space", "unreadable"),
    ]
    assert all(expected and remedy for _, _, expected, remedy, _ in refused)
    counts = node.rows("select raw_rows, loaded_rows, refused_rows from platform.submissions where kind = 'tags'")
    assert counts == [(6, 1, 5)]
    assert node.value("select count(*) from hfx.c_tag_meta") == 6


def test_what_decides_nothing_never_costs_a_row(node: Node):
    node.drop_form("HFX")
    sheet = tag_sheet(
        {},
        {"ANIMAL_ID": "C", "TAG_ID_CODE": "102", "RELEASE_LATITUDE": -63.4, "RELEASE_LONGITUDE": 44.2},
        {"ANIMAL_ID": None, "TAG_ID_CODE": "104", "TAG_SERIAL_NUMBER": "unknown"},
        {"ANIMAL_ID": "E", "TAG_ID_CODE": "105", "HARVEST_DATE": "2024-01-01"},
        {"ANIMAL_ID": "F", "TAG_ID_CODE": "106", "COMMON_NAME_E": None},
        {"ANIMAL_ID": "A"},
        {"ANIMAL_ID": "G", "TAG_ID_CODE": "107", "LENGTH (m)": "tall"},
        {"ANIMAL_ID": "H", "TAG_ID_CODE": "108", "EST_TAG_LIFE": "long"},
    )
    node.drop("OTN/HFX/tags", "tags.csv", sheet)
    assert set(node.load().values()) == {"loaded"}
    counts = node.rows(
        "select raw_rows, loaded_rows, duplicate_rows, refused_rows from platform.submissions where kind = 'tags'"
    )
    assert counts == [(8, 7, 1, 0)]
    said = {
        (code, column)
        for code, column in node.rows("select code, column_name from platform.findings where severity < 4")
    }
    assert {("release_position", "release_latitude, release_longitude"), ("value_unreadable", "length")} <= said
    assert {("window_unknown", "harvest_date"), ("window_unknown", "est_tag_life")} <= said
    # A position that is plainly a slip is not used; a tag without serial and animal is named by what it sends.
    assert node.value("select latitude from obis.otn_animals where catalognumber = 'HFX-C'") is None
    assert node.value("select count(*) from obis.otn_animals where catalognumber like 'HFX-A69-%-104-%'") == 1
    marked = dict(node.rows("select fieldnumber, window_code from obis.moorings where window_code is not null"))
    assert sorted(marked.values()) == ["harvest_before_release", "life_unreadable"]


def test_types_of_tags_may_leave_their_own_columns_empty(node: Node):
    node.drop_form("HFX")
    empty = dict.fromkeys(["TAG_MANUFACTURER", "TAG_MODEL", "TAG_ID_CODE", "TAG_CODE_SPACE", "EST_TAG_LIFE"])
    floy = {**empty, "ANIMAL_ID": "FL1", "TAG_TYPE": "FLOY"}
    satellite = {"ANIMAL_ID": "SA1", "TAG_TYPE": "SATELLITE", "TAG_ID_CODE": None, "TAG_CODE_SPACE": None}
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet(floy, satellite))
    node.load()
    assert node.value("select count(*) from obis.otn_animals") == 2
    assert node.value("select count(*) from obis.moorings") == 0


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in BAD_FILES.items() for name in names])
def test_bad_files_are_refused_whole_with_a_reason_and_lose_nothing(shark: Node, kind: str, name: str):
    before = table_dump(shark, *UPPER)
    shark.drop(f"OTN/HFX/{kind}", name, BAD_FILES[kind][name])
    assert list(shark.load().values()) == ["refused"]
    state, reason = states(shark)[name]
    assert state == "refused" and reason is not None and reason.startswith(f"{name}: ") and len(reason) > 40
    assert table_dump(shark, *UPPER) == before
    stored = shark.value("select stored_path from platform.submissions where file_name = %s", name)
    assert (shark.settings.submissions / stored).read_bytes() == BAD_FILES[kind][name]


def test_a_collection_without_a_form_waits_for_it(node: Node):
    node.drop("OTN/GHOST/tags", "tags.csv", tag_sheet({}))
    assert list(node.load().values()) == ["waiting"]
    assert "GHOST does not exist" in str(states(node)["tags.csv"][1])
    node.drop_form("GHOST")
    node.load()
    assert states(node)["tags.csv"][0] == "loaded"


def test_a_code_belongs_to_one_node(shark: Node):
    shark.drop_form("HFX", node="FACT")
    assert list(shark.load().values()) == ["refused"]
    assert "P7" in str(shark.value("select reason from platform.submissions where node = 'FACT'"))


def test_misplaced_files_are_reported(node: Node):
    node.drop("OTN/HFX", "lost.csv", b"x")
    node.drop("OTN/HFX/tagz", "t.csv", b"x")
    node.drop("MARS/HFX/tags", "t.csv", b"x")
    node.drop("OTN/lower/tags", "t.csv", b"x")
    (node.settings.incoming / "OTN" / "HFX" / "tags").mkdir(parents=True)
    (node.settings.incoming / "OTN" / "HFX" / "tags" / "link.csv").symlink_to("/etc/passwd")
    found = node.look()
    assert len(found.problems) == 5 and not found.received


def test_a_file_that_is_still_being_copied_is_left_alone(node: Node):
    from otn_dagster.telemetry import intake

    path = node.drop("OTN/HFX/tags", "t.csv", tag_sheet({})[:200])
    with node.connect() as connection:
        first = intake.look(connection, node.settings, {})
        path.write_bytes(tag_sheet({}))
        second = intake.look(connection, node.settings, first.sizes)
        third = intake.look(connection, node.settings, second.sizes)
        fourth = intake.look(connection, node.settings, third.sizes)
    assert first.still_arriving == second.still_arriving == ["OTN/HFX/tags/t.csv"]
    assert [s.file_name for s in third.received] == ["t.csv"] and not fourth.received


def test_names_from_people_never_become_paths_or_sql(node: Node):
    node.drop_form("HFX")
    node.drop(
        "OTN/HFX/tags", "a..;drop table obis.moorings--' é .csv", tag_sheet({"ANIMAL_ID": "x'; drop schema hfx;--"})
    )
    assert set(node.load().values()) == {"loaded"}
    assert node.value("select catalognumber from obis.otn_animals") == "HFX-x'; drop schema hfx;--"
    stored = node.value("select stored_path from platform.submissions where kind = 'tags'")
    assert ".." not in stored and (node.settings.submissions / stored).exists()


def test_loading_is_locked_from_cutoff_to_the_end_of_the_push(shark: Node):
    shark.clock("2027-02-18 12:00")
    before = table_dump(shark, *UPPER)
    shark.clock("2027-02-20 12:00")
    shark.drop(
        "OTN/HFX/tags", "more.csv", tag_sheet({"ANIMAL_ID": "Z", "TAG_ID_CODE": "200", "TAG_SERIAL_NUMBER": "9"})
    )
    shark.drop("OTN/HFX/detections", "more.csv", vue("2024-08-01T10:00:00 VR2W-111 A69-1602-100"))
    assert set(shark.load().values()) == {"waiting"}
    assert "locked for the push of 2027-02-18" in str(states(shark)["more.csv"][1])
    assert table_dump(shark, *UPPER) == before
    assert shark.load() == {}  # nothing starts while it is locked
    shark.push("2027-02-18")
    assert set(shark.load().values()) == {"loaded"}


def test_the_lock_holds_for_the_node_whose_day_has_ended(shark: Node):
    """At 05:00 UTC the day is over in Halifax and not yet in Honolulu."""
    shark.clock("2027-02-18 12:00")
    shark.clock("2027-02-19 05:00")
    from otn_dagster.telemetry import cutoffs

    with shark.connect() as connection:
        nodes = {node for _, node in cutoffs.locked(connection)}
    assert "OTN" in nodes and "PIRAT" not in nodes


def test_an_implausible_clock_waits_for_a_person(shark: Node):
    shark.drop("OTN/HFX/events", "e.csv", events("2024-04-30", "2024-07-29", offset_seconds=86_400))
    shark.load()
    assert shark.rows("select distinct datecollected = uncorrected_datecollected from obis.otn_detections") == [(True,)]
    with shark.connect() as connection:
        (asked,) = decisions.open_questions(connection)
        number, topic, details = asked.number, asked.topic, asked.details
        assert topic == "clock_drift" and details["limit"] == 10
        decisions.decide(connection, number, "accept", "Naomi", "the clock was a day ahead")
        submission = submissions.by_state(connection, ["loaded"])[-1]
    shark.load_one(submission)
    moved = shark.value("select max(uncorrected_datecollected - datecollected) from obis.otn_detections")
    assert moved > dt.timedelta(hours=15)


def events(start: str, end: str, offset_seconds: int) -> bytes:
    true = dt.datetime.fromisoformat(end) - dt.timedelta(seconds=offset_seconds)
    lines = [
        "Date and Time (UTC),Receiver,Description,Data,Units",
        f"{start} 00:00:00,VR2W-111,Initialization,,",
        f"{end} 00:00:00,VR2W-111,Data Upload,x.vrl,",
        f"{end} 00:00:00,VR2W-111,PC Time,{true:%Y-%m-%d %H:%M:%S} UTC,",
        f"{end} 00:00:00,VR2W-111,Map,MAP-114 (A69-1602),",
    ]
    return "\n".join([*lines, ""]).encode()


def test_events_correct_clocks_and_make_downloads(shark: Node):
    shark.drop("OTN/HFX/events", "e.csv", events("2024-04-30", "2024-07-29", offset_seconds=90))
    shark.load()
    shark.load()
    assert shark.value(
        "select max(uncorrected_datecollected - datecollected) from obis.otn_detections"
    ) == dt.timedelta(seconds=64, milliseconds=417)
    downloads = shark.rows("select catalognumber from obis.moorings where basisofrecord = 'DOWNLOAD'")
    assert downloads == [("H1-VR2W-111-2024_05_01T00:2024-07-29",)]
    assert shark.rows("select map_code, code_spaces from platform.receiver_config") == [("MAP-114", "A69-1602")]


def test_missing_metadata_report_tells_before_between_after(node: Node):
    from otn_dagster.telemetry import missing_metadata

    node.drop_form("HFX")
    rows = [
        f"HFX,H1,{a}T00:00:00,44.1,-63.1,VR2W,111,y,{b}T00:00:00,A69-1601-7"
        for a, b in (("2024-02-01", "2024-03-01"), ("2024-05-01", "2024-06-01"))
    ]
    node.drop("OTN/HFX/deployments", "d.csv", deployments(*rows))
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({}))
    times = ["2024-01-15T00:00:00", "2024-02-15T00:00:00", "2024-04-15T00:00:00", "2024-07-15T00:00:00"]
    found = [f"{time} VR2W-111 A69-1602-100" for time in times] + ["2024-07-16T00:00:00 VR2W-111 A69-1601-7"]
    node.drop("OTN/HFX/detections", "a.csv", vue(*found, "2024-01-01T00:00:00 VR2W-999 A69-1602-100"))
    node.load()
    with node.connect() as connection:
        keys = [key for (key,) in connection.execute("select receiver_key from platform.receiver_keys")]
        report = missing_metadata.report(connection, "HFX", keys)
    told = {(r["receiver"], r["position"]): (r["transceiver"], r["animal"], r["test"]) for r in report}
    assert told == {
        ("VR2W-111", "before deployments"): (0, 1, 0),
        ("VR2W-111", "between deployments"): (0, 1, 0),
        ("VR2W-111", "after deployments"): (1, 1, 0),
        ("VR2W-999", "no known deployment"): (0, 1, 0),
    }
    assert report[0]["report"].startswith(
        "VR2W-111 missing 2 detections (1 transceiver tags, 1 animal tags, 0 test tags) (after deployments)"
    )


@pytest.mark.parametrize("kind", ["tags", "deployments", "detections"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_load_killed_between_steps_ends_the_same_when_run_again(node: Node, kind: str, steps: int):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "t.csv", tag_sheet({}))
    node.drop(
        "OTN/HFX/deployments",
        "d.csv",
        deployments("HFX,H1,2024-05-01T00:00:00,44.1,-63.1,VR2W,111,y,2024-12-01T00:00:00,"),
    )
    node.drop("OTN/HFX/detections", "a.csv", vue("2024-07-01T10:00:00 VR2W-111 A69-1602-100"))
    node.look()
    with node.connect() as connection:
        every = submissions.by_state(connection, ["received"])
    for submission in every:
        node.load_one(submission, until=steps if submission.kind == kind else None)
    for submission in every:
        node.load_one(submission)
    assert node.rows("select station, fieldnumber from obis.otn_detections") == [("H1", "A69-1602-100")]
    assert node.value("select count(*) from obis.otn_animals") == 1


def test_the_same_rows_in_another_file_are_in_the_snapshot_as_that_file_s(node: Node):
    """Whose row it is stands in the snapshot: a year whose rows only went over to the corrected file is frozen anew."""
    fill(node)
    node.load()
    versions = "select year, version from platform.partition_versions where collectioncode = 'HFX' order by 1"
    before = dict(node.rows(versions))
    (year,) = before
    (path,) = (node.settings.incoming / "OTN" / "HFX" / "detections").iterdir()
    node.drop("OTN/HFX/detections", path.name, path.read_bytes().replace(b"\r\n", b"\n"))
    node.load()
    newest = node.value("select max(submission_no) from platform.submissions where kind = 'detections'")
    assert node.rows("select distinct submission_no from platform.detections") == [(newest,)]
    assert dict(node.rows(versions))[year] > before[year]


def test_rows_of_a_receiver_that_left_a_corrected_file_are_taken_back(node: Node):
    fill(node)
    where = "OTN/HFX/detections"
    rows = [f"2024-07-0{day}T10:00:00 VR2W-{serial} A69-1602-100" for day in (1, 2) for serial in ("100000", "100001")]
    node.drop(
        "OTN/HFX/deployments",
        "more.csv",
        deployments(
            *(
                f"HFX,{n},2024-01-01T00:00:00,44.2,-63.4,VR2W,{serial},n,,"
                for n, serial in enumerate(("100000", "100001"), 50)
            )
        ),
    )
    node.drop(where, "two.csv", vue(*rows))
    assert set(node.load().values()) == {"loaded"}
    promoted = "select count(*) from obis.otn_detections where collectornumber = '100001'"
    assert node.value(promoted) == 2
    node.drop(where, "two.csv", vue(*(row for row in rows if "100000" in row)))
    node.load()
    with node.connect() as connection:
        ((number,),) = connection.execute(
            "select decision_id from platform.decisions where topic = 'removal'"
        ).fetchall()
        decisions.decide(connection, number, "accept", "an analyst", "the receiver was another's")
    assert set(node.load().values()) == {"loaded"}
    assert node.value(promoted) == 0


def test_rows_that_another_file_gave_too_stay_when_a_corrected_one_drops_them(shark: Node):
    """They were repeats of the first file's rows: when those go, the second file's stand."""
    shark.drop_form("REEF")
    shark.drop(
        "OTN/REEF/detections",
        "theirs.csv",
        vue(*[f"2024-07-0{d}T10:00:00 VR2W-111 A69-1602-100" for d in (1, 2, 3, 4)]),
    )
    assert set(shark.load().values()) == {"loaded"}
    counts = "select loaded_rows, duplicate_rows from platform.submissions where file_name = 'theirs.csv'"
    assert shark.rows(counts) == [(1, 3)]
    shark.drop("OTN/HFX/detections", "a.csv", vue("2024-07-09T10:00:00 VR2W-111 A69-1602-100"))
    (key,) = shark.load()
    with shark.connect() as connection:
        decisions.settle(connection, Topic.REMOVAL, key, "accept", "ada", "it was the wrong file")
    assert shark.load() == {key: "loaded"}
    assert shark.rows(counts) == [(4, 0)]
    promoted = "select count(*) from obis.otn_detections where fieldnumber = 'A69-1602-100'"
    assert (
        shark.value(promoted) == 5
        and shark.value("select count(*) from platform.detections where withdrawn_at is null") == 5
    )
