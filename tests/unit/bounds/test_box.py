"""Bounds hold: against sampled points, against exact maxima, and against float32's own rounding."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from fleet.bounds.box import FLOAT32, Box, image_box, normalised, propagate
from fleet.bounds.fused import normalise_and_activate
from fleet.errors import AuditError
from fleet.models.convolutional import PaperNN
from fleet.models.vision import build_backbone


def settled(norm: nn.Module) -> nn.Module:
    """BatchNorm with statistics, gains and shifts of either sign."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 3.0)
    return norm.eval()


def all_settled(network: nn.Module) -> nn.Module:
    """Every BatchNorm of a network in that state."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            settled(layer)
    return network.eval()


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "conv-grouped": lambda: nn.Conv2d(3, 6, 2, groups=3, dilation=2),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 5)),
    "norm": lambda: settled(nn.BatchNorm2d(3)),
    "norm-flat": lambda: nn.Sequential(nn.Flatten(), settled(nn.BatchNorm1d(108))),
    "relu": nn.ReLU,
    "clip": lambda: nn.Hardtanh(0.0, 1.0),
    "sigmoid": nn.Sigmoid,
    "max": lambda: nn.MaxPool2d(2),
    "mean": lambda: nn.AvgPool2d(3, stride=2),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(2),
    "dropout": lambda: nn.Dropout(0.5).eval(),
    "residual": lambda: all_settled(BasicBlock(3, 3)),
    "residual-shrinking": lambda: all_settled(
        BasicBlock(3, 4, 2, nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.BatchNorm2d(4)))
    ),
    "bottleneck": lambda: all_settled(
        Bottleneck(3, 2, 1, nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
@given(seed=st.integers(0, 2**32 - 1), radius=st.floats(0, 3))
@settings(max_examples=15, deadline=None)
def test_no_point_of_a_box_leaves_the_bounds_of_any_layer(
    kind: str, seed: int, radius: float
) -> None:
    torch.manual_seed(seed)
    layer = LAYERS[kind]().double()
    centre = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    spread = radius * torch.rand_like(centre)
    out = propagate(layer, Box(centre, spread))
    corners = torch.randint(0, 3, (40, *centre.shape)).double() - 1
    for sign in corners:
        reached = layer(centre + sign * spread)
        assert ((reached - out.centre).abs() <= out.radius + 1e-9).all()


def test_one_affine_layer_is_bounded_exactly() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).double()
    centre, spread = torch.randn(1, 6).double(), torch.rand(1, 6).double()
    out = propagate(layer, Box(centre, spread))
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6)), dtype=torch.float64)
    values = layer(centre + corners * spread)
    torch.testing.assert_close(values.amax(0), (out.centre + out.radius)[0])
    torch.testing.assert_close(values.amin(0), (out.centre - out.radius)[0])


def exact_maximum(first: nn.Linear, second: nn.Linear, low: Tensor, high: Tensor) -> float:
    """Largest output of linear, ReLU, linear over a box: one linear program a pattern."""
    w, b = first.weight.detach().numpy(), first.bias.detach().numpy()
    v, d = second.weight.detach().numpy()[0], second.bias.item()
    best = -np.inf
    for active in itertools.product((0, 1), repeat=len(b)):
        on = np.array(active)
        signs = np.where(on, -1.0, 1.0)  # on: -(wx + b) <= 0; off: wx + b <= 0
        found = linprog(
            -(v * on) @ w,
            A_ub=signs[:, None] * w,
            b_ub=-signs * b,
            bounds=list(zip(low.tolist(), high.tolist(), strict=True)),
        )
        if found.status == 0:
            best = max(best, -found.fun + (v * on) @ b + d)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_bounds_hold_the_exact_maximum_of_a_small_network(seed: int) -> None:
    torch.manual_seed(seed)
    first, second = nn.Linear(3, 5).double(), nn.Linear(5, 1).double()
    x = torch.rand(1, 3).double()
    box = image_box(x, 0.2, clean=False)
    out = propagate(nn.Sequential(first, nn.ReLU(), second), box)
    exact = exact_maximum(first, second, (box.centre - box.radius)[0], (box.centre + box.radius)[0])
    bound = (out.centre + out.radius).item()
    sampled = (box.centre + box.radius * (2 * torch.rand(2000, 3).double() - 1)).detach()
    reached = second(first(sampled).relu()).max().item()
    assert reached <= exact + 1e-9
    assert exact <= bound + 1e-9
    assert bound - exact < 1.0  # sound and not empty


@pytest.mark.parametrize("shape", [(6, 3, 4, 4), (8, 3)])
@pytest.mark.parametrize("apart", [True, False], ids=["clean beside", "centre alone"])
@pytest.mark.parametrize("ceiling", [1.0, float("inf")])
def test_the_fused_step_has_the_gradient_of_its_parts(
    shape: tuple[int, ...], apart: bool, ceiling: float
) -> None:
    torch.manual_seed(3)
    values = torch.randn(shape[0] * (1 + apart), *shape[1:], dtype=torch.float64)
    inputs = [values, torch.rand(shape).double(), torch.randn(3).double(), torch.randn(3).double()]
    for tensor in inputs:
        tensor.requires_grad_()

    def fused(*parts: Tensor) -> tuple[Tensor, ...]:
        return normalise_and_activate(*parts, eps=1e-5, ceiling=ceiling)[:2]  # type: ignore[misc]

    assert torch.autograd.gradcheck(fused, inputs)


def test_fused_and_single_layers_agree_and_keep_the_same_running_statistics() -> None:
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Hardtanh(0.0, 1.0), nn.Flatten()
    )
    box = image_box(torch.rand(8, 1, 8, 8), 0.1, clean=True)
    fused = propagate(layers, box)
    norm = layers[1]
    kept = [norm.running_mean.clone(), norm.running_var.clone()]
    norm.reset_running_stats()
    single = box
    for layer in layers:
        single = propagate(layer, single)
    torch.testing.assert_close(fused.values, single.values)
    torch.testing.assert_close(fused.radius, single.radius)
    torch.testing.assert_close([norm.running_mean, norm.running_var], kept)
    norm.reset_running_stats()
    torch.testing.assert_close(layers(box.clean), fused.clean)
    torch.testing.assert_close([norm.running_mean, norm.running_var], kept)


def test_a_widened_box_holds_what_float32_makes_of_its_points() -> None:
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), settled(nn.BatchNorm2d(8)), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 36, 16),
    ).eval()  # fmt: skip
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data *= 300  # cancellation makes rounding large
    x = torch.rand(64, 1, 8, 8)
    mean, std = torch.tensor(0.1307), torch.tensor(0.3081)
    single = network((x - mean) / std).double()
    network.double()
    point = Box(x.double(), torch.zeros_like(x).double(), FLOAT32)
    widened = propagate(network, normalised(point, mean.double(), std.double()))
    bare = propagate(
        network, normalised(Box(point.values, point.radius), mean.double(), std.double())
    )
    assert ((single - widened.centre).abs() <= widened.radius).all()
    assert not ((single - bare.centre).abs() <= bare.radius).all()
    assert widened.radius.max() < 0.05 * single.abs().max()


@pytest.mark.parametrize("architecture", ["resnet18", "alexnet", "nn"])
@pytest.mark.parametrize("side", [28, 64])
def test_a_widened_box_holds_what_float32_makes_of_a_whole_network(
    architecture: str, side: int
) -> None:
    torch.manual_seed(3)
    shape = (1, side, side)
    network = PaperNN(shape, width=0.5, batch_norm=True)
    if architecture != "nn":
        network, _ = build_backbone(architecture, shape, batch_norm=True, pretrained=False)
    all_settled(network)
    x = torch.rand(3, 1, side, side)
    single = network(x).double()
    twin = copy.deepcopy(network).double()
    exact = twin(x.double())
    point = Box(x.double(), torch.zeros_like(x).double(), FLOAT32)
    widened = propagate(twin, point)
    for made in (single, exact):
        assert ((made - widened.centre).abs() <= widened.radius).all()
    assert (single != exact).any()
    spread = propagate(twin, image_box(x.double(), 1e-4, clean=False))
    signs = torch.randint(0, 3, (8, *x.shape)).double() - 1
    for sign in signs:
        reached = twin((x.double() + 1e-4 * sign).clamp(0, 1))
        assert ((reached - spread.centre).abs() <= spread.radius + 1e-9).all()


def test_two_paths_that_meet_add_their_radii() -> None:
    block = all_settled(BasicBlock(1, 1)).double()
    for layer in (block.bn1, block.bn2):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        layer.running_mean.zero_()
        layer.running_var.fill_(1 - layer.eps)
    for layer, size in ((block.conv1, 2.0), (block.conv2, -3.0)):
        layer.weight.data.zero_()
        layer.weight.data[0, 0, 1, 1] = size
    box = propagate(
        block, Box(torch.full((1, 1, 2, 2), 4.0).double(), torch.ones(1, 1, 2, 2).double())
    )
    # 3 to 5 through -3 max(2v, 0) + v: the paths give -30 to -18 and 3 to 5, the sum is below 0.
    assert box.centre.abs().max() == box.radius.abs().max() == 0
    block.conv2.weight.data.neg_()
    box = propagate(
        block, Box(torch.full((1, 1, 2, 2), 4.0).double(), torch.ones(1, 1, 2, 2).double())
    )
    torch.testing.assert_close(box.centre, torch.full((1, 1, 2, 2), 28.0).double())
    torch.testing.assert_close(box.radius, torch.full((1, 1, 2, 2), 7.0).double())


def test_a_layer_without_bounds_is_named() -> None:
    with pytest.raises(AuditError, match="GELU"):
        propagate(nn.Sequential(nn.GELU()), Box(torch.zeros(1, 2), torch.zeros(1, 2)))
    with pytest.raises(AuditError, match="dropout"):
        propagate(nn.Dropout(0.5), Box(torch.zeros(1, 2), torch.zeros(1, 2)))
