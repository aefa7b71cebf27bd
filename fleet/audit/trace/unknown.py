"""Trace images of unknown origin: on which of our devices were they made, if on any?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fleet.attacks import distance
from fleet.audit.core.members import Member, Sample, check_members
from fleet.audit.query.extraction import ask
from fleet.audit.trace.calibration import standardise
from fleet.audit.trace.result import Calibration, Suspect, Tracing
from fleet.audit.trace.scores import raw_scores
from fleet.encoding import REJECTED
from fleet.errors import AuditError

_HALF_LEVEL = 0.5 / 255


def trace(
    members: Sequence[Member],
    adversarial: Tensor,
    originals: Tensor,
    labels: Tensor | None = None,
    *,
    calibrations: Sequence[Calibration],
    batch_size: int = 128,
) -> Tracing:
    """Rank the devices by how much images look as if they were made there.

    Args:
        members: The suspects, in the order of the calibration; each is left exactly as it was.
        adversarial: uint8 (N, C, H, W), or floats in [0, 1]; all of one source.
        originals: Likewise, image by image.
        labels: True classes, integers (N,); None takes what most devices decode of the originals.
        calibrations: Of a trace audit of the same devices; the smallest eps that holds the images
            is used.
        batch_size: Images at once; changes the time and the memory, not the result.

    Raises:
        AuditError: The images do not fit together or to the devices, an image is its original, or
            is farther from it than any calibration reaches.
    """
    if adversarial.shape != originals.shape:
        raise AuditError(
            f"adversarial images have shape {tuple(adversarial.shape)}, "
            f"originals {tuple(originals.shape)}",
            hint="give one original for each image, in the same order and of the same size",
        )
    given = torch.zeros(len(originals), dtype=torch.int64) if labels is None else labels
    sample, made = Sample.of(originals, given), Sample.of(adversarial, given)
    check_members(members, sample)
    farthest = _farthest(made.images, sample.images)
    calibration = _reaching(calibrations, farthest, len(members))
    true = _recognised(members, sample.images) if labels is None else sample.labels
    raw = raw_scores(members, sample.images, made.images, true, batch_size=batch_size).numpy()
    z = standardise(calibration, raw)
    mean, votes = z.mean(axis=1), z[2].argmax(axis=1).tolist()
    suspects = [
        Suspect(
            member.name,
            deviation=float(mean[0, place]),
            alignment=float(mean[1, place]),
            combined=float(mean[2, place]),
            votes=votes.count(place),
        )
        for place, member in enumerate(members)
    ]
    return Tracing(
        images=len(sample.images),
        distance=farthest,
        eps=calibration.eps,
        threshold=calibration.threshold("combined", len(sample.images)),
        ranking=tuple(sorted(suspects, key=lambda suspect: -suspect.combined)),
    )


def _farthest(adversarial: Tensor, originals: Tensor) -> float:
    """Largest distance; refuses images that are their originals."""
    far = distance(adversarial, originals)
    same = (far == 0).nonzero().squeeze(1).tolist()
    if same:
        listed = ", ".join(map(str, same[:5])) + (", ..." if len(same) > 5 else "")
        raise AuditError(
            f"{len(same)} of {len(far)} images are identical to their originals: {listed}",
            hint="leave them out; without a change there is nothing to trace",
        )
    return float(far.max())


def _reaching(calibrations: Sequence[Calibration], farthest: float, devices: int) -> Calibration:
    """The smallest calibration that holds images this far from their originals."""
    for calibration in sorted(calibrations, key=lambda found: found.eps):
        if len(calibration.images) != devices:
            raise AuditError(
                f"the calibration is of {len(calibration.images)} devices, not {devices}",
                hint="audit these devices with `fleet audit trace` first",
            )
        if farthest <= calibration.eps + _HALF_LEVEL:
            return calibration
    most = max((found.eps for found in calibrations), default=0.0)
    raise AuditError(
        f"images are up to {farthest:.4g} from their originals, farther than {most:.4g}, the "
        "largest eps that tracing was calibrated at",
        hint="give each image its own original; or calibrate with a larger `fleet audit trace "
        "--eps` first",
    )


def _recognised(members: Sequence[Member], originals: Tensor) -> Tensor:
    """Class that most devices decode of each original, int64 (N,)."""
    decoded = torch.stack([ask(member, originals) for member in members])
    votes = torch.stack([(decoded == y).sum(0) for y in range(members[0].classifier.num_classes)])
    nobody = (decoded == REJECTED).all(0).nonzero().squeeze(1).tolist()
    if nobody:
        raise AuditError(
            f"no device recognises {len(nobody)} of the originals, the first is {nobody[0]}",
            hint="give the true classes, or check that the originals are not the attacked images",
        )
    return votes.argmax(0)
