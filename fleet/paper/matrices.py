"""Figure 3: train the family, audit the transfer, summarise."""

from __future__ import annotations

from fleet.audit.core.jobs import audit_run_transfer
from fleet.audit.core.members import TransferSettings
from fleet.paper.experiments import MatrixExperiment
from fleet.paper.figure3 import summarise
from fleet.paper.figure3_result import Figure3
from fleet.paper.workspace import Workspace


def reproduce_figure3(experiment: MatrixExperiment, workspace: Workspace) -> Figure3:
    """Attack each network of the family, and try its images on all the others.

    The audit is kept in the run too, for ``fleet report``.

    Args:
        experiment: On which images, from which profile.
        workspace: Where everything is kept.

    Raises:
        FleetError: Images are missing, or a network cannot be trained or attacked.
    """
    scale = experiment.quick() if workspace.quick else experiment
    _, run = workspace.trained(scale.profile, own_data=scale.own_data)
    settings = TransferSettings(
        eps=scale.eps, steps=scale.steps, restarts=scale.restarts, batch_size=scale.batch_size
    )
    with workspace.stage(f"audit {scale.profile}", 1) as executor:
        audit = audit_run_transfer(
            run,
            settings,
            images=scale.images,
            executor=executor,
        )
    audit.save(run.audit("transfer") / "audit.json")
    same_data = scale.same_data and not workspace.quick
    return summarise(audit, title=scale.title, same_data=same_data)
