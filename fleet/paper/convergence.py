"""Does interval-label classification converge slower, as the paper says?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fleet.audit.core.jobs import describe_run
from fleet.errors import CheckpointError
from fleet.paper.convergence_result import (
    VARIANTS,
    Convergence,
    Curve,
    Speed,
    Variant,
)
from fleet.paper.workspace import Workspace
from fleet.profiles.spec import DeviceSpec
from fleet.rundir import RunDirectory

NAME = "convergence"
GOAL = 0.98


def reproduce_convergence(workspace: Workspace) -> Convergence:
    """Train every variant at every learning rate, and read when it reached the goal.

    Raises:
        FleetError: A network could not be trained.
    """
    family, run = workspace.trained(NAME)
    groups: dict[tuple[Variant, float], list[DeviceSpec]] = {}
    for device in family.devices:
        groups.setdefault((_variant(device), device.training.learning_rate), []).append(device)
    speeds = [
        _speed(variant, rate, [(d, read_points(run, d)) for d in groups[variant, rate]])
        for variant, rate in sorted(groups, key=lambda key: (VARIANTS.index(key[0]), key[1]))
    ]
    return Convergence(
        title="The paper's NN on MNIST, constant learning rate",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        goal=GOAL,
        speeds=tuple(mark_best(speeds)),
        provenance=describe_run(run, family),
    )


def read_points(run: RunDirectory, device: DeviceSpec) -> tuple[tuple[float, float], ...]:
    """Read the validation curve of a finished training: (epochs, accuracy).

    Raises:
        CheckpointError: The metrics are absent or damaged.
    """
    path = run.metrics(device.name)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return tuple(point for line in lines for point in _points(line))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is absent or damaged: {error}", hint="train that network again"
        ) from error


def first_reached(points: Sequence[tuple[float, float]], goal: float) -> float | None:
    """Epochs at the first validation that reached the goal, or None."""
    return next((epochs for epochs, accuracy in points if accuracy >= goal), None)


def mark_best(speeds: Sequence[Speed]) -> list[Speed]:
    """Mark each variant's quickest learning rate among those that reached the goal every time."""
    quickest: dict[Variant, float] = {}
    for speed in speeds:
        if speed.mean is not None:
            quickest[speed.variant] = min(speed.mean, quickest.get(speed.variant, speed.mean))
    return [replace(s, best=s.mean is not None and s.mean == quickest[s.variant]) for s in speeds]


def _variant(device: DeviceSpec) -> Variant:
    if device.task != "int":
        return "tra"
    if device.model.head == "ordinal":
        return "ordinal"
    return "paper" if device.training.loss == "paper" else "scaled"


def _points(line: dict[str, Any]) -> list[tuple[float, float]]:
    before = line["epoch"] - 1
    inside = [(before + p["step"] / p["steps"], p["validation"]) for p in line.get("curve", [])]
    whole = [*inside, (float(line["epoch"]), line["validation"])]
    return [(round(at, 3), tally["correct"] / tally["n"]) for at, tally in whole]


def _speed(
    variant: Variant,
    rate: float,
    trained: list[tuple[DeviceSpec, tuple[tuple[float, float], ...]]],
) -> Speed:
    curves = tuple(
        Curve(device.training.seed, points, first_reached(points, GOAL))
        for device, points in sorted(trained, key=lambda pair: pair[0].training.seed)
    )
    reached = [curve.reached for curve in curves if curve.reached is not None]
    return Speed(
        variant=variant,
        learning_rate=rate,
        epochs=trained[0][0].training.epochs,
        curves=curves,
        mean=sum(reached) / len(reached) if len(reached) == len(curves) else None,
        best=False,
    )
