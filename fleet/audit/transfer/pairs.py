"""A sample of the pairs of a large fleet: some surrogates tried on some victims."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fleet.attacks import CORRECT
from fleet.audit.core import jobs
from fleet.audit.core.cache import PackedOutcomes
from fleet.audit.core.evidence import attack_rows
from fleet.audit.core.members import TransferSettings
from fleet.audit.core.scoring import outcomes_on
from fleet.audit.transfer.audit import try_on_device
from fleet.audit.transfer.estimate import Drawn, draw_devices, estimate_transfer
from fleet.audit.transfer.result import SAMPLE_FILE, WORST_PAIRS, PairSample, SampledPairs
from fleet.errors import AuditError
from fleet.execution import LOCAL, Executor, ProgressReporter
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory


def stratum_of(device: DeviceSpec) -> str:
    """What devices are alike in: task, backbone, head and method."""
    model = device.model
    return f"{device.task} {model.architecture} {model.head} {device.training.method}"


def draw_pairs(family: FamilySpec, surrogates: int, victims: int, seed: int) -> tuple[Drawn, Drawn]:
    """Draw surrogates and victims from the devices that are shipped.

    Raises:
        AuditError: The fleet or the sample has fewer than two of them.
    """
    strata = {device.name: stratum_of(device) for device in family.devices}
    if min(surrogates, victims, len(strata)) < 2:
        raise AuditError(
            f"{surrogates} surrogates and {victims} victims of {len(strata)} devices",
            hint="an interval for the fleet needs two of each",
        )
    return (
        draw_devices(strata, surrogates, seed, "surrogates"),
        draw_devices(strata, victims, seed, "victims"),
    )


def audit_run_pairs(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    surrogates: int,
    victims: int,
    executor: Executor = LOCAL,
    split: jobs.SplitName = "test",
) -> PairSample:
    """Audit a stratified sample of a run's pairs, and write ``audits/transfer/sample.json``.

    Adversarial images and trials are kept as a whole audit keeps them, and used by both. A larger
    sample of the same seed holds the smaller one, so it costs what it adds. The verdicts of the
    reliability checks need a whole audit, of a smaller run if need be.

    Args:
        run: A finished training.
        settings: How thoroughly to attack; its seed draws devices and images.
        images: Images to audit; all of the split if it has fewer.
        surrogates: Devices to attack.
        victims: Devices to try the images on.
        executor: Where the jobs ``attack NAME`` and ``try on NAME`` run.
        split: Which images.

    Raises:
        AuditError: The sample is too small, or a device cannot be audited.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    with jobs.auditing(
        run, settings, images=images, split=split, kind="transfer", executor=executor
    ) as audit:
        rows, columns = draw_pairs(audit.family, surrogates, victims, settings.seed)
        by_name = {job.device: job for job in audit.jobs}
        attacked = audit.each("attack", jobs.examine_device, [by_name[n] for n in rows.names])
        adaptive = {found.device.name: attack_rows(found.attacks) for found in attacked}
        made = {found.device.name: found.sets_sha256 for found in attacked}
        work = [by_name[name] for name in columns.names]
        tried = audit.each("try on", _try_sampled, work, made=made, adaptive=adaptive)
        correct = np.stack([column.clean for column in tried]) == CORRECT
        evaded = np.stack([column.evaded for column in tried], axis=2) > 0
        found = tuple(
            _at(eps, evaded[level], correct, rows, columns)
            for level, eps in enumerate(settings.eps)
        )
        about = {**audit.origin().provenance, "settings": settings.to_dict(), "images": images}
        sample = PairSample(len(audit.family.devices), about, rows, columns, found)
        sample.save(run.audit("transfer") / SAMPLE_FILE)
        return sample


@dataclass(frozen=True, eq=False)
class _Column:
    """One victim: its clean outcomes, (N,), and who evaded it, 0 or 1, (E, S, N)."""

    clean: PackedOutcomes
    evaded: PackedOutcomes


def _try_sampled(
    job: jobs.AuditJob,
    *,
    made: dict[str, str],
    adaptive: dict[str, list[int]],
    progress: ProgressReporter,
) -> _Column:
    """Try the surrogates' images on one victim; the body of a job."""
    member, sample = jobs.load_audited(job)
    batch_size = job.settings.batch_size
    clean = outcomes_on(member, sample.images.unsqueeze(0), sample.labels, batch_size)[0]
    trials = try_on_device(job, made=made, progress=progress)
    own = np.zeros((len(job.settings.eps), len(clean)), dtype=np.int8)
    evaded = [
        (trials[name].outcomes[:, adaptive[name]].max(axis=1) > 0).astype(np.int8)
        if name in trials
        else own  # a pair with itself counts nowhere
        for name in made
    ]
    return _Column(clean, np.stack(evaded, axis=1))


def _at(eps: float, evaded: Any, correct: Any, rows: Drawn, columns: Drawn) -> SampledPairs:
    pairs = [
        (surrogate, victim, float((evaded[s, v] & correct[v]).sum() / correct[v].sum()))
        for s, surrogate in enumerate(rows.names)
        for v, victim in enumerate(columns.names)
        if surrogate != victim and correct[v].any()
    ]
    rates = [rate for _, _, rate in pairs]
    return SampledPairs(
        eps,
        estimate_transfer(evaded, correct, rows, columns),
        tuple(float(q) for q in np.quantile(rates, (0, 0.1, 0.5, 0.9, 1))) if rates else (),
        tuple(sorted(pairs, key=lambda pair: -pair[2])[:WORST_PAIRS]),
    )
