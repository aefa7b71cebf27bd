"""What trainings recorded: how fast each task converges, and what a network's first layers cost.

The paper says that interval-label classification converges slower. It does not say how ResNet-18
met images of 28 pixels.
"""

import json
from collections.abc import Sequence
from typing import Any

from fleet.audit.core.jobs import describe_run
from fleet.errors import CheckpointError
from fleet.files import read_json
from fleet.paper.rows import Curve, Row, Rows
from fleet.paper.workspace import Workspace
from fleet.profiles.spec import DeviceSpec
from fleet.provenance import utc_now
from fleet.rundir import RunDirectory

GOAL = 0.98

VARIANTS = {
    "tra": "TRA",
    "ordinal": "INT, ordinal head",
    "scaled": "INT, scaled loss, outputs that start in the range",
    "paper": "INT as in the paper: Eq. 3, outputs that start at 0",
}
"""The ways to train whose convergence is compared, and what each is called."""


def reproduce_convergence(workspace: Workspace) -> Rows:
    """Train every variant at every learning rate, and read when it reached the goal.

    A row for each variant and learning rate: ``mean`` epochs to the goal, None if a seed never
    reached it; ``quickest`` is 1 at the variant's best learning rate.

    Raises:
        FleetError: A network could not be trained.
    """
    family, run = workspace.trained("convergence")
    groups: dict[tuple[str, float], list[DeviceSpec]] = {}
    for device in family.devices:
        groups.setdefault((_variant(device), device.training.learning_rate), []).append(device)
    order = sorted(groups, key=lambda key: (list(VARIANTS).index(key[0]), key[1]))
    return Rows(
        title="The paper's NN on MNIST, constant learning rate",
        created=utc_now(),
        words=tuple(VARIANTS.items()),
        rows=tuple(mark_quickest([_speed(run, *key, groups[key]) for key in order])),
        settings={"goal": GOAL},
        provenance=describe_run(run, family),
    )


def reproduce_stems(workspace: Workspace) -> Rows:
    """Train each network with both stems: test accuracy and seconds of one core.

    Raises:
        FleetError: A network could not be trained.
    """
    family, run = workspace.trained("stems")
    return Rows(
        title="First layers of ResNet-18, MNIST",
        created=utc_now(),
        words=(("tra", "TRA"), ("int", "INT")),
        rows=tuple(_stem(run, device) for device in family.devices),
        settings={"training_images": family.data.train_limit or 0},
        provenance=describe_run(run, family),
    )


def read_points(run: RunDirectory, device: DeviceSpec) -> Curve:
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


def first_reached(points: Curve, goal: float) -> float | None:
    """Epochs at the first validation that reached the goal, or None."""
    return next((epochs for epochs, accuracy in points if accuracy >= goal), None)


def mark_quickest(rows: Sequence[Row]) -> list[Row]:
    """Mark each variant's quickest learning rate among those that reached the goal every time."""
    means: dict[Any, list[float]] = {}
    for row in rows:
        if (mean := row.figures["mean"]) is not None:
            means.setdefault(row.names["variant"], []).append(mean)
    quickest = {variant: min(found) for variant, found in means.items()}
    return [
        Row(
            row.names,
            {
                **row.figures,
                "quickest": int(row.figures["mean"] == quickest.get(row.names["variant"], -1.0)),
            },
            row.curves,
        )
        for row in rows
    ]


def _variant(device: DeviceSpec) -> str:
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


def _speed(run: RunDirectory, variant: str, rate: float, devices: list[DeviceSpec]) -> Row:
    ordered = sorted(devices, key=lambda device: device.training.seed)
    curves = {f"seed {device.training.seed}": read_points(run, device) for device in ordered}
    reached = {seed: first_reached(points, GOAL) for seed, points in curves.items()}
    found = [epochs for epochs in reached.values() if epochs is not None]
    mean = sum(found) / len(found) if len(found) == len(curves) else None
    figures = {"epochs": devices[0].training.epochs, "mean": mean, **reached}
    return Row({"variant": variant, "learning_rate": rate}, figures, curves)


def _stem(run: RunDirectory, device: DeviceSpec) -> Row:
    path = run.result(device.name)
    record = read_json(path)
    try:
        figures = {name: record[name] for name in ("epochs", "seconds")}
        figures |= {name: record["test"][name] for name in ("n", "correct", "rejected")}
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="train that network again"
        ) from error
    return Row({"task": device.task, "stem": device.model.stem}, figures)
