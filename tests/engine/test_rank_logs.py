"""Logs in arrays say what the entries say that they were made from."""

import random

from hypothesis import given, strategies as st

from rackmodel.engine.rank_logs import KINDS, RankLog
from rackmodel.engine.ranks import Logged


@given(st.integers(0, 10_000))
def test_a_log_in_arrays_reads_like_the_list(seed):
    rnd = random.Random(seed)
    log = [
        Logged(
            rnd.choice(KINDS[:-1]),
            rnd.randrange(9),
            rnd.randrange(4),
            rnd.choice([0.0, 0.5, rnd.random()]),
            rnd.random(),
            rnd.random(),
            rnd.choice(["", "tp", "dp"]),
        )
        for _ in range(rnd.randrange(12))
    ]
    arrays = RankLog.of(log)
    assert list(arrays) == log
    assert list(arrays.in_order()) == sorted(log, key=lambda e: (e.start_s, e.item, e.place))
    assert RankLog.of(arrays) is arrays
