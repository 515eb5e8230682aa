from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facekeep.lab.compress.report import find_pareto_front


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30).map(
        lambda pairs: ([float(a) for a, _ in pairs], [float(b) for _, b in pairs])
    )
)
def test_the_front_is_what_none_beats(pairs: tuple[list[float], list[float]]) -> None:
    costs, values = pairs
    chosen = find_pareto_front(costs, values)
    for place in chosen:
        assert not any(
            (c <= costs[place] and v > values[place]) or (c < costs[place] and v >= values[place])
            for c, v in zip(costs, values, strict=True)
        )
    for cost, value in zip(costs, values, strict=True):
        assert any(costs[p] <= cost and values[p] >= value for p in chosen)
    assert [costs[p] for p in chosen] == sorted(costs[p] for p in chosen)
