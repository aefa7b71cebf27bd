"""Adversarial images beside their originals, and which class becomes which."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.audit.core.exhibits import RULE, SIDE, Exhibit, Turn
from fleet.audit.core.result import AttackResult, AuditResult, wilson_interval
from fleet.reports.large import LARGE
from fleet.reports.report import AuditReport, Block
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, RATE, Column, Table
from fleet.reports.wording import format_eps, visible

CAPTION = (
    f"{RULE} Difference: grey is no change, multiplied as written below it. Images of more than "
    f"{SIDE} pixels a side are shown at every second, third, ... pixel."
)


@dataclass(frozen=True)
class Shown:
    """One adversarial image as the page shows it.

    Attributes:
        title: Which class became which, where.
        words: Where it comes from, and what the other devices make of it.
        pictures: Words and PNG (base64) of each picture.
    """

    title: str
    words: str
    pictures: tuple[tuple[str, str], ...]


def class_name(audit: AuditResult, label: int | None) -> str:
    """Name of a class in the audited data set; its number where the audit knows no name."""
    if label is None:
        return "none"
    dataset = audit.provenance.get("dataset")
    names = dataset.get("class_names") if isinstance(dataset, dict) else None
    if isinstance(names, list) and 0 <= label < len(names):
        return visible(str(names[label]))
    return f"class {label}"


def exhibited(report: AuditReport) -> tuple[AttackResult | None, list[Shown]]:
    """The audit whose images are shown, transfer before white-box, and these."""
    for kind in ("transfer", "whitebox"):
        audit = report.audits.get(kind)
        if isinstance(audit, AttackResult) and audit.exhibits:
            return audit, [_shown(audit, exhibit) for exhibit in audit.exhibits]
    return None, []


def _shown(audit: AttackResult, exhibit: Exhibit) -> Shown:
    made_on, true = exhibit.surrogate, class_name(audit, exhibit.true)
    named = {
        visible(device): "right" if label == exhibit.true else class_name(audit, label)
        for device, label in exhibit.decoded.items()
    }
    become = named.pop(visible(made_on), "?")
    told = [f"{device}: {word}" for device, word in named.items()]
    if len(named) > LARGE:
        told = [f"{word} on {count}" for word, count in Counter(named.values()).most_common()]
    others = "; ".join(told)
    change = f"difference × {exhibit.gain:g}"
    adversarial = f"on {visible(made_on)}: {become}"
    return Shown(
        f"{true} → {become}",
        f"image {exhibit.index}, made on {visible(made_on)}, eps {format_eps(exhibit.eps)}"
        + (f". Sent to others: {others}." if others else "."),
        tuple(zip((true, change, adversarial), exhibit.pictures, strict=True)),
    )


def turns(audit: AttackResult, where: str) -> Table[Turn]:
    """The most frequent changes of class.

    Args:
        audit: Whose.
        where: On which devices, in words.
    """
    return Table(
        f"Which class becomes which {where}, by the one image that an attacker would send: the "
        "most frequent pairs, devices added up. Share: of the images of that class that are named "
        "rightly without the attack.",
        audit.turns,
        (
            Column(lambda t: class_name(audit, t.true), NAME, "class"),
            Column(lambda t: class_name(audit, t.becomes), NAME, "becomes"),
            Column(lambda t: t.eps, EPS, "eps"),
            Column(lambda t: t.count / t.n, RATE, "share"),
            Column(lambda t: wilson_interval(t.count, t.n), INTERVAL, "95 %"),
            Column(lambda t: t.count, COUNT, "images"),
            Column(lambda t: t.n, COUNT, "of"),
        ),
    )


def turned(audit: AttackResult, where: str) -> Sequence[Block]:
    """:func:`turns` folded; nothing where no class became another."""
    if not audit.turns:
        return []
    return [("details", f"Which class becomes which {where}", [("described", turns(audit, where))])]
