"""The transfer audit: what breaking one device gives against the others (the paper's Figure 3)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from fleet.audit.core import jobs
from fleet.audit.core.cache import remember
from fleet.audit.core.checks import run_checks
from fleet.audit.core.examination import Examination, examine, gather_evidence, record_settings
from fleet.audit.core.exhibits import Exhibit, count_turns, few
from fleet.audit.core.jobs import VERSION
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members, load_member
from fleet.audit.core.scoring import Trial, replay, score_sets
from fleet.audit.core.sets import ProgressHook, announced, attack_surrogate, load_sets, require_sets
from fleet.audit.transfer.result import TransferAudit
from fleet.errors import AuditError
from fleet.execution import ProgressReporter
from fleet.files import write_bytes
from fleet.profiles.spec import FamilySpec, read_family
from fleet.provenance import Origin
from fleet.rundir import RunDirectory


def audit_transfer(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> TransferAudit:
    """Audit devices in memory: attack each one, try every image on all.

    Beside the models it holds one surrogate's images at a time: as many bytes as
    ``eps * attacks * images * pixels``.

    Args:
        members: The devices, controls last; each is left exactly as it was, training mode included.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly to attack.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: The devices or images do not fit together, or a device gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    examinations = []
    trials: dict[str, dict[str, Trial]] = {member.name: {} for member in members}
    for member in announced(members, "attack", progress):
        sets = attack_surrogate(member, sample, settings)
        examinations.append(examine(member, sets, sample, settings))
        for victim in members:
            if victim is not member:
                trial = score_sets(victim, sample, sets.images, settings, sets.sent)
                trials[victim.name][member.name] = trial
    return assemble_transfer(examinations, trials, settings, Origin(label, provenance or {}, {}))


@jobs.of_run("transfer")
def audit_run_transfer(
    audit: jobs.RunAudit, settings: TransferSettings, *, sets_from: RunDirectory | None = None
) -> TransferAudit:
    """Audit every device of a run, and its controls, on a seeded sample of its images.

    Attacks are linear in the number of devices, one job each; then each device is loaded once and
    tried with everybody's images, one surrogate's at a time.

    Args:
        audit: At work.
        settings: How thoroughly to attack.
        sets_from: An audited run with some of the same devices, whose images and trials are taken
            over where they fit.
    """
    if sets_from is not None:
        _take_over(sets_from, audit.run, audit.family)
    examinations = audit.each("attack", jobs.examine_device)
    made = {examined.device.name: examined.sets_sha256 for examined in examinations}
    trials = dict(zip(made, audit.each("try on", try_on_device, made=made), strict=True))
    return assemble_transfer(examinations, trials, settings, audit.origin())


def try_on_device(
    job: jobs.AuditJob, *, made: dict[str, str], progress: ProgressReporter
) -> dict[str, Trial]:
    """Try all other devices' images on one; the body of a job that follows the attacks.

    Args:
        job: The device they are tried on.
        made: Digests of the images that this audit made, by surrogate.
        progress: Where to report.

    Raises:
        AuditError: The stored images are not these.
    """
    family = read_family(job.run)
    victim = load_member(job.run, family, family.device(job.device))
    key = {"victim_sha256": victim.digest()}
    others = [name for name in made if name != job.device]
    trials = {}
    for done, name in enumerate(others):
        path = job.run.audit(job.kind) / "sets" / f"{name}.safetensors"
        trials[name] = remember(
            job.run.audit(job.kind) / "trials" / name / f"{job.device}.json",
            {**key, "sets_sha256": made[name]},
            Trial,
            partial(_replay_stored, path, made[name], victim, job.settings),
            version=VERSION,
        )
        progress(done + 1, len(others) + 1, f"images of {name}")
    progress(1, 1, "tried with everybody's images")
    return trials


def _replay_stored(path: Path, made: str, victim: Member, settings: TransferSettings) -> Trial:
    return replay(require_sets(load_sets(path), made), victim, settings)


def _take_over(source: RunDirectory, run: RunDirectory, family: FamilySpec) -> None:
    """Copy what another run's audit kept about devices of these names and is absent here.

    Whether it fits is decided where it is used, by the keys that the files carry.
    """
    there, here = source.audit("transfer"), run.audit("transfer")
    if not (there / "sets").is_dir():
        raise AuditError(
            f"{source.root} holds no adversarial images",
            hint="name a run that `fleet audit transfer` has audited",
        )
    names = [device.name for device in family.trained]
    kept = [f"sets/{name}.{end}" for name in names for end in ("safetensors", "json")]
    kept += [f"examined/{name}.json" for name in names]
    kept += [f"trials/{name}/{victim}.json" for name in names for victim in names]
    for path in kept:
        if (there / path).is_file() and not (here / path).exists():
            write_bytes(here / path, (there / path).read_bytes())


def assemble_transfer(
    examinations: Sequence[Examination],
    trials: dict[str, dict[str, Trial]],
    settings: TransferSettings,
    origin: Origin,
) -> TransferAudit:
    """Count, check, and put the result together.

    Args:
        examinations: One for each device, in matrix order.
        trials: Images of other surrogates on each victim, by victim and surrogate.
        settings: Of the audit.
        origin: Where the audit comes from.
    """
    evidence = gather_evidence(examinations, settings, trials)
    shipped = {device.name for device in evidence.devices if device.role == "device"}
    return TransferAudit(
        devices=evidence.devices,
        eps=settings.eps,
        matrices=evidence.matrices,
        noise=evidence.noise,
        checks=run_checks(evidence),
        exhibits=tuple(_with_victims(examinations, trials, settings.eps)),
        turns=count_turns(
            [
                victim.tried(trial)
                for victim in examinations
                for surrogate, trial in trials[victim.device.name].items()
                if {victim.device.name, surrogate} <= shipped
            ],
            examinations[0].labels,
            settings.eps,
        ),
        **origin.head(record_settings(examinations, settings)),
    )


def _with_victims(
    examinations: Sequence[Examination], trials: dict[str, dict[str, Trial]], eps: Sequence[float]
) -> Iterator[Exhibit]:
    """Exhibits, and what every other device makes of them."""
    for shown in few([examined.exhibits for examined in examinations]):
        level = eps.index(shown.eps)
        others = {
            victim: int(found[shown.surrogate].named[level, shown.row])
            for victim, found in trials.items()
            if shown.surrogate in found
        }
        named = {victim: None if label < 0 else label for victim, label in others.items()}
        yield replace(shown, decoded={**shown.decoded, **named})
