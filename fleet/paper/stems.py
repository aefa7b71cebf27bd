"""What Table 1's choice of early-shrinking first layers costs in accuracy and saves in time.

The paper does not say how ResNet-18 met images of 28 pixels.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fleet.audit.core.jobs import describe_run
from fleet.errors import CheckpointError
from fleet.files import read_json
from fleet.paper.stems_result import StemNetwork, Stems
from fleet.paper.workspace import Workspace
from fleet.profiles.spec import DeviceSpec
from fleet.rundir import RunDirectory

NAME = "stems"


def reproduce_stems(workspace: Workspace) -> Stems:
    """Train each network with both stems, and read what its training recorded.

    Raises:
        FleetError: A network could not be trained.
    """
    family, run = workspace.trained(NAME)
    return Stems(
        title="First layers of ResNet-18, MNIST",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training_images=family.data.train_limit or 0,
        networks=tuple(_network(run, device) for device in family.devices),
        provenance=describe_run(run, family),
    )


def _network(run: RunDirectory, device: DeviceSpec) -> StemNetwork:
    path = run.result(device.name)
    record = read_json(path)
    try:
        return StemNetwork(
            task=device.task,
            stem=device.model.stem,
            epochs=record["epochs"],
            seconds=record["seconds"],
            n=record["test"]["n"],
            correct=record["test"]["correct"],
            rejected=record["test"]["rejected"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="train that network again"
        ) from error
