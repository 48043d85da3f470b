"""A list of fixes as people handle it: a second person applies it, also while loading is locked; a push goes on with it; it is taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otn_dagster import decisions
from otn_dagster.embedded import EmbeddedServer
from otn_dagster.explained import Unusable
from otn_dagster.orchestration import headless
from otn_dagster.telemetry import submissions
from otn_dagster.telemetry.push import snapshot
from otn_dagster.tracker import mending, people, questions, release
from otn_dagster.tracker.items import NotAllowed
from tests.support.fixing import H1, SHARK, network, shown
from tests.support.node import NEXT_PUSH, PAST_PUSH, Node, table_dump
from tests.support.once import Once, copied, made_once
from tests.support.sheets import tag_sheet
from tests.support.tracking import act, finish, item_of, load

ADA, BOB, MAX = "ada@example.org", "bob@example.org", "max@example.org"
FIX = f"receiver_catalognumber,correct_serial\n{H1},115\n"
RENAME = f"animal_catalognumber,correct_animal_id\n{SHARK},Hooker\n"


def _begin(node: Node) -> None:
    node.clock("2026-10-01T00:00:00")
    network(node)
    load(node)
    node.clock("2026-10-17T00:00:00")
    with node.connect() as connection:
        for email, role in ((ADA, "analyst"), (BOB, "analyst"), (MAX, "manager")):
            people.invite(connection, email, email[:3], role, ["OTN"], "test")


@pytest.fixture(scope="module")
def begun(server: EmbeddedServer) -> Iterator[Once]:
    yield from made_once(server, _begin)


@pytest.fixture
def frozen(
    begun: Once, server: EmbeddedServer, home: Path, configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Node:
    """A node whose cut-off is past: loading is locked."""
    return copied(begun, server, tmp_path, monkeypatch)


def send(node: Node, name: str, text: str, by: str | None = ADA) -> str:
    node.drop("OTN/HFX/fix", name, text.encode())
    load(node)
    with node.connect() as connection:
        key = node.value("select submission_key from platform.submissions where file_name = %s", name)
        if by:
            submissions.note_submitter(connection, submissions.get(connection, key), by)
    return key


def answer(node: Node, key: str, by: str, word: str = "accept") -> None:
    with node.connect() as connection:
        number = next(one.number for one in decisions.open_questions(connection) if one.subject == key)
        questions.decide(connection, node.config.tracker, number, word, by, "it is so")


def rows_of(node: Node) -> dict[str, list[tuple]]:
    return table_dump(node, "obis.otn_animals", "obis.moorings", "obis.otn_detections")


def test_two_people_fix_a_push_under_way_and_its_second_revision_goes_on(frozen: Node):
    assert headless.push(frozen.settings, PAST_PUSH).good
    frozen.rows("update platform.push_cutoffs set finished_at = null where push_date = %s returning 1", PAST_PUSH)
    first = snapshot.read(frozen.settings, PAST_PUSH)
    before = rows_of(frozen)
    key = send(frozen, "fix.csv", FIX)
    item = item_of(frozen, "fix.csv")
    assert (item.state, item.hold) == ("received", "second_person") and rows_of(frozen) == before
    assert any("detection(s) change" in line for line in shown(frozen, key))
    assert frozen.rows("select 1 from platform.outbox where event = 'needs_researcher'") == []
    with pytest.raises(NotAllowed, match=r"ada@example\.org asked for it; another person"):
        act(frozen, "fix.csv", "answer", "accept", ADA)
    act(frozen, "fix.csv", "answer", "accept", BOB)
    load(frozen)
    assert item_of(frozen, "fix.csv").state == "verified" and rows_of(frozen) != before
    with frozen.connect() as connection:
        with pytest.raises(Unusable, match="was let into the push"):
            release.release(connection, frozen.settings, PAST_PUSH, ADA, "looked")
        found = mending.of(connection, frozen.settings, PAST_PUSH)
        assert found and [one.submission_key for one in found.missing] == [key] and not found.is_asked
        assert mending.not_made(connection, frozen.settings) == []
        assert mending.revise(connection, frozen.settings, PAST_PUSH, BOB, "the serial was wrong") == 2
        assert mending.not_made(connection, frozen.settings) == [(PAST_PUSH, 2)]
    outcome = headless.push(frozen.settings, PAST_PUSH)
    assert outcome.good, outcome.error
    second = snapshot.read(frozen.settings, PAST_PUSH)
    assert second.revision == 2 and second.manifest["revisions"][0]["why"] == "the serial was wrong"
    name = H1.replace("111", "115")
    assert [name in one.table("deployments")["rcvrcatnumber"] for one in (first_of(frozen), second)] == [False, True]
    assert first.revision == 1
    with frozen.connect() as connection:
        found = mending.of(connection, frozen.settings, PAST_PUSH)
        assert found and not found.missing and mending.not_made(connection, frozen.settings) == []
    finish(frozen, PAST_PUSH)
    assert item_of(frozen, "fix.csv").state == "published"


def first_of(node: Node) -> snapshot.Snapshot:
    import json

    folder = snapshot.push_folder(node.settings, PAST_PUSH) / "snapshot.1"
    return snapshot.Snapshot(folder, json.loads((folder / snapshot.MANIFEST).read_text()))


def test_a_manager_s_word_waits_for_the_push_to_end_and_a_list_that_nobody_sent_needs_two(frozen: Node):
    before = rows_of(frozen)
    key = send(frozen, "fix.csv", FIX, by=None)
    answer(frozen, key, MAX)
    assert item_of(frozen, "fix.csv").hold == "second_person"
    with pytest.raises(NotAllowed, match=r"max@example\.org asked for it"):
        answer(frozen, key, MAX)
    with frozen.connect() as connection:
        people.invite(connection, "eve@example.org", "Eve", "manager", ["OTN"], "test")
    answer(frozen, key, "eve@example.org")
    load(frozen)
    assert item_of(frozen, "fix.csv").hold == "push_freeze" and rows_of(frozen) == before
    frozen.rows(
        "update platform.push_cutoffs set finished_at = platform.now() where push_date = %s returning 1", PAST_PUSH
    )
    load(frozen)
    assert item_of(frozen, "fix.csv").state == "verified" and rows_of(frozen) != before


def test_what_came_after_the_cut_off_and_was_not_let_in_stays_as_it_was(frozen: Node):
    """Two lists were applied once loading was open again; the next revision has the one that was let in."""
    assert headless.push(frozen.settings, PAST_PUSH).good
    first = snapshot.read(frozen.settings, PAST_PUSH).table("tags")
    keys = []
    for name, text in (("fix.csv", FIX), ("rename.csv", RENAME)):
        keys.append(send(frozen, name, text))
        answer(frozen, keys[-1], BOB)
        load(frozen)
    assert {item_of(frozen, name).state for name in ("fix.csv", "rename.csv")} == {"verified"}
    with frozen.connect() as connection:
        mending.admit(connection, keys[0], BOB, "it needs that")
        mending.revise(connection, frozen.settings, PAST_PUSH, BOB, "the serial")
    outcome = headless.push(frozen.settings, PAST_PUSH)
    assert outcome.good, outcome.error
    second = snapshot.read(frozen.settings, PAST_PUSH)
    assert second.table("tags").equals(first) and SHARK in second.table("animals")["catalognumber"]
    assert H1.replace("111", "115") in second.table("deployments")["rcvrcatnumber"]


def test_two_people_take_it_back(frozen: Node):
    frozen.rows(
        "update platform.push_cutoffs set finished_at = platform.now() where push_date = %s returning 1", PAST_PUSH
    )
    before = rows_of(frozen)
    key = send(frozen, "fix.csv", RENAME)
    answer(frozen, key, BOB)
    load(frozen)
    assert rows_of(frozen) != before
    act(frozen, "fix.csv", "withdraw", person=ADA)
    assert rows_of(frozen) != before
    act(frozen, "fix.csv", "withdraw", person=BOB)
    assert rows_of(frozen) == before and item_of(frozen, "fix.csv").state == "withdrawn"
    assert frozen.value("select state from platform.submissions where submission_key = %s", key) == "undone"
    load(frozen)
    assert rows_of(frozen) == before


def test_a_rejected_list_changes_nothing(frozen: Node):
    before = rows_of(frozen)
    key = send(frozen, "fix.csv", FIX)
    answer(frozen, key, MAX, "reject")
    load(frozen)
    assert frozen.value("select state from platform.submissions where submission_key = %s", key) == "refused"
    assert rows_of(frozen) == before


@pytest.mark.parametrize("late", ["a list of fixes", "a sheet"])
def test_what_speaks_of_the_same_rows_is_let_in_together_or_not_at_all(frozen: Node, late: str):
    assert headless.push(frozen.settings, PAST_PUSH).good
    if late == "a sheet":
        other = "more.csv"
        tags = (("100", "1"), ("101", "2"))
        rows = [{"TAG_ID_CODE": code, "TAG_SERIAL_NUMBER": serial, "LENGTH (m)": 1.7} for code, serial in tags]
        frozen.drop("OTN/HFX/tags", other, tag_sheet(*rows))
        load(frozen)
    else:
        other = "one.csv"
        answer(frozen, send(frozen, other, RENAME), BOB)
        load(frozen)
    second = f"animal_catalognumber,correct_animal_id\n{'HFX-Hooker' if other == 'one.csv' else SHARK},Zed\n"
    key = send(frozen, "two.csv", second)
    answer(frozen, key, BOB)
    load(frozen)
    assert item_of(frozen, "two.csv").state == "verified"
    with frozen.connect() as connection:
        mending.admit(connection, key, BOB, "it needs that")
        with pytest.raises(Unusable, match=r"two\.csv.* and .*" + other.replace(".", r"\.") + ".* speak both of HFX-"):
            mending.revise(connection, frozen.settings, PAST_PUSH, BOB, "the name")
        newest = frozen.value(
            "select max(submission_key) from platform.submissions where file_name = %s and state = 'loaded'", other
        )
        mending.admit(connection, newest, BOB, "that, too")
        mending.revise(connection, frozen.settings, PAST_PUSH, BOB, "the name")
    outcome = headless.push(frozen.settings, PAST_PUSH)
    assert outcome.good, outcome.error
    assert "HFX-Zed" in snapshot.read(frozen.settings, PAST_PUSH).table("animals")["catalognumber"]


def test_what_a_waiting_push_has_is_not_taken_back(frozen: Node):
    frozen.rows(
        "update platform.push_cutoffs set finished_at = platform.now() where push_date = %s returning 1", PAST_PUSH
    )
    answer(frozen, send(frozen, "fix.csv", RENAME), BOB)
    load(frozen)
    frozen.clock("2027-02-20T00:00:00")
    assert headless.push(frozen.settings, NEXT_PUSH).good
    with pytest.raises(NotAllowed, match=f"the push of {NEXT_PUSH} has it and is not released"):
        act(frozen, "fix.csv", "withdraw", person=ADA)
    finish(frozen, NEXT_PUSH)
    for person in (ADA, BOB):
        act(frozen, "fix.csv", "withdraw", person=person)
    assert item_of(frozen, "fix.csv").state == "withdrawn"


def test_an_applied_list_is_neither_reopened_nor_rejected_and_a_rejected_one_is_reconsidered(frozen: Node):
    frozen.rows(
        "update platform.push_cutoffs set finished_at = platform.now() where push_date = %s returning 1", PAST_PUSH
    )
    key = send(frozen, "fix.csv", FIX)
    act(frozen, "fix.csv", "reject")
    act(frozen, "fix.csv", "reconsider")
    load(frozen)
    answer(frozen, key, BOB)
    load(frozen)
    for action, says in (("reopen", "withdraw it, which takes it back"), ("reject", "it is applied")):
        with pytest.raises(NotAllowed, match=says):
            act(frozen, "fix.csv", action)
    assert item_of(frozen, "fix.csv").state == "verified"


def test_a_list_that_nobody_accepted_gives_way_to_the_next_of_its_name(frozen: Node):
    first, second = send(frozen, "fix.csv", FIX), send(frozen, "fix.csv", FIX.replace(",115", ",116"), by=None)
    states = dict(frozen.rows("select submission_key, state from platform.submissions where kind = 'fix'"))
    newest = next(key for key in states if key != first)
    assert states == {first: "superseded", newest: "held"} and second in states
    assert len(frozen.rows("select 1 from platform.decisions where decision is null and topic = 'fix'")) == 1
