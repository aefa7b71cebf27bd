"""The quicker gradient is the same gradient, and the network comes out as it went in."""

import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import attackable
from fleet.attacks.gradient import block_size, thin_convolutions


def run(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs, and the gradient of the sum of their squares."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach(), gradient


@pytest.mark.parametrize(
    ("channels", "kernel", "padding", "side"),
    [(1, 5, 0, 28), (1, 3, 1, 12), (1, 7, 3, 16), (2, 3, 2, 8), (3, 3, 1, 12), (3, 5, 2, 16)],
)
def test_outputs_keep_their_bits_and_gradients_their_values(
    channels: int, kernel: int, padding: int, side: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 7, kernel, padding=padding).double().requires_grad_(False)
    x = torch.rand(3, channels, side, side + 4, dtype=torch.float64)
    outputs, gradient = run(layer, x)
    with thin_convolutions(layer):
        assert "forward" in vars(layer)
        again, quick = run(layer, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, coarse = run(layer.float(), x.float())
    assert "forward" not in vars(layer)
    assert torch.equal(outputs, again)
    torch.testing.assert_close(quick, gradient, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        coarse.double(), gradient, rtol=0.05, atol=0.05 * gradient.abs().max().item()
    )


def test_a_side_that_blocks_do_not_divide_takes_the_layers_own_way() -> None:
    layer = nn.Conv2d(1, 4, 3).requires_grad_(False)
    x = torch.rand(2, 1, 9, 8)
    before = run(layer, x)
    with thin_convolutions(layer):
        after = run(layer, x)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


class Own(nn.Conv2d):
    """A convolution that somebody changed."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 4, 3),
        nn.Conv2d(1, 4, 1),
        nn.Conv2d(1, 4, 3, stride=2),
        nn.Conv2d(1, 4, 3, dilation=2),
        nn.Conv2d(1, 4, (3, 5)),
        nn.Conv2d(1, 4, 3, padding=3),
        nn.Conv2d(1, 4, 3, padding=(1, 0)),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3)),
        Own(1, 4, 3),
    ],
    ids=lambda layer: repr(layer).splitlines()[0],
)
def test_other_layers_are_left_alone(layer: nn.Module) -> None:
    with thin_convolutions(layer):
        assert "forward" not in vars(layer)


def test_a_forward_that_somebody_put_into_the_instance_stays() -> None:
    layer = nn.Conv2d(1, 4, 3)
    mine = layer.forward
    layer.forward = mine  # type: ignore[method-assign]
    with thin_convolutions(layer):
        assert vars(layer)["forward"] == mine
    assert vars(layer)["forward"] == mine


def test_attackable_may_be_entered_twice() -> None:
    layer = nn.Conv2d(1, 4, 5)
    with attackable(layer):
        with attackable(layer):
            pass
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)


def test_an_error_inside_takes_the_forward_out_too() -> None:
    layer = nn.Conv2d(1, 4, 5)
    with pytest.raises(RuntimeError, match="stop"), thin_convolutions(layer):
        raise RuntimeError("stop")
    assert "forward" not in vars(layer)


def test_weights_of_one_input_channel_are_stored_channels_last() -> None:
    """Else the whole network runs in the other layout, whose pooling is ten times as slow."""
    layer = nn.Conv2d(1, 4, 5)
    with attackable(layer):
        assert layer.weight.stride() == (25, 1, 5, 1)
        assert layer(torch.rand(2, 1, 12, 12)).is_contiguous(memory_format=torch.channels_last)
    assert layer.weight.stride() == (25, 25, 5, 1)


def test_blocks_fill_the_lanes() -> None:
    assert [block_size(1, 5), block_size(3, 3), block_size(16, 3), block_size(1, 1)] == [4, 2, 1, 1]
