"""Transfer audits in memory whose every rate is known: no model, no images."""

from collections.abc import Callable, Sequence
from typing import Any

from fleet.audit.core.result import AuditedDevice, Cell, Check, Matrix, NoiseFloor, Outcome
from fleet.audit.transfer.result import TransferAudit

IMAGES = 1000
GRID = (
    *[(1, 16)] * 2,
    *[(4, 16)] * 4,
    *[(16, 16)] * 2,
    *[(4, 1)] * 2,
    *[(4, 4)] * 2,
    *[(4, 64)] * 2,
)
"""Alpha and beta of the committed profiles."""

SHARES = [beta / (alpha + beta) for alpha, beta in GRID]

MASKED = Check("M1", "gradient of the attack loss", "fail", "zero on 98 %", "at most 1 %", "paper")

Rate = Callable[[int, int], float]


def encoding(alpha: Any, beta: Any, order: list[int] | None = None) -> dict[str, Any]:
    return {"num_classes": 10, "alpha": alpha, "beta": beta, "s0": 0.0, "order": order}


def names(grid: Sequence[tuple[float, float]] = GRID) -> list[str]:
    seen: dict[tuple[float, float], int] = {}
    found = []
    for alpha, beta in grid:
        seed = seen[alpha, beta] = seen.get((alpha, beta), -1) + 1
        found.append(f"a{alpha:g}-b{beta:g}-s{seed}")
    return found


def device(name: str, lengths: tuple[float, float], correct: int = IMAGES) -> AuditedDevice:
    code = encoding(*map(float, lengths))
    return AuditedDevice(
        name, "int", "resnet18", "linear", code, "a" * 64, IMAGES, correct, IMAGES - correct
    )


def control() -> AuditedDevice:
    return AuditedDevice(
        "tra", "tra", "resnet18", "logits", None, "c" * 64, IMAGES, 990, 0, "control"
    )


def outcome(n: int, flip: float, reject: float) -> Outcome:
    return Outcome(n, round(n * flip), round(n * reject))


def audit(
    flip: Rate,
    *,
    reject: Rate = lambda i, j: 0.0,
    noise: Callable[[int], float] = lambda j: 0.01,
    grid: Sequence[tuple[float, float]] = GRID,
    eps: Sequence[float] = (0.1,),
    protocols: Sequence[str] = ("adaptive",),
    attacks: Sequence[str] = ("worst",),
    correct: Sequence[int] | None = None,
    checks: tuple[Check, ...] = (),
    extra: Sequence[AuditedDevice] = (),
) -> TransferAudit:
    """An audit whose cell (i, j) has these rates under every protocol, attack and eps."""
    counts = correct or [IMAGES] * len(grid)
    devices = [device(*each) for each in zip(names(grid), grid, counts, strict=True)]
    devices += extra
    every = range(len(devices))

    def cell(i: int, j: int, scale: float) -> Cell:
        inside = max(i, j) < len(grid)
        rates = (flip(i, j) * scale, reject(i, j) * scale) if inside else (1.0, 0.0)
        found = outcome(devices[j].correct, *rates)
        return Cell(devices[i].name, devices[j].name, found, found, found)

    return TransferAudit(
        run="20261122-figure3",
        created="2026-11-22T21:36:04+00:00",
        devices=tuple(devices),
        eps=tuple(eps),
        matrices=tuple(
            Matrix(
                protocol,
                attack,
                radius,
                tuple(cell(i, j, 1.0 if attack == "worst" else 0.5) for i in every for j in every),
            )
            for protocol in protocols
            for attack in attacks
            for radius in eps
        ),
        noise=tuple(
            NoiseFloor(d.name, radius, outcome(d.correct, noise(j), 0.0), 7)
            for radius in eps
            for j, d in enumerate(devices)
        ),
        checks=checks,
        settings={"seed": 0, "images": IMAGES},
        provenance={"dataset": {"dataset": "mnist"}},
    )
