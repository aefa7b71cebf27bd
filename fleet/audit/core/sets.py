"""Adversarial sets: all images of one surrogate, made, stored, and found again.

Surrogates share nothing, so their sets are made by independent jobs. On disk a set is two files:
``NAME.safetensors`` with the 8-bit images, their originals, labels and indices, and ``NAME.json``
with what they were made from and the digest of the first. So a set can be tried on any device
later, without the rest of the audit. A set of the expected origin is used again, so an interrupted
audit goes on where it stopped. A part of a larger set is used too, because each image has random
numbers of its own and comes out the same among any others.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fleet import attacks
from fleet.accelerator import halving, kind_key
from fleet.audit.core.evidence import AttackName, GradientHealth, attack_rows
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.files import canonical_json, read_bytes, write_bytes, write_json
from fleet.vocabulary import Norm


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


SEGMENT = "segment"
"""Name of the set that holds the one best image of each example after segment search."""

ProgressHook = Callable[[int, int, str], None]
"""(done, total, a few words for people)."""

Named = TypeVar("Named", bound=_HasName)


def announced(things: Sequence[Named], verb: str, progress: ProgressHook | None) -> Iterator[Named]:
    """Go through members, or others with a name, and report each before it is worked on.

    Args:
        things: What is worked on.
        verb: What is done with each, for people.
        progress: Called with (done, total, text).
    """
    report = progress or (lambda *_: None)
    for done, thing in enumerate(things):
        report(done, len(things), f"{verb} {thing.name}")
        yield thing
    report(len(things), len(things), "done")


SCHEMA = "fleet.adversarial-sets/3"
"""Raise the number when the same origin gives other images, so that stored ones are made again."""

_ALIKE = 4
"""Fewer images in one batch round otherwise, and so are no part of a larger set."""


@dataclass(frozen=True, eq=False)
class AdversarialSets:
    """Adversarial images made on one surrogate.

    Attributes:
        surrogate: Device name.
        norm: How ``eps`` is measured.
        eps: Radii as asked for, ascending.
        attacks: One name for each set.
        attack_values: Hyper-parameters of the attacks, at the first eps.
        images: uint8 (E, A, N, C, H, W), each within eps of the clean image.
        sample: The clean images, with their labels and their numbers in the dataset.
        health: Gradients of the surrogate at the clean images.
    """

    surrogate: str
    norm: Norm
    eps: tuple[float, ...]
    attacks: tuple[AttackName, ...]
    attack_values: dict[str, str]
    images: Tensor
    sample: Sample
    health: GradientHealth

    @property
    def sent(self) -> int:
        """Number of the set that holds the one image of each original that one would send."""
        rows = attack_rows(self.attacks) or [0]
        return next((row for row in rows if self.attacks[row].attack in SENT), rows[0])

    def digest(self) -> str:
        """SHA-256 of all that trying the images depends on: these, their names, and the sample."""
        names = [[name.protocol, name.attack] for name in self.attacks]
        about = [self.norm, self.eps, names, self.sample.digest()]
        digest = hashlib.sha256(canonical_json(about).encode("utf-8"))
        digest.update(self.images.contiguous().numpy().tobytes())
        return digest.hexdigest()


def attack_surrogate(
    member: Member, sample: Sample, settings: TransferSettings, progress: ProgressHook | None = None
) -> AdversarialSets:
    """Make all adversarial images of one surrogate.

    Besides the images it holds what one batch needs: about 4 bytes a pixel for
    ``2 * settings.batch_size`` images and the network's activations for them. A batch that runs out
    of memory is made in halves, to the same images.

    Args:
        member: The surrogate; left exactly as it was.
        sample: The clean images; all are attacked, also those that the surrogate gets wrong.
        settings: How thoroughly.
        progress: Called after each batch with (done, total, text).
    """
    # Equal batches: kernels for under four images round otherwise, and a rest may be one image.
    count = math.ceil(len(sample.images) / attacks.at_once(settings.batch_size, sample.images))
    batches = torch.arange(len(sample.images)).tensor_split(count)
    total = len(batches) * len(settings.eps)
    names: tuple[AttackName, ...] = ()
    levels = []
    for level, eps in enumerate(settings.eps):
        parts = []
        for number, rows in enumerate(batches):
            work = partial(_attack_rows, member, sample, eps, settings)
            done = halving(work, rows)
            names = done[0][0]
            parts += [made for _, made in done]
            if progress is not None:
                progress(level * len(batches) + number + 1, total, f"eps {eps:.4g}")
        levels.append(torch.cat(parts, dim=1))
    return AdversarialSets(
        surrogate=member.name,
        norm=settings.norm,
        eps=settings.eps,
        attacks=names,
        attack_values=_attack_values(member, settings),
        images=torch.stack(levels),
        sample=sample,
        health=_gradient_health(member, sample, settings.batch_size),
    )


def _attack_values(member: Member, settings: TransferSettings) -> dict[str, str]:
    portfolio = settings.portfolio(member.classifier, settings.eps[0])
    return {"/".join(entry.names): repr(entry.attack) for entry in portfolio}


def _attack_rows(
    member: Member, sample: Sample, eps: float, settings: TransferSettings, rows: Tensor
) -> tuple[tuple[AttackName, ...], Tensor]:
    """Names, and 8-bit images (A, B, C, H, W), of every attack on some of the images."""
    classifier, batch = member.classifier, sample.part(rows)
    device = classifier.mean.device
    clean, labels = batch.images.to(device), batch.labels.to(device)
    keys = attacks.SampleKeys(settings.seed, member.name, batch.indices.to(device))
    names: list[AttackName] = []
    made: list[Tensor] = []
    for entry in settings.portfolio(classifier, eps):
        adversarial = entry.attack(classifier, to_unit(clean), labels, keys)
        made.append(attacks.quantise(adversarial, clean, eps, settings.norm))
        names += [AttackName(entry.protocol, name) for name in entry.names]
    images = torch.cat(made)
    if classifier.encoding is not None:
        adaptive = [row for row, name in enumerate(names) if name.protocol == "adaptive"]
        best = attacks.settle(classifier, clean, images[adaptive], labels)
        images = torch.cat([images, best.unsqueeze(0)])
        names.append(AttackName("adaptive", SEGMENT))
    return tuple(names), images.cpu()


def _gradient_health(member: Member, sample: Sample, batch_size: int) -> GradientHealth:
    """Gradients of the paper's loss, the adaptive objective and the output at clean images."""
    classifier = member.classifier
    logits = classifier.encoding is None
    adaptive: attacks.Objective = attacks.Margin() if logits else attacks.Directions()
    device = classifier.mean.device

    def count(rows: Tensor) -> Tensor:
        images, labels = sample.images[rows].to(device), sample.labels[rows].to(device)
        with attacks.attackable(classifier):
            correct = attacks.decide(classifier, images, labels).outcomes == 0
        faults = [
            attacks.gradient_faults(classifier, to_unit(images), labels, objective)
            for objective in (attacks.TaskLoss(), adaptive, attacks.OutputValue())
        ]
        broken = torch.stack([fault.nonfinite for fault in faults]).any(0)
        zero = [(fault.zero & correct).sum() for fault in faults]
        return torch.stack([correct.sum(), *zero, broken.sum()]).cpu()

    batches = sample.batches(batch_size)
    counts = torch.stack([part for rows in batches for part in halving(count, rows)])
    return GradientHealth(member.name, *counts.sum(0).tolist())


def sets_origin(member: Member, sample: Sample, settings: TransferSettings) -> dict[str, Any]:
    """All that determines a surrogate's images, plain JSON values.

    What is the same for every image and radius stands in ``made``. The attacks are written with all
    their hyper-parameters, at the radius 1.

    Args:
        member: The surrogate, with the digest of its weights.
        sample: The clean images.
        settings: Of the audit.
    """
    entries = settings.portfolio(member.classifier, 1.0)
    return {
        "made": {
            "surrogate": member.name,
            "surrogate_sha256": member.digest(),
            "attacks": {"/".join(entry.names): repr(entry.attack) for entry in entries},
            "norm": settings.norm,
            "seed": settings.seed,
            "torch": torch.__version__,
            **kind_key(),
        },
        "eps": list(settings.eps),
        "images_sha256": sample.digest(),
        "batch_size": settings.batch_size,
    }


def save_sets(sets: AdversarialSets, path: Path, origin: dict[str, Any]) -> None:
    """Write ``path`` (``.safetensors``) and its manifest beside it, the manifest last.

    Args:
        sets: What to write.
        path: Name of the images' file.
        origin: From :func:`sets_origin`.

    Raises:
        StorageError: They cannot be written.
    """
    tensors = {
        "images": sets.images.contiguous(),
        "clean": sets.sample.images.contiguous(),
        "labels": sets.sample.labels,
        "indices": sets.sample.indices,
    }
    data = save(tensors, metadata={"format": "pt"})
    write_bytes(path, data)
    manifest = {
        "schema": SCHEMA,
        "origin": origin,
        "surrogate": sets.surrogate,
        "norm": sets.norm,
        "eps": list(sets.eps),
        "attacks": [asdict(name) for name in sets.attacks],
        "attack_values": sets.attack_values,
        "health": asdict(sets.health),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json(path.with_suffix(".json"), manifest)


def load_sets(path: Path) -> AdversarialSets:
    """Read what :func:`save_sets` wrote, whatever it was made from.

    Args:
        path: Name of the images' file; the manifest lies beside it.

    Raises:
        AuditError: A file is absent or damaged, or of another schema.
    """
    manifest = _manifest(path)
    try:
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise AuditError(
                f"{path} is not the file that {path.stem}.json describes: its SHA-256 differs",
                hint="copy both files again, or let the audit make them again",
            )
        tensors = load(data)
        return AdversarialSets(
            surrogate=manifest["surrogate"],
            norm=manifest["norm"],
            eps=tuple(manifest["eps"]),
            attacks=tuple(AttackName(**name) for name in manifest["attacks"]),
            attack_values=manifest["attack_values"],
            images=tensors["images"],
            sample=Sample(tensors["clean"], tensors["labels"], tensors["indices"]),
            health=GradientHealth(**manifest["health"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def find_sets(path: Path, origin: dict[str, Any]) -> AdversarialSets | None:
    """Read stored sets if they are of this origin.

    Returns:
        The sets; None if they are absent, damaged, or of another origin, and so must be made.
    """
    try:
        return load_sets(path) if _manifest(path).get("origin") == origin else None
    except AuditError:
        return None


def require_sets(sets: AdversarialSets, digest: str) -> AdversarialSets:
    """Refuse sets that are not those which another job of the same audit has made.

    Args:
        sets: Found.
        digest: :meth:`AdversarialSets.digest` of those that were made.

    Raises:
        AuditError: They are others.
    """
    if sets.digest() != digest:
        raise AuditError(
            f"the stored images of {sets.surrogate} are not those that this audit made",
            hint="another audit replaced them: let one of a run end before the next begins, and "
            "audit again",
        )
    return sets


def find_part(
    path: Path, origin: dict[str, Any], sample: Sample, eps: tuple[float, ...]
) -> AdversarialSets | None:
    """Find images and radii in stored sets that may hold more of both.

    Args:
        path: Name of the images' file.
        origin: From :func:`sets_origin`; of the stored sets ``made`` must be the same.
        sample: The wanted images.
        eps: The wanted radii.

    Returns:
        The part of the sets; None if they are absent, damaged, made otherwise, or lack some of it.
    """
    try:
        found = _manifest(path).get("origin")
        if not isinstance(found, dict) or found.get("made") != origin["made"]:
            return None
        sets = load_sets(path)
    except AuditError:
        return None
    places = {index: row for row, index in enumerate(sets.sample.indices.tolist())}
    indices = sample.indices.tolist()
    if len(indices) < _ALIKE:
        return None
    if not set(eps) <= set(sets.eps) or not set(indices) <= set(places):
        return None
    rows = torch.tensor([places[index] for index in indices])
    part = sets.sample.part(rows)
    if part.digest() != sample.digest():
        return None
    levels = [sets.eps.index(radius) for radius in eps]
    return replace(sets, eps=eps, images=sets.images[levels][:, :, rows], sample=part)


def take_part(
    path: Path, origin: dict[str, Any], member: Member, sample: Sample, settings: TransferSettings
) -> AdversarialSets | None:
    """:func:`find_part`, described as if these images alone had been made, at these radii."""
    found = find_part(path, origin, sample, settings.eps)
    if found is None:
        return None
    health = _gradient_health(member, sample, settings.batch_size)
    return replace(found, attack_values=_attack_values(member, settings), health=health)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_bytes(path.with_suffix(".json")))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise AuditError(
            f"{path.with_suffix('.json')} does not say {SCHEMA}",
            hint="let the audit make the images again",
        )
    return manifest


def _unreadable(path: Path, error: Exception) -> AuditError:
    return AuditError(
        f"cannot read the adversarial images {path}: {type(error).__name__}: {error}",
        hint="`fleet audit transfer` and `fleet audit whitebox` write them",
    )


SENT = (SEGMENT, "margin")
"""The set that holds the one image of each original that an attacker would send, by task."""


def adaptive_images(sets: AdversarialSets, level: int) -> Tensor:
    """Adversarial images of the adaptive attacks, the one to send first.

    Args:
        sets: Of one device.
        level: Number of the eps.

    Returns:
        uint8 (A, N, C, H, W).
    """
    rows = attack_rows(sets.attacks)
    rows.sort(key=lambda row: row != sets.sent)
    return sets.images[level, rows]


def stored_sets(
    directory: Path,
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    progress: ProgressHook | None = None,
) -> AdversarialSets:
    """Find a device's images in the run, or make and store them.

    The images are the same ones, whichever happens: those of a transfer audit are taken only if it
    attacked as ``settings`` say.

    Args:
        directory: Of all audits of the run.
        member: The device.
        sample: The clean images.
        settings: How to attack, and the wanted eps.
        progress: Called while attacking.
    """
    origin = sets_origin(member, sample, settings)
    stored = directory / "transfer" / "sets" / f"{member.name}.safetensors"
    found = find_part(stored, origin, sample, settings.eps)
    if found is not None:
        return found
    path = directory / "query" / "sets" / f"{member.name}-{sample.digest()[:12]}.safetensors"
    found = find_sets(path, origin)
    if found is None:
        found = attack_surrogate(member, sample, settings, progress)
        save_sets(found, path, origin)
    return found
