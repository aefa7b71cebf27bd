"""Figures of a reproduction, one PNG each, beside the results that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.files import write_bytes
from fleet.paper.convergence_result import Convergence
from fleet.paper.figure2_result import Figure2
from fleet.paper.figure3_result import Figure3
from fleet.reports.figures import encoded


def write_features(found: Figure2, directory: Path) -> list[Path]:
    """Draw Figure 2 into ``figure2.png``."""
    return [_write(directory / "figure2.png", "fleet.paper.features_figure:draw", found)]


def write_convergence(found: Convergence, directory: Path) -> list[Path]:
    """Draw the learning curves into ``convergence.png``."""
    return [_write(directory / "convergence.png", "fleet.paper.convergence_figure:draw", found)]


def write_matrices(found: Figure3, name: str, directory: Path) -> list[Path]:
    """Draw the matrices of each eps into ``NAME-EPS.png``."""
    return [
        _write(directory / f"{name}-{eps:g}.png", "fleet.paper.figure3_figure:draw", found, eps)
        for eps in found.eps
    ]


def _write(path: Path, draw: str, *arguments: Any) -> Path:
    (image,) = encoded(draw, arguments, "png")
    write_bytes(path, image)
    return path
