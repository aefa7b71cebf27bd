"""Training against images made on other networks: transfer falls, and an owner finds no less.

The device learns to stand what its pool's attacks bring, so images made on such networks reach it
less. Nothing holds back whoever reads the device itself out: its own attack is never trained on.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from fleet.assembly import load_trained
from fleet.errors import ProfileError
from fleet.models import Classifier
from fleet.profiles.spec import DataSpec, DeviceSpec, read_device
from fleet.training.adversarial import Adversarial
from fleet.training.method import Verdict


class Cross(Adversarial):
    """Half of each batch's loss is that of images made on a network of the pool, drawn by batch.

    The attack, its steps and its ramp are those of :class:`Adversarial`.
    """

    rolls_back = False

    def begin(self) -> None:
        """Load the pool, beside the device's own network."""
        super().begin()
        place = self.classifier.mean.device
        self.pool = [load_pooled(path).to(place) for path in self.device.training.pool]

    def attacked(self) -> Classifier:
        """One network of the pool, drawn from the generator that device and step seed."""
        return self.pool[int(torch.randint(len(self.pool), ()))]

    def end_epoch(self, epoch: int) -> Verdict:  # noqa: ARG002
        """Keep every epoch: nothing rewards the network for hiding its own gradient."""
        return Verdict(metrics={"probe": self.probe()})


def load_pooled(path: str) -> Classifier:
    """Load one network of a pool, in eval mode.

    Raises:
        CheckpointError: It or the profile of its run is absent or damaged.
    """
    run, family, device = read_device(Path(path))
    return load_trained(run, device, family.data)


def check_pools(devices: Sequence[DeviceSpec], data: DataSpec) -> None:
    """Refuse pools that cannot attack a family's devices, before anything is trained.

    Args:
        devices: Those that are to be trained.
        data: Their images.

    Raises:
        CheckpointError: A network of a pool is absent or damaged.
        ProfileError: It takes other images, or knows another number of classes.
    """
    names = ("channels", "image_size", "num_classes")
    for path in dict.fromkeys(path for device in devices for path in device.training.pool):
        run, family, device = read_device(Path(path))
        load_trained(run, device, family.data)  # or it is absent or damaged
        for name in names:
            if getattr(family.data, name) != getattr(data, name):
                raise ProfileError(
                    f"training.pool: {path} was trained with {name} {getattr(family.data, name)}, "
                    f"this profile has {getattr(data, name)}",
                    hint="a pool holds networks for the same images: train them first, from a "
                    "profile with the same data",
                )
