"""torchvision's classifiers: three adapted to small and grey images, the others as published.

Of AlexNet, ResNet-18 and DenseNet-121 torchvision's own layers are kept; only the stem (the first
layers, which shrink the image) and the last fully connected layer are replaced. ``stem`` overrides
the size for it.

============  =============================================  ==========================
network       ``cifar``: 28 to 63 pixels                     ``imagenet``: 64 or more
============  =============================================  ==========================
alexnet       3x3 convolutions in place of 11x11 and 5x5,    as torchvision; below 64
              fully connected layers of 1024 on 2x2 pixels   pixels see below
resnet18      3x3 stem of stride 1, no pooling (CIFAR form)  as torchvision
densenet121   3x3 stem of stride 1, no pooling               as torchvision
============  =============================================  ==========================

torchvision's AlexNet fails below 63 pixels. There ``imagenet`` is the small form with a 5x5 first
convolution of stride 2 and without the last pooling: at 28 pixels an eighth of the multiplications.
"""

import difflib
import hashlib
import pickle
import re
import warnings
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import AlexNet, DenseNet, ResNet, get_model, get_model_weights, list_models

from fleet.errors import BackendError, ProfileError
from fleet.files import make_directory


def pretrained_state(architecture: str) -> dict[str, Tensor]:
    """Read the published weights of a torchvision network, fetching them if need be.

    Args:
        architecture: torchvision's name, for example ``resnet18``.

    Returns:
        The state of ``torchvision.models.get_model(architecture)``, on the CPU.

    Raises:
        BackendError: They cannot be fetched, or the file is not the published one.
        StorageError: torch's cache directory cannot be written.
    """
    url: str = get_model_weights(architecture).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        _fetch(url, path)
    elif not _digest(path).startswith(_published(path)):
        raise BackendError(
            f"{path} is not the published file (its SHA-256 must begin with {_published(path)})",
            hint="delete it and run the command again",
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise BackendError(
            f"cannot read {path}: {error}", hint="delete it and try again"
        ) from error
    # DenseNet's file is older than the rule that module names hold no dot (norm.1 is now norm1).
    return {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): v for key, v in state.items()}


def _fetch(url: str, path: Path) -> None:
    make_directory(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), _published(path), progress=False)
    except (OSError, RuntimeError) as error:  # no network; a file that is not the published one
        raise BackendError(
            f"cannot fetch the pretrained weights from {url}: {error}",
            hint=f"fetch that file elsewhere and put it at {path}, or set `pretrained: false`",
        ) from error


def _published(path: Path) -> str:
    """First hexadecimal digits of the file's SHA-256, which torchvision puts into its name."""
    return path.stem.rpartition("-")[2]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


SMALLEST = 28

SMALLEST_SHRUNK = 29
"""DenseNet-121 halves the image five times with torchvision's stem."""

LARGE = 64
"""From this side on torchvision's own stems are used; its AlexNet fails below 63 pixels."""


def build_backbone(
    architecture: str,
    input_shape: tuple[int, int, int],
    *,
    batch_norm: bool,
    stem: str = "auto",
    pretrained: bool,
    dropout: float = 0.5,
) -> tuple[nn.Module, int]:
    """Build a backbone from PyTorch's current random state.

    Args:
        architecture: ``alexnet``, ``resnet18`` or ``densenet121``.
        input_shape: (C, H, W).
        batch_norm: Put BatchNorm after AlexNet's convolutions; the others always have it.
        stem: ``cifar``, ``imagenet``, or ``auto`` by the size, as in the table above.
        dropout: Share that AlexNet drops before its fully connected layers in training.
        pretrained: Start from torchvision's ImageNet weights.

    Returns:
        The network without its last layer, and the number of its features.

    Raises:
        ProfileError: The images are too small, or not such as the pretrained weights take.
        BackendError: The pretrained weights cannot be had.
    """
    channels, height, width = input_shape
    side = min(height, width)
    _check(architecture, channels, side, pretrained)
    if architecture == "densenet121" and stem == "imagenet" and side < SMALLEST_SHRUNK:
        raise ProfileError(
            f"densenet121 with `stem: imagenet` needs images of at least {SMALLEST_SHRUNK} pixels, "
            f"not {side}",
            hint="raise `data.image_size`, or leave `stem` out",
        )
    network = get_model(architecture, weights=None)
    if pretrained:
        network.load_state_dict(pretrained_state(architecture))
    small = side < LARGE if stem == "auto" else stem == "cifar"
    if isinstance(network, AlexNet):
        strided = not small and side < LARGE
        for layer in network.classifier:
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
        return network, _adapt_alexnet(network, channels, small, strided, batch_norm)
    if isinstance(network, ResNet):
        return network, _adapt_resnet(network, channels, small)
    return network, _adapt_densenet(cast(DenseNet, network), channels, small)


def build_as_published(
    name: str, input_shape: tuple[int, int, int], *, pretrained: bool
) -> tuple[nn.Module, int]:
    """Build any classifier of torchvision from PyTorch's current random state.

    Only its last fully connected layer is taken away, and for grey images the first convolution
    is replaced by one of a single channel.

    Args:
        name: torchvision's name, for example ``mobilenet_v3_small``.
        input_shape: (C, H, W).
        pretrained: Start from torchvision's ImageNet weights.

    Returns:
        The network without its last layer, and the number of its features.

    Raises:
        ProfileError: torchvision has no such classifier, it gives more than one output, it does
            not take these images, or pretrained weights do not fit them.
        BackendError: The pretrained weights cannot be had.
    """
    known = list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ProfileError(
            f"torchvision {torchvision.__version__} has no classifier {name!r}",
            hint=f"near are {', '.join(near)}" if near else "for example mobilenet_v3_small",
        )
    _check(name, input_shape[0], min(input_shape[1:]), pretrained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of networks that are refused below
        network = get_model(name, weights=None)
    if getattr(network, "aux_logits", False):
        raise ProfileError(
            f"torchvision's {name} trains with several outputs, and a device has one"
        )
    if pretrained:
        network.load_state_dict(pretrained_state(name))
    features = _take_last(network, name)
    if input_shape[0] != 3:
        _take_grey(network, input_shape[0])
    _try(network, name, input_shape, features)
    return network, features


def _take_last(network: nn.Module, name: str) -> int:
    """Replace the last fully connected layer by the identity; say how many features it took."""
    layers = [(p, m) for p, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise ProfileError(f"torchvision's {name} has no fully connected last layer to replace")
    path, last = layers[-1]
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return last.in_features


def _take_grey(network: nn.Module, channels: int) -> None:
    path, first = next((p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d))
    parent, _, leaf = path.rpartition(".")
    settings = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    kept = {setting: getattr(first, setting) for setting in settings}
    layer = nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **kept)
    setattr(network.get_submodule(parent), leaf, layer)


@torch.no_grad()
def _try(network: nn.Module, name: str, input_shape: tuple[int, int, int], features: int) -> None:
    """Pass one image, so that a network that does not take it is refused before any work."""
    fault = "gives several outputs"
    network.eval()
    try:
        given: Tensor = network(torch.zeros(1, *input_shape))
    except (RuntimeError, AssertionError) as error:
        fault = str(error).partition("\n")[0]
    else:
        if given.shape == (1, features):
            network.train()
            return
    raise ProfileError(
        f"torchvision's {name} does not take images of "
        f"{' x '.join(map(str, input_shape))}: {fault}",
        hint="raise `data.image_size` (vision transformers take 224), or take another network",
    )


def _check(architecture: str, channels: int, side: int, pretrained: bool) -> None:
    if side < SMALLEST:
        raise ProfileError(
            f"architecture {architecture!r} needs images of at least {SMALLEST} pixels, not {side}",
            hint="raise `data.image_size`, or use architecture `nn`",
        )
    if pretrained and (channels != 3 or side < LARGE):
        raise ProfileError(
            f"pretrained weights take colour images of {LARGE} pixels or more, not {channels} "
            f"channel(s) of {side} pixels",
            hint=f"set `pretrained: false`, or `channels: 3` and `image_size: {LARGE}` or more",
        )


def _adapt_alexnet(
    network: AlexNet, channels: int, small: bool, strided: bool, batch_norm: bool
) -> int:
    hidden = 4096
    if small or strided:
        hidden = 1024
        network.features[0] = nn.Conv2d(channels, 64, kernel_size=3, padding=1)
        if strided:
            network.features[0] = nn.Conv2d(channels, 64, kernel_size=5, stride=2, padding=2)
            network.features[12] = nn.Identity()
        network.features[3] = nn.Conv2d(64, 192, kernel_size=3, padding=1)
        network.avgpool = nn.AdaptiveAvgPool2d(2)
        network.classifier[1] = nn.Linear(256 * 2 * 2, hidden)
        network.classifier[4] = nn.Linear(hidden, hidden)
    elif channels != 3:
        network.features[0] = nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2)
    if batch_norm:
        network.features = nn.Sequential(*_with_batch_norm(network.features))
    network.classifier[6] = nn.Identity()
    return hidden


def _with_batch_norm(layers: nn.Sequential) -> list[nn.Module]:
    """Follow each convolution by a BatchNorm."""
    widened: list[nn.Module] = []
    for layer in layers:
        widened.append(layer)
        if isinstance(layer, nn.Conv2d):
            widened.append(nn.BatchNorm2d(layer.out_channels))
    return widened


def _adapt_resnet(network: ResNet, channels: int, small: bool) -> int:
    features = cast(int, network.fc.in_features)
    if small:
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return features


def _adapt_densenet(network: DenseNet, channels: int, small: bool) -> int:
    features = cast(int, network.classifier.in_features)
    if small:
        network.features.conv0 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
        network.features.pool0 = nn.Identity()
    elif channels != 3:
        stem = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        network.features.conv0 = stem
    network.classifier = nn.Identity()
    return features
