"""M1, M3, M4: is there a gradient, and does following it help?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fleet.audit.core.checks.verdicts import Excess, excess_check, graded, percent
from fleet.audit.core.evidence import WORST, Evidence, GradientHealth, VictimScores, attack_rows
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
