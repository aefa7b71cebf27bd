"""The audits of a run: independent jobs that resume, over files that can be used again.

Beside ``audit.json`` an audit keeps::

    sets/NAME.safetensors, .json    adversarial images made on one device
    examined/NAME.json              what was found about it on its own
    trials/NAME/VICTIM.json         outcomes of its images on another device

Each carries all that determines it, and one audit of a run is made at a time. So an audit that was
killed goes on where it stopped, and one that is extended by a device attacks that device, and tries
its images on the others and theirs on it, and does nothing else again.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, Literal, Protocol, TypeVar

import torch

from fleet.accelerator import ACCELERATOR, multiplies_bf16, torch_device
from fleet.assembly import run_images
from fleet.attacks import radius
from fleet.attacks.pixels import squared_radius
from fleet.audit.core import evidence, members
from fleet.audit.core.exhibits import Exhibit, Tried
from fleet.audit.core.kept import PackedClasses, remember
from fleet.audit.core.pictures import exhibit
from fleet.audit.core.probes import probe_device
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.scoring import Baseline, Trial, describe, score_baseline, score_sets
from fleet.audit.core.sets import (
    AdversarialSets,
    attack_surrogate,
    find_sets,
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

_ROWS = 500
"""Images measured at once; changes the memory only."""

VERSION = 2
"""Of kept examinations and trials."""


@dataclass(frozen=True, eq=False)
class Examination:
    """Everything found about one device with its own weights known.

    Attributes:
        device: Its description and clean figures.
        attacks: Names of its sets.
        attack_values: Its attacks with their hyper-parameters, at the first eps.
        health: Its gradients at the clean images.
        reaches: How far its images are from the clean ones, one for each eps.
        probes: What cheap extra attacks found.
        baseline: Itself without an attack and under noise.
        trial: Its images on itself.
        sets_sha256: Digest of its images.
        labels: True classes, (N,).
        exhibits: A few of its images beside their originals; none of a control.
    """

    device: AuditedDevice
    attacks: tuple[evidence.AttackName, ...]
    attack_values: dict[str, str]
    health: evidence.GradientHealth
    reaches: tuple[evidence.Reach, ...]
    probes: evidence.Probes
    baseline: Baseline
    trial: Trial
    sets_sha256: str
    labels: PackedClasses
    exhibits: tuple[Exhibit, ...]

    @property
    def own(self) -> Tried:
        """Its images on itself."""
        return self.tried(self.trial)

    def tried(self, trial: Trial) -> Tried:
        """Somebody's images on this device."""
        return Tried(self.baseline.clean == 0, trial.named)


def examine(
    member: members.Member,
    sets: AdversarialSets,
    sample: members.Sample,
    settings: members.TransferSettings,
) -> Examination:
    """Try a device's own images on it, and look closer where they leave it standing.

    Args:
        member: The device; left exactly as it was.
        sets: The images made on it.
        sample: The clean images.
        settings: Of the audit.

    Raises:
        AuditError: Its outputs for the clean images are not finite.
    """
    baseline = score_baseline(member, sample, settings)
    trial = score_sets(member, sample, sets.images, settings, sets.sent)
    own = Tried(baseline.clean == 0, trial.named)
    return Examination(
        device=describe(member, baseline.clean),
        attacks=sets.attacks,
        attack_values=sets.attack_values,
        health=sets.health,
        reaches=measure_reaches(sets),
        probes=probe_device(
            member, sample, settings, sets, clean=baseline.clean, attacked=trial.outcomes
        ),
        baseline=baseline,
        trial=trial,
        sets_sha256=sets.digest(),
        labels=sample.labels.to(torch.int16).numpy(),
        exhibits=exhibit(sets, own) if member.role == "device" else (),
    )


def measure_reaches(sets: AdversarialSets) -> tuple[evidence.Reach, ...]:
    """Farthest stored image at each eps, in whole numbers, so that nothing is rounded.

    ``linf``: in 8-bit levels. ``l2``: sum of the squares of 8-bit levels.
    """
    reaches = []
    for eps, level in zip(sets.eps, sets.images, strict=True):
        allowed = radius(eps) if sets.norm == "linf" else squared_radius(eps)
        far = 0
        for rows in torch.arange(len(sets.sample.images)).split(_ROWS):
            clean = sets.sample.images[rows].to(torch.int32)
            moved = (level[:, rows].to(torch.int32) - clean).flatten(2)
            size = moved.abs() if sets.norm == "linf" else moved.square().sum(2)
            far = max(far, int(size.amax()))
        reaches.append(evidence.Reach(sets.surrogate, eps, allowed, far))
    return tuple(reaches)


def gather_evidence(
    examinations: Sequence[Examination],
    settings: members.TransferSettings,
    trials: dict[str, dict[str, Trial]],
) -> evidence.Evidence:
    """Count, and put everything together that the checks look at.

    Args:
        examinations: One for each device, in matrix order.
        settings: Of the audit.
        trials: Images of other surrogates on each victim, by victim and surrogate; empty in a
            white-box audit, whose matrices are diagonals.
    """
    scores = tuple(_column(examined, trials) for examined in examinations)
    attacks = {examined.device.name: examined.attacks for examined in examinations}
    return evidence.Evidence(
        devices=tuple(examined.device for examined in examinations),
        eps=settings.eps,
        attacks=attacks,
        scores=scores,
        matrices=evidence.count_matrices(scores, attacks, settings.eps),
        noise=evidence.count_noise(scores, settings.eps, settings.noise_draws),
        health=tuple(examined.health for examined in examinations),
        reaches=tuple(reach for examined in examinations for reach in examined.reaches),
        probes=tuple(examined.probes for examined in examinations),
        norm=settings.norm,
        brief=settings.brief,
    )


def _column(victim: Examination, trials: dict[str, dict[str, Trial]]) -> evidence.VictimScores:
    name, baseline = victim.device.name, victim.baseline
    tried = {name: victim.trial, **trials.get(name, {})}
    return evidence.VictimScores(
        victim=name,
        clean=baseline.clean,
        noise=baseline.noise,
        attacked={surrogate: trial.outcomes for surrogate, trial in tried.items()},
        nonfinite=baseline.nonfinite + sum(trial.nonfinite for trial in tried.values()),
        repeatable=baseline.repeatable,
    )


def record_settings(
    examinations: Sequence[Examination], settings: members.TransferSettings
) -> dict[str, Any]:
    """Attacks, images and rules of an audit, for its result; plain JSON values."""
    values = (item for e in examinations for item in e.attack_values.items())
    return {
        **settings.to_dict(),
        "images": examinations[0].device.images,
        "levels": settings.levels(),
        "attack_values": dict(values),
        "decode": "strict",
        "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
    }


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
    origin = sets_origin(member, sample, job.settings)
    path = job.run.audit(job.kind) / "sets" / f"{member.name}.safetensors"
    sets = find_sets(path, origin)
    if sets is None:
        other = job.run.audit("transfer" if job.kind == "whitebox" else "whitebox") / "sets"
        sets = take_part(
            other / path.name, origin, member, sample, job.settings
        ) or attack_surrogate(
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
        version=VERSION,
    )
    progress(1, 1, "attacked")
    return found


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
