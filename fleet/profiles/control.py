"""What is trained beside the devices for comparison, and shipped to nobody.

An audit without an undefended baseline cannot tell a strong device from a weak attack. The control
is an ordinary network of the same backbone, with task ``tra`` (cross-entropy), and goes through
every audit. It also is what an attacker without any device would train for themselves.

The twin has the first device's encoding and recipe and other weights, since a network's name is
part of its seed. What transfers to the twin and not to the other devices, a different encoding has
stopped.
"""

import dataclasses
from collections.abc import Sequence

from fleet.profiles.spec import DeviceSpec
from fleet.vocabulary import ModelSpec

CONTROL = "control"
TWIN = "twin"


def derive_controls(devices: Sequence[DeviceSpec]) -> tuple[DeviceSpec, ...]:
    """Specify one control for each backbone of a family, in order of appearance.

    Its recipe is that of the first device with the backbone; only the loss is the task's own, and
    the method is ``standard`` whatever the device's is, and it starts from no weights of the
    user's own.

    Args:
        devices: The family.

    Returns:
        ``control``, or ``control-ARCHITECTURE`` where there are several; a number follows where
        two backbones differ in width or stem alone.
    """
    first: dict[ModelSpec, DeviceSpec] = {}
    for device in devices:
        model = dataclasses.replace(device.model, head="logits", weights=None)
        first.setdefault(model, device)
    names: list[str] = []
    for model in first:
        name = CONTROL if len(first) == 1 else f"{CONTROL}-{model.architecture}"
        same = sum(taken == name or taken.startswith(f"{name}-") for taken in names)
        names.append(f"{name}-{same + 1}" if same else name)
    return tuple(
        DeviceSpec(
            name=name,
            task="tra",
            encoding=None,
            model=model,
            training=dataclasses.replace(device.training, method="standard", pool=()),
        )
        for name, (model, device) in zip(names, first.items(), strict=True)
    )


def derive_twin(devices: Sequence[DeviceSpec]) -> DeviceSpec:
    """Specify the twin: the first device again, under another name."""
    return dataclasses.replace(devices[0], name=TWIN)
