"""The paper's NN (Han, Li and Chen 2021, section 3.1)."""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor, nn

from fleet.errors import ProfileError

SMALLEST = 16
"""Below this, two 5x5 convolutions and two poolings leave no pixel."""


class PaperNN(nn.Module):
    """Two convolutions and five fully connected layers, the head being the fifth.

    The paper gives the number of layers and the sigmoids after the first two fully connected ones;
    kernel sizes, widths and the ReLUs after the next two are ours.

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
        first, second = round(32 * width), round(64 * width)
        if min(height, breadth) < SMALLEST:
            raise ProfileError(
                f"architecture 'nn' needs images of at least {SMALLEST} pixels, not "
                f"{height} x {breadth}",
                hint="raise `data.image_size`",
            )
        if first < 1:
            raise ProfileError(
                f"width {width} leaves the first convolution without a channel",
                hint="use a width of 1/32 or more",
            )
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
