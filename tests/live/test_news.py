"""When a run for a dataset is due."""

import itertools

from otn_dagster.live import news


def test_a_run_at_once_then_pauses_that_grow_although_pushes_go_on():
    tried, now, keys = {}, 1000.0, []
    for second in range(4000):
        starts, tried = news.starts({"ctd": (0, 5 + second, 0)}, tried, [], now + second)
        keys += [(second, start.run_key) for start in starts]
    seconds = [second for second, _ in keys]
    pauses = [b - a for a, b in itertools.pairwise(seconds)]
    assert seconds[0] == 0 and pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]
    assert len({key for _, key in keys}) == len(keys)


def test_a_run_that_got_on_is_followed_at_once():
    starts, tried = news.starts({"ctd": (0, 5, 0)}, {}, [], 0)
    assert len(starts) == 1
    assert news.starts({"ctd": (0, 5, 0)}, tried, [], 1)[0] == []
    assert len(news.starts({"ctd": (5, 6, 0)}, tried, [], 1)[0]) == 1
    assert len(news.starts({"ctd": (0, 5, 1)}, tried, [], 1)[0]) == 1
    assert news.starts({}, tried, [], 1) == ([], {})


def test_a_run_under_way_is_waited_for():
    assert news.starts({"ctd": (0, 5, 0), "adcp": (0, 1, 0)}, {}, ["ctd"], 0)[0][0].dataset == "adcp"


def test_what_is_remembered_survives_and_rubbish_does_not_stop_it():
    _, tried = news.starts({"ctd": (0, 5, 0)}, {}, [], 0)
    assert news.read_cursor(news.write_cursor(tried)) == tried
    assert news.read_cursor("rubbish") == news.read_cursor(None) == {}
