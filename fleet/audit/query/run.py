"""The query audit of a run: one job for each device's images, then one for each victim."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from fleet.assembly import load_images
from fleet.audit.kept import remember
from fleet.audit.members import load_member
from fleet.audit.query.audit import QueriedVictim, assemble, attack_settings, query_victim
from fleet.audit.query.extraction import Attacker
from fleet.audit.query.result import QueryAudit
from fleet.audit.query.sets import stored_sets
from fleet.audit.query.settings import QuerySettings
from fleet.audit.run import (
    AuditJob,
    OnEvent,
    SplitName,
    describe_run,
    load_audited,
    plan_jobs,
    run_all,
    take_sample,
)
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.execution.jobs import ProgressReporter
from fleet.models import Classifier, build_classifier
from fleet.profiles.resolved import read_family
from fleet.profiles.spec import DataSpec, DeviceSpec
from fleet.provenance import fleet_version
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed
from fleet.vocabulary import HeadName, Task

OWN_IMAGES = 12_000
"""Images of the training split that an attacker has; more than any budget needs."""


def audit_run_query(
    run: RunDirectory,
    settings: QuerySettings,
    *,
    images: int,
    victims: tuple[str, ...] = (),
    workers: int | None = None,
    split: SplitName = "test",
    on_event: OnEvent | None = None,
) -> QueryAudit:
    """Ask the devices of a run, and its controls, about a seeded sample of its images.

    What is found about a victim is kept under ``audits/query``, and used again where everything
    that determines it is unchanged.

    Args:
        run: A finished training.
        settings: How thoroughly to ask.
        images: Images to ask about; all of the split if it has fewer.
        victims: Names of the devices to ask; all if empty.
        workers: Processes, one thread each, by default one a core; 0 or 1 works in this process.
        split: Which images.
        on_event: Called with the progress of each job, ``attack NAME`` and ``ask NAME``.

    Raises:
        AuditError: No images are asked for, there is no such victim, or a device cannot be audited.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    family, jobs = plan_jobs(run, attack_settings(settings), images, split, "query")
    known = [job.device for job in jobs]
    unknown = sorted(set(victims) - set(known))
    if unknown:
        raise AuditError(
            f"no device {', '.join(unknown)} in {run.root}", hint=f"there are {', '.join(known)}"
        )
    provenance = describe_run(run, family)
    run_all("attack", attack_device, jobs, workers, on_event)
    asked = [job for job in jobs if not victims or job.device in victims]
    found = run_all("ask", partial(ask_device, settings=settings), asked, workers, on_event)
    sample = take_sample(load_images(family.data), jobs[0])
    return assemble(
        found,
        settings,
        label=run.name,
        details={"split": split, "images_sha256": sample.digest()},
        provenance=provenance,
    )


def attack_device(job: AuditJob, *, progress: ProgressReporter) -> None:
    """Make one device's adversarial images, if they are not stored; the body of a job."""
    member, sample = load_audited(job)
    stored_sets(
        _audits(job),
        member,
        sample,
        job.settings,
        lambda done, total, text: progress(done, total + 1, text),
    )
    progress(1, 1, "attacked")


def ask_device(
    job: AuditJob, *, settings: QuerySettings, progress: ProgressReporter
) -> QueriedVictim:
    """Ask one device; the body of a job that follows the attacks."""
    victim, sample = load_audited(job)
    family = read_family(job.run)
    owners = [device.name for device in family.devices]
    others = [load_member(job.run, family, family.device(name)) for name in owners]
    key = {
        "victim_sha256": victim.digest(),
        "device": [victim.architecture, victim.head, victim.private, victim.role],
        "owned": [[member.name, member.digest()] for member in others],
        "images_sha256": sample.digest(),
        "settings": settings.to_dict(),
        "fleet": fleet_version(),
        "torch": torch.__version__,
    }

    def make() -> QueriedVictim:
        made = [victim, *(member for member in others if member.name != victim.name)]
        return query_victim(
            victim,
            {m.name: stored_sets(_audits(job), m, sample, job.settings, _silent) for m in made},
            sample,
            settings,
            owners=owners,
            attacker=attacker_of(family.device(job.device), family.data, settings.seed),
        )

    found = remember(
        job.run.audit("query") / "asked" / f"{job.device}.json", key, QueriedVictim, make
    )
    progress(1, 1, "asked")
    return found


def attacker_of(device: DeviceSpec, data: DataSpec, seed: int) -> Attacker:
    """What is public about a device: its architecture, and images like those it was trained on.

    Args:
        device: Its weights and its encoding are not looked at.
        data: Where the images are.
        seed: Chooses the attacker's images from the training split.
    """
    images = load_images(data)
    generator = torch.Generator().manual_seed(derive_seed(seed, "attacker"))
    rows = torch.randperm(len(images.train), generator=generator)[:OWN_IMAGES].sort().values

    def build(
        task: Task, head: HeadName, encoding: IntervalEncoding | None, key: int
    ) -> Classifier:
        return build_classifier(
            **{**vars(device.model), "head": head},
            task=task,
            encoding=encoding,
            num_classes=data.num_classes,
            input_shape=(data.channels, data.image_size, data.image_size),
            mean=images.mean,
            std=images.std,
            seed=key,
        )

    return Attacker(images.train.images(rows), images.train.labels[rows], build)


def _audits(job: AuditJob) -> Path:
    return job.run.audit("query").parent


def _silent(done: int, total: int, text: str) -> None:
    pass
