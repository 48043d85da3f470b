"""What loading's outcome means for an item: the rule as a table, against what people would expect of each situation."""

import datetime as dt

import pytest

from otn_dagster import decisions
from otn_dagster.tracker import acting, items, questions
from otn_dagster.tracker.acting import Action
from otn_dagster.tracker.configuration import TrackerSettings
from otn_dagster.tracker.flows import Blocker
from otn_dagster.tracker.follow.deciding import (
    Assign,
    Checked,
    Describe,
    Hold,
    Move,
    Release,
    Situation,
    Step,
    TakeBack,
    decide,
)
from tests.support.node import Node
from tests.support.tracking import as_csv, part, receive, sheet

PUSH = dt.date(2027, 2, 18)
USUAL = dict(title="tags.csv", kind="tags", reason=None, run="run 1", owner="ada@example.org", next_push=PUSH)


def steps(loading: str, state: str, **more: object) -> list[Step]:
    return decide(Situation(**{**USUAL, "loading": loading, "state": state, **more}))  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["verified", "matched", "extracted", "published"])
@pytest.mark.parametrize("loading", ["received", "waiting", "held", "refused", "loaded"])
def test_what_is_verified_is_not_moved_by_loading(loading: str, state: str):
    assert steps(loading, state) == []


@pytest.mark.parametrize("state", ["rejected", "withdrawn", "superseded"])
def test_a_step_on_what_has_ended_is_taken_back(state: str):
    assert steps("loaded", state) == []
    assert [type(step) for step in steps("loaded", state, step_done=True)] == [TakeBack]


@pytest.mark.parametrize("state", ["received", "loading", "verified", "published"])
def test_a_newer_version_supersedes_in_every_state(state: str):
    assert steps("superseded", state, superseded_by="key 2") == [Move("superseded", {"by": "key 2"})]


def test_waiting_is_a_hold_that_says_for_what():
    assert steps("waiting", "received", reason="no form yet") == [Hold("waiting_metadata", "no form yet")]
    assert steps("waiting", "loading", frozen=True) == [Hold("push_freeze", "waits for the push to end")]
    assert steps("waiting", "loading", step_done=True) == []  # it is about to go on


@pytest.mark.parametrize("loading", ["held", "refused"])
def test_what_a_person_must_see_began_to_load_and_is_held(loading: str):
    assert steps(loading, "received", reason="why") == [
        Move("loading", {"run": "run 1"}),
        Hold("needs_researcher", "why"),
    ]
    assert steps(loading, "received", reason="why", hold="waiting_metadata") == [Hold("needs_researcher", "why")]


def test_what_is_loaded_is_verified_when_every_check_was_seen():
    moved, described = steps("loaded", "loading", checked=Checked(counts={"passed": 3}), evidence={"rows": {"raw": 1}})
    assert moved == Move("verified", {"rows": {"raw": 1}, "checks": {"passed": 3}}, 0, PUSH)
    assert isinstance(described, Describe) and described.blocker is Blocker.NEXT_PUSH and str(PUSH) in described.says


@pytest.mark.parametrize(
    ("checked", "more", "blocker"),
    [
        (Checked(missing=("T1_sheet_format",)), {}, Blocker.CHECKS_MISSING),
        (Checked(failed=("D9_every_row",)), {}, Blocker.CHECKS_FAILED),
        (Checked(missing=("T1",), failed=("D9",)), {"second_look": True}, Blocker.CHECKS_MISSING),
        (Checked(), {"second_look": True}, Blocker.SECOND_LOOK),
    ],
)
def test_what_keeps_it_from_being_verified_is_said(checked: Checked, more: dict, blocker: Blocker):
    (only,) = steps("loaded", "loading", checked=checked, **more)
    assert isinstance(only, Describe) and only.blocker is blocker


def test_a_second_look_that_was_signed_is_part_of_the_step():
    moved = steps("loaded", "loading", second_look=True, signed=True)[0]
    assert isinstance(moved, Move) and moved.people == 1


def test_loaded_after_a_wait_is_released_first_but_never_what_a_person_holds():
    assert steps("loaded", "received", hold="waiting_metadata")[:2] == [
        Release("it is loaded"),
        Move("loading", {"run": "run 1"}),
    ]
    for more in ({"hold": "needs_researcher", "hold_by_person": True}, {"hold": "quarantined"}):
        assert not any(isinstance(step, Release) for step in steps("loaded", "received", **more))


def test_somebody_speaks_for_it_as_soon_as_there_is_anybody():
    assert steps("received", "received", owner=None, contact="ada@example.org") == [Assign("ada@example.org")]
    assert steps("received", "received", owner=None, contact=None) == []


@pytest.mark.parametrize("where", ["command line", "page"])
@pytest.mark.parametrize(("answer", "state"), [("accept", "received"), ("reject", "rejected")])
def test_a_quarantined_version_is_a_question_with_an_answer(node: Node, answer: str, state: str, where: str):
    node.drop_form("HFX")
    receive(node, "a.csv", as_csv(sheet()))
    node.load()
    item = receive(node, "a.csv", as_csv(part(sheet(), slice(300))))
    assert item.hold == "quarantined"
    with node.connect() as connection:
        (asked,) = decisions.open_questions(connection)
        assert asked.topic == "quarantine" and asked.subject == item.subject
        why = "the season's last recoveries"
        if where == "page":
            acting.act(connection, TrackerSettings(), item.item_id, Action.ANSWER, "ada", why, answer)
        else:
            questions.decide(connection, TrackerSettings(), asked.number, answer, "ada", why)
    with node.connect() as connection:
        now = items.get(connection, item.item_id)
        assert (now.state, now.hold) == (state, None) and decisions.open_questions(connection) == []
