"""Loading, pushes, streams and live datasets move their items by themselves; a person where judgement is; drift is only told."""

from pathlib import Path

import dagster as dg
import jinja2
import pytest

from otn_dagster import decisions
from otn_dagster.config import BadConfiguration
from otn_dagster.live.configuration import load_live
from otn_dagster.orchestration import headless
from otn_dagster.orchestration.build import build_defs
from otn_dagster.streams import requests
from otn_dagster.tracker import acting, board, flows, items
from otn_dagster.tracker.configuration import TrackerSettings, load_tracker
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.follow import live as follow_live
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.follow import streams as follow_streams
from otn_dagster.tracker.items import Actor, Item, NotAllowed
from otn_dagster.tracker.mail import wording
from otn_dagster.tracker.receipt import receipt
from tests.support.livenode import LiveNode, record
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.sheets import fill, tag_sheet
from tests.support.site import configure
from tests.support.tracking import act, finish, item_of, load, way


def test_a_submission_goes_from_received_to_published_with_evidence_at_each_step(pushed: Node):
    with pushed.connect() as connection:
        rows = board.items(connection, board.ALL, board.Filter(flow="submission"), limit=None)
    assert {row["state"] for row in rows} == {"published"} and len(rows) == 4
    for row in rows:
        with pushed.connect() as connection:
            lines = [line for line in items.history(connection, row["item_id"]) if line.what == "move"]
        assert [line.to_state for line in lines] == flows.STATES["submission"][:6]
        loading, verified, matched = lines[1], lines[2], lines[3]
        assert loading.actor.startswith("load_") and loading.run_id
        counted = verified.evidence["rows"]
        assert counted["raw"] == sum(counted[name] for name in ("loaded", "duplicate", "refused", "waiting"))
        assert matched.actor == "push_3_match" and matched.evidence["push"] == PAST_PUSH
    detections = next(row for row in rows if row["kind"] == "detections")
    with pushed.connect() as connection:
        line = next(line for line in items.history(connection, detections["item_id"]) if line.to_state == "matched")
    assert pushed.drift() == []
    assert sum(line.evidence["detections"].values()) == pushed.value("select count(*) from platform.detections")


def test_a_sheet_without_its_project_waits_for_metadata_and_goes_on_when_it_comes(node: Node, home: Path):
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    load(node)
    item = item_of(node, "tags.csv")
    assert (item.state, item.hold) == ("loading", "waiting_metadata") and "project" in (item.hold_why or "")
    node.drop_form("HFX")
    load(node)
    item = item_of(node, "tags.csv")
    assert (item.state, item.hold) == ("verified", None)
    assert item.owner and "@" in item.owner  # known since the form came


def test_what_comes_during_a_push_waits_for_its_end(node: Node, home: Path):
    node.clock("2026-10-01T00:00:00")
    fill(node)
    load(node)
    node.clock("2026-10-17T00:00:00")
    node.drop("OTN/HFX/tags", "late.csv", tag_sheet({"ANIMAL_ID": "L", "TAG_ID_CODE": "7", "TAG_SERIAL_NUMBER": "9"}))
    load(node)
    late = item_of(node, "late.csv")
    assert (late.state, late.hold) == ("received", "push_freeze")
    assert headless.push(node.settings, PAST_PUSH).good
    finish(node, PAST_PUSH)
    assert item_of(node, "tags.csv").state == "published"
    load(node)
    late = item_of(node, "late.csv")
    assert (late.state, late.hold, str(late.push_date)) == ("verified", None, NEXT_PUSH)


def test_a_refused_file_needs_its_researcher_who_is_told_once(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", b"this is no sheet\n")
    load(node)
    for _ in range(2):
        node.catch_up()
    item = item_of(node, "tags.csv")
    assert (item.state, item.hold) == ("loading", "needs_researcher") and "header" in (item.hold_why or "")
    told = node.rows("select recipient, state, body_text from platform.outbox where event = 'needs_researcher'")
    assert told and len(told) == len({recipient for recipient, *_ in told}) and "header" not in told[0][2]
    assert f"/tracker/items/{item.item_id}" in told[0][2]  # words of a file are read by who signed in, not mailed
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    load(node)
    node.catch_up()
    with node.connect() as connection:
        both = {r["item_id"]: r["state"] for r in board.items(connection, board.ALL, board.Filter(kind="tags"), None)}
    assert sorted(both.values()) == ["superseded", "verified"]


def test_a_person_s_hold_stops_loading_and_a_release_lets_it_go_on(node: Node, home: Path):
    node.drop_form("HFX")
    load(node)
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    headless.receive(node.config, headless.LoadOutcome(), 0.1)
    act(node, "tags.csv", "hold", "waiting_data_files")
    load(node)
    assert (item_of(node, "tags.csv").state, node.value("select count(*) from obis.otn_animals")) == ("received", 0)
    with headless.dagster_instance() as instance:  # not even who materializes it by hand gets past it
        job = build_defs().get_repository_def().get_job("load_tags")
        instance.add_dynamic_partitions("tags_submissions", [item_of(node, "tags.csv").subject])
        result = job.execute_in_process(
            instance=instance, partition_key=item_of(node, "tags.csv").subject, raise_on_error=False
        )
    assert not result.success and item_of(node, "tags.csv").state == "received"
    act(node, "tags.csv", "release")
    load(node)
    assert item_of(node, "tags.csv").state == "verified"


def test_a_rejected_file_is_not_loaded_until_it_is_reconsidered(node: Node, home: Path):
    node.drop_form("HFX")
    load(node)
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    headless.receive(node.config, headless.LoadOutcome(), 0.1)
    act(node, "tags.csv", "reject")
    load(node)
    assert item_of(node, "tags.csv").state == "rejected"
    act(node, "tags.csv", "reconsider")
    load(node)
    assert item_of(node, "tags.csv").state == "verified"


def test_a_second_person_looks_where_the_node_wants_it(node: Node, home: Path, configured: Path):
    configure(configured, second_look=["tags"])
    fill(node)
    load(node)
    item = item_of(node, "tags.csv")
    assert item.state == "loading" and "second person" in (item.blocker or "")
    with pytest.raises(NotAllowed, match="owns"):
        act(node, "tags.csv", "sign", person=item.owner or "")
    assert act(node, "tags.csv", "sign").state == "verified"
    assert item_of(node, "dep.csv").state == "verified"


def test_a_published_file_is_not_reopened(pushed: Node):
    with pytest.raises(NotAllowed, match="published, which becomes"):
        act(pushed, "tags.csv", "reopen")


def test_a_reopened_file_is_verified_again_by_new_checks_only(node: Node, home: Path):
    fill(node)
    load(node)
    reopened = act(node, "tags.csv", "reopen")
    with node.connect() as connection:
        assert items.history(connection, reopened.item_id)[-1].evidence["affected"] == {"extracts": "none was made yet"}
    node.catch_up()
    item = item_of(node, "tags.csv")
    assert item.state == "loading" and "not seen since loading began" in (item.blocker or "")
    with headless.dagster_instance() as instance:
        job = build_defs().get_repository_def().get_job("load_tags")
        assert job.execute_in_process(instance=instance, partition_key=item.subject, raise_on_error=False).success
    assert item_of(node, "tags.csv").state == "verified"
    assert way(node, item) == ["received", "loading", "verified", "loading", "verified"]


def test_a_rehearsal_moves_nothing_and_tells_nobody(node: Node, home: Path):
    fill(node)
    load(node)
    assert headless.push(node.settings, NEXT_PUSH).good
    with node.connect() as connection:
        assert {r["state"] for r in board.items(connection, board.ALL, board.Filter(), None)} == {"verified"}
        assert completion.due(connection) == []
    assert node.value("select count(*) from platform.outbox") == 0


def test_drift_is_told_and_moves_nothing(pushed: Node):
    item = item_of(pushed, "tags.csv")
    with pushed.connect() as connection:
        connection.execute(
            "update platform.submissions set state = 'refused', stored_path = 'gone' where submission_key = %s",
            [item.subject],
        )
    before = way(pushed, item)
    found = {(one.title, one.observed.split(" ")[0]) for one in pushed.drift()}
    assert {("tags.csv", "None"), ("tags.csv", "loading")} <= found
    pushed.catch_up()
    assert way(pushed, item) == before and item_of(pushed, "tags.csv").state == "published"


def test_the_board_in_dagster(pushed: Node):
    with dg.DagsterInstance.local_temp() as instance:
        job = build_defs().get_repository_def().get_job("show_board")
        result = job.execute_in_process(instance=instance)
        (shown,) = result.asset_materializations_for_node("dataset_status")
        (check,) = result.get_asset_check_evaluations()
    assert "published" in str(shown.metadata["board"].value) and shown.metadata["dagster/row_count"].value == 4
    assert check.passed and Path(str(shown.metadata["workbook"].value)).exists()


def test_what_was_loaded_before_there_was_a_tracker_is_followed(node: Node):
    """A node that is upgraded: loaded files have no item yet, and no check of theirs was seen."""
    fill(node)
    node.load()
    moved, problems = node.catch_up()
    assert moved == 4 and not problems
    item = item_of(node, "tags.csv")
    with node.connect() as connection:
        line = items.history(connection, item.item_id)[-1]
    assert item.state == "verified" and "before there was a tracker" in line.evidence["checks"]
    assert node.value("select count(*) from platform.outbox") == 0


def test_a_stream_request_is_followed_through_all_its_states(node: Node):
    actor = Actor("streams")

    def follow() -> Item:
        with node.connect() as connection:
            return follow_streams.follow(connection, number, actor)

    with node.connect() as connection:
        number = requests.create(connection, "CE02", "append", [((0, 10), 5)], "Ada").request_no
    assert follow().state == "requested"
    with node.connect() as connection:
        requests.move(connection, number, "ready")
        requests.hold(connection, number, {"why": "schema change: renamed", "changes": []})
    held = follow()
    assert (held.state, held.hold) == ("ready", "needs_researcher")
    with node.connect() as connection:
        requests.accept(connection, number, "Bob: of the array", "new firmware: 2.1")
        requests.note_result(connection, number, "COMMIT", {"rows": 5})
        requests.move(connection, number, "ingested")
        requests.move(connection, number, "checked")
        requests.move(connection, number, "published")
    done = follow()
    assert (done.state, done.hold) == ("published", None) and follow() == done
    assert way(node, done) == ["requested", "ready", "ingested", "checked", "published"]
    with node.connect() as connection:
        lines = items.history(connection, done.item_id)
        assert follow_streams.behind(connection) == []
    (release,) = [line for line in lines if line.what == "release"]
    assert (release.actor, release.note) == ("Bob: of the array", "new firmware: 2.1")
    assert next(line for line in lines if line.to_state == "ingested").evidence["commit"] == "COMMIT"


@pytest.mark.parametrize("end", ["failed", "expired", "skipped"])
def test_a_stream_request_may_end_otherwise(node: Node, end: str):
    with node.connect() as connection:
        number = requests.create(connection, "CE02", "append", [((0, 10), 5)], "Ada").request_no
        requests.move(connection, number, end, "the source said no")
    moved, problems = node.catch_up()
    assert moved and not problems
    with node.connect() as connection:
        item = items.find(connection, flows.STREAM, str(number))
        assert (
            item
            and item.state == end
            and items.history(connection, item.item_id)[-1].evidence["reason"] == "the source said no"
        )


def test_a_live_dataset_is_expected_active_silent_and_closed(live: LiveNode):
    live.configure("ctd", silence={"warn_minutes": 5, "fail_minutes": 15}) if hasattr(live, "configure") else live.new(
        "ctd"
    )

    def state() -> str | None:
        with live.connect() as connection:
            (item,) = [one for one in follow_live.follow_all(connection, load_live()) if one.subject == "ctd"]
            return item.state

    assert state() == "expected"
    with live.serve() as api:
        api.call("GET", "/v1/datasets/ctd/records", token=live.key("ctd"))
        assert api.push(record()).status_code == 200
    assert state() == "active"
    with live.connect() as connection:
        connection.execute(
            "insert into platform.live_alerts (dataset, kind, subject, level, text) values ('ctd', 'silent', '', 'warn', 'nothing came')"
        )
    assert state() == "silent"
    with live.connect() as connection:
        connection.execute("update platform.live_alerts set ended_at = clock_timestamp()")
    assert state() == "active"
    (live.folder / "live" / "ctd.yaml").unlink()
    with live.connect() as connection:
        follow_live.follow_all(connection, load_live())
        item = items.find(connection, flows.LIVE, "ctd")
    assert item and item.state == "closed"


def test_settings_of_the_tracker_are_checked(configured: Path):
    configure(configured, mail={"mode": "loud"})
    with pytest.raises(BadConfiguration, match=r"tracker.yaml: mail.mode: found 'loud'"):
        load_tracker()
    assert TrackerSettings().mail.mode == "simulate"


PLATFORM = Actor("test")


def test_a_run_that_dies_after_loading_and_before_its_checks_is_started_again(node: Node, home: Path):
    fill(node)
    load(node)
    item = item_of(node, "tags.csv")
    with node.connect() as connection:  # as a run leaves it that was killed there
        connection.execute("update platform.tracker_facts set at = '2020-01-01' where item_id = %s", [item.item_id])
        items.move(connection, item.item_id, "loading", Actor.person("ada"), {"reason": "x", "affected": "y"})
        assert receipt.ready(connection) == []  # a person reopened it: a person goes on
    with node.connect() as connection:
        connection.execute("alter table platform.tracker_history disable trigger tracker_history_only_grows")
        connection.execute(
            "update platform.tracker_history set from_state = 'received' where item_id = %s and version ="
            " (select version from platform.tracker_items where item_id = %s)",
            [item.item_id, item.item_id],
        )
        ((submission, occasion),) = receipt.ready(connection)
    assert submission.submission_key == item.subject and "checks since" in occasion
    load(node)
    assert item_of(node, "tags.csv").state == "verified"


def test_a_hold_during_a_push_is_caught_up_with(node: Node, home: Path):
    node.clock("2026-10-01T00:00:00")
    fill(node)
    load(node)
    node.clock("2026-10-17T00:00:00")
    steps = ["push_1_freeze", "push_2_verify", "push_3_match"]

    def run(*names: str) -> None:
        from otn_dagster.orchestration.build import build_defs

        with headless.dagster_instance() as instance:
            for name in names:
                tags = {"otn/push_date": PAST_PUSH}
                job = build_defs().get_repository_def().get_job(name)
                done = job.execute_in_process(
                    instance=instance, partition_key=PAST_PUSH, tags=tags, raise_on_error=False
                )
                assert done.success

    run(*steps)
    act(node, "tags.csv", "hold", "waiting_data_files")
    run("push_4_extract", "push_5_certify", "push_6_report", "push_7_unlock", "push_8_notify")
    finish(node, PAST_PUSH)
    headless.run_job("push_9_complete", PAST_PUSH)
    assert item_of(node, "dep.csv").state == "published" and item_of(node, "tags.csv").state == "matched"
    act(node, "tags.csv", "release")
    node.catch_up()
    assert item_of(node, "tags.csv").state == "published"
    assert way(node, item_of(node, "tags.csv"))[-3:] == ["matched", "extracted", "published"]


def test_what_was_matched_for_a_push_that_was_given_up_is_matched_by_the_next(node: Node, home: Path):
    fill(node)
    load(node)
    item = item_of(node, "tags.csv")
    with node.connect() as connection:
        evidence = {"push": PAST_PUSH, "snapshot": "x", "detections": "x"}
        items.move(connection, item.item_id, "matched", PLATFORM, evidence)
        connection.execute(
            "update platform.tracker_items set push_date = %s where item_id = %s", [PAST_PUSH, item.item_id]
        )
        assert follow_pushes._is_meant(connection, item.subject, NEXT_PUSH, PLATFORM)
        assert items.get(connection, item.item_id).state == "verified"
        items.describe(connection, item.item_id, push_date=item.push_date)
        assert not follow_pushes._is_meant(
            connection, item.subject, PAST_PUSH, PLATFORM
        )  # mended since: the next push's


def test_what_was_rejected_with_a_question_is_asked_again_when_it_is_reconsidered(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop(
        "OTN/HFX/tags",
        "tags.csv",
        tag_sheet(*[{"ANIMAL_ID": f"A{n}", "TAG_ID_CODE": str(n), "TAG_SERIAL_NUMBER": str(n)} for n in range(30)]),
    )
    load(node)
    node.drop(
        "OTN/HFX/tags",
        "tags.csv",
        tag_sheet(*[{"ANIMAL_ID": f"A{n}", "TAG_ID_CODE": str(n), "TAG_SERIAL_NUMBER": str(n)} for n in range(29)]),
    )
    load(node)
    held = node.value("select submission_key from platform.submissions where state = 'held'")
    with node.connect() as connection:
        item = items.find(connection, "submission", held)
        assert item and item.hold == "needs_researcher"
        with pytest.raises(NotAllowed, match="answer its question"):
            acting.act(connection, TrackerSettings(), item.item_id, "release", "ada", "because")
    with node.connect() as connection:
        done = acting.act(connection, TrackerSettings(), item.item_id, "reject", "ada", "not so")
        assert (done.state, done.hold) == ("rejected", None)  # a hold ends with what was held
        assert decisions.open_questions(connection) == []
    with node.connect() as connection:
        acting.act(connection, TrackerSettings(), item.item_id, "reconsider", "ada", "yes after all")
    load(node)
    with node.connect() as connection:
        (question,) = decisions.open_questions(connection)
        acting.act(connection, TrackerSettings(), item.item_id, "answer", "ada", "that animal never was", "accept")
    assert question.subject == held
    load(node)
    with node.connect() as connection:
        assert items.get(connection, item.item_id).state == "verified"


def test_running_a_loaded_file_again_during_a_push_does_not_unload_it(node: Node, home: Path):
    from otn_dagster.orchestration.build import build_defs

    node.clock("2026-10-01T00:00:00")
    fill(node)
    load(node)
    node.clock("2026-10-17T00:00:00")
    with headless.dagster_instance() as instance:
        job = build_defs().get_repository_def().get_job("load_detections")
        key = node.value("select submission_key from platform.submissions where kind = 'detections'")
        job.execute_in_process(instance=instance, partition_key=key, raise_on_error=False)
    assert node.value("select state from platform.submissions where kind = 'detections'") == "loaded"


def test_a_template_that_fails_undoes_no_refusal(node: Node, home: Path, configured: Path):
    own = configured / "templates" / "mail"
    own.mkdir(parents=True)
    (own / "needs_researcher.txt").write_text("{{ no_such_name }}")
    with pytest.raises(jinja2.UndefinedError):
        wording.render("mail/needs_researcher.txt", item=None, name="", web_url="")
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", b"no sheet\n")
    load(node)
    assert item_of(node, "tags.csv").hold == "needs_researcher"
    assert node.value("select count(*) from platform.outbox") == 0
