"""Input diversity: what is shown, and that gradients come back through it."""

import pytest
import torch

from fleet.attacks import InputDiversity, SampleKeys
from fleet.attacks.diversity import _place
from fleet.errors import AuditError

KEYS = SampleKeys(0, "a", torch.arange(40))


def test_an_image_at_full_size_is_itself() -> None:
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_place(images, torch.ones(3), torch.zeros(3, 2)), images)


def test_half_an_image_sits_in_its_corner_on_black() -> None:
    images = torch.ones(2, 1, 8, 8)
    shown = _place(images, torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, -1.0], [1.0, -1.0]]))
    assert shown[0, 0, 1:3, 1:3].eq(1).all(), "inside: as bright as it was"
    assert shown[0, 0, 4:].eq(0).all()
    assert shown[0, 0, :, 4:].eq(0).all()
    assert shown[1, 0, 1:3, 5:7].eq(1).all(), "the first place is along the width"
    assert shown[1, 0, :, :4].eq(0).all()


def test_each_sample_step_restart_and_variant_has_a_view_of_its_own() -> None:
    images = torch.ones(80, 1, 8, 8)
    look = InputDiversity(0.5, chance=1.0).begin(KEYS, 0)
    shown = look(images, 0)
    assert len(shown.flatten(1).unique(dim=0)) == 80
    assert torch.equal(shown, look(images, 0))
    assert not torch.equal(shown, look(images, 1))
    assert not torch.equal(shown, InputDiversity(0.5, chance=1.0).begin(KEYS, 1)(images, 0))
    rows = torch.tensor([7, 3])
    alone = InputDiversity(0.5, chance=1.0).begin(SampleKeys(0, "a", rows), 0)
    torch.testing.assert_close(alone(images[:4], 0)[:2], shown[rows])


def test_chance_is_the_share_of_images_that_are_shrunk() -> None:
    keys = SampleKeys(0, "a", torch.arange(400))
    images = torch.ones(400, 1, 8, 8)
    shown = InputDiversity(0.5, chance=0.25).begin(keys, 0)(images, 0)
    whole = shown.flatten(1).min(dim=1).values > 0.99
    assert 0.65 < whole.float().mean() < 0.85
    assert torch.equal(InputDiversity(0.5, chance=0.0).begin(keys, 0)(images, 0), images)


def test_gradients_come_back_through_the_view() -> None:
    images = torch.full((40, 1, 8, 8), 0.5, requires_grad=True)
    shown = InputDiversity(0.5, chance=1.0).begin(KEYS, 0)(images, 0)
    (gradient,) = torch.autograd.grad(shown.sum(), images)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1) != 0).any(1).all()


@pytest.mark.parametrize(("smallest", "chance"), [(0.0, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 1.1)])
def test_shares_outside_their_range_are_refused(smallest: float, chance: float) -> None:
    with pytest.raises(AuditError, match="smallest is"):
        InputDiversity(smallest, chance)
