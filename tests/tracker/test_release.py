"""Between certificate and mails a person looks at a push and releases it; it is published when its mails arrived or were waived."""

from pathlib import Path

import polars as pl
import pytest

from otn_dagster.cli.main import command
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unusable
from otn_dagster.orchestration import headless
from otn_dagster.telemetry.push import unusual
from otn_dagster.tracker import mending, release
from otn_dagster.tracker.configuration import load_tracker
from otn_dagster.tracker.follow import completion
from otn_dagster.tracker.items import Actor
from otn_dagster.tracker.mail import notices, outbox, sending
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node
from tests.support.once import Once, copied
from tests.support.sheets import fill
from tests.support.site import configure, serving
from tests.support.tracking import item_of, load


@pytest.fixture
def waiting(
    waiting_once: Once,
    server: EmbeddedServer,
    home: Path,
    configured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Node:
    """A node after a real push that nobody released yet."""
    return copied(waiting_once, server, tmp_path, monkeypatch)


def mails(node: Node) -> set[str]:
    return {state for (state,) in node.rows("select distinct state from platform.outbox where event = 'extracts'")}


def test_nothing_goes_out_before_somebody_released_it(waiting: Node):
    assert not sending.send_due(waiting.settings, load_tracker().mail).total() and mails(waiting) == {"waiting"}
    folder = waiting.settings.pushes_folder / PAST_PUSH / "extracts" / "HFX"
    name = next(path.name for path in folder.glob("*.zip"))
    extract, push = f"/tracker/pushes/{PAST_PUSH}/extracts/HFX/{name}", f"/tracker/pushes/{PAST_PUSH}"
    person = waiting.value(
        "select lower(email) from obis.contacts join obis.contacts_projects using (contact_pk) where point_of_contact"
    )
    with serving(waiting) as site:
        reader, analyst = site.person(person), site.person("ana@example.org", "analyst")
        manager = site.person("max@example.org", "manager", "OTN")
        early = reader.get(extract)
        assert early.status_code == 404 and "not released yet" in early.text
        assert "matched_detections" not in reader.get("/tracker/projects/HFX").text + reader.get(push).text
        assert manager.get(extract).status_code == 200 == analyst.get(extract).status_code
        abacus = f"{push}/reports/HFX/abacus"
        assert reader.get(abacus).status_code == 404 and manager.get(abacus).status_code == 200
        looked = analyst.get(push).text
        assert "waits for its release" in looked and "1 extract(s) of 1 project(s): 3 rows added" in looked
        assert (
            "waits for its release" not in manager.get(push).text
        )  # what all projects are told is the analysts' to see
        assert manager.post(f"{push}/release", push, reason="I looked").status_code == 403
        assert analyst.post(f"{push}/release", push, reason="").status_code == 409
        assert analyst.post(f"{push}/release", push, reason="the numbers are as in June").status_code in (200, 303)
        assert "Released by ana@example.org" in analyst.get(push).text
        assert reader.get(extract).status_code == 200
        assert name in reader.get("/tracker/projects/HFX").text
    assert mails(waiting) == {"pending"}
    assert sending.send_due(waiting.settings, load_tracker().mail)["simulated"]


def complete(node: Node) -> completion.Completed:
    with node.connect() as connection:
        return completion.complete(connection, PAST_PUSH, Actor("test"))


def test_a_push_is_published_when_its_mails_arrived_or_were_waived_by_name(waiting: Node):
    marks = "select bool_and(completed), bool_or(notified_at is not null) from obis.detection_extracts_list"
    assert complete(waiting).published == 0
    assert item_of(waiting, "tags.csv").blocker == "the push waits for its release"
    with waiting.connect() as connection:
        release.release(connection, waiting.settings, PAST_PUSH, "ada", "looked at it")
    sending.send_due(waiting.settings, load_tracker().mail)
    assert complete(waiting).published == 0 and waiting.rows(marks) == [(False, False)]
    item = item_of(waiting, "tags.csv")
    assert item.state == "extracted" and "only simulated and reached nobody" in (item.blocker or "")
    with waiting.connect() as connection:
        assert outbox.waive(connection, PAST_PUSH, "ada", "they were called") > 0
        assert outbox.waive(connection, PAST_PUSH, "ada", "they were called") == 0
    assert complete(waiting).published == 4 and waiting.rows(marks) == [(True, False)]
    assert item_of(waiting, "tags.csv").state == "published"
    said = waiting.value("select what from platform.outbox_history where state = 'given_up' limit 1")
    assert said == "give-up, says ada: they were called"


def test_the_command_shows_first_and_releases_with_a_name(waiting: Node, capsys: pytest.CaptureFixture[str]):
    for words, code in (((), 0), (("--by", "Ada"), 2), (("--by", "Ada", "--why", "as in June"), 0)):
        with pytest.raises(SystemExit) as ended:
            command(["release", PAST_PUSH, *words])
        assert int(ended.value.code or 0) == code
    said = capsys.readouterr().out
    assert "waits for its release" in said and "nothing unusual was found" in said and "mail(s) may be sent" in said
    with waiting.connect() as connection:
        done = release.of(connection, PAST_PUSH)
    assert done and (done.released_by, done.why) == ("Ada", "as in June")


def test_only_a_real_push_with_a_certificate_is_released(waiting: Node):
    with waiting.connect() as connection, pytest.raises(Unusable, match="no certificate"):
        release.release(connection, waiting.settings, NEXT_PUSH, "ada", "x")
    waiting.push(NEXT_PUSH, finish=False)
    with waiting.connect() as connection, pytest.raises(Unusable, match="rehearsal"):
        release.release(connection, waiting.settings, NEXT_PUSH, "ada", "x")


def test_a_node_may_let_pushes_go_by_themselves(node: Node, home: Path, configured: Path):
    configure(configured, release="automatic")
    node.clock("2026-10-01T00:00:00")
    fill(node)
    load(node)
    node.clock("2026-10-17T00:00:00")
    outcome = headless.push(node.settings, PAST_PUSH)
    assert outcome.good and not outcome.waits_for_release and mails(node) == {"simulated"}


def rows(**extracts: int) -> pl.DataFrame:
    """Rows of extracts, ``HFX_2024_t=12``."""
    parts = [(*name.split("_"), count) for name, count in extracts.items()]
    return pl.DataFrame(
        {
            "collectioncode": [code for code, *_ in parts],
            "year": [int(year) for _, year, *_ in parts],
            "extract_type": [letter for _, _, letter, _ in parts],
            "expected": [count for *_, count in parts],
        },
        schema_overrides={
            "collectioncode": pl.String,
            "extract_type": pl.String,
            "year": pl.Int32,
            "expected": pl.UInt32,
        },
    )


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"HFX_2024_t": 100}, {"HFX_2024_t": 90}, []),
        ({"HFX_2024_t": 100}, {"HFX_2024_t": 89}, ["its tracker extract of 2024 shrinks from 100 to 89 rows"]),
        ({"HFX_2024_u": 9}, {}, []),
        ({"HFX_2024_t": 4}, {"NSBS_2024_t": 5}, ["all 4 matches of its animals are gone"]),
        ({"HFX_2024_q": 50, "HFX_2024_u": 50}, {"HFX_2024_q": 71, "HFX_2024_u": 50}, []),
        (
            {"HFX_2024_q": 20, "HFX_2024_u": 80},
            {"HFX_2024_q": 100, "HFX_2024_u": 100},
            ["of what its receivers heard 50% are matched now, 20% at the last push"],
        ),
    ],
)
def test_what_is_unusual_is_said(before: dict[str, int], now: dict[str, int], said: list[str]):
    assert [one.text for one in unusual.find(rows(**now), rows(**before))] == said
    assert unusual.find(rows(**now), None) == []


def test_what_has_nothing_to_tell_waits_for_the_release_too(node: Node, home: Path, configured: Path):
    node.clock("2026-10-01T00:00:00")
    fill(node)
    node.drop_form("NSBS")  # a project without any extract
    load(node)
    node.clock("2026-10-17T00:00:00")
    assert headless.push(node.settings, PAST_PUSH).waits_for_release
    node.catch_up()
    assert item_of(node, "NSBS.txt").state == "extracted"
    assert node.value("select count(*) from obis.detection_extracts_list where completed") == 0
    with node.connect() as connection:
        assert completion.due(connection) == []


def test_a_waiver_before_the_release_gives_up_no_mail_that_was_never_tried(waiting: Node):
    with waiting.connect() as connection:
        assert outbox.waive(connection, PAST_PUSH, "ada", "a slip") == 0
        assert release.release(connection, waiting.settings, PAST_PUSH, "ada", "looked at it") == 2


def test_a_revision_that_was_asked_for_is_looked_at_before_the_release(waiting: Node):
    with waiting.connect() as connection:
        mending.revise(connection, waiting.settings, PAST_PUSH, "ada", "a sheet was corrected")
        with pytest.raises(Unusable, match="run the push again"):
            release.release(connection, waiting.settings, PAST_PUSH, "ben", "looked at the first")
    assert headless.push(waiting.settings, PAST_PUSH).good
    with waiting.connect() as connection:
        assert release.release(connection, waiting.settings, PAST_PUSH, "ben", "looked at the second") == 2


def test_who_has_nothing_in_a_revision_gets_no_mail_of_the_one_before(waiting: Node):
    folder = waiting.settings.pushes_folder / PAST_PUSH
    listed = pl.read_parquet(folder / "extracts_list.parquet")
    with waiting.connect() as connection:
        notices.extracts(connection, load_tracker(), PAST_PUSH, listed.clear(), folder / "nothing", False)
    assert mails(waiting) == {"given_up"}
