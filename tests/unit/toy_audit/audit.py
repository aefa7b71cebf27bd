"""Settings, result and audit of a toy: what lies under ``fleet/audit`` for a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fleet.audit.core.result import (
    AuditedDevice,
    AuditResult,
    Outcome,
    Reached,
)
from fleet.errors import AuditError
from fleet.execution import Executor, Job, ProgressReporter
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory


@dataclass(frozen=True)
class ToySettings:
    eps: tuple[float, ...]
    seed: int = 0
    depth: int = 3

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "eps": list(self.eps)}


@dataclass(frozen=True)
class ToyAudit(AuditResult, schema="fleet.audit.toy/1"):
    outcome: Outcome

    def reached(self) -> Iterator[Reached]:
        for eps in self.eps:
            yield Reached.of("device", eps, self.outcome, "by a toy of a", "a")


def audit_run_toy(
    run: RunDirectory, settings: ToySettings, *, images: int, executor: Executor, split: str
) -> ToyAudit:
    device = read_family(run).devices[0]
    (evaded,) = executor.values([Job("play with a", play, (settings.depth,))])
    seen = AuditedDevice(device.name, "int", "nn", "linear", None, "", images, images, 0)
    return ToyAudit(
        run=run.name,
        created="2026",
        devices=(seen,),
        eps=settings.eps,
        outcome=Outcome(images, evaded, 0),
        checks=(),
        settings={**settings.to_dict(), "split": split},
        provenance={},
    )


def audit_run_fail(run: RunDirectory, settings: ToySettings, **_: Any) -> ToyAudit:
    raise AuditError("no toy", hint="buy one")


def play(depth: int, *, progress: ProgressReporter) -> int:
    progress(1, 1, "played")
    return depth
