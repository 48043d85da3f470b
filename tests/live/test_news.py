"""When a run for a dataset is due."""

import itertools

from otn_dagster.live import news


def test_a_run_at_once_then_pauses_that_grow_and_never_two_at_once():
    due, tried, now, keys = {"ctd": (5, 0)}, {}, 1000.0, []
    for second in range(4000):
        starts, tried = news.starts(due, tried, [], now + second)
        keys += [(second, start.run_key) for start in starts]
    seconds = [second for second, _ in keys]
    pauses = [b - a for a, b in itertools.pairwise(seconds)]
    assert seconds[0] == 0 and pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]
    assert len({key for _, key in keys}) == len(keys)


def test_something_new_is_started_at_once():
    starts, tried = news.starts({"ctd": (5, 0)}, {}, [], 0)
    assert len(starts) == 1
    assert news.starts({"ctd": (5, 0)}, tried, [], 1)[0] == []
    assert len(news.starts({"ctd": (6, 0)}, tried, [], 1)[0]) == 1
    assert len(news.starts({"ctd": (5, 1)}, tried, [], 1)[0]) == 1


def test_a_run_under_way_is_waited_for():
    assert news.starts({"ctd": (5, 0), "adcp": (1, 0)}, {}, ["ctd"], 0)[0][0].dataset == "adcp"


def test_what_is_remembered_survives_and_rubbish_does_not_stop_it():
    _, tried = news.starts({"ctd": (5, 0)}, {}, [], 0)
    assert news.read_cursor(news.write_cursor(tried)) == tried
    assert news.read_cursor("rubbish") == news.read_cursor(None) == {}
