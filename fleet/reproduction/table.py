"""Tables 1 and 2: one interval network, two ordinary ones, and what attacks do to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fleet.assembly import load_images, load_trained
from fleet.audit.checks import run_checks
from fleet.audit.examination import Examination, gather_evidence
from fleet.audit.kept import remember
from fleet.audit.members import TransferSettings
from fleet.audit.run import (
    AuditJob,
    describe_run,
    examine_device,
    plan_jobs,
    run_all,
    versions,
)
from fleet.audit.transfer import record_settings
from fleet.audit.whitebox.audit import device_figures
from fleet.audit.whitebox.nearness import Nearness
from fleet.audit.whitebox.run import examine_closely
from fleet.data import to_unit
from fleet.encoding.tensor import EncodingTensors, encoding_tensors
from fleet.execution.jobs import ProgressReporter
from fleet.files import read_json
from fleet.models import Classifier
from fleet.profiles.resolved import read_family
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.reproduction.experiments import TableExperiment
from fleet.reproduction.published import TABLES
from fleet.reproduction.table_result import Attacked, CleanFigures, Table, TableNetwork
from fleet.reproduction.table_rows import summarise
from fleet.reproduction.workspace import Workspace
from fleet.rundir import RunDirectory

KIND = "whitebox"
"""Directory of the audit's files in each run: ``fleet audit whitebox`` goes on from them too."""

SHOWN = {"paper": ("fgsm", "pgd", "worst"), "adaptive": ("worst",)}
"""Figures of an audit that a table keeps, by protocol."""


def reproduce_table(experiment: TableExperiment, workspace: Workspace) -> Table:
    """Train what is not trained, attack what is not attacked, and put the table together.

    Args:
        experiment: Which table, on which images, from which profiles.
        workspace: Where everything is kept.

    Raises:
        FleetError: Images are missing, or a network cannot be trained or attacked.
    """
    published = TABLES[experiment.number]
    scale = experiment.quick() if workspace.quick else experiment
    settings = TransferSettings(
        eps=published.eps,
        steps=scale.steps,
        restarts=scale.restarts,
        batch_size=scale.batch_size,
    )
    networks: list[TableNetwork] = []
    provenance: dict[str, Any] = {}
    recorded: dict[str, Any] = {}
    for backbone, profile in scale.profiles:
        family, run = workspace.trained(profile, own_data=scale.own_data)
        examined, near = _attack(run, settings, scale.images, workspace, profile)
        clean = _clean(run, family, workspace, profile)
        networks += [
            _network(
                backbone,
                device,
                trained=read_json(run.result(device.name)),
                clean=clean[device.name],
                examined=examined[device.name],
                near=near.get(device.name),
                settings=settings,
            )
            for device in family.devices
        ]
        provenance[backbone] = describe_run(run, family)
        recorded = record_settings(list(examined.values()), settings)
    return Table(
        number=scale.number,
        title=scale.title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        same_data=scale.same_data and not workspace.quick,
        eps=settings.eps,
        images=max(network.audited.images for network in networks),
        networks=tuple(networks),
        rows=summarise(networks, published),
        settings={key: value for key, value in recorded.items() if key != "attack_values"},
        provenance=provenance,
    )


def _attack(
    run: RunDirectory,
    settings: TransferSettings,
    images: int,
    workspace: Workspace,
    profile: str,
) -> tuple[Mapping[str, Examination], Mapping[str, Nearness]]:
    """Attack every network; measure distances on those of the first seed."""
    family, jobs = plan_jobs(run, settings, images, "test", KIND)
    with workspace.stage(f"attack {profile}", len(jobs)) as on_event:
        found = run_all("attack", examine_device, jobs, workspace.workers, on_event)
    first = min(device.training.seed for device in family.devices)
    near = [job for job in jobs if family.device(job.device).training.seed == first]
    with workspace.stage(f"measure distances of {profile}", len(near)) as on_event:
        measured = run_all("measure", examine_closely, near, workspace.workers, on_event)
    return (
        {job.device: examined for job, examined in zip(jobs, found, strict=True)},
        {job.device: pair[1] for job, pair in zip(near, measured, strict=True)},
    )


def _clean(
    run: RunDirectory, family: FamilySpec, workspace: Workspace, profile: str
) -> Mapping[str, CleanFigures]:
    """Accuracy on the whole test set under each way to decode."""
    settings = TransferSettings(eps=(0.1,))
    jobs = [AuditJob(run, d.name, settings, 1, "test", "clean") for d in family.devices]
    with workspace.stage(f"test {profile}", len(jobs)) as on_event:
        found = run_all("test", count_clean, jobs, workspace.workers, on_event)
    return dict(zip((job.device for job in jobs), found, strict=True))


def count_clean(job: AuditJob, *, progress: ProgressReporter) -> CleanFigures:
    """Count one network's decisions on the whole test set; the body of a job."""
    family = read_family(job.run)
    device = family.device(job.device)
    key = {"weights": read_json(job.run.result(device.name))["weights_sha256"], **versions()}
    path = job.run.audit(job.kind) / f"{device.name}.json"
    found = remember(path, key, CleanFigures, lambda: _count(job.run, device, family))
    progress(1, 1, f"{found.correct / found.n:.4f}")
    return found


def _count(run: RunDirectory, device: DeviceSpec, family: FamilySpec) -> CleanFigures:
    classifier = load_trained(run, device, family.data)
    split = load_images(family.data).test
    tensors = None if device.encoding is None else encoding_tensors(device.encoding)
    counts = torch.zeros(4, dtype=torch.int64)
    with torch.inference_mode():
        for rows in torch.arange(len(split)).split(500):
            outputs, labels = classifier(to_unit(split.images(rows))), split.labels[rows]
            strict = classifier.decode(outputs)
            floor = classifier.decode(outputs, "floor")
            nearest = _nearest(classifier, outputs, tensors)
            hits = [strict == labels, strict < 0, floor == labels, nearest == labels]
            counts += torch.stack([hit.sum() for hit in hits])
    correct, rejected, floored, near = counts.tolist()
    return CleanFigures(len(split), correct, rejected, floored, near)


def _nearest(classifier: Classifier, outputs: Tensor, tensors: EncodingTensors | None) -> Tensor:
    """Class of the interval that each output is nearest to."""
    if tensors is None:
        return classifier.decode(outputs)
    low = functional.relu(tensors.lower - outputs.unsqueeze(1))
    return (low + functional.relu(outputs.unsqueeze(1) - tensors.upper)).argmin(1)


def _network(
    backbone: str,
    device: DeviceSpec,
    *,
    trained: Mapping[str, Any],
    clean: CleanFigures,
    examined: Examination,
    near: Nearness | None,
    settings: TransferSettings,
) -> TableNetwork:
    """Count and check one network on its own, so that its checks speak of it alone."""
    evidence = gather_evidence([examined], settings, {})
    figures = [f for f in device_figures(examined, settings.eps) if f.attack in SHOWN[f.protocol]]
    return TableNetwork(
        backbone=backbone,
        task=device.task,
        seed=device.training.seed,
        epochs=trained["epochs"],
        seconds=round(trained["seconds"]),
        clean=clean,
        audited=evidence.devices[0],
        attacked=tuple(Attacked(f.protocol, f.attack, f.eps, f.outcome, f.floor) for f in figures),
        noise=tuple(floor.outcome for floor in evidence.noise),
        distances=() if near is None else near.distances,
        failed=tuple(check for check in run_checks(evidence) if check.verdict == "fail"),
    )
