"""The audits of a run: independent jobs that resume, over files that can be used again.

Beside ``audit.json`` an audit keeps::

    sets/NAME.safetensors, .json    adversarial images made on one device
    examined/NAME.json              what was found about it on its own
    trials/NAME/VICTIM.json         outcomes of its images on another device

Each carries all that determines it, and one audit of a run is made at a time. So an audit that was
killed goes on where it stopped, and one that is extended by a device attacks that device, and tries
its images on the others and theirs on it, and does nothing else again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from fleet.assembly import run_images
from fleet.audit.core.examination import Examination, examine
from fleet.audit.core.kept import remember
from fleet.audit.core.members import (
    Member,
    Sample,
    TransferSettings,
    check_members,
    load_member,
    role_of,
)
from fleet.audit.core.result import Origin
from fleet.audit.core.sets import attack_surrogate, find_sets, save_sets, sets_origin
from fleet.data import ImageData
from fleet.errors import AuditError
from fleet.execution import Executor, Job, ProgressReporter
from fleet.files import locked, make_directory, read_json
from fleet.profiles.spec import FamilySpec, read_family
from fleet.provenance import environment
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed

SplitName = Literal["test", "validation"]


@dataclass(frozen=True)
class AuditJob:
    """Everything that one job of an audit needs.

    Attributes:
        run: What is audited.
        device: Name of the device that is attacked, or tried on.
        settings: How thoroughly to attack.
        images: How many images of the split; all of them if it has fewer.
        split: ``test``, or ``validation`` for choices.
        kind: Directory of the audit's files.
    """

    run: RunDirectory
    device: str
    settings: TransferSettings
    images: int
    split: SplitName
    kind: str = "transfer"


def plan_jobs(
    run: RunDirectory, settings: TransferSettings, images: int, split: SplitName, kind: str
) -> tuple[FamilySpec, list[AuditJob]]:
    """Make one job for each device and control of a run.

    Raises:
        AuditError: Fewer than one image is asked for.
    """
    if images < 1:
        raise AuditError(f"{images} images to audit", hint="audit at least one image")
    family = read_family(run)
    run_images(run, family.data)  # before anything is attacked or written
    role = partial(role_of, family=family)  # the twin is for comparing transfers alone
    names = [d.name for d in family.trained if kind == "transfer" or role(d) != "twin"]
    return family, [AuditJob(run, name, settings, images, split, kind) for name in names]


@dataclass(frozen=True)
class RunAudit:
    """One audit of a run at work.

    Attributes:
        family: The resolved profile of the run.
        jobs: One for each device and control.
        executor: Where jobs run.
    """

    family: FamilySpec
    jobs: list[AuditJob]
    executor: Executor

    def each(
        self,
        verb: str,
        function: Callable[..., Any],
        jobs: list[AuditJob] | None = None,
        **shared: Any,
    ) -> list[Any]:
        """Run ``function(job, **shared)`` on each job, all of them if ``jobs`` is None.

        Raises:
            FleetError: The first error, once all are done.
        """
        work = partial(function, **shared)
        return run_all(verb, work, self.jobs if jobs is None else jobs, self.executor)

    def origin(self, **details: Any) -> Origin:
        """Run, data and split of the audit, and ``details``, for its result."""
        job = self.jobs[0]
        return Origin(
            job.run.name,
            describe_run(job.run, self.family),
            {"split": job.split, "images_sha256": self.sample().digest(), **details},
        )

    def sample(self) -> Sample:
        """The audited images."""
        job = self.jobs[0]
        return take_sample(run_images(job.run, self.family.data), job)


@contextmanager
def auditing(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    split: SplitName,
    kind: str,
    executor: Executor,
) -> Iterator[RunAudit]:
    """Plan an audit of a run, and keep every other one out while it is at work.

    Args:
        run: A finished training.
        settings: Its seed draws the images.
        images: Images to audit; all of the split if it has fewer.
        split: Which images.
        kind: Directory of the audit's files.
        executor: Where jobs run.

    Raises:
        AuditError: Fewer than one image is asked for.
        CheckpointError: Another audit of the run is at work, or a file of the run is damaged.
        DataError: The images cannot be read, or are not those of the training.
    """
    family, jobs = plan_jobs(run, settings, images, split, kind)
    describe_run(run, family)  # a damaged record stops the audit before its work
    with locked(make_directory(run.audits), "audit"):
        yield RunAudit(family, jobs, executor)


def run_all(
    verb: str, function: Callable[..., Any], jobs: list[AuditJob], executor: Executor
) -> list[Any]:
    """Run one function on each job; the first error is raised once all are done."""
    return executor.values([Job(f"{verb} {job.device}", function, (job,)) for job in jobs])


def examine_device(job: AuditJob, *, progress: ProgressReporter) -> Examination:
    """Attack one device of a run, and try the images on itself; the body of a job."""
    member, sample = load_audited(job)
    origin = sets_origin(member, sample, job.settings)
    path = job.run.audit(job.kind) / "sets" / f"{member.name}.safetensors"
    sets = find_sets(path, origin)
    if sets is None:
        sets = attack_surrogate(
            member, sample, job.settings, lambda done, total, text: progress(done, total + 1, text)
        )
        save_sets(sets, path, origin)
    found = remember(
        job.run.audit(job.kind) / "examined" / f"{member.name}.json",
        {
            "device": member.key(),
            "sets_sha256": sets.digest(),
            "settings": job.settings.to_dict(),
        },
        Examination,
        lambda: examine(member, sets, sample, job.settings),
    )
    progress(1, 1, "attacked")
    return found


def load_audited(job: AuditJob) -> tuple[Member, Sample]:
    """Load the device and the images of a job.

    Raises:
        AuditError: They do not fit together.
    """
    family = read_family(job.run)
    member = load_member(job.run, family, family.device(job.device))
    sample = take_sample(run_images(job.run, family.data), job)
    check_members([member], sample)
    return member, sample


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


def describe_run(run: RunDirectory, family: FamilySpec) -> dict[str, Any]:
    """Where models and images come from, plain JSON values.

    Raises:
        CheckpointError: The run's record of its data is absent or damaged.
    """
    return {
        "dataset": read_json(run.dataset),
        "profile_sha256": family.digest(),
        "environment": environment(),
    }
