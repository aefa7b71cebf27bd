"""What Table 1's choice of early-shrinking first layers changes, on a part of MNIST.

The paper does not say how ResNet-18 met images of 28 pixels.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fleet.audit.counting import WORST
from fleet.audit.members import TransferSettings
from fleet.profiles.spec import DeviceSpec
from fleet.reproduction.experiments import STEMS
from fleet.reproduction.published import TABLE1
from fleet.reproduction.stems_result import StemNetwork, Stems
from fleet.reproduction.table import measure_family
from fleet.reproduction.table_result import TableNetwork
from fleet.reproduction.workspace import Workspace


def reproduce_stems(workspace: Workspace) -> Stems:
    """Train, attack and check each network with both stems.

    Raises:
        FleetError: Images are missing, or a network cannot be trained or attacked.
    """
    scale = STEMS.quick() if workspace.quick else STEMS
    ((label, profile),) = scale.profiles
    settings = TransferSettings(
        eps=TABLE1.eps[:1],
        steps=scale.steps,
        restarts=scale.restarts,
        batch_size=scale.batch_size,
    )
    family = workspace.family(profile)
    found = measure_family(label, profile, settings, scale, workspace)
    return Stems(
        title=scale.title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        images=max(network.audited.images for network in found.networks),
        eps=settings.eps[0],
        training_images=family.data.train_limit or 0,
        epochs=found.networks[0].epochs,
        networks=tuple(map(_network, family.devices, found.networks)),
        settings=found.settings,
        provenance=found.provenance,
    )


def _network(device: DeviceSpec, found: TableNetwork) -> StemNetwork:
    (eps,) = {attacked.eps for attacked in found.attacked}
    (noise,) = found.noise
    return StemNetwork(
        architecture=device.model.architecture,
        stem=device.model.stem,
        task=found.task,
        head=found.audited.head,
        seconds=round(found.seconds),
        clean=found.clean,
        paper=found.attack("paper", WORST, eps).outcome,
        adaptive=found.attack("adaptive", WORST, eps).outcome,
        noise=noise,
        failed=tuple(check.id for check in found.failed if check.about("adaptive")),
    )
