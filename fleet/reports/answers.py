"""The verdict of a report in words: what an attacker gets, what is guaranteed, what to do next.

Every rate here is what attacks reached, so a lower bound; only a certificate is a promise. Where
reliability checks failed, no rate is given as an answer.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from fleet.audit.certify.result import CertifyAudit
from fleet.audit.core.gates import ENOUGH
from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import mean_rate
from fleet.audit.transfer.result import PairSample, SampledPairs, TransferAudit
from fleet.reports.findings import bought
from fleet.reports.flags import blind_line, flag, verdict, worst_level
from fleet.reports.ladder import Rung, ladder
from fleet.reports.report import AuditReport
from fleet.reports.wording import format_count, short_eps, visible

QUESTIONS = {
    "T1": ("With one captured device", "fools another device"),
    "T0": ("With no device: a network of their own (control)", "fools a device"),
    "noise": ("From noise alone", "fools a device"),
}
"""By level of the ladder: what the attacker has, and what they do with it."""

GUARANTEED = "Guaranteed blast radius, whoever attacks"

EXPLAINED = (
    "Fooled: the device names a wrong class or none, on an image that it names rightly without "
    "the attack. eps: how far each pixel may change."
)


@dataclass(frozen=True)
class Answer:
    """What one attacker gets at one eps, or what is guaranteed there.

    Attributes:
        question: What the attacker has; :data:`GUARANTEED` for a certificate.
        words: The answer in one sentence.
        eps: Pixel units; None where nothing was measured at any.
        rate: Share of images that fall, mean over the fleet; None where it is not known.
        interval: Its 95 % interval; None for a guarantee, and where nothing is known.
        worst: The highest share of any device or pair; None where it is not known.
        known: Whether the rate may be used: measured, with reliability checks of which none
            failed.
    """

    question: str
    words: str
    eps: float | None = None
    rate: float | None = None
    interval: tuple[float, float] | None = None
    worst: float | None = None
    known: bool = False


@dataclass(frozen=True)
class Answers:
    """The whole verdict.

    Attributes:
        level: How far the figures can be believed; says nothing about how safe the fleet is.
        answers: In the order of reading: what is guaranteed first, where certificates exist.
        next: What to do, most urgent first.
        believe: One sentence for each audit: how far it can be believed.
        paper: That the paper's own attack is blind, one sentence for each audit where it is.
        brief: Clean accuracy, guarantee and worst measured transfer in one paragraph.
    """

    level: str
    answers: tuple[Answer, ...]
    next: tuple[str, ...]
    believe: tuple[str, ...]
    paper: tuple[str, ...]
    brief: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def grouped(self) -> dict[str, list[str]]:
        """The answers' words by question, what to do last."""
        found: dict[str, list[str]] = {}
        for answer in self.answers:
            found.setdefault(answer.question, []).append(answer.words)
        return found | {"What to do next": list(self.next)}


def answers(report: AuditReport) -> Answers:
    """Answer what the audits of a report can answer."""
    audits = report.audits
    verdicts = {name: verdict(audit) for name, audit in audits.items()}
    rungs = _headline(ladder(audits.values()))
    promised = tuple(_guarantee(cast("CertifyAudit | None", audits.get("certify")), rungs))
    measured = (
        *_attackers(rungs, promised, report.sample),
        *_bought(cast("TransferAudit | None", audits.get("transfer"))),
    )
    found = promised + measured if "certify" in audits else measured + promised
    return Answers(
        level=worst_level(level for level, _ in verdicts.values()),
        answers=found,
        next=tuple(_advice(report, found, rungs)),
        believe=tuple(f"{KINDS[kind].title}: {words}" for kind, (_, words) in verdicts.items()),
        paper=tuple(
            f"{KINDS[kind].title}: {line}" for kind, a in audits.items() if (line := blind_line(a))
        ),
        brief=" ".join(_brief(report, found)),
    )


def _brief(report: AuditReport, found: tuple[Answer, ...]) -> Iterator[str]:
    """What a manager reads, at the smallest eps that was asked for."""
    audit = report.audits.get("certify") or next(iter(report.audits.values()))
    fleet = [device for device in audit.devices if device.role == "device"]
    clean = mean_rate(device.clean_accuracy for device in fleet)
    if clean is not None:
        count = format_count(len(fleet), "device")
        yield f"The {count} of {visible(audit.run)} name {clean:.1%} of images rightly."
    promise = next((a for a in found if a.question == GUARANTEED), None)
    if promise is None or promise.eps is None or promise.worst is None or promise.worst == 1:
        yield "Nothing is guaranteed of them."
    else:
        yield (
            f"Guaranteed: whoever attacks within eps {short_eps(promise.eps)}, no device loses "
            f"more than {_rounded_up(promise.worst, 1000):.1%} of what it names rightly."
        )
    one = next(a for a in found if a.question == QUESTIONS["T1"][0])
    if one.eps is not None and one.worst is not None:
        yield (
            f"Measured: within eps {short_eps(one.eps)}, what is made on one device fools another "
            f"on {one.worst:.1%} of images at worst."
        )
    elif one.eps is not None and one.rate is not None:
        yield (
            f"Measured on a sample of pairs: within eps {short_eps(one.eps)}, what is made on one "
            f"device fools another on {one.rate:.1%} of images on average."
        )
    else:
        yield "What transfers from device to device is not known."


def in_100(rate: float) -> str:
    """Write a share as a count; only an exact 0 reads as 0 and only an exact 1 as 100.

    >>> in_100(0.237), in_100(0.0), in_100(0.001)
    ('24 of 100 images', '0 of 100 images', 'fewer than 1 of 100 images')
    """
    if 0 < rate < 0.005:
        return "fewer than 1 of 100 images"
    return "more than 99 of 100 images" if 0.995 <= rate < 1 else f"{rate * 100:.0f} of 100 images"


def _rounded_up(bound: float, parts: int) -> float:
    """A bound in whole parts: rounded down it would promise more than is proven."""
    return math.ceil(parts * bound - 1e-9) / parts


def _interval(bounds: tuple[float, float]) -> str:
    low, high = (round(100 * bound) for bound in bounds)
    return f"95 %: {low} to {high}"


def _headline(rungs: dict[float, list[Rung]]) -> dict[float, dict[str, Rung]]:
    """The smallest and the largest eps at which one captured device was tried, else of any."""
    by_level = {eps: {rung.level: rung for rung in found} for eps, found in rungs.items()}
    tried = [eps for eps, found in by_level.items() if found["T1"].mean is not None]
    radii = tried or list(by_level)
    return {eps: by_level[eps] for eps in sorted({*radii[:1], *radii[-1:]})}


def _attackers(
    rungs: dict[float, dict[str, Rung]],
    promised: tuple[Answer, ...],
    sample: PairSample | None,
) -> Iterator[Answer]:
    limits = {answer.eps: answer.worst for answer in promised if answer.known}
    for level, (question, does) in QUESTIONS.items():
        known = [
            (eps, found[level]) for eps, found in rungs.items() if found[level].mean is not None
        ]
        yield from (_answer(question, does, eps, rung, limits.get(eps)) for eps, rung in known)
        if not known and level == "T1" and sample is not None:
            ends = dict.fromkeys((sample.at[0], sample.at[-1]))  # smallest and largest eps
            yield from (_sampled(question, does, sample, at) for at in ends)
        elif not known:
            gaps = [found[level].gap for found in rungs.values()] or ["no such audit was made"]
            yield Answer(question, f"Not measured: {gaps[0]}.")


def _sampled(question: str, does: str, sample: PairSample, at: SampledPairs) -> Answer:
    """What a sample of pairs says of one captured device; it has no reliability checks."""
    found = at.estimate
    words = (
        f"eps {short_eps(at.eps)}: {does} on {in_100(found.rate)} on average over the fleet "
        f"({_interval((found.low, found.high))}), as {sample.tried:,} of {sample.pairs:,} pairs "
        "say. The worst pair is not known, and no reliability check was made: a better attack may "
        "fool more."
    )
    return Answer(question, words, at.eps, found.rate, (found.low, found.high))


def _answer(question: str, does: str, eps: float, rung: Rung, limit: float | None) -> Answer:
    rate = rung.mean or 0.0
    at = f"eps {short_eps(eps)}: "
    if rung.flag:
        ids = ", ".join(rung.flag.ids)
        more = "and a better one may fool many more."
        if limit is not None and limit < 1:
            more = f"a better one may fool more, but none more than {in_100(limit)} (guaranteed)."
        words = (
            f"{at}not known. {ids} failed, so the attack may have been blind: it fooled "
            f"{in_100(rate)}, {more}"
        )
        return Answer(question, words, eps)
    words = f"{at}{does} on {in_100(rate)}"
    if rung.interval:
        words += f" ({_interval(rung.interval)})"
    if rung.worst and rung.level == "T1":
        words += f"; at worst {in_100(rung.worst.rate)} ({visible(rung.worst.where)})"
    worst = rung.worst.rate if rung.worst else None
    return Answer(question, f"{words}.", eps, rate, rung.interval, worst, known=True)


def _bought(transfer: TransferAudit | None) -> Iterator[Answer]:
    """What a different encoding bought, against the twin: the same encoding, other weights."""
    if transfer is None or flag(transfer, "adaptive"):
        return
    for eps in sorted({*transfer.eps[:1], *transfer.eps[-1:]}):
        found = bought(transfer, eps)
        if found is None:
            continue
        low, high = found.interval
        gain = found.twin - found.others
        points = format_count(round(100 * gain), "point")
        told = f"{in_100(abs(gain))} {'fewer' if gain > 0 else 'more'} are fooled"
        if low <= 0 <= high:
            told = "no difference that these images can tell from luck"
        words = (
            f"eps {short_eps(eps)}: {told} ({points}, {_interval(found.interval)}). Made on "
            f"{visible(found.surrogate)}, they fool other encodings on {in_100(found.others)}, a "
            f"twin of its encoding with other weights on {in_100(found.twin)}."
        )
        yield Answer(
            "What a different encoding bought", words, eps, gain, found.interval, None, known=True
        )


def _guarantee(certify: CertifyAudit | None, attacked: Iterable[float]) -> Iterator[Answer]:
    """The guaranteed blast radius ``(c - s) / c``, worst and mean, also where attacks were made."""
    question = GUARANTEED
    if certify is None:
        yield Answer(question, "Nothing: no certificate was computed. Attacks can miss.")
        return
    shipped = set(certify.fleet)
    broken = any(check.verdict == "fail" for check in certify.checks)
    for eps in sorted(
        {*certify.eps[:1], *certify.eps[-1:], *set(attacked).intersection(certify.eps)}
    ):
        proven = [p for p in certify.proven if p.eps == eps and p.device in shipped and p.correct]
        known = {p.device: p.blast_radius for p in proven}
        mean = mean_rate(known.values())
        at = f"eps {short_eps(eps)}: "
        if broken or mean is None:
            why = "a check of the certificates failed" if broken else "no image is decoded rightly"
            yield Answer(question, f"{at}nothing, since {why}.", eps)
            continue
        where = max(known, key=lambda name: known[name] or 0.0)
        worst = known[where] or 0.0
        if mean == 1:
            yield Answer(question, f"{at}nothing: no answer is certified.", eps, 1, None, 1, True)
            continue
        most = in_100(_rounded_up(worst, 100))
        words = (
            f"{at}no attack on any device changes more than {most} that it names rightly "
            f"({visible(where)}, the worst); the devices' mean is {100 * mean:.1f}."
        )
        yield Answer(question, words, eps, mean, None, worst, known=True)


def _advice(
    report: AuditReport, found: tuple[Answer, ...], rungs: dict[float, dict[str, Rung]]
) -> Iterator[str]:
    """What to do next, most urgent first."""
    one, *_ = (answer for answer in found if answer.question == QUESTIONS["T1"][0])
    promised = [a for a in found if a.question == GUARANTEED and a.known]
    bounded = any(a.eps == one.eps and a.worst is not None and a.worst < 1 for a in promised)
    if one.rate is not None and not one.known:
        yield (
            "Make sure that the attack was not blind: a sample of pairs has no reliability checks, "
            "a whole `fleet audit transfer` has; a run of a few such devices is enough."
        )
    elif one.eps is not None and not one.known:
        trust = "Rely on the guarantee alone" if bounded else "Do not ship on these figures"
        yield (
            f"{trust}: mend what the failed checks name "
            "(`fleet report --full` lists them), then audit again."
        )
    elif one.eps is None:
        yield "Measure what one captured device gives: `fleet audit transfer`."
    used = (rung for at in rungs.values() for rung in at.values() if rung.level in QUESTIONS)
    fewest = min((rung.n for rung in used if rung.mean is not None), default=ENOUGH)
    if fewest < ENOUGH:
        yield f"Audit more test images: a rate here is of only {fewest}, so a rough figure."
    if "certify" not in report.audits and "certify" in KINDS and not _defenceless(one):
        yield "See what can be promised: `fleet audit certify`."
    if not any(answer.rate is not None and answer.rate < 1 for answer in promised):
        if "certify" not in report.audits and _trained_for_proofs(report):
            return
        radius = f" and `training.eps: {one.eps:.4g}`" if one.eps else ""
        yield (
            f"Train the devices with `training.method: certified`{radius} in the profile: only a "
            "proof bounds what attacks not tried here can do."
        )
    elif one.known or bounded:
        yield "Ship if the guaranteed share is one that you can live with; audit each release."


def _trained_for_proofs(report: AuditReport) -> bool:
    """Whether every shipped device was trained to be certified, as far as an audit says it."""
    audit = next(iter(report.audits.values()))
    trainings = audit.provenance.get("trainings", {})
    methods = {trainings.get(name, {}).get("method") for name in audit.fleet}
    return methods == {"certified"}


def _defenceless(one: Answer) -> bool:
    """Whether one captured device fools so much that nothing can have been certified."""
    return one.known and (one.worst or 0) > 0.5
