"""``equivalent`` is an equivalence relation, blind to ``o -> c*o + d`` and to nothing else."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.encoding import IntervalEncoding, equivalent
from fleet.encoding.orders import reverse

LENGTHS = st.integers(1, 400).map(lambda n: n / 20)


@st.composite
def encodings(draw: st.DrawFn) -> IntervalEncoding:
    k = draw(st.integers(2, 7))

    def one_or_many(values: st.SearchStrategy[float]) -> float | tuple[float, ...]:
        return draw(st.one_of(values, st.tuples(*[values] * k)))

    return IntervalEncoding(
        k,
        alpha=one_or_many(LENGTHS),
        beta=one_or_many(st.one_of(st.just(0.0), LENGTHS)),
        s0=draw(st.integers(-100, 100)) / 10,
        order=draw(st.one_of(st.none(), st.permutations(range(k)).map(tuple))),
    )


def by_class(value: float | tuple[float, ...], k: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * k


def affine(encoding: IntervalEncoding, c: float, d: float) -> IntervalEncoding:
    """The encoding whose intervals are those of ``encoding`` under ``o -> c*o + d``."""
    k, size = encoding.num_classes, abs(c)
    alphas, betas = by_class(encoding.alpha, k), by_class(encoding.beta, k)
    order = encoding.slots
    s0 = c * encoding.span[0] + d
    if c < 0:
        # a class's gap is the one above it, which was the one below: its neighbour's
        alphas = tuple(alphas[encoding.class_at(max(order[y] - 1, 0))] for y in range(k))
        order, s0 = reverse(order), c * encoding.span[1] + d
    scaled = tuple(size * a for a in alphas), tuple(size * b for b in betas)
    return IntervalEncoding(k, *scaled, s0, order)


SCALES = st.one_of(st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))


@settings(deadline=None)
@given(encodings(), SCALES, st.floats(-10, 10))
def test_an_affine_map_of_the_line_gives_an_equivalent_encoding(
    encoding: IntervalEncoding, c: float, pitches: float
) -> None:
    moved = affine(encoding, c, pitches * c * encoding.pitch)
    for y in range(encoding.num_classes):  # the map is what it says
        ends = sorted(
            c * (e(y) + pitches * encoding.pitch) for e in (encoding.lower, encoding.upper)
        )
        tolerance = 1e-9 * abs(c) * (abs(encoding.span[0]) + abs(encoding.span[1]) + 1)
        assert abs(moved.lower(y) - ends[0]) < tolerance
        assert abs(moved.upper(y) - ends[1]) < tolerance
    assert equivalent(encoding, moved)
    assert equivalent(moved, encoding)


@settings(deadline=None)
@given(st.lists(encodings(), min_size=2, max_size=4), st.lists(SCALES, min_size=3, max_size=3))
def test_equivalent_is_reflexive_symmetric_and_transitive(
    drawn: list[IntervalEncoding], scales: list[float]
) -> None:
    family = [*drawn, *(affine(drawn[0], c, 0.0) for c in scales)]
    for a, b in product(family, repeat=2):
        assert equivalent(a, a)
        assert equivalent(a, b) == equivalent(b, a)
    for a, b, c in product(family, repeat=3):
        if equivalent(a, b) and equivalent(b, c):
            assert equivalent(a, c)


@given(LENGTHS, st.lists(st.integers(-30, 30), min_size=3, max_size=3))
def test_equivalence_stays_transitive_among_lengths_that_nearly_agree(
    beta: float, steps: list[int]
) -> None:
    a, b, c = (IntervalEncoding(4, 1.0, beta * (1 + step * 1e-7)) for step in steps)
    if equivalent(a, b) and equivalent(b, c):
        assert equivalent(a, c)


@given(st.integers(2, 7).flatmap(lambda k: st.tuples(*[st.permutations(range(k))] * 2)))
def test_only_the_same_order_or_its_reverse_is_equivalent(orders: tuple[list[int], ...]) -> None:
    a, b = map(tuple, orders)
    same = IntervalEncoding(len(a), order=a), IntervalEncoding(len(b), order=b)
    assert equivalent(*same) == (a in (b, reverse(b)))
