"""Architectures: shapes, structure, seeds, starting point, wrong combinations."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from fleet.data import load_data, to_unit
from fleet.encoding import IntervalEncoding
from fleet.errors import ProfileError
from fleet.models import Classifier, build_classifier, weights_digest
from fleet.vocabulary import ARCHITECTURES

PAPER = IntervalEncoding(10, 4.0, 16.0)
VISION = [name for name in ARCHITECTURES if name not in {"nn", "cnn"}]


def build(architecture: str = "nn", **changes: Any) -> Classifier:
    channels = changes.get("input_shape", (1, 28, 28))[0]
    settings: dict[str, Any] = {
        "head": "linear",
        "task": "int",
        "encoding": PAPER,
        "num_classes": 10,
        "input_shape": (1, 28, 28),
        "mean": (0.5,) * channels,
        "std": (0.25,) * channels,
        "seed": 0,
    }
    return build_classifier(architecture=architecture, **{**settings, **changes})  # type: ignore[arg-type]


GREY, COLOUR = (1, 28, 28), (3, 32, 32)
LARGE_GREY, LARGE_COLOUR = (1, 64, 64), (3, 64, 80)


@pytest.mark.parametrize(
    ("architecture", "shape", "batch_norm"),
    [
        *itertools.product(["nn", "alexnet"], [GREY, COLOUR, LARGE_GREY, LARGE_COLOUR], [1, 0]),
        *itertools.product(["cnn"], [GREY, COLOUR, LARGE_COLOUR], [1]),
        *itertools.product(["resnet18"], [GREY, COLOUR, LARGE_GREY, LARGE_COLOUR], [1]),
        *itertools.product(["densenet121"], [GREY, LARGE_GREY, LARGE_COLOUR], [1]),
    ],
    ids=str,
)
def test_every_architecture_takes_every_shape(
    architecture: str, shape: tuple[int, int, int], batch_norm: int
) -> None:
    classifier = build(architecture, input_shape=shape, batch_norm=bool(batch_norm), width=0.25)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outputs = classifier(x)
    outputs.sum().backward()
    assert outputs.shape == (2,)
    assert bool(outputs.isfinite().all())
    assert x.grad is not None
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("architecture", VISION)
def test_large_colour_images_meet_torchvisions_own_network(architecture: str) -> None:
    """So its published weights fit, name by name, all but the last layer."""
    backbone = build(architecture, input_shape=(3, 64, 64), batch_norm=False).backbone
    ours = {key: value.shape for key, value in backbone.state_dict().items()}
    theirs = {k: v.shape for k, v in get_model(architecture, weights=None).state_dict().items()}
    left_out = {key for key in theirs if key not in ours}
    assert (
        left_out
        == {
            "alexnet": {"classifier.6.weight", "classifier.6.bias"},
            "resnet18": {"fc.weight", "fc.bias"},
            "densenet121": {"classifier.weight", "classifier.bias"},
        }[architecture]
    )
    assert ours == {key: shape for key, shape in theirs.items() if key in ours}


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_small_images_are_not_shrunk_by_the_stem(architecture: str) -> None:
    network: Any = build(architecture).backbone
    x = torch.zeros(1, 1, 28, 28)
    if architecture == "resnet18":
        assert network.maxpool(network.conv1(x)).shape == (1, 64, 28, 28)
    else:
        stem = network.features
        assert stem.pool0(stem.conv0(x)).shape == (1, 64, 28, 28)


def test_alexnet_of_small_images_can_shrink_them_at_once() -> None:
    network: Any = build("alexnet", stem="imagenet").backbone
    first = network.features[0]
    assert (first.kernel_size, first.stride) == ((5, 5), (2, 2))
    assert first(torch.zeros(1, 1, 28, 28)).shape == (1, 64, 14, 14)
    kinds = [type(layer) for layer in network.features]
    assert kinds.count(nn.MaxPool2d) == 2  # torchvision has three; the last is left out
    assert network.features(torch.zeros(2, 1, 28, 28)).shape == (2, 256, 2, 2)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_alexnet_of_small_images_with_stride_takes_a_step(batch_norm: bool) -> None:
    classifier = build("alexnet", stem="imagenet", batch_norm=batch_norm).train()
    x = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-3)
    classifier(x).pow(2).mean().backward()
    missing = [name for name, p in classifier.named_parameters() if p.grad is None]
    before = [p.detach().clone() for p in classifier.parameters()]
    optimizer.step()
    assert missing == []
    assert all(
        not torch.equal(old, new)
        for old, new in zip(before, classifier.parameters(), strict=True)
        if bool((new.grad != 0).any())  # type: ignore[union-attr]
    )
    assert bool(classifier.eval()(x).isfinite().all())


def shapes(architecture: str, side: int, stem: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights, without making these."""
    with torch.device("meta"):
        network = build(
            architecture,
            input_shape=(3, side, side),
            stem=stem,
            task="tra",
            head="logits",
            encoding=None,
        )
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize("side", [28, 63])
def test_the_small_form_of_alexnet_differs_in_its_first_layers_alone(side: int) -> None:
    """So that ``stem`` changes the time and the receptive field, and no number of features."""
    small, strided = (shapes("alexnet", side, stem) for stem in ("cifar", "imagenet"))
    assert {k for k in small if small[k] != strided.get(k)} == {"backbone.features.0.weight"}
    assert small.keys() == strided.keys()


@pytest.mark.parametrize("architecture", VISION)
def test_auto_is_the_small_form_below_64_pixels_and_torchvisions_from_there(
    architecture: str,
) -> None:
    def same(side: int, *stems: str) -> bool:
        one, other = (shapes(architecture, side, stem) for stem in stems)
        return one == other

    assert same(63, "auto", "cifar")
    assert same(64, "auto", "imagenet")
    assert not same(63, "cifar", "imagenet")
    assert not same(64, "cifar", "imagenet")


def test_alexnet_keeps_its_dropout_and_takes_batch_norm_after_each_convolution() -> None:
    layers = list(build("alexnet", batch_norm=True).backbone.modules())
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 5
    assert all(isinstance(layers[i + 1], nn.BatchNorm2d) for i in convolutions)
    assert sum(isinstance(layer, nn.Dropout) for layer in layers) == 2
    plain = build("alexnet", batch_norm=False).backbone.modules()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain)


def test_paper_network_has_two_convolutions_and_five_fully_connected_layers() -> None:
    classifier = build("nn", batch_norm=False)
    layers = [layer for layer in classifier.modules() if not list(layer.children())]
    kinds = [type(layer).__name__ for layer in layers]
    convolution = ["Conv2d", "MaxPool2d", "ReLU"]
    sigmoid, relu = ["Linear", "Sigmoid"], ["Linear", "ReLU"]
    assert kinds == [*2 * convolution, "Flatten", *2 * sigmoid, *2 * relu, "Linear"]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [(32, (5, 5)), (64, (5, 5))]
    linear = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    assert linear == [256, 128, 64, 32, 1]


def test_paper_network_normalises_before_each_activation_and_drops_the_biases() -> None:
    classifier = build("nn", width=0.5)
    layers = list(classifier.backbone.layers.children())  # type: ignore[union-attr]
    activations = [i for i, v in enumerate(layers) if isinstance(v, nn.ReLU | nn.Sigmoid)]
    norms = nn.BatchNorm1d | nn.BatchNorm2d
    assert all(isinstance(layers[i - 1], norms) for i in activations)
    affine = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert all(layer.bias is None for layer in affine)
    assert [c.out_channels for c in affine[:2]] == [16, 32]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_follow_from_the_seed_alone(architecture: str) -> None:
    torch.manual_seed(1)
    first = weights_digest(build(architecture, seed=7))
    torch.manual_seed(2)
    assert weights_digest(build(architecture, seed=7)) == first


def test_other_seeds_give_other_weights() -> None:
    assert weights_digest(build(seed=7)) != weights_digest(build(seed=8))


@pytest.mark.parametrize("architecture", ["nn", "resnet18"])
def test_building_leaves_every_random_state_alone(architecture: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[union-attr, index]
    build(architecture, seed=5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr, index]
    assert random.getstate() == before[2]


@pytest.mark.parametrize("architecture", ["nn", "resnet18"])
def test_untrained_outputs_lie_in_the_middle_of_the_range_and_spread(
    architecture: str, mnist_root: Path
) -> None:
    data = load_data(
        "mnist", mnist_root, channels=1, image_size=28, num_classes=10, validation=0, train_limit=16
    )
    classifier = build(architecture, mean=data.mean, std=data.std)
    with torch.no_grad():
        outputs = classifier(to_unit(data.train.images(torch.arange(16))))
    assert abs(outputs.mean() - 98) < 20  # one slot of ten
    assert 8 < outputs.std() < 70


def test_untrained_outputs_that_start_at_zero_lie_there(mnist_root: Path) -> None:
    data = load_data(
        "mnist", mnist_root, channels=1, image_size=28, num_classes=10, validation=0, train_limit=16
    )
    classifier = build("nn", mean=data.mean, std=data.std, start="zero")
    with torch.no_grad():
        outputs = classifier(to_unit(data.train.images(torch.arange(16))))
    assert outputs.abs().max() < 2  # the range is 0 to 196


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vgg"}, "unknown architecture 'vgg'"),
        ({"input_shape": (2, 28, 28)}, "images have 2 channels"),
        ({"input_shape": (1, 12, 12)}, "at least 16 pixels, not 12 x 12"),
        ({"architecture": "resnet18", "input_shape": (1, 20, 40)}, "at least 28 pixels, not 20"),
        ({"width": 0.01}, "leaves the first convolution without a channel"),
        ({"encoding": None}, "task 'int' needs encoding"),
        ({"task": "tra", "head": "logits"}, "task 'tra' takes no encoding"),
        ({"head": "logits"}, "task 'int' cannot have the head 'logits'"),
        ({"task": "hin", "encoding": None}, "task 'hin' cannot have the head 'linear'"),
        ({"num_classes": 7}, "the encoding has 10 classes, the data 7"),
        ({"pretrained": True}, "no pretrained weights for architecture 'nn'"),
        ({"architecture": "alexnet", "pretrained": True}, "take colour images of 64 pixels"),
        (
            {"architecture": "alexnet", "pretrained": True, "input_shape": (3, 63, 64)},
            "not 3 channel.s. of 63 pixels",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_the_mend(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        build(**changes)
    assert caught.value.hint


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_alexnet_drops_the_share_asked_for_and_only_in_training(dropout: float) -> None:
    network = build_classifier(
        architecture="alexnet", head="logits", task="tra", encoding=None, num_classes=10,
        input_shape=(1, 28, 28), mean=(0.5,), std=(0.25,), stem="imagenet", batch_norm=False,
        dropout=dropout, seed=0,
    )  # fmt: skip
    x = torch.rand(4, 1, 28, 28)
    drawn = [network.train().raw(x) for _ in range(2)]
    assert torch.equal(*drawn) == (dropout == 0)
    assert torch.equal(network.eval().raw(x), network.raw(x))


def test_densenet_that_shrinks_early_says_which_images_are_too_small() -> None:
    def build(side: int) -> Classifier:
        return build_classifier(
            architecture="densenet121", head="logits", task="tra", encoding=None, num_classes=10,
            input_shape=(1, side, side), mean=(0.5,), std=(0.25,), stem="imagenet", seed=0,
        )  # fmt: skip

    with pytest.raises(ProfileError, match="at least 29 pixels, not 28"):
        build(28)
    assert build(29).eval().raw(torch.rand(1, 1, 29, 29)).shape == (1, 10)
