"""Draw the documents' figures from ``results/``: ``python -m docs.figures`` -> ``docs/images/``.

Exit codes: 0 done; 2 a result cannot be read, or matplotlib is absent.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fleet.errors import FleetError
from fleet.files import write_bytes
from fleet.reports import drawing
from fleet.reports.palette import ADAPTIVE, FLIP, GREEDY, MASKED

PROJECT = Path(__file__).resolve().parents[1]


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
    try:
        path = root / "results" / "robust" / "demo-gates.json"
        curve = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FleetError(f"cannot draw the documents' figures: {error}") from error
    with drawing.drawing():
        return {"gates.png": drawing.encode(gates(curve), "png")}


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
