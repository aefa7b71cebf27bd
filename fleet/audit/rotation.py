"""Whether images made on burnt weights still work on the weights that took their place."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fleet.attacks import CORRECT
from fleet.audit.certify.audit import CertifySettings, prove
from fleet.audit.core import jobs
from fleet.audit.core.evidence import worst_case
from fleet.audit.core.members import Member, TransferSettings, load_member
from fleet.audit.core.result import wilson_interval
from fleet.audit.core.scoring import replay, score_baseline
from fleet.audit.core.sets import (
    AdversarialSets,
    attack_surrogate,
    load_sets,
    save_sets,
    sets_origin,
)
from fleet.errors import AuditError, CheckpointError
from fleet.execution import ProgressReporter
from fleet.files import read_json, write_bytes, write_json
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.vocabulary import TrainingSpec

MARGIN = 0.02
"""How far above the noise floor images may lie that count as dead."""

ONE_SIDED = 1.6448536269514722
"""95 % quantile of the standard normal distribution."""

Ground = Literal["noise", "certificate", "none"]
Mask = NDArray[np.bool_]

_IMAGES = "images.safetensors"
_KEPT = "kept.json"
_AUDITS = ("transfer", "whitebox")
"""Audits whose images are kept, the one that is preferred first."""


@dataclass(frozen=True)
class Survival:
    """Images of one burnt generation at one eps, on the present weights.

    Their excess is the share of images that they evade less the share that noise evades, of the
    same images. Its bound is one-sided at 95 %, for matched pairs (the adjusted Wald bound of
    Agresti and Min 2005).

    Attributes:
        generation: Whose weights the images were made on.
        eps: As asked for.
        n: Images that the present weights decode correctly.
        on_burnt: Evade rate on the weights that the images were made on.
        evaded: How many of the n they evade now: worst case over the adaptive images.
        noise: How many noise of the same eps evades: worst case over its draws.
        excess_bound: Upper bound of the excess.
        open: Of the n, how many lack a certificate at this eps; None for a device that was not
            trained to have one there.
    """

    generation: int
    eps: float
    n: int
    on_burnt: float
    evaded: int
    noise: int
    excess_bound: float
    open: int | None

    @property
    def rate(self) -> float | None:
        """Evade rate of the images now; None of a device that decodes none of them correctly."""
        return self.evaded / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of :attr:`rate`."""
        return wilson_interval(self.evaded, self.n)

    @property
    def ground(self) -> Ground:
        """Why the images count as dead: no better than noise, or bounded by a certificate."""
        if self.excess_bound <= MARGIN:
            return "noise"
        return "certificate" if self.n and self.open is not None else "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        interval = list(self.interval)
        return {**asdict(self), "evade": self.rate, "interval": interval, "ground": self.ground}


def keep_images(
    run: RunDirectory,
    device: str,
    directory: Path,
    radii: Sequence[float],
    *,
    progress: ProgressReporter,
) -> None:
    """Keep the images that an audit made on a device; make some where none has. Body of a job.

    Args:
        run: A training.
        device: Its weights are about to be replaced.
        directory: Where the images are kept; what is whole there already stays.
        radii: Where images are made if there are none.
        progress: Where to report.

    Raises:
        CheckpointError: The device is not finished.
    """
    if (directory / _KEPT).exists():
        return
    job = jobs.AuditJob(run, device, TransferSettings(eps=tuple(radii)), images=500, split="test")
    member, sample = jobs.load_audited(job)
    stored = [run.audit(kind) / "sets" / f"{device}.safetensors" for kind in _AUDITS]
    path = next((path for path in stored if _made_on(path, member)), None)
    if path is None:
        sets = attack_surrogate(member, sample, job.settings, progress)
        save_sets(sets, directory / _IMAGES, sets_origin(member, sample, job.settings))
    else:
        for end in (".safetensors", ".json"):
            copy = (directory / _IMAGES).with_suffix(end)
            write_bytes(copy, path.with_suffix(end).read_bytes())
    sets = load_sets(directory / _IMAGES)
    fooled, clean = _fooled(sets, member)
    rates = [float(row[clean].mean()) if clean.any() else 0.0 for row in fooled]
    write_json(directory / _KEPT, {"on_burnt": rates})  # last: the images are whole
    progress(1, 1, "images kept")


def survivals(
    run: RunDirectory, device: str, kept: dict[int, Path], *, progress: ProgressReporter
) -> list[Survival]:
    """Try the images of every burnt generation on a device's present weights. Body of a job.

    Args:
        run: A training in which the device is finished.
        device: Device name.
        kept: Directories from :func:`keep_images`, by generation.
        progress: Where to report.

    Raises:
        AuditError: An image evades the device in spite of a certificate.
    """
    family = read_family(run)
    spec = family.device(device)
    member = load_member(run, family, spec)
    found: list[Survival] = []
    for done, (generation, directory) in enumerate(kept.items()):
        progress(done, len(kept) + 1, f"images of generation {generation}")
        rates = read_json(directory / _KEPT)["on_burnt"]
        sets = load_sets(directory / _IMAGES)
        found += _survivals(generation, sets, rates, member, spec.training)
    progress(1, 1, "images tried")
    return found


def excess_bound(fooled: Mask, noisy: Mask) -> float:
    """One-sided 95 % upper bound of ``P(fooled) - P(noisy)`` over the same images; both (n,)."""
    more, less = int((fooled & ~noisy).sum()), int((~fooled & noisy).sum())
    n = len(fooled) + 2
    difference = (more - less) / n
    return difference + ONE_SIDED * math.sqrt(((more + less + 1) / n - difference**2) / n)


def _survivals(
    generation: int,
    sets: AdversarialSets,
    on_burnt: Sequence[float],
    member: Member,
    recipe: TrainingSpec,
) -> list[Survival]:
    fooled, clean = _fooled(sets, member)
    noisy = score_baseline(member, sets.sample, _settings(sets)).noise > 0
    stays = _certified(sets, member, recipe)
    found = []
    for row, eps in enumerate(sets.eps):
        if eps in stays and (stays[eps] & fooled[row]).any():
            raise AuditError(
                f"an image evades {member.name} at eps {eps:.4g} in spite of its certificate",
                hint="report this: the bounds are unsound",
            )
        now, noise = fooled[row][clean], noisy[row][clean]
        found.append(
            Survival(
                generation=generation,
                eps=eps,
                n=len(now),
                on_burnt=on_burnt[row],
                evaded=int(now.sum()),
                noise=int(noise.sum()),
                excess_bound=excess_bound(now, noise),
                open=int((clean & ~stays[eps]).sum()) if eps in stays else None,
            )
        )
    return found


def _certified(sets: AdversarialSets, member: Member, recipe: TrainingSpec) -> dict[float, Mask]:
    """Images whose answer is proven to stay, (N,), at each eps that it was trained for."""
    if sets.norm != "linf" or recipe.method != "certified":
        return {}
    radii = tuple(eps for eps in sets.eps if eps <= recipe.eps)
    if not radii:
        return {}
    proof = prove(member, sets.sample, CertifySettings(radii, radii=0))
    return dict(zip(radii, proof.proven == 0, strict=True))


def _fooled(sets: AdversarialSets, member: Member) -> tuple[Mask, Mask]:
    """Where an adaptive image evades, (E, N), and where the clean one is decoded right, (N,)."""
    settings = _settings(sets)
    clean = np.asarray(score_baseline(member, sets.sample, settings).clean == CORRECT)
    return worst_case(replay(sets, member, settings).outcomes, sets.attacks) > 0, clean


def _settings(sets: AdversarialSets) -> TransferSettings:
    """Settings under which stored images are scored; how they were made does not matter now."""
    return TransferSettings(eps=sets.eps, norm=sets.norm)


def _made_on(path: Path, member: Member) -> bool:
    """Whether stored images are whole, and were made on these very weights."""
    try:
        origin = read_json(path.with_suffix(".json"))["origin"]
        load_sets(path)
        return bool(origin["made"]["surrogate_sha256"] == member.digest())
    except (AuditError, CheckpointError, KeyError, TypeError):
        return False
