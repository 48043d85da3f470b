"""The state machine: no sequence of moves, crashes and retries reaches a state without its evidence or loses a line of history."""

import itertools
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otn_dagster.tracker import flows, items
from otn_dagster.tracker.items import Actor, NotAllowed
from tests.support.effort import times
from tests.support.node import Node

RUN, ADA, BOB = Actor.run("load_tags", "run-1"), Actor.person("ada@example.org"), Actor.person("bob@example.org")
EVIDENCE: dict[str, Any] = {
    name: f"the {name}"
    for name in [
        "file",
        "run",
        "rows",
        "checks",
        "push",
        "snapshot",
        "detections",
        "certificate",
        "extracts",
        "summaries",
        "mails",
        "reason",
        "affected",
        "by",
    ]
}
# Said here once more, by hand: what must have happened before, and what must be known, for a state to be believed.
BEFORE = {
    "loading": {"received", "verified", "matched"},
    "verified": {"loading", "matched"},
    "matched": {"verified"},
    "extracted": {"matched"},
    "published": {"extracted"},
    "rejected": {"received", "loading"},
    "received": {"rejected"},
    "superseded": {"received", "loading", "verified", "matched", "extracted", "published"},
    "withdrawn": {"verified", "matched", "extracted", "published"},
}
KNOWN = {
    "received": {"file"},
    "verified": {"rows", "checks"},
    "matched": {"push", "snapshot", "detections"},
    "extracted": {"push", "certificate", "extracts"},
    "published": {"push", "summaries", "mails"},
    "superseded": {"by"},
}
BY_PERSON = {"rejected", "withdrawn"}
_subjects = itertools.count()


def new_item(node: Node, **more: Any) -> int:
    with node.connect() as connection:
        item, is_new = items.register(
            connection,
            flows.SUBMISSION,
            f"subject {next(_subjects)}",
            state="received",
            title="tags.csv",
            kind="tags",
            actor=RUN,
            evidence=EVIDENCE,
            node="OTN",
            collectioncode="HFX",
            **more,
        )
    assert is_new
    return item.item_id


def freeze(node: Node, on: bool) -> None:
    with node.connect() as connection:
        connection.execute("delete from platform.push_cutoffs")
        if on:
            connection.execute(
                "insert into platform.push_cutoffs (push_date, node, cutoff) values ('2026-10-15', 'OTN', now() - interval '1 hour')"
            )


class Life(RuleBasedStateMachine):
    """An item, and what everybody did to it."""

    node: Node

    def __init__(self) -> None:
        super().__init__()
        self.item_id = new_item(self.node)
        self.lines: list[tuple[str, str | None, str | None]] = [("move", "received", None)]
        self.frozen = False
        self.signed: set[str] = set()

    @initialize()
    def open_loading(self) -> None:
        freeze(self.node, False)

    def _history(self) -> list[items.Line]:
        with self.node.connect() as connection:
            return items.history(connection, self.item_id)

    def _try(self, step: Any, crash: bool) -> None:
        """Take a step in a transaction; with a crash, it never happened."""
        before = self._history()
        try:
            with self.node.connect() as connection:
                step(connection)
                if crash:
                    raise KeyboardInterrupt
        except (NotAllowed, KeyboardInterrupt):
            assert self._history() == before
            return
        after = self._history()
        assert after[: len(before)] == before and len(after) <= len(before) + 2  # a hold ends with what was held
        self.lines += [(line.what, line.to_state, line.hold) for line in after[len(before) :]]

    @rule(
        to=st.sampled_from(sorted(BEFORE)),
        actor=st.sampled_from([RUN, ADA, BOB]),
        lacks=st.sampled_from([None, *sorted(EVIDENCE)]),
        crash=st.booleans(),
    )
    def move(self, to: str, actor: Actor, lacks: str | None, crash: bool) -> None:
        evidence = {name: value for name, value in EVIDENCE.items() if name != lacks}
        self._try(lambda connection: items.move(connection, self.item_id, to, actor, evidence), crash)

    @rule(crash=st.booleans(), lacks=st.booleans(), which=st.integers(0, 5))
    def go_on(self, crash: bool, lacks: bool, which: int) -> None:
        """The step that the next run would take, so that long lives are reached, too; sometimes without its evidence."""
        good = ["received", "loading", "verified", "matched", "extracted", "published"]
        state = self._state()
        if state in good[:-1]:
            to = good[good.index(state) + 1]
            known = sorted(KNOWN.get(to, {"run"}))
            missing = known[which % len(known)] if lacks else None
            evidence = {name: value for name, value in EVIDENCE.items() if name != missing}
            self._try(lambda connection: items.move(connection, self.item_id, to, RUN, evidence), crash)

    @rule(to=st.sampled_from(["withdrawn", "rejected"]), actor=st.sampled_from([ADA, BOB]))
    def end(self, to: str, actor: Actor) -> None:
        self._try(lambda connection: items.move(connection, self.item_id, to, actor, EVIDENCE), False)

    @rule()
    def the_same_run_again(self) -> None:
        state, before = self._state(), self._history()
        with self.node.connect() as connection:
            items.move(connection, self.item_id, state, RUN, EVIDENCE)
        assert self._history() == before

    @rule(what=st.sampled_from(sorted(flows.HOLDS)), actor=st.sampled_from([RUN, ADA]), crash=st.booleans())
    def hold(self, what: str, actor: Actor, crash: bool) -> None:
        self._try(lambda connection: items.hold(connection, self.item_id, what, actor, "because"), crash)

    @rule(actor=st.sampled_from([RUN, BOB]), crash=st.booleans())
    def release(self, actor: Actor, crash: bool) -> None:
        self._try(lambda connection: items.release(connection, self.item_id, actor, "because"), crash)

    @rule(on=st.booleans())
    def cut_off(self, on: bool) -> None:
        self.frozen = on
        freeze(self.node, on)

    def _state(self) -> str:
        return [to for what, to, _ in self.lines if what == "move"][-1] or ""

    @invariant()
    def the_item_is_what_its_history_says(self) -> None:
        lines = self._history()
        assert [(line.what, line.to_state, line.hold) for line in lines] == self.lines
        assert [line.version for line in lines] == list(range(1, len(lines) + 1))
        with self.node.connect() as connection:
            item = items.get(connection, self.item_id)
        holds = [hold for what, _, hold in self.lines if what in ("hold", "release")]
        assert (item.state, item.hold, item.version) == (self._state(), holds[-1] if holds else None, len(lines))

    @invariant()
    def every_state_was_come_by_honestly(self) -> None:
        held = None
        signers: set[str] = set()
        for line in self._history():
            if line.what in ("hold", "release"):
                held = line.hold
            if line.what == "sign":
                signers.add(line.actor)
            if line.what != "move":
                continue
            to = str(line.to_state)
            assert line.version == 1 or line.from_state in BEFORE[to]
            back = (line.from_state, to) in {("matched", "verified"), ("rejected", "received")}
            known = {"reason"} if back else KNOWN.get(to, set())
            assert all(line.evidence.get(name) for name in known)
            if to in BY_PERSON or (to, line.from_state) in {
                ("loading", "verified"),
                ("loading", "matched"),
                ("received", "rejected"),
            }:
                assert line.actor_kind == "person" and line.evidence["reason"]
            if to == "withdrawn":
                assert signers - {line.actor}, "two people"
            assert not held or to in ("rejected", "superseded", "withdrawn"), (held, to)
            signers = set()


def test_no_sequence_reaches_a_state_without_its_evidence_or_loses_a_line(node: Node):
    class OnThisNode(Life):
        pass

    OnThisNode.node = node
    OnThisNode.TestCase.settings = settings(
        max_examples=times(20), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    OnThisNode.TestCase("runTest").runTest()


def test_loading_does_not_move_while_a_push_has_frozen_its_node(node: Node):
    item = new_item(node)
    freeze(node, True)
    with pytest.raises(NotAllowed, match="frozen for the push of 2026-10-15"), node.connect() as connection:
        items.move(connection, item, "loading", RUN, EVIDENCE)
    freeze(node, False)
    with node.connect() as connection:
        assert items.move(connection, item, "loading", RUN, EVIDENCE).state == "loading"


def test_the_database_itself_refuses_what_is_not_in_the_history(node: Node):
    item = new_item(node)
    for statement in (
        "update platform.tracker_items set state = 'published' where item_id = %s",
        "update platform.tracker_items set hold = 'quarantined' where item_id = %s",
        "update platform.tracker_items set version = 7 where item_id = %s",
        "update platform.tracker_history set note = 'nothing happened' where item_id = %s",
        "delete from platform.tracker_history where item_id = %s",
        "delete from platform.tracker_items where item_id = %s",
        "insert into platform.tracker_history (item_id, version, what, to_state, actor, actor_kind)"
        " values (%s, 2, 'move', 'published', 'x', 'run')",
    ):
        with pytest.raises(psycopg.errors.RaiseException), node.connect() as connection:
            connection.execute(statement, [item])
    with pytest.raises(psycopg.Error), node.connect() as connection:
        connection.execute("truncate platform.tracker_history cascade")


def test_two_who_move_at_once_make_one_line(node: Node):
    import threading

    item, errors = new_item(node), []

    def go() -> None:
        try:
            with node.connect() as connection:
                items.move(connection, item, "loading", RUN, EVIDENCE)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with node.connect() as connection:
        assert [line.to_state for line in items.history(connection, item)] == ["received", "loading"]
    assert not errors


def test_a_form_that_was_looked_at_too_early_is_refused(node: Node):
    item = new_item(node)
    with node.connect() as connection:
        items.hold(connection, item, "waiting_metadata", ADA, "a sheet is missing")
    with pytest.raises(NotAllowed, match="changed since you looked"), node.connect() as connection:
        items.move(connection, item, "rejected", BOB, EVIDENCE, expected_version=1)


def test_who_owns_a_dataset_does_not_look_at_it_twice(node: Node):
    item = new_item(node, owner=ADA.name)
    with node.connect() as connection:
        items.move(connection, item, "loading", RUN, EVIDENCE)
    with pytest.raises(NotAllowed, match="by a person only"), node.connect() as connection:
        items.move(connection, item, "verified", RUN, EVIDENCE, people=1)
    with pytest.raises(NotAllowed, match="another person's"), node.connect() as connection:
        items.sign(connection, item, "verified", ADA, "looks good to me")
    with node.connect() as connection:
        items.sign(connection, item, "verified", BOB, "looked at it")
        moved = items.move(connection, item, "verified", RUN, EVIDENCE, people=1)
    with node.connect() as connection:
        assert moved.state == "verified"
        assert items.history(connection, item)[-1].evidence["signed by"] == [BOB.name]
