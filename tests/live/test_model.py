"""Pushes, deletes, replacements and replays against a plain dictionary, as of every push."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.effort import times
from tests.support.livenode import LiveNode
from tests.support.model import Driven

ITEM = st.fixed_dictionaries({"k": st.sampled_from("abcd"), "v": st.none() | st.integers(0, 3)})
PUSH = st.tuples(st.just("push"), st.lists(ITEM, min_size=1, max_size=4))
DELETE = st.tuples(st.just("delete"), st.lists(st.sampled_from("abcd"), min_size=1, max_size=3))
REPLACE = st.tuples(st.just("replace"), st.lists(ITEM, max_size=4))
OTHER = st.tuples(st.sampled_from(["apply", "replay", "crash", "again"]), st.just([]))


@settings(
    max_examples=times(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(PUSH | DELETE | REPLACE | OTHER, max_size=9))
def test_the_table_is_what_a_dictionary_would_be(live: LiveNode, steps: list[tuple[str, list[Any]]]):
    driven = Driven(live)
    for step in steps:
        driven.step(*step)
    driven.check()
    first = live.rows(f'select * from live_store."{driven.name}" order by 1, 2')
    difference = live.replay(driven.name, dry_run=False)
    assert (difference.added, difference.removed, difference.changed) == (0, 0, 0)
    assert live.rows(f'select * from live_store."{driven.name}" order by 1, 2') == first
    driven.check()
