"""The trace audit of a run: one job for each device, control and network of an attacker's own."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from fleet.assembly import run_images
from fleet.audit.core import jobs
from fleet.audit.core.cache import remember
from fleet.audit.core.members import Member, Sample, load_member
from fleet.audit.core.outsider import attacker_key, attacker_of, own_network
from fleet.audit.core.sets import AdversarialSets, attack_surrogate, stored_sets
from fleet.audit.trace.audit import assemble_trace, evidence_of, shared_images, wanted_sets
from fleet.audit.trace.evidence import SourceEvidence, SourceRole, TraceSettings
from fleet.audit.trace.result import TraceAudit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.execution import ProgressReporter
from fleet.models import weights_digest
from fleet.profiles.spec import FamilySpec, read_family
from fleet.seeding import derive_seed

OWN_COUNT = 4000
"""Images of the training split that an attacker's own network is trained on."""


@dataclass(frozen=True)
class _Own:
    """A network of an attacker without any device (T0): logits, or intervals in their own order."""

    role: SourceRole
    intervals: bool


# No device can have such a name: names of devices hold no spaces.
_OWN = {
    "own logits 1": _Own("known", intervals=False),
    "own interval 1": _Own("known", intervals=True),
    "own logits 2": _Own("new", intervals=False),
    "own interval 2": _Own("new", intervals=True),
}


@dataclass(frozen=True)
class _Plan:
    """What all jobs of one audit share.

    Attributes:
        settings: Of the audit.
        images: Evaluation images.
        calibration_images: Validation images for calibration.
        split: Of the evaluation images.
    """

    settings: TraceSettings
    images: int
    calibration_images: int
    split: jobs.SplitName


@jobs.of_run("trace", TraceSettings.attack)
def audit_run_trace(
    audit: jobs.RunAudit, settings: TraceSettings, *, calibration_images: int = 60
) -> TraceAudit:
    """Trace images made on the devices of a run, its controls, and an attacker's own networks.

    Images of a transfer audit of the same run are used where they cover what is wanted. What is
    found about a source is kept under ``audits/trace`` and used again where everything that
    determines it is unchanged.

    Args:
        audit: At work.
        settings: How.
        calibration_images: Validation originals on which means and thresholds are chosen; of the
            split ``validation`` the originals to trace follow them.
    """
    first = audit.jobs[0]
    plan = _Plan(settings, first.images, calibration_images, first.split)
    own = [replace(first, device=name) for name in _OWN]
    found = audit.each("trace", trace_source, [*audit.jobs, *own], plan=plan)
    sample, other = _samples(audit.family, first, plan)
    origin = audit.origin(
        images=len(sample.images),
        images_sha256=sample.digest(),
        calibration_images=len(other.images),
        calibration_sha256=other.digest(),
    )
    return assemble_trace(found, settings, origin, shared=shared_images(sample, other))


def trace_source(job: jobs.AuditJob, *, plan: _Plan, progress: ProgressReporter) -> SourceEvidence:
    """Make one source's images and score them for every device; the body of a job."""
    family = read_family(job.run)
    sample, other = _samples(family, job, plan)
    suspects = [load_member(job.run, family, device) for device in family.devices]
    key = {
        "suspects": [[member.name, member.digest()] for member in suspects],
        "images_sha256": [sample.digest(), other.digest()],
        "settings": plan.settings.to_dict(),
    }
    path = job.run.audit("trace") / "sources" / f"{job.device}.json"

    def attacked(source: Member, role: SourceRole) -> list[AdversarialSets | None]:
        progress(1, 3, "loaded")
        wanted = zip((other, sample), wanted_sets(role), strict=True)
        sets = [_sets(job, source, part) if needed else None for part, needed in wanted]
        progress(2, 3, "attacked")
        return sets

    def find(
        source: Member, role: SourceRole, sets: list[AdversarialSets | None]
    ) -> SourceEvidence:
        return evidence_of(
            source, role, suspects, sample, sets=(sets[0], sets[1]), settings=plan.settings
        )

    def find_own() -> SourceEvidence:
        source, role = _own_source(job, family)
        return find(source, role, attacked(source, role))

    if job.device in _OWN:
        found = remember(path, {**key, "source": _own_key(job, family)}, SourceEvidence, find_own)
    else:
        member = load_member(job.run, family, family.device(job.device))
        sets = attacked(member, member.role)
        digests = [None if made is None else made.digest() for made in sets]
        key |= {"source": member.key(), "sets_sha256": digests}
        found = remember(path, key, SourceEvidence, lambda: find(member, member.role, sets))
    progress(1, 1, "traced")
    return found


def _samples(family: FamilySpec, job: jobs.AuditJob, plan: _Plan) -> tuple[Sample, Sample]:
    """Originals to trace, and others to calibrate on, which are always validation images."""
    data = run_images(job.run, family.data)
    if plan.split == "test":
        validation = replace(job, split="validation", images=plan.calibration_images)
        return jobs.take_sample(data, job), jobs.take_sample(data, validation)
    both = jobs.take_sample(data, replace(job, images=plan.images + plan.calibration_images))
    generator = torch.Generator().manual_seed(derive_seed(plan.settings.seed, "calibration"))
    order = torch.randperm(len(both.images), generator=generator)
    learn, judge = order[: plan.calibration_images], order[plan.calibration_images :]
    if len(judge) == 0:
        raise AuditError(
            f"calibration takes all {len(both.images)} validation images",
            hint="calibrate on fewer, or trace test images",
        )
    return both.part(judge.sort().values), both.part(learn.sort().values)


def _own_key(job: jobs.AuditJob, family: FamilySpec) -> list[Any]:
    """All that determines the weights of a network of the attacker's own, beside the seed."""
    own = _OWN[job.device]
    return [job.device, asdict(own), OWN_COUNT, attacker_key(family.devices[0], family.data)]


def _own_source(job: jobs.AuditJob, family: FamilySpec) -> tuple[Member, SourceRole]:
    """Train a network of the attacker's own."""
    own = _OWN[job.device]
    seed = derive_seed(job.settings.seed, "own network", job.device)
    encoding = None
    if own.intervals:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(family.data.num_classes, generator=generator)
        encoding = IntervalEncoding(family.data.num_classes, 4.0, 16.0, order=tuple(order.tolist()))
    attacker = attacker_of(family.devices[0], family.data, seed)
    network = own_network(attacker, encoding, OWN_COUNT, seed)
    return Member(job.device, network, weights_digest(network)), own.role


def _sets(job: jobs.AuditJob, source: Member, part: Sample) -> AdversarialSets:
    if job.device in _OWN:
        return attack_surrogate(source, part, job.settings)
    return stored_sets(job.run.audits, source, part, job.settings)
