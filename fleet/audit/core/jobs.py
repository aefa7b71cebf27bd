"""Audit a run by independent jobs that resume, and keep files that later audits use again.

Beside ``audit.json`` an audit keeps::

    sets/NAME.safetensors, .json    adversarial images made on one device
    examined/NAME.json              what was found about it on its own
    trials/NAME/VICTIM.json         outcomes of its images on another device

Each file carries all that determines it, and a lock lets one audit of a run work at a time. So an
audit that was killed goes on where it stopped. A new device costs the attacks on it, and the trials
of its images on the others and of theirs on it; nothing else is done again.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, Protocol, TypeVar

import torch

from fleet.accelerator import ACCELERATOR, multiplies_bf16, torch_device
from fleet.assembly import run_images
from fleet.audit.core import evidence, members
from fleet.audit.core.cache import recall, remember
from fleet.audit.core.examination import Examination, examine
from fleet.audit.core.sets import (
    AdversarialSets,
    attack_surrogate,
    find_sets,
    load_sets,
    save_sets,
    sets_origin,
    take_part,
)
from fleet.data import ImageData
from fleet.errors import AuditError, CheckpointError
from fleet.execution import LOCAL, Executor, Job, ProgressReporter
from fleet.files import locked, make_directory, read_json
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.provenance import Origin, environment
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

VERSION = 3
"""Of kept examinations and trials."""


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
    settings: members.TransferSettings
    images: int
    split: SplitName
    kind: str = "transfer"


def plan_jobs(
    run: RunDirectory, settings: members.TransferSettings, images: int, split: SplitName, kind: str
) -> tuple[FamilySpec, list[AuditJob]]:
    """Make one job for each device and control of a run.

    Raises:
        AuditError: Fewer than one image is asked for.
    """
    if images < 1:
        raise AuditError(f"{images} images to audit", hint="audit at least one image")
    family = read_family(run)
    run_images(run, family.data)  # before anything is attacked or written
    role = partial(members.role_of, family=family)  # the twin is for comparing transfers alone
    compared = kind in {"transfer", "diversity"}
    names = [d.name for d in family.trained if compared or role(d) != "twin"]
    return family, [AuditJob(run, name, settings, images, split, kind) for name in names]


@dataclass(frozen=True)
class RunAudit:
    """One audit of a run at work.

    Attributes:
        family: The resolved profile of the run.
        jobs: One for each device and control.
        executor: Where jobs run.
        began: When it began, by ``time.monotonic``.
    """

    family: FamilySpec
    jobs: list[AuditJob]
    executor: Executor
    began: float

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
            self.began,
        )

    @property
    def run(self) -> RunDirectory:
        """What is audited."""
        return self.jobs[0].run

    def sample(self) -> members.Sample:
        """The audited images."""
        job = self.jobs[0]
        return take_sample(run_images(job.run, self.family.data), job)


@contextmanager
def auditing(
    run: RunDirectory,
    settings: members.TransferSettings,
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
    began = time.monotonic()
    family, jobs = plan_jobs(run, settings, images, split, kind)
    describe_run(run, family)  # a damaged record stops the audit before its work
    with executor.accelerated(family.accelerator), locked(make_directory(run.audits), "audit"):
        yield RunAudit(family, jobs, executor, began)


class OfRun(Protocol[S_contra, R_co]):
    """What :func:`of_run` makes."""

    def __call__(
        self,
        run: RunDirectory,
        settings: S_contra,
        *,
        images: int,
        executor: Executor = LOCAL,
        split: SplitName = "test",
        **more: Any,
    ) -> R_co:
        """Audit a run.

        Args:
            run: A finished training.
            settings: How thoroughly.
            images: Images to audit; all of the split if it has fewer.
            executor: Where the jobs run. No result depends on it.
            split: Which images.
            more: What the audit takes beyond these.

        Raises:
            AuditError: Fewer than one image is asked for, or a device cannot be audited.
            CheckpointError: A device is not finished, or a file of the run is damaged.
            DataError: The images cannot be read.
        """
        ...


def of_run(
    kind: str, attack: Callable[[Any], members.TransferSettings] = lambda settings: settings
) -> Callable[[Callable[Concatenate[RunAudit, S, ...], R]], OfRun[S, R]]:
    """Make an audit of a run out of what is done while it is at work.

    Args:
        kind: Directory of the audit's files.
        attack: What settings say of attacks, and of how images are drawn.

    Returns:
        A decorator: ``(audit, settings, **more)`` becomes ``(run, settings, *, images, executor,
        split, **more)``, with :func:`auditing` around it.
    """

    def decorate(function: Callable[Concatenate[RunAudit, S, ...], R]) -> OfRun[S, R]:
        @wraps(function)
        def audited(
            run: RunDirectory,
            settings: S,
            *,
            images: int,
            executor: Executor = LOCAL,
            split: SplitName = "test",
            **more: Any,
        ) -> R:
            with auditing(
                run, attack(settings), images=images, split=split, kind=kind, executor=executor
            ) as audit:
                return function(audit, settings, **more)

        del audited.__dict__["__wrapped__"]  # its signature is another
        audited.__doc__ = f"{function.__doc__}\n    Other arguments and errors: :class:`OfRun`.\n"
        return audited

    return decorate


def run_all(
    verb: str, function: Callable[..., Any], jobs: list[AuditJob], executor: Executor
) -> list[Any]:
    """Run one function on each job; the first error is raised once all are done."""
    return executor.values([Job(f"{verb} {job.device}", function, (job,), job.run) for job in jobs])


def examine_device(job: AuditJob, *, progress: ProgressReporter) -> Examination:
    """Attack one device of a run, and try the images on itself; the body of a job."""
    member, sample = load_audited(job)
    progress(0, 1, "loaded")
    origin = sets_origin(member, sample, job.settings)
    path = job.run.audit(job.kind) / "sets" / f"{member.name}.safetensors"
    sets = find_sets(path, origin)
    if sets is None:
        sets = take_part(
            _other(job) / "sets" / path.name, origin, member, sample, job.settings
        ) or attack_surrogate(
            member, sample, job.settings, lambda done, total, text: progress(done, 3 * total, text)
        )
        save_sets(sets, path, origin)
    found = remember(
        job.run.audit(job.kind) / "examined" / f"{member.name}.json",
        _examined_key(member, sets, job.settings),
        Examination,
        lambda: examine(member, sets, sample, job.settings, known=_tried_again(job, member, sets)),
        version=VERSION,
    )
    progress(1, 1, "attacked")
    return found


def _examined_key(
    member: members.Member, sets: AdversarialSets, settings: members.TransferSettings
) -> dict[str, Any]:
    digest = sets.digest()
    return {"device": member.key(), "sets_sha256": digest, "settings": settings.to_dict()}


def _other(job: AuditJob) -> Path:
    """The audit of the run that attacks as this one does, at some of its radii."""
    return job.run.audit("transfer" if job.kind == "whitebox" else "whitebox")


def _tried_again(
    job: AuditJob, member: members.Member, sets: AdversarialSets
) -> tuple[evidence.Retry, ...]:
    """Second looks that the other audit took at the same images of a device."""
    there = _other(job)
    try:
        other = load_sets(there / "sets" / f"{member.name}.safetensors")
    except AuditError:
        return ()
    key = _examined_key(member, other, replace(job.settings, eps=other.eps))
    path = there / "examined" / f"{member.name}.json"
    found = recall(path, key, Examination, version=VERSION)
    if found is None or other.sample.digest() != sets.sample.digest():
        return ()
    theirs = dict(zip(other.eps, other.images, strict=True))
    same = {
        e
        for e, m in zip(sets.eps, sets.images, strict=True)
        if torch.equal(m, theirs.get(e, m[:0]))
    }
    return tuple(retry for retry in found.probes.retries if retry.eps in same)


def load_audited(job: AuditJob) -> tuple[members.Member, members.Sample]:
    """Load the device and the images of a job.

    Raises:
        AuditError: They do not fit together.
    """
    family = read_family(job.run)
    member = members.load_member(job.run, family, family.device(job.device))
    sample = take_sample(run_images(job.run, family.data), job)
    members.check_members([member], sample)
    return member, sample


def take_sample(data: ImageData, job: AuditJob) -> members.Sample:
    """Draw the audited images: a sample without replacement that the seed and the split fix."""
    split = data.test if job.split == "test" else data.validation
    if len(split) == 0:
        raise AuditError(
            f"the {job.split} split has no images", hint="audit the test split instead"
        )
    generator = torch.Generator().manual_seed(derive_seed(job.settings.seed, "images", job.split))
    chosen = torch.randperm(len(split), generator=generator)[: job.images]
    indices = chosen.sort().values
    return members.Sample(split.images(indices), split.labels[indices], indices)


def describe_run(run: RunDirectory, family: FamilySpec) -> dict[str, Any]:
    """Where models and images come from, plain JSON values.

    Raises:
        CheckpointError: The run's record of its data is absent or damaged.
    """
    return {
        "dataset": read_json(run.dataset),
        "profile_sha256": family.digest(),
        "environment": environment(),
        "accelerator": os.environ.get(ACCELERATOR, "cpu"),
        "bf16": multiplies_bf16(torch_device().type),
        "trainings": {device.name: _training(run, device) for device in family.trained},
    }


def _training(run: RunDirectory, device: DeviceSpec) -> dict[str, Any]:
    """How a device was trained; its seconds are left out where its result is not there."""
    told = {"method": device.training.method, "epochs": device.training.epochs}
    try:
        return {**told, "seconds": read_json(run.result(device.name))["seconds"]}
    except (CheckpointError, KeyError):
        return told
