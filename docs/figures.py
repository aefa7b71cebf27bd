"""Draw the documents' figures from ``results/``: ``python -m docs.figures`` -> ``docs/images/``.

Exit codes: 0 done; 2 a result cannot be read, or matplotlib is absent.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fleet.audit.transfer.result import TransferAudit
from fleet.errors import FleetError
from fleet.files import write_bytes
from fleet.reports import drawing
from fleet.reports.flags import flag
from fleet.reports.palette import ADAPTIVE, ALARM, FLIP, GREEDY, MASKED
from fleet.reports.wording import format_rate, short_eps

PROJECT = Path(__file__).resolve().parents[1]
CELL, LEFT, TOP, PANEL = 0.72, 0.95, 1.0, 4.35  # inches


def transfer(fleets: Sequence[tuple[str, TransferAudit]]) -> Figure:
    """The matrices of several fleets side by side at their smallest eps, controls left out."""
    height = TOP + CELL * max(len(audit.fleet) for _, audit in fleets) + 0.75
    figure = Figure(figsize=(PANEL * len(fleets) + 0.1, height))
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    for number, (title, audit) in enumerate(fleets):
        eps, left = audit.eps[0], LEFT + PANEL * number
        found = {(c.surrogate, c.victim): c.outcome for c in audit.matrix("adaptive", eps).cells}
        rates = [
            [found[row, column].rate("evade") for column in audit.fleet] for row in audit.fleet
        ]
        page.text(left - LEFT + 0.2, 0.25, title, size=12, weight="bold", va="center")
        page.text(left - LEFT + 0.2, 0.52, _about(audit, eps), size=9, va="center")
        drawing.heat_map(page, rates, (left, TOP), CELL, lambda rate: format_rate(rate, 2))
        for index, name in enumerate(audit.fleet):
            middle, shown = (index + 0.5) * CELL, drawing.drawable(name, 10)
            page.text(left - 0.08, TOP + middle, shown, ha="right", va="center")
            page.text(left + middle, TOP - 0.08, shown, ha="center", va="bottom")
        below = TOP + CELL * len(audit.fleet) + 0.2
        page.text(left, below, "rows: made on; columns: tried on", size=9, va="center")
        if flagged := flag(audit, "adaptive"):
            page.text(left, below + 0.22, flagged.short, size=9, color=ALARM, weight="bold")
    width, height = figure.get_size_inches()
    page.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _about(audit: TransferAudit, eps: float) -> str:
    return f"share of images that fool, eps {short_eps(eps)}, {audit.devices[0].images} images"


def gates(curve: dict[str, Any]) -> Figure:
    """What alpha and beta buy: answered, right, proven to stay, never wrong, against beta."""
    rows = [{**row, "answered": row["n"] - row["rejected"]} for row in curve["rows"]]
    shares = [row["beta"] / (row["alpha"] + row["beta"]) for row in rows]
    n = rows[0]["n"]
    figure, (axes,) = drawing.panels(1, columns=1, size=(5.6, 2.9), top=1.3, margin=(0.85, 0.55))
    note = f"{curve['device']}, {n} validation images, eps {curve['eps']:g}; weights as trained."
    drawing.head(figure, "What alpha and beta buy", [note])
    lines = (
        ("never a wrong class, proven", "never_wrong", GREEDY, "--", "D"),
        ("right without an attack", "correct", ADAPTIVE, "-", "o"),
        ("right and stays so, proven", "stays", FLIP, "-.", "s"),
        ("answers without an attack, and not None", "answered", MASKED, ":", "x"),
    )
    handles = []
    for label, key, color, style, marker in lines:
        looks: dict[str, Any] = {"color": color, "ls": style, "marker": marker, "ms": 3.5}
        handles += axes.plot(shares, [row[key] / n for row in rows], label=label, **looks)
    drawing.legend(figure, handles, 0.75, columns=2)
    axes.set_ylabel("share of images")
    axes.set_xlabel("beta / (alpha + beta)")
    trained = curve["encoding"]
    share = trained["beta"] / (trained["alpha"] + trained["beta"])
    axes.axvline(share, color=MASKED, lw=0.8)
    axes.annotate(
        "trained with",
        (share, axes.get_ylim()[0]),
        (-4, 6),
        ha="right",
        textcoords="offset points",
        color=MASKED,
    )
    return figure


def draw(root: Path) -> dict[str, bytes]:
    """Every figure by file name, as PNG; the same results give the same bytes on one matplotlib."""
    results = root / "results"
    fleets = [
        ("As the 2021 paper trains: it breaks", "paper-demo/audit.json"),
        ("Certified: it holds", "demo/transfer.json"),
    ]
    try:
        read = [(title, TransferAudit.load(results / path)) for title, path in fleets]
        curve = json.loads((results / "robust" / "demo-gates.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FleetError(f"cannot draw the documents' figures: {error}") from error
    with drawing.drawing():
        return {
            "transfer.png": drawing.encode(transfer(read), "png"),
            "gates.png": drawing.encode(gates(curve), "png"),
        }


def main(arguments: list[str] | None = None) -> int:
    """Draw and write; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw the documents' figures from results/.")
    parser.add_argument("--root", type=Path, default=PROJECT, help="root of the project")
    root = parser.parse_args(arguments).root.resolve()
    try:
        for name, data in draw(root).items():
            path = root / "docs" / "images" / name
            write_bytes(path, data)
            sys.stderr.write(f"wrote {path}\n")
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
