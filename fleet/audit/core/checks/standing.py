"""M1-M4, M7, M9, M10: is there a gradient, does it help, is what stands really out of reach?"""

from collections.abc import Callable, Iterator
from typing import get_args

from fleet.audit.core.checks.verdicts import Excess, excess_check, graded, percent, points, tried
from fleet.audit.core.evidence import (
    WORST,
    Evidence,
    GradientHealth,
    Ordering,
    Probe,
    Retry,
    VictimScores,
    attack_rows,
)
from fleet.audit.core.result import Check, Protocol, Verdict

ZERO_WARN = 0.01
ZERO_FAIL = 0.5
ONE_STEP_TOLERANCE = 0.01


def zero_gradient(evidence: Evidence) -> Iterator[Check]:
    """M1: share of correct examples where the attack's own loss has a zero gradient."""
    zeros: dict[Protocol, Callable[[GradientHealth], int]] = {
        "paper": lambda health: health.loss_zero,
        "adaptive": lambda health: health.adaptive_zero,
    }
    for protocol, zero in zeros.items():
        shares = [(zero(health) / health.n, health) for health in evidence.health if health.n]
        if not shares:
            continue
        share, worst = max(shares, key=lambda pair: pair[0])
        yield Check(
            id="M1",
            title="Gradient of the attack's loss",
            verdict=graded(share, ZERO_WARN, ZERO_FAIL),
            finding=f"{worst.device}: exactly zero at {percent(share)} of the {worst.n} images "
            "decoded correctly",
            threshold=f"zero at more than {percent(ZERO_WARN)} warns, at more than "
            f"{percent(ZERO_FAIL)} fails",
            subject=protocol,
        )


def output_gradient(evidence: Evidence) -> Iterator[Check]:
    """M3: the output itself must have a finite gradient, and finite values under attack."""
    heads = {device.name: device.head for device in evidence.devices}
    verdict: Verdict = "pass"
    finding = "finite everywhere, and not zero"
    for health in evidence.health:
        share = health.output_zero / health.n if health.n else 0.0
        if share > ZERO_WARN and verdict != "fail":
            verdict = "warn" if heads[health.device] in {"ordinal", "softmax"} else "fail"
            finding = f"{health.device}: zero at {percent(share)} of the images decoded correctly"
    if broken := _nonfinite(evidence):
        verdict, finding = "fail", f"NaN or infinite: {', '.join(broken)}"
    yield Check(
        id="M3",
        title="Gradient of the output",
        verdict=verdict,
        finding=finding,
        threshold=f"NaN or infinite fails; zero at more than {percent(ZERO_WARN)} fails, or warns "
        "for ordinal and softmax heads, which the adaptive attack goes round",
    )


def one_step(evidence: Evidence) -> Iterator[Check]:
    """M4: more work may not find less, example by example, on the white-box diagonal."""
    stronger: dict[Protocol, str] = {"paper": "pgd", "adaptive": WORST}
    for protocol, attack in stronger.items():
        yield from excess_check(
            [
                excess
                for score in evidence.scores
                for excess in _lost(evidence, score, protocol, attack)
            ],
            id="M4",
            title="Iterative at least as strong as one step",
            tolerance=ONE_STEP_TOLERANCE,
            good="FGSM evades nothing that the iterative attack misses, beyond the tolerance",
            bad="FGSM evades where the iterative attack does not",
            threshold=f"more than {percent(ONE_STEP_TOLERANCE)} of the correct examples fails",
            subject=protocol,
        )


def _nonfinite(evidence: Evidence) -> list[str]:
    gradients = [f"{h.device} ({h.nonfinite} gradients)" for h in evidence.health if h.nonfinite]
    outputs = [f"{s.victim} ({s.nonfinite} outputs)" for s in evidence.scores if s.nonfinite]
    return gradients + outputs


def _lost(
    evidence: Evidence, score: VictimScores, protocol: Protocol, attack: str
) -> Iterator[Excess]:
    """Share of one device's correct examples that only FGSM evades, at each eps."""
    names = evidence.attacks[score.victim]
    weak, strong = attack_rows(names, "paper", "fgsm"), attack_rows(names, protocol, attack)
    correct = score.clean == 0
    if not (weak and strong and correct.any()):
        return
    for eps, level in zip(evidence.eps, score.attacked[score.victim], strict=True):
        lost = (level[weak].max(axis=0) > 0) & (level[strong].max(axis=0) == 0) & correct
        share = float(lost.sum() / correct.sum())
        yield Excess(
            share, f"{score.victim} at eps {eps:.4g}: {lost.sum()} examples ({percent(share)})"
        )


FLAT_WARN = 0.01
FLAT_FAIL = 0.1
ORDERED = 0.9
PAIRS = 10
GRADIENT_FREE = 0.002
SILENT = 0.005
EFFORT_WARN = 0.005
EFFORT_FAIL = 0.1


def consistency(evidence: Evidence) -> Iterator[Check]:
    """M2: the attacked objective must move, and be larger where the attack succeeds."""
    for protocol in get_args(Protocol):
        flat = evidence.retries("flat", protocol)
        if not flat:
            continue
        worst = max(flat, key=lambda retry: retry.share)
        verdict = graded(worst.share, FLAT_WARN, FLAT_FAIL)
        finding = "the objective moves in every attack that was watched"
        if worst.found:
            finding = (
                f"the objective keeps one value in the whole attack on {tried(worst)}, "
                f"about {percent(worst.share)} of those decoded correctly"
            )
        if low := _disordered(evidence, protocol):
            verdict = "fail"
            finding += (
                f"; {low.device} at eps {low.eps:.4g}: larger at only {low.ordered:g} of "
                f"{low.pairs} successes than at their originals"
            )
        yield Check(
            id="M2",
            title="Objective consistent with success",
            verdict=verdict,
            finding=finding,
            threshold=f"constant along the attack on more than {percent(FLAT_WARN)} of the correct "
            f"images warns, {percent(FLAT_FAIL)} fails; larger at the success in fewer than "
            f"{percent(ORDERED)} of {PAIRS} or more successes fails",
            subject=protocol,
        )


def gradient_free(evidence: Evidence) -> Iterator[Check]:
    """M7: a search without gradients may not find what gradients miss."""
    for protocol in get_args(Protocol):
        yield from _missed(
            evidence.retries("square", protocol),
            id="M7",
            title="Gradient-free finds no more",
            attacker="the Square attack",
            tolerance=GRADIENT_FREE,
            subject=protocol,
        )


def uniform_noise(evidence: Evidence) -> Iterator[Check]:
    """M6: uniform noise may not find what gradients miss."""
    for protocol in get_args(Protocol):
        yield from _missed(
            evidence.retries("uniform", protocol),
            id="M6",
            title="Uniform noise finds no more",
            attacker="uniform noise",
            tolerance=EFFORT_WARN,
            subject=f"{protocol} uniform",
        )


def converged(evidence: Evidence) -> Iterator[Check]:
    """M9: twice the steps, or twice the restarts, may not find more."""
    probes: tuple[Probe, ...] = ("steps", "restarts")
    for probe in probes:
        again = evidence.retries(probe, "adaptive")
        if not again:
            continue
        worst = max(again, key=lambda retry: retry.share)
        verdict = graded(worst.share, EFFORT_WARN, EFFORT_FAIL)
        finding = _nothing(f"twice the {probe} evade", again)
        if worst.found:
            finding = (
                f"{'' if verdict == 'pass' else 'not converged: '}twice the {probe} evade "
                f"{tried(worst)}, about {points(worst.share)} more"
            )
        if verdict != "pass":
            finding += "; read its rates as lower bounds"
        yield Check(
            id="M9",
            title=f"More {probe} change nothing",
            verdict=verdict,
            finding=finding,
            threshold=f"an estimate of more than {points(EFFORT_WARN)} warns, of more than "
            f"{points(EFFORT_FAIL)} fails",
            subject=f"adaptive {probe}",
        )


def silent_success(evidence: Evidence) -> Iterator[Check]:
    """M10: an attack may not pass an adversarial image and return another."""
    for protocol in get_args(Protocol):
        watched = evidence.retries("iterates", protocol)
        if not watched:
            continue
        silent = [retry for retry in watched if retry.found]
        finding = _nothing("some iterate, but no returned image, evades on", watched)
        if silent:
            worst = max(silent, key=lambda retry: retry.share)
            finding = (
                f"some iterate, but no returned image, evades on {tried(worst)}, about "
                f"{points(worst.share)}"
            )
        yield Check(
            id="M10",
            title="No silent success",
            verdict=_lost_verdict(silent),
            finding=finding,
            threshold="any iterate that evades, rounded to 8 bits, where no returned image does, "
            f"warns; more than {points(SILENT)} of the correct images, by the lower 95 % bound, "
            "fails",
            subject=protocol,
        )


def _lost_verdict(silent: list[Retry]) -> Verdict:
    """One image may owe its luck to rounding: attacks choose iterates before they are rounded."""
    if any(retry.bounds[0] > SILENT for retry in silent):
        return "fail"
    return "warn" if silent else "pass"


def _missed(
    again: list[Retry], *, id: str, title: str, attacker: str, tolerance: float, subject: str
) -> Iterator[Check]:
    """Fail what is certain at 95 %, warn of what was seen."""
    if not again:
        return
    worst = max(again, key=lambda retry: (retry.bounds[0], retry.share))
    verdict: Verdict = "pass" if worst.found == 0 else "warn"
    if worst.bounds[0] > tolerance:
        verdict = "fail"
    finding = _nothing(f"{attacker} evades", again)
    if worst.found:
        low, high = worst.bounds
        finding = f"{attacker} evades {tried(worst)} that gradients miss: {points(low)}"
        if high > low:
            finding += f" to {points(high)}"
    yield Check(
        id=id,
        title=title,
        verdict=verdict,
        finding=finding,
        threshold=f"any image that gradients miss warns; more than {points(tolerance)} of the "
        "correct images, by the lower 95 % bound, fails",
        subject=subject,
    )


def _nothing(what: str, again: list[Retry]) -> str:
    """Say that nothing was found, in how many, and what that excludes."""
    examined = sum(retry.examined for retry in again)
    if not examined:
        return "no image is left standing"
    bound = max(retry.bounds[1] for retry in again)
    excluded = f"; with 95 % confidence at most {points(bound)} on any device" if bound else ""
    return f"{what} 0 of {examined} standing images{excluded}"


def _disordered(evidence: Evidence, protocol: Protocol) -> Ordering | None:
    """Pick the worst ordering below the limit, if there is one."""
    low = [
        ordering
        for probes in evidence.probes
        for ordering in probes.orderings
        if ordering.protocol == protocol
        and ordering.pairs >= PAIRS
        and ordering.ordered < ORDERED * ordering.pairs
    ]
    return min(low, key=lambda ordering: ordering.ordered / ordering.pairs, default=None)
