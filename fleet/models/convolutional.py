"""Two small convolutional networks: the paper's NN, and one whose bounds can be trained."""

from typing import ClassVar, cast

from torch import Tensor, nn

from fleet.errors import ProfileError
from fleet.vocabulary import Activation, Architecture

SMALLEST = 16
"""Below this, two halvings leave under 4 x 4 pixels, two 5x5 convolutions and poolings none."""


def _channels(
    architecture: Architecture, input_shape: tuple[int, int, int], width: float
) -> tuple[int, int]:
    """Channels of the two convolutions; refuse what leaves no pixel or no channel."""
    _, height, breadth = input_shape
    if min(height, breadth) < SMALLEST:
        raise ProfileError(
            f"architecture {architecture!r} needs images of at least {SMALLEST} pixels, not "
            f"{height} x {breadth}",
            hint="raise `data.image_size`",
        )
    if round(32 * width) < 1:
        raise ProfileError(
            f"width {width} leaves the first convolution without a channel",
            hint="use a width of 1/32 or more",
        )
    return round(32 * width), round(64 * width)


def activation_layer(name: Activation) -> nn.Module:
    """``relu``: max(v, 0). ``clip``: min(max(v, 0), 1).

    After BatchNorm with gain g and shift b, ``clip`` is the learned clip of Lyu et al. 2021
    (ParamRamp): ``min(max(v, 0), r) = r * clip(v / r)``, the gain holds 1/r, and the weights of
    the next layer hold r. So every neuron learns where it saturates, and saturated neurons pass no
    perturbation on.
    """
    return nn.ReLU() if name == "relu" else nn.Hardtanh(0.0, 1.0)


class ConvNet(nn.Module):
    """Two 4x4 convolutions of stride 2 and one fully connected layer of 256, the head apart.

    BatchNorm stands after every hidden layer.

    Args:
        input_shape: (C, H, W), at least 16 pixels each way.
        width: Multiplies the convolutions' channels (1.0: 32 and 64).
        activation: ``relu`` or ``clip``.

    Raises:
        ProfileError: The images are too small, or the width leaves no channel.
    """

    features: ClassVar[int] = 256

    def __init__(
        self, input_shape: tuple[int, int, int], *, width: float, activation: Activation
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        first, second = _channels("cnn", input_shape, width)
        pixels = (height // 2 // 2) * (breadth // 2 // 2)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, first, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            activation_layer(activation),
            nn.Conv2d(first, second, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            activation_layer(activation),
            nn.Flatten(),
            nn.Linear(second * pixels, self.features, bias=False),
            nn.BatchNorm1d(self.features),
            activation_layer(activation),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features, (B, 256), from normalised images, (B, C, H, W)."""
        return cast(Tensor, self.layers(x))


class PaperNN(nn.Module):
    """Two convolutions and five fully connected layers, the head being the fifth.

    Han, Li and Chen 2021, section 3.1, give the number of layers and the sigmoids after the first
    two fully connected ones; kernel sizes, widths and the ReLUs after the next two are ours.

    Pooling comes before BatchNorm and ReLU: on a quarter of the values and 1.5 times faster. It
    commutes with ReLU, and with BatchNorm wherever the learnt gain is positive.

    Args:
        input_shape: (C, H, W), at least 16 pixels each way.
        width: Multiplies the convolutions' channels (1.0: 32 and 64).
        batch_norm: BatchNorm in every layer before its activation.

    Raises:
        ProfileError: The images are too small, or the width leaves no channel.
    """

    features: ClassVar[int] = 32

    def __init__(
        self, input_shape: tuple[int, int, int], *, width: float, batch_norm: bool
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        first, second = _channels("nn", input_shape, width)
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, breadth))
        self.layers = nn.Sequential(
            *_convolution(channels, first, batch_norm),
            *_convolution(first, second, batch_norm),
            nn.Flatten(),
            *_fully_connected(second * rows * columns, 256, nn.Sigmoid(), batch_norm),
            *_fully_connected(256, 128, nn.Sigmoid(), batch_norm),
            *_fully_connected(128, 64, nn.ReLU(), batch_norm),
            *_fully_connected(64, self.features, nn.ReLU(), batch_norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features, (B, 32), from normalised images, (B, C, H, W)."""
        return cast(Tensor, self.layers(x))


def _convolution(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 5, bias=not batch_norm)
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return [convolution, nn.MaxPool2d(2), *norm, nn.ReLU()]


def _fully_connected(
    inputs: int, outputs: int, activation: nn.Module, batch_norm: bool
) -> list[nn.Module]:
    linear = nn.Linear(inputs, outputs, bias=not batch_norm)
    norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
    return [linear, *norm, activation]
