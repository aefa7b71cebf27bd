"""Audits of large fleets from the real result classes, without a network: figures by arithmetic.

Devices come in groups that are alike: within a group images transfer, between groups hardly, and
one pair is worse than every other. The groups are spread over the fleet, so that only an order by
likeness brings them together.
"""

from functools import cache
from typing import Any

import numpy as np

from fleet.audit.certify.result import CertifyAudit, PairProof, Proven, Reach
from fleet.audit.core.result import AuditedDevice, Cell, Check, Matrix, NoiseFloor, Outcome
from fleet.audit.transfer.result import TransferAudit

IMAGES = 500
GROUPS = 5
HEAD: dict[str, Any] = {"run": "20261122-213100-large", "created": "2026-11-22T21:36:04Z"}
REST: dict[str, Any] = {"settings": {"seed": 7, "images": IMAGES}, "provenance": {}}


def names_of(count: int) -> list[str]:
    return [f"cam-{number:04}" for number in range(count)]


def worst_pair(count: int) -> tuple[str, str]:
    return f"cam-{count // 3:04}", f"cam-{count - 2:04}"


def devices_of(count: int) -> tuple[AuditedDevice, ...]:
    return tuple(
        AuditedDevice(
            name,
            "int",
            "cnn",
            "softmax",
            {"num_classes": 10, "alpha": 4.0, "beta": 16.0, "s0": 0.0, "order": None},
            f"{number:064x}",
            IMAGES,
            IMAGES - 20 - number % 7,
            5,
        )
        for number, name in enumerate(names_of(count))
    )


@cache
def _outcome(n: int, evade: int) -> Outcome:
    return Outcome(n, evade * 3 // 4, evade - evade * 3 // 4)


def rates_of(count: int, eps: float) -> np.ndarray:
    """Evade rates, (N, N)."""
    random, group = np.random.default_rng(count), np.arange(count) % GROUPS
    alike = group[:, None] == group
    rates = np.where(alike, 0.3, 0.04) * random.uniform(0.7, 1.3, (count, count)) * eps / 0.1
    np.fill_diagonal(rates, 0.9)
    surrogate, victim = (int(name[4:]) for name in worst_pair(count))
    rates[surrogate, victim] = 0.6
    return rates


def large_transfer(
    count: int, eps: tuple[float, ...] = (0.1,), protocols: tuple[Any, ...] = ("adaptive",)
) -> TransferAudit:
    """A transfer audit of so many devices, without a control."""
    devices = devices_of(count)
    right = np.array([device.correct for device in devices])
    matrices = []
    for protocol in protocols:
        for radius in eps:
            evaded = np.rint(rates_of(count, radius) * right).astype(int).tolist()
            cells = tuple(
                Cell(a.name, b.name, *[_outcome(b.correct, evaded[i][j])] * 3)
                for i, a in enumerate(devices)
                for j, b in enumerate(devices)
            )
            matrices.append(Matrix(protocol, "worst", radius, cells))
    return TransferAudit(
        **HEAD,
        devices=devices,
        eps=eps,
        matrices=tuple(matrices),
        noise=tuple(
            NoiseFloor(d.name, e, _outcome(d.correct, d.correct // 50), 10)
            for e in eps
            for d in devices
        ),
        checks=tuple(
            Check("M9", "converged", "warn", "rises by 0.7 points", "0.5", f"adaptive, {d.name}")
            for d in devices
        ),
        **REST,
    )


def large_certify(count: int, eps: float = 0.05) -> CertifyAudit:
    """Certificates of so many devices, every pair of them included."""
    devices = devices_of(count)
    stays = [IMAGES // 2 + number * 7 % 83 for number in range(count)]
    return CertifyAudit(
        **HEAD,
        devices=devices,
        eps=(eps,),
        proven=tuple(
            Proven(d.name, eps, IMAGES, d.correct, held, held + 20)
            for d, held in zip(devices, stays, strict=True)
        ),
        pairs=tuple(
            PairProof((a.name, b.name), eps, IMAGES, min(IMAGES, stays[i] + (i + j) % 90))
            for i, a in enumerate(devices)
            for j, b in enumerate(devices[:i])
        ),
        reach=(Reach(eps, (200, *([300] + [0] * (count - 1)))),),
        radii=(),
        checks=(Check("C1", "sound", "pass", "no attack beats a certificate", "none"),),
        **REST,
    )
