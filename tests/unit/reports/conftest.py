"""A realistic audit without a model: four devices, two protocols, two radii, three attacks.

The figures follow what was measured on small MNIST networks: the paper's loss is blind (diagonal
near 0 while transfer is not), the adaptive attack is not, and noise alone does something.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fleet.audit.result import (
    AuditedDevice,
    Cell,
    Check,
    Matrix,
    NoiseFloor,
    Outcome,
    TransferAudit,
)

IMAGES = 1000
NAMES = ("gate-north", "gate-south", "sorter-1", "handheld")
ATTACKS = {
    "adaptive": ("worst", "pgd-up-down", "pgd-targeted"),
    "paper": ("worst", "fgsm", "pgd"),
}


def device(index: int, name: str) -> AuditedDevice:
    rejected = 9 + 4 * (index % 5)
    order = None if index == 0 else [(3 * slot + index) % 10 for slot in range(10)]
    encoding: dict[str, Any] = {
        "num_classes": 10,
        "alpha": 4.0,
        "beta": 16.0 if index != 1 else [8.0 + y for y in range(10)],
        "s0": 0.0,
        "order": order,
    }
    return AuditedDevice(
        name=name,
        task="int",
        architecture="nn",
        head="ordinal" if index == 2 else "linear",
        encoding=encoding,
        weights_sha256=f"{index:x}" * 64,
        images=IMAGES,
        correct=IMAGES - 12 - 3 * (index % 4) - rejected,
        rejected=rejected,
    )


def outcome(n: int, flip: float, reject: float) -> Outcome:
    flips = round(n * flip)
    return Outcome(n, flips, min(n - flips, round(n * reject)))


def cell(devices: Sequence[AuditedDevice], i: int, j: int, protocol: str, scale: float) -> Cell:
    white_box = i == j
    if protocol == "adaptive":
        flip = 0.93 + 0.01 * j if white_box else 0.07 + 0.21 * ((3 * i + 5 * j) % 7) / 6
        reject = 0.02 if white_box else 0.08
    else:
        flip = 0.0004 * i if white_box else 0.02 + 0.05 * ((i + 2 * j) % 4) / 3
        reject = 0.001 * j if white_box else 0.06
    n = devices[j].correct
    plain = outcome(n, min(1.0, flip * scale), reject * scale)
    both = round(0.97 * n)
    joint = outcome(both, min(1.0, flip * scale) * 0.98, reject * scale * 0.98)
    reached = round(both * (0.96 if protocol == "adaptive" else 0.004 * i))
    given = outcome(reached, min(1.0, 1.05 * flip * scale), reject * scale)
    return Cell(devices[i].name, devices[j].name, plain, joint, given)


def checks() -> tuple[Check, ...]:
    return (
        Check(
            "M1",
            "gradient of the attack loss",
            "fail",
            "the loss of 'paper' has a zero gradient on 97.3 % of the images",
            "at most 1 %",
            "paper",
        ),
        Check("M3", "gradient of the output", "pass", "never zero, always finite", "none"),
        Check(
            "M8",
            "transfer is no better than white-box",
            "fail",
            "into handheld transfer reaches 0.130, white-box 0.003",
            "no column's transfer above its diagonal",
            "paper eps 0.1",
        ),
        Check(
            "M9",
            "converged",
            "warn",
            "doubling the steps raises evade by 0.7 points",
            "less than 0.5 points",
            "adaptive, sorter-1",
        ),
        Check("M12", "images stay in the ball", "pass", "largest |x_adv - x| 0.09804", "eps"),
    )


def build(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.1, 0.2),
    protocols: Sequence[str] = ("paper", "adaptive"),
    found: tuple[Check, ...] | None = None,
) -> TransferAudit:
    devices = tuple(device(index, name) for index, name in enumerate(names))
    every = range(len(devices))
    matrices = tuple(
        Matrix(
            protocol,
            attack,
            radius,
            tuple(
                cell(devices, i, j, protocol, radius / 0.1 * 0.8**rank)
                for i in every
                for j in every
            ),
        )
        for protocol in protocols
        for rank, attack in enumerate(ATTACKS[protocol])
        for radius in eps
    )
    noise = tuple(
        NoiseFloor(d.name, radius, outcome(d.correct, 0.1 * radius, 0.2 * radius), draws=10)
        for radius in eps
        for d in devices
    )
    return TransferAudit(
        run="20261122-213100-demo",
        created="2026-11-22T21:36:04Z",
        devices=devices,
        eps=tuple(eps),
        matrices=matrices,
        noise=noise,
        checks=checks() if found is None else found,
        settings={
            "seed": 7,
            "images": IMAGES,
            "decode": "strict",
            "scoring": "fp32, images rounded to 8 bits",
            "attacks": {"pgd-up-down": {"steps": 40, "restarts": 2, "targeted": False}},
            "segment_points": 65,
        },
        provenance={
            "dataset": {"name": "mnist", "sha256": "ab" * 32},
            "versions": {"fleet": "0.1.0", "torch": "2.15.0"},
            "command": ["fleet", "audit", "transfer"],
        },
    )


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., TransferAudit]:
    return build


@pytest.fixture(scope="session")
def audit() -> TransferAudit:
    return build()
