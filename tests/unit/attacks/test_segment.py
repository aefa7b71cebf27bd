"""The segment lemma: between correct and beyond the neighbour lies a flip."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import FLIP, REJECT, SegmentSearch, attackable, decide, settle
from fleet.attacks.outcomes import evades
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier

Make = Callable[..., Classifier]
Grey = Callable[..., Tensor]


def outcomes(classifier: Classifier, images: Tensor, labels: Tensor) -> list[int]:
    with attackable(classifier):
        return decide(classifier, images, labels).outcomes.tolist()


def test_an_overshoot_is_settled_to_a_flip_on_either_side(linear: Make, grey: Grey) -> None:
    classifier = linear([1.0, 0.0, 0.0, 0.0], -75.0)  # o = level - 75: slot 1 at level 100
    clean = grey(100, 2)
    ends = torch.stack([grey(135)[0], grey(65)[0]])  # o = 60 and -10: beyond both neighbours
    labels = torch.tensor([1, 1])
    assert outcomes(classifier, ends, labels) == [REJECT, REJECT]
    with attackable(classifier):
        images, found = SegmentSearch()(classifier, clean, ends, labels)
    assert found.tolist() == [True, True]
    assert outcomes(classifier, images, labels) == [FLIP, FLIP]
    with attackable(classifier):
        outputs = decide(classifier, images, labels).outputs
    assert 40 <= outputs[0] <= 50
    assert 0 <= outputs[1] <= 10


def test_there_is_no_flip_beyond_the_last_slot_or_short_of_the_next(
    linear: Make, grey: Grey
) -> None:
    classifier = linear([1.0, 0.0, 0.0, 0.0], -75.0)
    clean = torch.stack([grey(120)[0], grey(100)[0]])
    ends = torch.stack([grey(200)[0], grey(110)[0]])  # above slot 2, and in the gap below it
    labels = torch.tensor([2, 1])
    with attackable(classifier):
        images, found = SegmentSearch()(classifier, clean, ends, labels)
    assert not found.any()
    assert torch.equal(images, ends)


class Hump(nn.Module):
    """Rises into the next interval half way, and comes back to end in the gap."""

    def forward(self, x: Tensor) -> Tensor:
        t = x[:, 0, 0, 0] * 255 / 100
        return 25 + 10 * t + 40 * t * (1 - t)


def test_the_grid_finds_a_flip_on_a_path_that_turns_back(grey: Grey) -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    classifier = Classifier.from_module(Hump(), encoding, (1, 2, 2))
    clean, ends, labels = grey(0), grey(100), torch.tensor([1])
    assert outcomes(classifier, ends, labels) == [REJECT]
    with attackable(classifier):
        none, missed = SegmentSearch(points=2)(classifier, clean, ends, labels)
        images, found = SegmentSearch()(classifier, clean, ends, labels)
    assert not missed.any()
    assert torch.equal(none, ends)
    assert found.all()
    assert outcomes(classifier, images, labels) == [FLIP]


def test_a_point_that_rounding_would_miss_is_looked_for_on_the_8_bit_grid() -> None:
    """With beta = 0 only one level in the whole ball flips."""
    encoding = IntervalEncoding(3, alpha=20.0, beta=0.0)

    class Level(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, 0, 0, 0] * 255).round()

    classifier = Classifier.from_module(Level(), encoding, (1, 1, 1))
    clean = torch.full((1, 1, 1, 1), 20, dtype=torch.uint8)
    ends = torch.full((1, 1, 1, 1), 61, dtype=torch.uint8)
    with attackable(classifier):
        images, found = SegmentSearch()(classifier, clean, ends, torch.tensor([1]))
    assert found.all()
    assert images.item() == 40


def test_a_jump_across_an_interval_is_left_a_reject(grey: Grey) -> None:
    """The lemma needs a continuous output; without it the search ends, with nothing found."""

    class Jump(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0, 0, 0] * 255 > 120, 60.0, 25.0)

    classifier = Classifier.from_module(
        Jump(), IntervalEncoding(3, alpha=10.0, beta=10.0), (1, 2, 2)
    )
    with attackable(classifier):
        images, found = SegmentSearch()(classifier, grey(100), grey(140), torch.tensor([1]))
    assert not found.any()
    assert torch.equal(images, grey(140))


def test_search_takes_another_criterion(linear: Make, grey: Grey) -> None:
    classifier = linear([1.0, 0.0, 0.0, 0.0], -75.0)
    search = SegmentSearch(criterion=evades)
    with attackable(classifier):
        images, found = search(classifier, grey(100), grey(115), torch.tensor([1]))
    assert found.all()
    assert images[0, 0, 0, 0] == 106  # the first level whose output, 31, is outside [20, 30]


def test_results_do_not_depend_on_the_batch_size(linear: Make, grey: Grey) -> None:
    classifier = linear([1.0, 0.0, 0.0, 0.0], -75.0)
    clean = torch.cat([grey(level) for level in range(95, 106)])
    ends = torch.cat([grey(level) for level in range(104, 137, 3)])
    labels = torch.ones(11).long()
    with attackable(classifier):
        whole = SegmentSearch()(classifier, clean, ends, labels)
        parts = SegmentSearch(batch_size=2)(classifier, clean, ends, labels)
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


def test_settle_prefers_flip_then_segment_then_reject_then_distance(
    linear: Make, grey: Grey
) -> None:
    classifier = linear([1.0, 0.0, 0.0, 0.0], -75.0)
    clean, labels = grey(100, 4), torch.ones(4).long()
    first = torch.cat([grey(level) for level in (120, 140, 107, 101)])  # flip, far, gap, correct
    second = torch.cat([grey(level) for level in (160, 104, 108, 97)])  # far, correct, gap, correct
    best = settle(classifier, clean, torch.stack([first, second]), labels)
    assert outcomes(classifier, best, labels) == [FLIP, FLIP, REJECT, 0]
    assert torch.equal(best[0], first[0])
    assert 115 <= best[1, 0, 0, 0] <= 125
    assert torch.equal(best[2], second[2])
    assert torch.equal(best[3], second[3])


def test_a_nan_candidate_counts_as_reject_and_is_never_preferred_to_a_flip(grey: Grey) -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            level = x[:, 0, 0, 0] * 255
            return torch.where(level > 150, torch.nan, level - 75)

    classifier = Classifier.from_module(Broken(), encoding, (1, 2, 2))
    best = settle(classifier, grey(100), torch.stack([grey(200), grey(120)]), torch.tensor([1]))
    assert torch.equal(best, grey(120))
    alone = settle(classifier, grey(100), torch.stack([grey(200), grey(101)]), torch.tensor([1]))
    assert outcomes(classifier, alone, torch.tensor([1])) == [FLIP], "the way there holds a flip"


class Lookup(nn.Module):
    """The output that a table gives for the level of the first pixel."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, x: Tensor) -> Tensor:
        return self.table[(x[:, 0, 0, 0] * 255).round().long()]


def looked_up(table: Tensor, *, alpha: float = 10.0, beta: float = 10.0) -> Classifier:
    """Levels to outputs; the true class 1 has [20, 30], unless alpha and beta say otherwise."""
    return Classifier.from_module(Lookup(table), IntervalEncoding(3, alpha, beta), (1, 2, 2))


def test_the_grid_tries_63_points_between_the_ends(grey: Grey) -> None:
    """From level 0 to 64 each point is a level; the end lies in the gap, so none is promised."""
    found_at = []
    for level in range(1, 64):
        table = torch.full((256,), 25.0)
        table[64], table[level] = 35.0, 45.0
        classifier = looked_up(table)
        with attackable(classifier):
            images, found = SegmentSearch()(classifier, grey(0), grey(64), torch.tensor([1]))
        found_at += images[found][:, 0, 0, 0].tolist()
    assert found_at == list(range(1, 64))


def test_the_grid_takes_the_flip_that_is_nearest_to_the_original(grey: Grey) -> None:
    table = torch.full((256,), 25.0)
    table[64], table[9], table[40] = 35.0, 45.0, 5.0
    classifier = looked_up(table)
    with attackable(classifier):
        images, _ = SegmentSearch()(classifier, grey(0), grey(64), torch.tensor([1]))
    assert torch.equal(images, grey(9))


@pytest.mark.parametrize(
    ("start", "end", "flip"), [(20, 97, 40), (20, 49, 40), (100, 3, 80), (20, 41, 40)]
)
def test_halving_finds_the_one_level_that_flips(
    grey: Grey, start: int, end: int, flip: int
) -> None:
    """With beta = 0 one level flips on the way; a grid of its ends alone could not find it."""
    scale = 0.5 if end == 41 else 1.0  # the end lies half a unit beyond the centre
    centre = start * scale
    table = torch.arange(256.0) * scale
    encoding = IntervalEncoding(3, 20.0 * scale, 0.0, s0=centre - 20.0 * scale)
    classifier = Classifier.from_module(Lookup(table), encoding, (1, 2, 2))
    with attackable(classifier):
        images, found = SegmentSearch(points=2)(
            classifier, grey(start), grey(end), torch.tensor([1])
        )
        fewer = SegmentSearch(points=2, bisections=1)(
            classifier, grey(start), grey(end), torch.tensor([1])
        )
    assert found.all()
    assert torch.equal(images, grey(flip))
    assert not fewer[1].any()


class Either(nn.Module):
    """The first pixel carries the output through the next interval, the second jumps over all."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x[:, 0, 0, 0] * 255, x[:, 0, 0, 1] * 255
        return torch.where(second > 50, 100.0, 25 + first)


def test_a_flip_on_the_way_beats_a_reject_that_lies_farther() -> None:
    classifier = Classifier.from_module(Either(), IntervalEncoding(3, 10.0, 10.0), (1, 1, 2))
    clean = torch.zeros(1, 1, 1, 2, dtype=torch.uint8)
    far, near = clean.clone(), clean.clone()
    far[..., 1], near[..., 0] = 100, 30  # outputs 100 and 55, both rejected
    labels = torch.tensor([1])
    for candidates in ([far, near], [near, far]):
        best = settle(classifier, clean, torch.stack(candidates), labels)
        assert outcomes(classifier, best, labels) == [FLIP]
        assert 15 <= best[0, 0, 0, 0] <= 25


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_reject_without_a_finite_output_loses_to_any_other(grey: Grey, broken: float) -> None:
    """With beta = 0 a reject may lie as near as half a unit."""
    table = torch.full((256,), 10.0)
    table[150:], table[101] = broken, 10.5
    classifier = looked_up(table, alpha=10.0, beta=0.0)
    labels = torch.tensor([1])
    for candidates in ([grey(200), grey(101)], [grey(101), grey(200)]):
        best = settle(classifier, grey(100), torch.stack(candidates), labels)
        assert torch.equal(best, grey(101))
