"""The transfer audit of a run: the rows of the matrix as independent jobs that resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from fleet.assembly import load_images
from fleet.audit.members import Member, Sample, TransferSettings, check_members, load_member
from fleet.audit.result import TransferAudit
from fleet.audit.rows import Row, attack_surrogate, score_row
from fleet.audit.sets import AdversarialSets, load_sets, save_sets
from fleet.audit.transfer import assemble
from fleet.data import ImageData
from fleet.errors import AuditError
from fleet.execution import Job, Progress, run_jobs
from fleet.execution.jobs import ProgressReporter, default_workers
from fleet.profiles.resolved import read_family
from fleet.profiles.spec import FamilySpec
from fleet.provenance import environment, fleet_version
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed

SplitName = Literal["test", "validation"]


@dataclass(frozen=True)
class AuditJob:
    """Everything that one job of an audit needs.

    Attributes:
        run: What is audited.
        device: Name of the surrogate.
        settings: How thoroughly to attack.
        images: How many images of the split; all of them if it has fewer.
        split: ``test``, or ``validation`` for choices.
    """

    run: RunDirectory
    device: str
    settings: TransferSettings
    images: int
    split: SplitName


def audit_run_transfer(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    workers: int | None = None,
    split: SplitName = "test",
    on_event: Callable[[Progress], None] | None = None,
) -> TransferAudit:
    """Audit every device of a run on a seeded sample of its images.

    Adversarial sets are kept under ``audits/transfer/sets`` and used again where everything that
    they were made from is unchanged, so an interrupted audit goes on where it stopped.

    Args:
        run: A finished training.
        settings: How thoroughly to attack.
        images: Images to audit; all of the split if it has fewer.
        workers: Processes, one thread each, by default one a core; 0 or 1 works in this process.
        split: Which images.
        on_event: Called with the progress of each job, ``attack NAME``.

    Raises:
        AuditError: Fewer than one image is asked for, or a device cannot be audited.
        CheckpointError: A device is not finished.
        DataError: The images cannot be read.
    """
    if images < 1:
        raise AuditError(f"{images} images to audit", hint="audit at least one image")
    family = read_family(run)
    jobs = [AuditJob(run, device.name, settings, images, split) for device in family.devices]
    work = [Job(f"attack {job.device}", audit_device, (job,)) for job in jobs]
    count = default_workers(len(work)) if workers is None else workers
    outcomes = run_jobs(work, workers=count, on_progress=on_event).values()
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    sample = take_sample(load_images(family.data), jobs[0])
    return assemble(
        [outcome.value for outcome in outcomes],
        settings,
        label=run.name,
        details={"split": split, "images_sha256": _images_digest(sample)},
        provenance=_provenance(run, family),
    )


def audit_device(job: AuditJob, *, progress: ProgressReporter) -> Row:
    """Attack one device of a run and try the images on all; the body of a job.

    Images that an earlier audit left are used again if everything they were made from is the same.
    """
    family = read_family(job.run)
    member = load_member(job.run, family, family.device(job.device))
    sample = take_sample(load_images(family.data), job)
    check_members([member], sample)
    sets = _sets(job, member, sample, progress)
    victims = (load_member(job.run, family, device) for device in family.devices)
    row = score_row(member, sets, victims, sample, job.settings)
    progress(1, 1, "attacked and tried on every device")
    return row


def take_sample(data: ImageData, job: AuditJob) -> Sample:
    """Draw the audited images: a sample without replacement that the seed and the split fix."""
    split = data.test if job.split == "test" else data.validation
    if len(split) == 0:
        raise AuditError(
            f"the {job.split} split has no images", hint="audit the test split instead"
        )
    generator = torch.Generator().manual_seed(derive_seed(job.settings.seed, "images", job.split))
    chosen = torch.randperm(len(split), generator=generator)[: job.images]
    indices = chosen.sort().values
    return Sample(split.images(indices), split.labels[indices], indices)


def _sets(
    job: AuditJob, member: Member, sample: Sample, progress: ProgressReporter
) -> AdversarialSets:
    """Load a surrogate's images, or make and store them."""
    path = job.run.audit("transfer") / "sets" / f"{job.device}.safetensors"
    origin = _origin(job, member, sample)
    sets = load_sets(path, origin)
    if sets is None:
        sets = attack_surrogate(
            member, sample, job.settings, lambda done, total, text: progress(done, total + 1, text)
        )
        save_sets(sets, path, origin)
    return sets


def _origin(job: AuditJob, member: Member, sample: Sample) -> dict[str, Any]:
    """All that determines a surrogate's images."""
    settings = job.settings.to_dict()
    del settings["noise_draws"]
    return {
        "settings": settings,
        "weights_sha256": member.weights_sha256,
        "encoding": None
        if member.classifier.encoding is None
        else member.classifier.encoding.to_dict(),
        "images_sha256": _images_digest(sample),
        "fleet": fleet_version(),
        "torch": torch.__version__,
    }


def _images_digest(sample: Sample) -> str:
    """SHA-256 of the audited pixels, labels and indices."""
    digest = hashlib.sha256()
    for part in (sample.images, sample.labels, sample.indices):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _provenance(run: RunDirectory, family: FamilySpec) -> dict[str, Any]:
    try:
        dataset = json.loads(run.dataset.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        dataset = None
    return {
        "dataset": dataset,
        "profile_sha256": family.digest(),
        "environment": environment(),
    }
