"""How long a training takes, roughly: for forecasts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.profiles.spec import DeviceSpec

SECONDS = {"nn": 8e-7, "cnn": 7e-7, "alexnet": 5e-6, "resnet18": 4e-6, "densenet121": 8e-6}
"""Core seconds that a network of width 1 takes for a pixel of a training image in standard
training, as measured at 64 pixels."""

CERTIFIED = 3.0
"""How many times as long certified training takes: 2 to 3.5 times, as measured with `cnn`."""

ATTACK_STEP = 0.7
"""What a step of adversarial training's attack costs, of a standard step; the share of the steps
that train without an attack is in it."""

STEP = 27
"""Images whose time a step takes beside its own; measured with `nn`, 64 pixels, batches of 8."""


def core_seconds(device: DeviceSpec, images: int, side: int) -> float:
    """Seconds of one core that a device's training takes.

    Args:
        device: Network, width, method, epochs and batch count.
        images: Training images.
        side: Their height and width, pixels.
    """
    model, training = device.model, device.training
    attacked = ATTACK_STEP * (1 + training.attack_steps)
    times = {"standard": 1.0, "certified": CERTIFIED}.get(training.method, attacked)
    pixel = SECONDS.get(model.architecture, 1e-6) * model.width * times
    shown = images + images // training.batch_size * STEP
    return shown * training.epochs * side**2 * pixel
