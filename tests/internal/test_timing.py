"""Things are timed in turns, in no fixed order."""

from __future__ import annotations

from itertools import pairwise

from facekeep._internal.timing import in_turns


def test_each_is_timed_in_each_turn_and_comes_after_every_other():
    seen: list[str] = []
    times = in_turns({name: lambda name=name: seen.append(name) for name in "abc"}, 40, warm_up=2)
    turns = [seen[at : at + 3] for at in range(0, len(seen), 3)]
    assert len(turns) == 42
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert {len(each) for each in times.values()} == {40}, "warming up is not timed"
    assert min(min(each) for each in times.values()) > 0
    followed = set(pairwise(seen))
    assert followed >= {(one, two) for one in "abc" for two in "abc"}, "not always the same one"
