"""Trace images of unknown origin: on which of our devices were they made, if on any?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from fleet.attacks import distance
from fleet.audit.core.members import Member, Sample, check_members, load_member
from fleet.audit.core.outsider import ask
from fleet.audit.trace.calibration import standardise
from fleet.audit.trace.evidence import raw_scores
from fleet.audit.trace.result import Calibration, Suspect, TraceAudit, Tracing
from fleet.encoding import REJECTED
from fleet.errors import AuditError, DataError
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory

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


_HINT = "give a .npy or .safetensors file of uint8 (N, C, H, W), or a directory of PNG files"


def read_images(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Read 8-bit images.

    Args:
        path: ``.npy``; ``.safetensors`` with one tensor, or one named ``images``; or a directory of
            PNG files, which are taken in the order of their names and not resized.
        shape: (C, H, W) that the devices take.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        DataError: The file is absent, damaged or empty, or holds something else.
    """
    array = _pictures(path, shape[0]) if path.is_dir() else _array(path, "images")
    if array.ndim == 3 and shape[0] == 1:
        array = array[:, np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}; the devices take uint8 of shape "
            f"{('N', *shape)}",
            hint=_HINT,
        )
    return torch.from_numpy(np.ascontiguousarray(array))


def read_labels(path: Path) -> Tensor:
    """Read true classes, int64 (N,): ``.npy``, or ``.safetensors`` with one tensor or ``labels``.

    Raises:
        DataError: The file is absent or damaged, or holds no whole numbers.
    """
    array = _array(path, "labels")
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}",
            hint="labels are whole numbers of shape (N,), the class of each original",
        )
    return torch.from_numpy(array.astype(np.int64))


def _array(path: Path, name: str) -> NDArray[np.generic]:
    try:
        if path.suffix == ".npy":
            # No pickle: an array of objects could run any program.
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".safetensors":
            tensors = load(path.read_bytes())
            only = next(iter(tensors)) if len(tensors) == 1 else name
            return np.asarray(tensors[only])
    except (OSError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}: {error}", hint=_HINT
        ) from error
    raise DataError(f"{path} is neither .npy, .safetensors nor a directory", hint=_HINT)


def _pictures(directory: Path, channels: int) -> NDArray[np.uint8]:
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise DataError(f"{directory} holds no PNG files", hint=_HINT)
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}", hint="give 8-bit PNG files") from error
        pictures.append(pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1))
        if pictures[-1].shape != pictures[0].shape:
            raise DataError(
                f"{path} has shape {pictures[-1].shape}, {paths[0].name} {pictures[0].shape}",
                hint="all images of a directory have one size",
            )
    return np.stack(pictures)


def trace_files(
    run: RunDirectory, adversarial: Path, originals: Path, labels: Path | None = None
) -> Tracing:
    """Trace images of unknown origin with the calibration that a trace audit left in a run.

    Args:
        run: A run with a trace audit.
        adversarial: Images, see :func:`fleet.audit.trace.unknown.read_images`.
        originals: Their originals.
        labels: Their true classes, or None.

    Raises:
        AuditError: There is no trace audit, a device has changed since, or the images do not fit.
        DataError: A file cannot be read.
        CheckpointError: A device is not finished, or a file of the run is damaged.
    """
    audit = TraceAudit.load(run.audit_file("trace"))
    family = read_family(run)
    members = [load_member(run, family, family.device(d.name)) for d in audit.devices]
    changed = [
        member.name
        for member, device in zip(members, audit.devices, strict=True)
        if member.weights_sha256 != device.weights_sha256
    ]
    if changed:
        raise AuditError(
            f"{', '.join(changed)} changed since the trace audit of {run.root}",
            hint="run `fleet audit trace` again; its calibration is of the old weights",
        )
    shape = members[0].classifier.input_shape
    return trace(
        members,
        read_images(adversarial, shape),
        read_images(originals, shape),
        None if labels is None else read_labels(labels),
        calibrations=audit.calibrations,
    )
