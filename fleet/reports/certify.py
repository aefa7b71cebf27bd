"""The report of a certificate audit: what no attacker can do."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType

from fleet.audit.certify.result import CertifyAudit, PairProof, Proven, Radii, Reach
from fleet.audit.core.result import mean_rate
from fleet.reports.report import Block, Report
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, RATE, Column, Form, Table
from fleet.reports.wording import format_eps, format_interval, format_rate, visible

_RADIUS = Form(lambda value: f"{value:.3f}")


def proven(audit: CertifyAudit) -> Table[Proven]:
    """Each device at each eps."""
    devices = {device.name: device for device in audit.devices}
    return Table(
        "What is proven of each device. Certified: no perturbation within eps changes its right "
        "answer. Never wrong: none makes it answer a wrong class. Blast radius: the largest share "
        "of its right answers that any attack, transfer or coalition can change",
        audit.proven,
        (
            Column(lambda p: p.device, NAME, "device", "device", "device"),
            Column(lambda p: p.eps, EPS, "eps", "eps", "eps"),
            Column(lambda p: p.n, COUNT, "images", csv="n"),
            Column(lambda p: devices[p.device].clean_accuracy, RATE, "clean", "clean", "clean"),
            Column(lambda p: p.stay_rate, RATE, "certified", "certified", "certified"),
            Column(lambda p: p.stay_interval, INTERVAL, "95 %", "95 %", "certified"),
            Column(lambda p: p.never_wrong_rate, RATE, "never wrong", "never wrong", "never_wrong"),
            Column(lambda p: p.never_wrong_interval, INTERVAL, "95 %", csv="never_wrong"),
            Column(lambda p: p.blast_radius, RATE, "blast radius", "blast", "blast_radius"),
            Column(lambda p: p.blast_interval, INTERVAL, "95 %", "95 %", "blast_radius"),
        ),
        apart=lambda p: devices[p.device].role == "control",
        worst=lambda p: p.blast_radius,
    )


def pairs(audit: CertifyAudit) -> Table[PairProof]:
    """Each pair of devices at each eps."""
    return Table(
        "Non-transfer: share of all images on which no perturbation within eps fools both devices, "
        "since one of the two at least is certified",
        audit.pairs,
        (
            Column(lambda p: p.devices[0], NAME, "device", "device", "device"),
            Column(lambda p: p.devices[1], NAME, "and", "and", "and"),
            Column(lambda p: p.eps, EPS, "eps", "eps", "eps"),
            Column(lambda p: p.rate, RATE, "never both", "never both", "never_both"),
        ),
        worst=lambda p: -p.rate,
    )


def reach(audit: CertifyAudit) -> Table[tuple[Reach, int]]:
    """How many devices one perturbation could fool."""
    return Table(
        "Share of images on which one perturbation fools at most so many devices",
        [(found, k) for found in audit.reach for k in range(len(found.images))],
        (
            Column(lambda row: row[0].eps, EPS, "eps", csv="eps"),
            Column(lambda row: row[1], COUNT, "devices at most", csv="devices"),
            Column(lambda row: row[0].images[row[1]], COUNT, "exactly", csv="images"),
            Column(lambda row: row[0].share_at_most(row[1]), RATE, "share", csv="share"),
        ),
    )


def radii(audit: CertifyAudit) -> Table[Radii]:
    """Largest certified eps."""
    title = "Largest certified eps of an image, quantiles over images (0 without a certificate)"
    return _over_images(title, audit.radii)


def smoothed(audit: CertifyAudit) -> Table[Radii]:
    """Largest certified L2 radius of the median under noise."""
    settings = audit.settings
    title = (
        f"Median smoothing: L2 radius within which the median of {settings['draws']} outputs under "
        f"noise of standard deviation {settings['smooth']:g} keeps the right class. It holds for a "
        "device that answers with that median, not for one that answers once; each radius is wrong "
        "with probability 0.001 at most"
    )
    return _over_images(title, audit.smoothed)


def _over_images(title: str, rows: tuple[Radii, ...]) -> Table[Radii]:
    return Table(
        title,
        rows,
        (
            Column(lambda r: r.device, NAME, "device", "device"),
            Column(lambda r: r.n, COUNT, "images", "images"),
            Column(lambda r: r.proven, COUNT, "with a certificate", "certified"),
            Column(lambda r: r.quantiles[0], _RADIUS, "10 %", "10 %"),
            Column(lambda r: r.quantiles[1], _RADIUS, "50 %", "50 %"),
            Column(lambda r: r.quantiles[2], _RADIUS, "90 %", "90 %"),
        ),
        worst=lambda r: -r.quantiles[0],
    )


def lines(audit: CertifyAudit) -> list[str]:
    """The guarantee at each eps."""
    return [_line(audit, eps) for eps in audit.eps]


def _line(audit: CertifyAudit, eps: float) -> str:
    head = f"eps {format_eps(eps)}: "
    worst = audit.worst(eps)
    if worst is None:
        return head + "no device decodes any image correctly"
    clean = mean_rate(d.clean_accuracy for d in audit.devices if d.role == "device")
    held = mean_rate(audit.of(name, eps).stay_rate for name in audit.fleet)
    words = (
        f"clean {format_rate(clean)}, certified {format_rate(held)} (means); guaranteed blast "
        f"radius {format_rate(worst.blast_radius)} (95 % {format_interval(worst.blast_interval)}) "
        f"on {visible(worst.device)}: no attacker, with any devices, changes more of its right "
        "answers"
    )
    apart = audit.apart(eps)
    if not apart:
        return head + words
    never = format_rate(mean_rate(pair.rate for pair in apart))
    single = format_rate(audit.at(eps).share_at_most(1))
    return (
        head + words + f"; no perturbation fools both of two devices on {never} of the images "
        f"(mean over pairs), nor more than one of {len(audit.fleet)} on {single}"
    )


def terminal(audit: CertifyAudit) -> Iterator[RenderableType]:
    """Each device at each eps."""
    yield from proven(audit).printed()
    if audit.smoothed:
        yield from smoothed(audit).printed()


def page(audit: CertifyAudit) -> Iterable[Block]:
    """The guarantee, then pairs, distribution and radii folded."""
    yield (
        "prose",
        "A certificate is a proof, by interval bounds, that no perturbation within eps changes a "
        "device's answer. It holds against every attacker, whatever they know and whichever "
        "devices they hold. Where there is none, nothing is known.",
    )
    yield "lines", lines(audit)
    yield "described", proven(audit)
    if audit.pairs:
        yield "details", "Pairs of devices", [("described", pairs(audit))]
        summary = "How many devices one perturbation could fool"
        yield "details", summary, [("described", reach(audit))]
    if audit.radii:
        yield "details", "Largest certified eps", [("described", radii(audit))]
    if audit.smoothed:
        yield "described", smoothed(audit)


REPORT = Report(
    heading="Certificates: what no attacker can do",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"certify.csv": proven, "certify-pairs.csv": pairs, "certify-reach.csv": reach},
)
