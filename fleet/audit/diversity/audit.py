"""The diversity audit: what made devices different, and whether they fail on the same images.

It counts the transfer audit's images, and attacks only what that audit did not.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.audit.certify.audit import CertifySettings, Proof, certify_device
from fleet.audit.core import jobs
from fleet.audit.core.checks import run_checks
from fleet.audit.core.checks.verdicts import unless
from fleet.audit.core.evidence import Evidence, VictimScores, worst_case
from fleet.audit.core.examination import Examination, gather_evidence, record_settings
from fleet.audit.core.members import TransferSettings
from fleet.audit.core.result import Check
from fleet.audit.core.scoring import Trial
from fleet.audit.diversity import effects, result
from fleet.audit.transfer.audit import try_on_device
from fleet.errors import FleetError
from fleet.execution import LOCAL, Executor
from fleet.files import read_json
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.provenance import Origin
from fleet.rundir import RunDirectory

Masks = NDArray[np.bool_]


def audit_run_diversity(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    executor: Executor = LOCAL,
    split: jobs.SplitName = "test",
) -> result.DiversityAudit:
    """Audit the diversity of a run, from the images of its transfer audit where that is the same.

    Args:
        run: A finished training.
        settings: How thoroughly to attack.
        images: Images to audit; all of the split if it has fewer.
        executor: Where jobs run.
        split: Which images.

    Raises:
        AuditError: Fewer than one image is asked for, or a device cannot be audited.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    asked = {**settings.to_dict(), "images": images, "split": split}
    there = transfer_settings(run) or {}
    kind = "transfer" if asked == {key: there.get(key) for key in asked} else "diversity"
    with jobs.auditing(
        run, settings, images=images, split=split, kind=kind, executor=executor
    ) as audit:
        examinations = audit.each("attack", jobs.examine_device)
        made = {examined.device.name: examined.sets_sha256 for examined in examinations}
        trials = dict(zip(made, audit.each("try on", try_on_device, made=made), strict=True))
        proven = [
            replace(job, kind="diversity")
            for job in audit.jobs
            if audit.family.device(job.device).training.method == "certified"
        ]
        proofs: dict[str, Proof] = {}
        if settings.norm == "linf" and proven:
            bounds = CertifySettings(settings.eps, radii=0, seed=settings.seed)
            found = audit.each("certify", certify_device, proven, settings=bounds)
            proofs = {device.name: proof for device, proof in found}
        origin = audit.origin(sets=kind)
        return assemble_diversity(
            examinations, trials, proofs, audit.family, settings=settings, origin=origin
        )


def transfer_settings(run: RunDirectory) -> dict[str, Any] | None:
    """Settings of the run's transfer audit, plain JSON values; None if there is none."""
    try:
        found = read_json(run.audit_file("transfer"))["settings"]
    except (FleetError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def assemble_diversity(
    examinations: Sequence[Examination],
    trials: dict[str, dict[str, Trial]],
    proofs: Mapping[str, Proof],
    family: FamilySpec,
    *,
    settings: TransferSettings,
    origin: Origin,
) -> result.DiversityAudit:
    """Count, test, and put the result together.

    Args:
        examinations: One for each network, controls last.
        trials: Images of other surrogates on each victim, by victim and surrogate.
        proofs: Of certified devices.
        family: What the networks were trained from.
        settings: Of the audit.
        origin: Where the audit comes from.
    """
    evidence = gather_evidence(examinations, settings, trials)
    networks = describe_networks(family)
    seen = [_seen(evidence, networks, level) for level in range(len(settings.eps))]
    found = tuple(effect for level in seen for effect in effects.effects(level))
    together: list[result.Together] = []
    agreements: list[result.Agreement] = []
    for event, eps, devices, befell, counted in _events(evidence, proofs):
        together += effects.together(event, eps, devices, befell, counted)
        agreements.append(effects.agreement(event, eps, befell, counted))
    return result.DiversityAudit(
        devices=evidence.devices,
        eps=settings.eps,
        networks=tuple(networks),
        groups=tuple(group for level in seen for group in effects.groups(level)),
        effects=found,
        together=tuple(together),
        agreements=tuple(agreements),
        checks=(*_attacks(evidence), *_checks(evidence, networks, family, found)),
        **origin.head(record_settings(examinations, settings)),
    )


def describe_networks(family: FamilySpec) -> list[result.Network]:
    """What each network of task ``int`` shares with others, the twin included."""
    specs = [spec for spec in family.trained if spec.encoding is not None]
    columns = [_numbered([_labels(spec)[k] for spec in specs]) for k in range(len(result.FACTORS))]
    return [
        result.Network(spec.name, *numbers) for spec, *numbers in zip(specs, *columns, strict=True)
    ]


def _labels(spec: DeviceSpec) -> tuple[Hashable, ...]:
    """Order, ratio, method and network of a device, up to what tells no two devices apart."""
    encoding, model = spec.encoding, spec.model
    if encoding is None:
        raise ValueError(f"{spec.name} has no encoding")
    order, lengths = encoding.canonical()
    training = spec.training
    method = (training.method, training.eps if training.method != "standard" else 0.0)
    return order, lengths, method, replace(model, weights=None)


def _numbered(labels: Sequence[Hashable]) -> list[int]:
    numbers = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return [numbers[label] for label in labels]


def _seen(evidence: Evidence, networks: Sequence[result.Network], level: int) -> effects.Seen:
    """Outcomes of the networks at one eps, on the images of each other."""
    by_name = {score.victim: score for score in evidence.scores}
    scores = [by_name[network.name] for network in networks]
    evaded = [
        [_falls(evidence, victim, source.victim, level) for victim in scores] for source in scores
    ]
    return effects.Seen(
        networks,
        evidence.eps[level],
        correct=np.stack([score.clean == 0 for score in scores]),
        evaded=np.array(evaded),
        noisy=np.stack([score.noise[level] > 0 for score in scores]),
    )


def _falls(evidence: Evidence, victim: VictimScores, surrogate: str, level: int) -> Masks:
    """Where any adaptive image of a surrogate evades a victim at one eps, (N,)."""
    return worst_case(victim.attacked[surrogate][level], evidence.attacks[surrogate]) > 0


def _events(
    evidence: Evidence, proofs: Mapping[str, Proof]
) -> Iterator[tuple[result.Event, float, list[str], Masks, Masks]]:
    """Events on the fleet: event, eps, names of the devices, where, and among which images."""
    names = [device.name for device in evidence.devices if device.role == "device"]
    scores = [score for score in evidence.scores if score.victim in names]
    clean = np.stack([score.clean == 0 for score in scores])
    every = np.ones(clean.shape, dtype=bool)
    yield "mistake", 0.0, names, ~clean, every
    for level, eps in enumerate(evidence.eps):
        fooled = [
            np.any(
                [_falls(evidence, score, name, level) for name in names if name != score.victim]
                or [np.zeros(clean.shape[1], dtype=bool)],
                axis=0,
            )
            for score in scores
        ]
        yield "failure", eps, names, np.stack(fooled), clean
        certified = [name for name in names if name in proofs]
        if len(certified) > 1:
            held = np.stack([proofs[name].proven[level] == 0 for name in certified])
            yield "certificate", eps, certified, held, np.ones(held.shape, dtype=bool)


def _attacks(evidence: Evidence) -> Iterator[Check]:
    """Checks of the attacks that are counted here."""
    return (check for check in run_checks(evidence) if check.about("adaptive"))


def _checks(
    evidence: Evidence,
    networks: Sequence[result.Network],
    family: FamilySpec,
    found: Sequence[result.Effect],
) -> Iterator[Check]:
    weights = Counter(device.weights_sha256 for device in evidence.devices if device.weights_sha256)
    copies = [d.name for d in evidence.devices if weights[d.weights_sha256] > 1]
    yield unless(
        f"{', '.join(copies)} have the same weights" if copies else "",
        id="D1",
        title="Networks have weights of their own",
        good=f"{len(evidence.devices)} networks, no two with the same weights",
        threshold="two networks with the same weights are one",
    )
    heads = {d.model.head for d in family.devices if d.encoding is not None}
    orders = len({network.order for network in networks})
    relabelled = heads == {"softmax"} and orders > 1
    yield unless(
        f"{orders} orders and the head softmax alone, which learns the same function under every "
        "order: no order can buy anything here"
        if relabelled
        else "",
        id="D2",
        title="Orders reach the network",
        verdict="warn",
        good="no order is a mere relabelling",
        threshold="with the head softmax an order renames outputs, and seeds differ alone",
    )
    blind = sorted({e.factor for e in found if e.values > 1 and e.detectable is None} - {"any"})
    yield unless(
        f"whatever {' and '.join(blind)} bought, {len(networks)} networks cannot tell it from luck"
        if blind
        else "",
        id="D3",
        title="Effects can be told from luck",
        verdict="warn",
        good="every thing that varies has a smallest effect that would be found",
        threshold="no effect, however large, has 80 % power at 0.05: two values need four networks "
        "each, three values three each",
    )
