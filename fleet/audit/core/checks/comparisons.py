"""M14, M17, M18, BT: what do the figures mean beside others that should be known?"""

from collections.abc import Iterator
from typing import get_args

from fleet.audit.core.checks.verdicts import Excess, graded, percent, points
from fleet.audit.core.evidence import Binarization, Decoding, Evidence, attack_rows, count
from fleet.audit.core.result import Check, Matrix, Protocol, Verdict, wilson_interval

SECRET_GAP = 0.01
CONTROL_FALLS = 0.95
CONTROL_STANDS = 0.5
DECODE_GAP = 0.05
SOLVED = 0.95
UNSOLVED = 0.8
TOO_EASY = 0.5

BLIND = ("up", "down")
"""Attacks that raise and lower the output: no alpha, beta, s0 or order goes into them."""


def secret(evidence: Evidence) -> Iterator[Check]:
    """M14: an attacker who does not know the encoding should do worse, if it were a secret."""
    gaps = [gap for level in range(len(evidence.eps)) for gap in _blind_gap(evidence, level)]
    if not gaps:
        return
    most = max(gaps, key=lambda gap: gap.amount)
    helps = most.amount > SECRET_GAP + 1e-9
    yield Check(
        id="M14",
        title="Encoding as a secret",
        verdict="pass" if helps else "warn",
        finding=most.words if helps else f"the encoding is no secret: {most.words}",
        threshold="raising and lowering the output, without alpha, beta, s0 and the order, within "
        f"{points(SECRET_GAP)} of the whole adaptive portfolio, over all devices, warns",
        subject="adaptive",
    )


def control(evidence: Evidence) -> Iterator[Check]:
    """M17: an ordinary network must be in the audit, and must fall."""
    names = {device.name for device in evidence.devices if device.role == "control"}
    verdict: Verdict = "warn"
    if not names:
        finding = (
            "none in this audit: train the family without `control: false`, or give an "
            "undefended network of the same backbone the role `control`"
        )
    else:
        eps = evidence.eps[-1]
        matrix = evidence.worst_matrix("adaptive", eps)
        own = {name: rate for name, rate in matrix.white_box().items() if name in names}
        fallen = min(own.values(), default=0.0)
        verdict = graded(1 - fallen, 1 - CONTROL_FALLS, 1 - CONTROL_STANDS)
        finding = ", ".join(f"{name} falls at {percent(rate)}" for name, rate in own.items())
        finding = f"at eps {eps:.4g} {finding or 'no control decodes an image correctly'}"
        if verdict != "pass":
            finding += ": this budget does not even break an undefended network"
        twins = {device.name for device in evidence.devices if device.role == "twin"}
        finding += _over_control(matrix, names, twins)
    yield Check(
        id="M17",
        title="Control network",
        verdict=verdict,
        finding=finding,
        threshold=f"no control, or one that falls at less than {percent(CONTROL_FALLS)} at the "
        f"largest eps, warns; less than {percent(CONTROL_STANDS)} fails",
        subject="adaptive",
    )


def decode_rule(evidence: Evidence) -> Iterator[Check]:
    """M18: clean accuracy and evade rate under both readings of Eq. 2, side by side."""
    read = [decoding for probes in evidence.probes for decoding in probes.decodings]
    if not read:
        return
    worst = max(read, key=_decode_gap)
    strict, floor = worst.strict_correct / worst.images, worst.floor_correct / worst.images
    evade = [
        "-" if rate is None else percent(rate)
        for rate in (worst.strict.rate("evade"), worst.floor.rate("evade"))
    ]
    yield Check(
        id="M18",
        title="Decode rule",
        verdict="warn" if _decode_gap(worst) > DECODE_GAP + 1e-9 else "pass",
        finding=f"{worst.device}, strict and floor: clean accuracy {percent(strict)} and "
        f"{percent(floor)}; at eps {worst.eps:.4g} the adaptive images evade {evade[0]} and "
        f"{evade[1]} (of {worst.strict.n} and {worst.floor.n})",
        threshold=f"always reported; a gap of more than {points(DECODE_GAP)} in either warns",
    )


def binarization(evidence: Evidence) -> Iterator[Check]:
    """BT: adversarial images that exist by construction must be found."""
    tests = [probes.binarization for probes in evidence.probes if probes.binarization]
    built = [test for test in tests if test.n]
    for protocol in get_args(Protocol):
        if not built:
            continue
        worst = min(built, key=lambda test: _solved(test, protocol))
        found = _count(worst, protocol)
        verdict: Verdict = "pass" if found >= SOLVED * worst.n else "warn"
        if wilson_interval(found, worst.n)[1] < UNSOLVED:  # 6 of 8 may be bad luck, 4 are not
            verdict = "fail"
        easy = worst.random > TOO_EASY * worst.n
        if verdict == "pass" and easy:
            verdict = "warn"
        yield Check(
            id="BT",
            title="Binarization test",
            verdict=verdict,
            finding=f"{worst.device} at eps {worst.eps:.4g}: finds {found} of "
            f"{worst.n} adversarial images that exist by construction; noise finds {worst.random}"
            + (", so the test says little" if easy else ""),
            threshold=f"fewer than {percent(SOLVED)} warns, than {percent(UNSOLVED)} by the upper "
            f"95 % bound fails; noise above {percent(TOO_EASY)} warns",
            subject=protocol,
        )


def _blind_gap(evidence: Evidence, level: int) -> Iterator[Excess]:
    """What the rest of the portfolio adds to UP and DOWN at one eps, over all devices."""
    pairs = []
    for score in evidence.scores:
        names, correct = evidence.attacks[score.victim], score.clean == 0
        blind = [row for attack in BLIND for row in attack_rows(names, "adaptive", attack)]
        whole = attack_rows(names)
        own = score.attacked[score.victim][level]
        if blind and correct.any():
            pairs.append([count(own[rows].max(axis=0), correct) for rows in (blind, whole)])
    if not pairs:
        return
    n = sum(without.n for without, _ in pairs)
    evade, flip = (
        [sum(getattr(pair[which], kind) for pair in pairs) / n for which in (0, 1)]
        for kind in ("evade", "flip")
    )
    yield Excess(
        evade[1] - evade[0],
        f"at eps {evidence.eps[level]:.4g} {percent(evade[0])} evade and {percent(flip[0])} flip "
        f"without it, {percent(evade[1])} and {percent(flip[1])} with it",
    )


def _over_control(matrix: Matrix, controls: set[str], twins: set[str]) -> str:
    """Say how much more images of other devices transfer than those of a control."""
    totals = {"device": [0, 0], "control": [0, 0]}
    for cell in matrix.cells:
        if cell.victim in controls | twins or cell.surrogate in twins | {cell.victim}:
            continue
        total = totals["control" if cell.surrogate in controls else "device"]
        total[0] += cell.outcome.evade
        total[1] += cell.outcome.n
    if not all(n for _, n in totals.values()):
        return ""
    device, plain = (evade / n for evade, n in totals.values())
    return (
        f"; images made on another device evade {percent(device)}, made on a control "
        f"{percent(plain)}: transfer-excess {points(device - plain)}"
    )


def _decode_gap(decoding: Decoding) -> float:
    """Larger of the gaps between the rules, clean and attacked."""
    clean = abs(decoding.floor_correct - decoding.strict_correct) / decoding.images
    strict, floor = decoding.strict.rate("evade"), decoding.floor.rate("evade")
    return clean if strict is None or floor is None else max(clean, abs(floor - strict))


def _count(test: Binarization, protocol: Protocol) -> int:
    return test.paper if protocol == "paper" else test.adaptive


def _solved(test: Binarization, protocol: Protocol) -> float:
    return _count(test, protocol) / test.n
