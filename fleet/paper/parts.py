"""What each part of ``fleet reproduce`` makes: a result, its view for people, its files."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from fleet.audit.core.document import Stored
from fleet.files import write_bytes
from fleet.paper import choices, claims, figure2, figure3, table, trainings
from fleet.paper import workspace as experiments
from fleet.paper.claims import Claims
from fleet.paper.figure2_result import Figure2
from fleet.paper.figure3_result import Figure3
from fleet.paper.published import ATTACKS
from fleet.paper.rows import Rows
from fleet.paper.table_result import Spread, Table, TableRow
from fleet.paper.workspace import Workspace
from fleet.reports.figures import encoded
from fleet.reports.wording import ABSENT, format_eps, format_rate


def table_view(table: Table) -> Group:
    """One grid for each eps, the accuracies in all of them, and what the columns mean."""
    ours = [f"{name}\npaper | ours" for name in ("LEG", "FGSM", "PGD")]
    heads = (*ours, "adaptive\nflip", "adaptive\nevade", "noise\nfloor", "masked by")
    grids = []
    for level, eps in enumerate(table.eps):
        title = f"{table.title}, eps {format_eps(eps)}"
        rows = [_line(row, level) for row in table.rows]
        grids.append(_grid(title, ("network", "task", *heads), rows, numbers=len(heads)))
    words = (
        f"{table.images} test images attacked; shares of those that the network decodes correctly. "
        "Paper | ours: wrong classes under the paper's protocol. Adaptive: worst case over these "
        "and attacks that ascend the output itself. Noise: random signs of the same eps.\n"
        "A paper-protocol figure with failed checks is masked: it is no evidence of safety."
    )
    return Group(*grids, Text(words))


def convergence_view(found: Rows) -> Grid:
    """Epochs to the goal for each variant and learning rate; the quickest ones in bold."""
    goal = f"epochs until {found.settings['goal']:.0%} of the validation images are right"
    words = dict(found.words)
    heads = ("variant", "learning rate", "epochs, each seed", "mean")
    grid = _grid(f"{found.title}: {goal}", heads, ())
    for row in found.rows:
        each = [_number(row.figures[seed]) or ABSENT for seed in row.curves]
        mean = _number(row.figures["mean"]) or f"over {row.figures['epochs']}"
        name, rate = words[str(row.names["variant"])], f"{row.names['learning_rate']:g}"
        style = "bold" if row.figures["quickest"] else ""
        grid.add_row(name, rate, ", ".join(each), mean, style=style)
    return grid


def choices_view(found: Rows) -> Group:
    """Wrong classes under Eq. 3's own gradient, whatever is chosen where the paper is silent."""
    images = found.settings["images"]
    title = f"{found.title}: decoded as a wrong class, of {images} test images (masked)"
    names = [name for name, _ in found.words]
    places = dict.fromkeys((row.names["network"], row.names["eps"]) for row in found.rows)
    rows = []
    for network, eps in places:
        here = {r.names["choice"]: r for r in found.where(network=network, eps=eps)}
        rates = [format_rate(here[name].rate("flip")) for name in names]
        rows.append((str(network), format_eps(float(eps)), *rates))
    grid = _grid(title, ("network", "eps", *names), rows)
    return Group(grid, Text("\n".join(f"{name}: {words}" for name, words in found.words)))


def stems_view(found: Rows) -> Grid:
    """Accuracy and cost of each network with both stems."""
    title = f"{found.title}, {found.settings['training_images']} training images"
    rows = [
        (
            str(row.names["task"]),
            str(row.names["stem"]),
            f"{row.rate('correct') or 0:.4f}",
            f"{row.rate('rejected') or 0:.4f}",
            f"{row.figures['seconds']:.0f}",
        )
        for row in found.rows
    ]
    return _grid(title, ("task", "stem", "test accuracy", "of it None", "core seconds"), rows)


def features_view(found: Figure2) -> Grid:
    """Measures of the raw features, TRA beside INT."""
    images = found.scores[0].n
    title = f"Figure 2: penultimate features of {images} test images, mean over the seeds"
    heads = ("network", "measure", "TRA", "INT", "INT - TRA", "every pair of networks")
    rows = [
        (
            line.network,
            line.measure.replace("_", " "),
            f"{line.tra.mean:.3f}",
            f"{line.interval.mean:.3f}",
            f"{line.difference:+.3f}",
            f"{line.lowest:+.3f} to {line.highest:+.3f}",
        )
        for line in found.summary
    ]
    return _grid(title, heads, rows)


def matrices_view(found: Figure3) -> Group:
    """Transfer by relation of the encodings, then what the encoding adds to another seed."""
    title = f"{found.title}: evade rate on other networks, {len(found.networks)} networks"
    rows = [
        (
            format_eps(group.eps),
            group.protocol,
            group.relation,
            str(group.rates.evade.count),
            format_rate(group.rates.evade.mean),
            f"{format_rate(group.rates.evade.low)} to {format_rate(group.rates.evade.high)}",
        )
        for group in found.groups
    ]
    lines = [
        f"{c.protocol}, eps {format_eps(c.eps)}, {c.kind}, {c.quantity}, same minus different "
        f"encoding: {c.words}"
        for c in found.contrasts
        if c.kind == "evade"
    ]
    grid = _grid(title, ("eps", "protocol", "encodings", "pairs", "mean", "range"), rows)
    return Group(grid, Text("\n".join(lines)))


def claims_view(claims: Claims) -> Grid:
    """Each claim with its verdict, the figures that decide it, and what makes them again."""
    grid = _grid("What holds of the paper", ("claim", "verdict", "figures", "made again by"), ())
    styles = {"holds": "green", "does not hold": "bold red", "not measured": "dim"}
    for claim in claims.claims:
        verdict = Text(claim.verdict, style=styles.get(claim.verdict, "yellow"))
        grid.add_row(claim.words, verdict, claim.figure, claim.command)
    return grid


def _line(row: TableRow, level: int) -> list[str]:
    levels = len(row.honest)
    cells = [row.cells[number * levels + level] for number in range(len(ATTACKS))]
    honest = row.honest[level]
    return [
        row.backbone,
        row.words,
        f"{row.published_clean:.3f} | {_spread(row.clean)}",
        *(f"{cell.published:.3f} | {_spread(cell.flip)}" for cell in cells),
        _spread(honest.flip),
        _spread(honest.evade),
        format_rate(honest.noise.mean if honest.noise else None),
        ", ".join(row.masked) or ABSENT,
    ]


def _spread(found: Spread | None) -> str:
    """Mean, and the standard deviation over the seeds where there are several."""
    mean = format_rate(found.mean if found else None)
    return mean if found is None or found.sd is None else f"{mean} ± {found.sd:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _grid(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0
) -> Grid:
    """A grid; the last ``numbers`` columns stand right, and then the others do not wrap."""
    grid = Grid(title=Text(title, style="bold"), title_justify="left")
    for place, words in enumerate(heads):
        right = place >= len(heads) - numbers
        looks: Literal["left", "right"] = "right" if right else "left"
        grid.add_column(words, justify=looks, no_wrap=numbers > 0 and not right)
    for row in rows:
        grid.add_row(*row)
    return grid


@dataclass(frozen=True)
class Part:
    """One result.

    Attributes:
        make: Trains, attacks and counts what is not there yet.
        view: For people.
        figure: Module that draws it, or None.
        each_eps: Whether there is a figure for each eps of the result.
    """

    make: Callable[[Workspace], Stored]
    view: Callable[[Any], RenderableType]
    figure: str | None = None
    each_eps: bool = False

    def run(self, name: str, workspace: Workspace) -> tuple[Stored, list[Path]]:
        """Make the result, store it, then draw its figures.

        Returns:
            The result, and the files that were written.

        Raises:
            FleetError: Images are missing, a network fails, or matplotlib is not installed.
        """
        found = self.make(workspace)
        written = [workspace.result(name)]
        found.save(written[0])
        if self.figure is not None:
            for eps in getattr(found, "eps", ()) if self.each_eps else (None,):
                path = workspace.results / (f"{name}.png" if eps is None else f"{name}-{eps:g}.png")
                drawn = (found,) if eps is None else (found, eps)
                write_bytes(path, encoded(f"fleet.paper.{self.figure}:draw", drawn, "png")[0])
                written.append(path)
        return found, written


def parts_of(part: str, *, stand_in: bool) -> dict[str, Part]:
    """Name and work of each result that a part consists of, in the order of their making.

    Args:
        part: As on the command line.
        stand_in: Whether photos are those of the stand-in.
    """
    photos = experiments.TABLE2_STAND_IN if stand_in else experiments.TABLE2
    matrices = experiments.FIGURE3_STAND_IN if stand_in else experiments.FIGURE3
    parts = {
        "table1": {"table1": _table(experiments.TABLE1)},
        "convergence": {
            "convergence": Part(
                trainings.reproduce_convergence, convergence_view, "convergence_figure"
            )
        },
        "choices": {"choices": Part(choices.reproduce_choices, choices_view)},
        "stems": {"stems": Part(trainings.reproduce_stems, stems_view)},
        "figure2": {"figure2": Part(figure2.reproduce, features_view, "features_figure")},
        "figure3": {e.name: _figure3(e) for e in (experiments.FIGURE3_MNIST, matrices)},
        "table2": {photos.name: _table(photos)},
        "claims": {"claims": Part(claims.judge_claims, claims_view)},
    }
    if part != "all":
        return parts[part]
    return {name: step for steps in parts.values() for name, step in steps.items()}


def _table(experiment: experiments.TableExperiment) -> Part:
    return Part(lambda place: table.reproduce_table(experiment, place), table_view)


def _figure3(experiment: experiments.MatrixExperiment) -> Part:
    def make(place: Workspace) -> Stored:
        return figure3.reproduce_figure3(experiment, place)

    return Part(make, matrices_view, "figure3_figure", each_eps=True)
