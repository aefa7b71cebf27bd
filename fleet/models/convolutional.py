"""A small convolutional network whose bounds can be trained: BatchNorm after every hidden layer."""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor, nn

from fleet.errors import ProfileError
from fleet.vocabulary import Activation

SMALLEST = 16
"""Below this, two halvings leave fewer than 4 x 4 pixels."""


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
        first, second = round(32 * width), round(64 * width)
        if min(height, breadth) < SMALLEST:
            raise ProfileError(
                f"architecture 'cnn' needs images of at least {SMALLEST} pixels, not "
                f"{height} x {breadth}",
                hint="raise `data.image_size`",
            )
        if first < 1:
            raise ProfileError(
                f"width {width} leaves the first convolution without a channel",
                hint="use a width of 1/32 or more",
            )
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
