"""What must not happen again: files that stop others, items that are stuck, marks that are lost."""

from pathlib import Path
from typing import Any

import jinja2
import pytest

from otn_dagster.orchestration import headless
from otn_dagster.telemetry import decisions, submissions
from otn_dagster.telemetry.push import extracts_list
from otn_dagster.tracker import acting, items
from otn_dagster.tracker.configuration import MailSettings, TrackerSettings
from otn_dagster.tracker.follow import catch_up as following
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.follow import pushes as follow_pushes
from otn_dagster.tracker.follow import submissions as follow_submissions
from otn_dagster.tracker.items import Actor, NotAllowed
from otn_dagster.tracker.mail import notices, outbox, wording
from otn_dagster.tracker.receipt import prints, receipt
from tests.mailserver import MailServer
from tests.node import NEXT_PUSH, PAST_PUSH, Node
from tests.telemetry.test_loading import fill, tag_sheet
from tests.tracker.conftest import Site
from tests.tracker.test_duplicates import as_csv, part, receive, sheet
from tests.tracker.test_life import act, home, item_of, load, way

home = home
PLATFORM = Actor("test")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("tags", tag_sheet({"UTC_RELEASE_DATE_TIME": "0001-01-01T00:00:00+10:00"})),
        ("tags", tag_sheet({"UTC_RELEASE_DATE_TIME": "9999-12-31T23:59:59-05:00"})),
        ("detections", b"\xef\xbb\xbf"),
        ("project", b"PK\x03\x04\x00\x00\x00 a document\nwith lines\n"),
    ],
)
def test_a_file_that_cannot_be_compared_stops_no_others(node: Node, home: Path, kind: str, content: bytes):
    node.drop(f"OTN/BAD/{kind}", "first", content)
    node.drop(f"OTN/BAD/{kind}", "second", content + b"\n")
    node.drop_form("HFX")
    load(node)
    assert node.value("select state from platform.submissions where collectioncode = 'HFX'") == "loaded"
    assert node.value("select count(*) from platform.tracker_prints") == 3


def test_an_error_while_comparing_is_told_and_the_file_is_loaded(node: Node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prints, "of_file", lambda *_: 1 / 0)
    node.drop_form("HFX")
    found = receipt.look(node.settings, {}, wait_for_stillness=False)
    assert "could not be compared" in found.problems[0]
    with node.connect() as connection:
        assert len(receipt.ready(connection)) == 1


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
    from otn_dagster.orchestration.pushing import step_of

    def run(*names: str) -> None:
        from otn_dagster.orchestration.build import build_defs

        with headless.dagster_instance() as instance:
            for name in names:
                tags = {
                    **step_of(name).tags(PAST_PUSH, list(instance.get_dynamic_partitions("projects"))),
                    "otn/push_date": PAST_PUSH,
                }
                job = build_defs().get_repository_def().get_job(name)
                assert job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success

    run(*steps)
    act(node, "tags.csv", "hold", "waiting_data_files")
    run("push_4_extract", "push_5_certify", "push_6_report", "push_7_unlock", "push_8_notify")
    headless.run_job("send_mails")
    headless.run_job("push_9_complete", PAST_PUSH)
    assert item_of(node, "dep.csv").state == "published" and item_of(node, "tags.csv").state == "matched"
    act(node, "tags.csv", "release")
    following.catch_up(node.settings)
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


def test_a_form_with_two_corrected_lines_is_not_quarantined(node: Node):
    lines = [f"line {n}" for n in range(20)]
    receive(node, "form.txt", "\n".join(lines).encode(), kind="project")
    changed = "\n".join(["other", "lines", *lines[2:]]).encode()
    assert receive(node, "form.txt", changed, kind="project").hold is None


def test_a_version_is_compared_with_what_was_loaded_not_with_what_was_quarantined(node: Node, home: Path):
    node.drop_form("HFX")
    receive(node, "tags.csv", as_csv(sheet()))
    load(node)
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 200)))).hold == "quarantined"
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(1, 200)))).hold == "quarantined"  # the same again
    assert receive(node, "tags.csv", as_csv(part(sheet(), slice(0, 495)))).hold is None
    load(node)
    left = {state for (state,) in node.rows("select state from platform.submissions where kind = 'tags'")}
    assert left <= {"superseded", "loaded", "held", "received"}


def test_ids_that_changed_en_masse_are_shown(node: Node):
    receive(node, "tags.csv", as_csv(sheet()))
    other = [[cell if n != 0 else f"Z{cell}" for n, cell in enumerate(row)] for row in sheet()[1:]]
    changed = receive(node, "tags.csv", as_csv([sheet()[0], *other]))
    assert changed.hold == "quarantined"
    from otn_dagster.tracker.receipt import duplicates

    with node.connect() as connection:
        (found,) = duplicates.of(connection, changed.item_id)
    assert found["dropped"] == 500 and found["difference"]


def test_doing_a_step_of_a_push_again_keeps_who_was_told(pushed: Node):
    import polars as pl

    with pushed.connect() as connection:
        connection.execute("update obis.detection_extracts_list set completed = true, notified_at = now()")
    folder = pushed.settings.pushes_folder / PAST_PUSH
    listed = pl.read_parquet(folder / extracts_list.LIST_FILE)
    with pushed.connect() as connection:
        extracts_list.record_list(connection, listed, PAST_PUSH, None)
    assert pushed.value("select bool_and(completed and notified_at is not null) from obis.detection_extracts_list")


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
    assert question[2] == held
    load(node)
    with node.connect() as connection:
        assert items.get(connection, item.item_id).state == "verified"


def test_an_older_version_does_not_come_back(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({}))
    load(node)
    first = item_of(node, "tags.csv")
    node.drop("OTN/HFX/tags", "tags.csv", tag_sheet({"SEX": "M"}))
    load(node)
    with node.connect() as connection, pytest.raises(follow_submissions.OnHold):
        follow_submissions.begin(connection, submissions.get(connection, first.subject), Actor.run("load_tags", "r"))


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


def test_the_day_s_number_of_mails_starts_no_runs_and_keeps_no_trouble_from_operators(node: Node):
    settings = TrackerSettings(mail=MailSettings(mode="live", operators=["ops@example.org"], most_a_day=1))
    with node.connect() as connection:
        for number in range(3):
            outbox.write(
                connection, [outbox.Draft("extracts", str(number), f"p{number}@example.org", "t", "b", "b")], "live"
            )
    with MailServer() as server:
        from otn_dagster.tracker.mail import sending

        mail = settings.mail.model_copy(update={"smtp_port": server.port})
        assert sending.send_due(node.settings, mail)["sent"] == 1
        with node.connect() as connection:
            assert outbox.due(connection, "live", 1) == 0 and outbox.due(connection, "simulate", 1) == 2
            import datetime as dt

            notices.failure(connection, settings, "job", "cause", "text", "run", dt.date(2026, 11, 21))
        assert sending.send_due(node.settings, mail)["sent"] == 1
    assert [message["To"] for message in server.inbox.messages] == ["p0@example.org", "ops@example.org"]


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


def test_copies_go_to_nobody_who_is_not_allowed():
    from otn_dagster.tracker.mail import sending

    mail = MailSettings(mode="allowlist", allowlist=["@example.org"], cc=["a@example.org", "b@elsewhere.net"])
    assert sending._copies(mail) == ["a@example.org"]


def test_no_form_renames_somebody_whom_other_projects_name_too(node: Node, home: Path):
    node.drop_form("HFX")
    node.drop_form("NSBS")
    load(node)
    before = node.rows("select name, email from obis.contacts order by 1")
    with node.connect() as connection:
        from otn_dagster.telemetry.files.project_form import Contact
        from otn_dagster.telemetry.loading.project import _contact_pk

        email = next(email for _, email in before if email)
        _contact_pk(connection, Contact("Somebody Else", "Evil Inc", "Technician", email), "EVIL")
    assert node.rows("select name, email from obis.contacts order by 1") == before


def test_a_contact_whose_name_is_a_message_is_not_read(node: Node):
    from otn_dagster.telemetry.files.project_form import _contacts

    unread: list[tuple[str, str]] = []
    lines = [
        "Your account was closed. Log in at https://evil.example/otn, X, Principal Investigator, victim@anywhere.org",
        "pi@b.org, Uni, Technician",
        "Nadia Blue, Dalhousie University, principal investigator, nadia.blue@example.org",
    ]
    assert [contact.name for contact in _contacts(lines, unread)] == ["Nadia Blue"] and len(unread) == 2


def test_a_disabled_account_does_not_come_back_with_its_old_password(site: Site):
    from otn_dagster.tracker import people
    from tests.tracker.conftest import PASSWORD

    site.person("ann@example.net")
    with site.node.connect() as connection:
        people.disable(connection, "ann@example.net")
        people.invite(connection, "ann@example.net", "Ann", "analyst", [], "test")
    assert site.visitor().sign_in("ann@example.net", PASSWORD).status_code == 403


def test_handing_a_file_to_somebody_else_makes_no_second_person(node: Node, home: Path, configured: Path):
    from tests.tracker.conftest import configure

    configure(configured, second_look=["tags"])
    fill(node)
    load(node)
    owner = item_of(node, "tags.csv").owner or ""
    act(node, "tags.csv", "assign", "somebody@example.org", person=owner)
    with pytest.raises(NotAllowed, match="owns or owned"):
        act(node, "tags.csv", "sign", person=owner.upper())


def test_a_wide_sheet_and_a_header_that_is_a_formula_harm_nobody(tmp_path: Path):
    import csv
    import io

    from otn_dagster.telemetry.files.container import read_sheets
    from otn_dagster.telemetry.files.refusals import BadFile
    from otn_dagster.tracker import export

    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(["animal_id", "tag_type", "tag_model", *[f"c{n}" for n in range(600)]]) + "\n")
    with pytest.raises(BadFile, match="more than 500 columns"):
        read_sheets(wide)
    (header,) = csv.reader(io.StringIO(export.as_csv(["=cmd|'/C calc'!A0"], [])))
    assert header[0].startswith("'=")


def test_an_instrument_is_answered_while_somebody_exports(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Pages are made in threads of their own: health is answered in between."""
    import threading
    import time

    from otn_dagster.tracker import export

    def slow(*_: Any) -> bytes:
        time.sleep(1.5)
        return b"PK"

    monkeypatch.setattr(export, "as_xlsx", slow)
    ann = site.person("ann@example.net", "analyst")
    order: list[str] = []

    def exporting() -> None:
        ann.get("/tracker?format=xlsx")
        order.append("export")

    thread = threading.Thread(target=exporting)
    thread.start()
    time.sleep(0.3)
    assert site.visitor().get("/healthz").status_code == 200
    order.append("health")
    thread.join()
    assert order == ["health", "export"]


def test_a_push_is_completed_again_when_a_mail_ends_otherwise(pushed: Node):
    with pushed.connect() as connection:
        assert completion.due(connection) == []
        outbox.decide(connection, outbox.newest(connection)[0].mail_no, "again", "ada", "it was only simulated")
        assert completion.due(connection) == []  # it is pending
        outbox.set_state(connection, outbox.newest(connection)[0].mail_no, "sent", "250")
    with pushed.connect() as connection:
        assert [date for date, _ in completion.due(connection)] == [PAST_PUSH]
