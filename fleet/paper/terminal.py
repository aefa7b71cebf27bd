"""Figures, learning curves and claims of the paper on a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from fleet.paper.choices_result import Choices
from fleet.paper.claims_result import Claims
from fleet.paper.convergence_figure import WORDS
from fleet.paper.convergence_result import Convergence
from fleet.paper.figure2_result import Figure2
from fleet.paper.figure3_result import Figure3
from fleet.paper.stems_result import Stems
from fleet.reports.wording import ABSENT, format_eps, format_rate


def convergence_view(found: Convergence) -> Grid:
    """Epochs to the goal for each variant and learning rate."""
    title = f"{found.title}: epochs until {found.goal:.0%} of the validation images are right"
    grid = _grid(title, "variant", "learning rate", "epochs, each seed", "mean")
    for speed in found.speeds:
        each = [ABSENT if c.reached is None else f"{c.reached:.2f}" for c in speed.curves]
        mean = f"over {speed.epochs}" if speed.mean is None else f"{speed.mean:.2f}"
        style = "bold" if speed.best else ""
        cells = (WORDS[speed.variant], f"{speed.learning_rate:g}", ", ".join(each), mean)
        grid.add_row(*cells, style=style)
    return grid


def choices_view(found: Choices) -> Group:
    """Wrong classes under Eq. 3's own gradient, whatever is chosen where the paper is silent."""
    title = f"{found.title}: decoded as a wrong class, of {found.images} test images (masked)"
    names = [name for name, _ in found.words]
    grid = _grid(title, "network", "eps", *names)
    for network in found.networks:
        for eps in found.eps:
            rates = [format_rate(network.at(name, eps).outcome.rate("flip")) for name in names]
            grid.add_row(network.backbone, format_eps(eps), *rates)
    return Group(grid, Text("\n".join(f"{name}: {words}" for name, words in found.words)))


def stems_view(found: Stems) -> Grid:
    """Accuracy and cost of each network with both stems."""
    title = f"{found.title}, {found.training_images} training images"
    grid = _grid(title, "task", "stem", "test accuracy", "of it None", "core seconds")
    for n in found.networks:
        shares = (f"{n.correct / n.n:.4f}", f"{n.rejected / n.n:.4f}")
        grid.add_row(n.task, n.stem, *shares, f"{n.seconds:.0f}")
    return grid


def features_view(found: Figure2) -> Grid:
    """Measures of the raw features, TRA beside INT."""
    images = found.scores[0].n
    title = f"Figure 2: penultimate features of {images} test images, mean over the seeds"
    grid = _grid(title, "network", "measure", "TRA", "INT", "INT - TRA", "every pair of networks")
    for line in found.summary:
        grid.add_row(
            line.network,
            line.measure.replace("_", " "),
            f"{line.tra.mean:.3f}",
            f"{line.interval.mean:.3f}",
            f"{line.difference:+.3f}",
            f"{line.lowest:+.3f} to {line.highest:+.3f}",
        )
    return grid


def matrices_view(found: Figure3) -> Group:
    """Transfer by relation of the encodings, then what the statistics say."""
    title = f"{found.title}: evade rate on other networks, {len(found.networks)} networks"
    grid = _grid(title, "eps", "protocol", "encodings", "pairs", "mean", "range")
    for group in found.groups:
        rates = group.rates.evade
        grid.add_row(
            format_eps(group.eps),
            group.protocol,
            group.relation,
            str(rates.count),
            format_rate(rates.mean),
            f"{format_rate(rates.low)} to {format_rate(rates.high)}",
        )
    lines = [
        f"{c.protocol}, eps {format_eps(c.eps)}, {c.kind}, {c.quantity}: {c.words}"
        for c in found.contrasts
        if c.kind == "evade"
    ]
    trends, of = found.tally()
    lines.append(f"{trends} of {of} trends have p <= 0.05")
    return Group(grid, Text("\n".join(lines)))


def claims_view(claims: Claims) -> Grid:
    """Each claim with its verdict and what it rests on."""
    grid = _grid("What holds of the paper", "claim", "verdict", "evidence")
    styles = {"holds": "green", "does not hold": "bold red", "not measured": "dim"}
    for claim in claims.claims:
        verdict = Text(claim.verdict, style=styles.get(claim.verdict, "yellow"))
        grid.add_row(claim.words, verdict, "\n".join(claim.evidence))
    return grid


def _grid(title: str, *columns: str) -> Grid:
    grid = Grid(title=Text(title, style="bold"), title_justify="left", show_lines=False)
    for words in columns:
        grid.add_column(words)
    return grid
