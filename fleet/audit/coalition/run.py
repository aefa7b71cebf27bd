"""The coalition audit of a run: devices are scouted, then coalitions tried, as jobs that resume."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fleet.assembly import run_images
from fleet.audit.coalition import audit as steps
from fleet.audit.coalition import trials
from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.core import jobs
from fleet.audit.core.cache import remember
from fleet.audit.core.members import Member, Sample, load_member, role_of
from fleet.data import ImageData
from fleet.execution import Executor, Job, ProgressReporter
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.seeding import derive_seed

KIND = "coalition"
"""Directory of the audit's files."""


@jobs.of_run(KIND, lambda settings: settings.effort)
def audit_run_coalition(audit: jobs.RunAudit, settings: trials.CoalitionSettings) -> CoalitionAudit:
    """Audit a run: let attackers own 1 to N - 1 of its devices.

    The outcomes of each coalition are kept under ``audits/coalition/trials`` and used again where
    everything that they were made from is unchanged, so an interrupted audit goes on where it
    stopped. The greedy choice is made on validation images that are not audited.
    """
    names = [device.name for device in audit.family.devices]
    steps.require_fleet(names)
    scouts: list[steps.Scouted] = audit.each("scout", scout_device, settings=settings)
    digests = {found.device.name: found.digest for found in scouts}
    owned = [job for job in audit.jobs if job.device in names]
    shared = {"digests": digests, "settings": settings}
    greedy = steps.choose_greedy(names, audit.each("reach of", reach_of_device, owned, **shared))
    coalitions = steps.plan(scouts, greedy, settings)
    tried = _try_all(audit.jobs[0], coalitions, digests, settings, audit.executor)
    origin = audit.origin(images=len(audit.sample().images))
    return steps.assemble_coalition(steps.gather(scouts, tried, greedy, settings), origin)


def scout_device(
    job: jobs.AuditJob, *, settings: trials.CoalitionSettings, progress: ProgressReporter
) -> steps.Scouted:
    """Look at one device or control before any coalition is tried; the body of a job."""
    member, sample = jobs.load_audited(job)
    found = steps.scout(member, sample, settings)
    progress(1, 1, "looked at alone")
    return found


def reach_of_device(
    job: jobs.AuditJob,
    *,
    digests: dict[str, str],
    settings: trials.CoalitionSettings,
    progress: ProgressReporter,
) -> steps.GreedyReach | None:
    """Try one device's held-out images on the fleet, or read what an earlier audit found.

    Args:
        job: Whose images.
        digests: Of all devices and controls, by name.
        settings: Of the audit.
        progress: Where to report.

    Returns:
        None if there are no held-out images.
    """
    family = read_family(job.run)
    data = run_images(job.run, family.data)
    held_out = take_held_out(data, job, jobs.take_sample(data, job), settings)
    if held_out is None:
        return None
    key = {
        **_attack_key(settings, settings.attacks[:1]),
        "surrogate": [job.device, digests[job.device]],
        "victims": [[device.name, digests[device.name]] for device in family.devices],
        "images_sha256": held_out.digest(),
    }

    def make() -> steps.GreedyReach:
        (member,) = _load(job, family, [family.device(job.device)])
        return steps.reach_of(member, _load(job, family, family.devices), held_out, settings)

    path = job.run.audit(KIND) / "reach" / f"{job.device}.json"
    found = remember(path, key, steps.GreedyReach, make)
    progress(1, 1, "held-out images tried on every device")
    return found


def try_devices(
    job: jobs.AuditJob,
    coalition: trials.Coalition,
    digests: dict[str, str],
    *,
    settings: trials.CoalitionSettings,
    progress: ProgressReporter,
) -> trials.Fallen:
    """Try one coalition on the fleet, or read what an earlier audit found; the body of a job.

    Args:
        job: Of any device.
        coalition: What is tried.
        digests: Of all devices and controls, by name.
        settings: Of the audit.
        progress: Where to report.
    """
    family = read_family(job.run)
    sample = jobs.take_sample(run_images(job.run, family.data), job)
    wanted = [
        device
        for device in family.trained
        if device.name in coalition.owned
        or (not coalition.owned and role_of(device, family) == "control")
    ]
    key = {
        **_attack_key(settings, settings.attacks),
        "surrogates": [[device.name, digests[device.name]] for device in wanted],
        "victims": [[device.name, digests[device.name]] for device in family.devices],
        "images_sha256": sample.digest(),
    }

    def make() -> trials.Fallen:
        victims = _load(job, family, family.devices)
        return trials.try_coalition([*_load(job, family, wanted)], victims, sample, settings)

    found = remember(trial_path(job.run.audit(KIND), coalition), key, trials.Fallen, make)
    progress(1, 1, "tried on every device")
    return found


def trial_path(directory: Path, coalition: trials.Coalition) -> Path:
    """File of a coalition's outcomes; a digest, because many names make no file name."""
    digest = hashlib.sha256(json.dumps(coalition.owned).encode("utf-8")).hexdigest()
    return directory / "trials" / f"{len(coalition.owned):03d}-{digest[:16]}.json"


def take_held_out(
    data: ImageData, job: jobs.AuditJob, sample: Sample, settings: trials.CoalitionSettings
) -> Sample | None:
    """Draw validation images that are not audited; None if there are none."""
    split = data.validation
    generator = torch.Generator().manual_seed(derive_seed(settings.effort.seed, "held-out"))
    drawn = torch.randperm(len(split), generator=generator)
    if job.split == "validation":
        drawn = drawn[~torch.isin(drawn, sample.indices)]
    indices = drawn[: settings.held_out].sort().values
    if len(indices) == 0:
        return None
    return Sample(split.images(indices), split.labels[indices], indices)


def _try_all(
    job: jobs.AuditJob,
    coalitions: Sequence[trials.Coalition],
    digests: dict[str, str],
    settings: trials.CoalitionSettings,
    executor: Executor,
) -> list[trials.Tried]:
    function = partial(try_devices, settings=settings)
    work = [
        Job(f"{number:03d} {coalition.name}", function, (job, coalition, digests), job.run)
        for number, coalition in enumerate(coalitions, start=1)
    ]
    fallen: list[trials.Fallen] = executor.values(work)
    return [
        trials.Tried(coalition, found.outcomes, found.nonfinite)
        for coalition, found in zip(coalitions, fallen, strict=True)
    ]


def _attack_key(
    settings: trials.CoalitionSettings, attacks: Sequence[trials.JointName]
) -> dict[str, Any]:
    """All that determines joint attacks, beside the devices and the images."""
    values = settings.effort.to_dict()
    for name in ("targets", "noise_draws", "batch_size"):
        del values[name]
    return {"settings": {**values, "attacks": list(attacks)}}


def _load(job: jobs.AuditJob, family: FamilySpec, wanted: Sequence[DeviceSpec]) -> Iterator[Member]:
    """Load devices one by one, so that whoever looks at each once holds one."""
    return (load_member(job.run, family, device) for device in wanted)
