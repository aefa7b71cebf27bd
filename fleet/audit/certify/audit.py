"""The certificate audit: what holds against every attacker, proven image by image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleet.attacks import CORRECT, SampleKeys, SignNoise, exact_eps, quantise
from fleet.audit.certify.result import CertifyAudit, PairProof, Proven, Radii, Reach
from fleet.audit.core import jobs
from fleet.audit.core.cache import PackedOutcomes, remember
from fleet.audit.core.checks.verdicts import unless
from fleet.audit.core.members import Member, Sample, Settings, TransferSettings, check_members
from fleet.audit.core.result import AuditedDevice, Check
from fleet.audit.core.scoring import describe, outcomes_on
from fleet.bounds.certify import Certificates, certificates, largest_radii
from fleet.bounds.smoothing import median_radii
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.execution import ProgressReporter
from fleet.models import Classifier
from fleet.models.convolutional import ConvNet
from fleet.provenance import Origin


@dataclass(frozen=True)
class CertifySettings(Settings):
    """Settings of a certificate audit.

    Attributes:
        eps: Largest changes of a pixel, on the [0, 1] scale; sorted, doubles dropped.
        radii: Images, the first of the sample, whose largest certified eps is searched for.
        seed: Seed of the sample.
        tight: Try CROWN-IBP where intervals prove nothing (networks of the architecture ``cnn``).
        smooth: Standard deviation of the noise of median smoothing, on the [0, 1] scale; 0 leaves
            it out. It certifies the same images as ``radii``, within L2.
        draws: Noisy copies of each image for it.
    """

    eps: tuple[float, ...]
    radii: int = 500
    seed: int = 0
    tight: bool = False
    smooth: float = 0.0
    draws: int = 1000

    def __post_init__(self) -> None:
        if not self.eps or not all(0 < eps <= 1 for eps in self.eps):
            raise AuditError(
                f"eps to certify are {self.eps}", hint="give one or more in (0, 1], for example 0.1"
            )
        if self.radii < 0:
            raise AuditError(f"radii is {self.radii}", hint="radii must be 0 or more")
        if self.smooth < 0 or self.draws < 1:
            raise AuditError(
                f"smooth is {self.smooth}, draws is {self.draws}",
                hint="smooth is a standard deviation, for example 0.25; draws are 1 or more",
            )
        if self.smooth and not self.radii:
            raise AuditError(
                f"smooth is {self.smooth:g} and radii is 0: no image to work on",
                hint="give radii, the number of images that it certifies, for example 100",
            )
        object.__setattr__(self, "eps", tuple(sorted(set(self.eps))))


VERSION = 2
"""Of the bounds; raised when the same device and images come out differently."""

BATCH = 500
"""Images decided at once; changes the time, not the result."""


@dataclass(frozen=True, eq=False)
class Proof:
    """What is proven of one device.

    Attributes:
        clean: Outcomes of the clean images, (N,).
        proven: At each eps 0 where the answer stays, 1 where it is right or None, 2 where nothing
            is known, (E, N).
        noisy: Outcomes under random signs of each eps, (E, N): no proof may be contradicted.
        radii: Largest certified eps of the first images.
        unbounded: Why nothing is proven; empty where the network has bounds.
        smoothed: Certified L2 radii of the first images for the median under noise.
    """

    clean: PackedOutcomes
    proven: PackedOutcomes
    noisy: PackedOutcomes
    radii: tuple[float, ...]
    unbounded: str = ""
    smoothed: tuple[float, ...] = ()


def audit_certify(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: CertifySettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
) -> CertifyAudit:
    """Certify devices in memory.

    Args:
        members: The devices, controls last, of any architecture; nothing is proven of one without
            bounds (:func:`fleet.bounds.box.propagate`).
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: What is to be proven.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.

    Raises:
        AuditError: The devices or images do not fit together.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    proofs = [prove(member, sample, settings) for member in members]
    devices = [describe(m, p.clean) for m, p in zip(members, proofs, strict=True)]
    return assemble_certify(devices, proofs, settings, Origin(label, provenance or {}, {}))


def prove(member: Member, sample: Sample, settings: CertifySettings) -> Proof:
    """Prove what can be proven of one device; of a network without bounds that is nothing.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: What is to be proven.
    """
    classifier, labels = member.classifier, sample.labels
    images = to_unit(sample.images)
    clean = outcomes_on(member, sample.images.unsqueeze(0), labels, BATCH)[0]
    first = slice(0, settings.radii)
    smoothed = _smoothed(classifier, images[first], labels[first], settings)
    try:
        tight = settings.tight and isinstance(classifier.backbone, ConvNet)
        proven = [
            _levels(certificates(classifier, images, labels, eps, tight=tight))
            for eps in settings.eps
        ]
    except AuditError as error:
        nothing = np.full((len(settings.eps), len(labels)), 2, dtype=np.int8)
        return Proof(
            clean, nothing, np.broadcast_to(clean, nothing.shape), (), error.message, smoothed
        )
    noisy = []
    for eps in settings.eps:
        exact = exact_eps(eps, "linf")
        keys = SampleKeys(settings.seed, member.name, sample.indices)
        noise = SignNoise(exact, 1)(classifier, images, labels, keys)
        sent = quantise(noise, sample.images, eps)
        noisy.append(outcomes_on(member, sent, labels, BATCH)[0])
    radii = largest_radii(classifier, images[first], labels[first], 2 * settings.eps[-1])
    return Proof(
        clean,
        np.stack(proven),
        np.stack(noisy),
        tuple(round(value, 5) for value in radii.tolist()),
        smoothed=smoothed,
    )


def _smoothed(
    classifier: Classifier, images: Tensor, labels: Tensor, settings: CertifySettings
) -> tuple[float, ...]:
    if not settings.smooth or classifier.encoding is None:
        return ()
    found = median_radii(
        classifier, images, labels, settings.smooth, draws=settings.draws, seed=settings.seed
    )
    return tuple(round(value, 5) for value in found.tolist())


def assemble_certify(
    devices: Sequence[AuditedDevice],
    proofs: Sequence[Proof],
    settings: CertifySettings,
    origin: Origin,
) -> CertifyAudit:
    """Count, check, and put the result together.

    Args:
        devices: In the order of the profile, controls last.
        proofs: One for each device.
        settings: Of the audit.
        origin: Where the audit comes from.
    """
    found = dict(zip((device.name for device in devices), proofs, strict=True))
    shipped = {d.name: found[d.name].proven == 0 for d in devices if d.role == "device"}
    return CertifyAudit(
        devices=tuple(devices),
        eps=settings.eps,
        proven=tuple(_proven(found, settings.eps)),
        pairs=tuple(
            PairProof((a, b), eps, len(held), int(held.sum()))
            for row, eps in enumerate(settings.eps)
            for a, b in combinations(shipped, 2)
            for held in [shipped[a][row] | shipped[b][row]]
        ),
        reach=tuple(_reach(shipped, settings.eps)),
        radii=tuple(_radii(name, proof.radii) for name, proof in found.items() if proof.radii),
        smoothed=tuple(
            _radii(name, proof.smoothed) for name, proof in found.items() if proof.smoothed
        ),
        checks=tuple(_checks(found)),
        **origin.head(
            {
                **settings.to_dict(),
                "images": devices[0].images,
                "bounds": "interval bound propagation"
                + (", then CROWN-IBP" if settings.tight else "")
                + ", in float64, widened by float32's rounding",
            }
        ),
    )


def _levels(found: Certificates) -> NDArray[np.int8]:
    """0 where the answer stays, 1 where it is right or None, 2 where nothing is known."""
    levels = torch.where(found.stays, 0, torch.where(found.never_wrong, 1, 2))
    return np.asarray(levels.to(torch.int8).numpy())


def _proven(found: dict[str, Proof], radii: tuple[float, ...]) -> Iterator[Proven]:
    for name, proof in found.items():
        for row, eps in enumerate(radii):
            held = proof.proven[row]
            yield Proven(
                device=name,
                eps=eps,
                n=len(held),
                correct=int((proof.clean == CORRECT).sum()),
                stays=int((held == 0).sum()),
                never_wrong=int((held <= 1).sum()),
            )


def _reach(shipped: dict[str, NDArray[np.bool_]], radii: tuple[float, ...]) -> Iterator[Reach]:
    for row, eps in enumerate(radii):
        open_to = np.stack([~held[row] for held in shipped.values()]).sum(0)
        yield Reach(eps, tuple(np.bincount(open_to, minlength=len(shipped) + 1).tolist()))


def _radii(name: str, found: tuple[float, ...]) -> Radii:
    values = np.array(found)
    low, middle, high = (round(float(q), 5) for q in np.quantile(values, (0.1, 0.5, 0.9)))
    return Radii(name, len(values), int((values > 0).sum()), (low, middle, high))


def _checks(found: dict[str, Proof]) -> Iterator[Check]:
    """K1 and K2: what would disprove a proof. K3: networks of which nothing can be proven."""
    wrong = {
        name: int(((proof.proven == 0) & (proof.clean != CORRECT)).sum())
        for name, proof in found.items()
    }
    moved = {
        name: int(((proof.proven == 0) & (proof.noisy != CORRECT)).sum())
        + int(((proof.proven == 1) & (proof.noisy == 2)).sum())
        for name, proof in found.items()
    }
    for id_, title, broken, what in (
        ("K1", "Certified images are decoded correctly", wrong, "decoded otherwise"),
        ("K2", "Noise breaks no certificate", moved, "changed by random signs"),
    ):
        bad = [
            f"{name}: {count} certified images {what}" for name, count in broken.items() if count
        ]
        yield unless(
            ", ".join(bad),
            id=id_,
            title=title,
            good=f"no certified image of any device is {what}",
            threshold="one image fails: a proof that a counterexample breaks is none",
        )
    none = [f"{name}: {proof.unbounded}" for name, proof in found.items() if proof.unbounded]
    yield unless(
        "; ".join(none),
        id="K3",
        title="Every network has bounds",
        verdict="warn",
        good="bounds exist for every device",
        threshold="a network without bounds warns: nothing is proven of it, and it counts as open",
    )


@jobs.of_run("certify", lambda settings: TransferSettings(eps=settings.eps, seed=settings.seed))
def audit_run_certify(audit: jobs.RunAudit, settings: CertifySettings) -> CertifyAudit:
    """Certify every device of a run, and its controls."""
    found = audit.each("certify", certify_device, settings=settings)
    devices, proofs = zip(*found, strict=True)
    return assemble_certify(devices, proofs, settings, audit.origin())


def certify_device(
    job: jobs.AuditJob, *, settings: CertifySettings, progress: ProgressReporter
) -> tuple[AuditedDevice, Proof]:
    """Certify one device of a run; the body of a job."""
    member, sample = jobs.load_audited(job)
    unsmoothed = replace(settings, draws=CertifySettings.draws)  # they play no part there
    proof = remember(
        job.run.audit(job.kind) / "proofs" / f"{member.name}.json",
        {
            "device": member.key(),
            "images_sha256": sample.digest(),
            "settings": (settings if settings.smooth else unsmoothed).to_dict(),
        },
        Proof,
        lambda: prove(member, sample, settings),
        version=VERSION,
    )
    progress(1, 1, "certified")
    return describe(member, proof.clean), proof
