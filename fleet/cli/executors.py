"""``--executor``: where the jobs of a command run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from fleet.accelerator import chosen
from fleet.cli.options import ExecutorChoice
from fleet.cli.progress import FamilyProgress
from fleet.execution import Executor, Processes, keep_memory, kept_workers

if TYPE_CHECKING:
    from rich.console import Console

    from fleet.execution.cluster import Share

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Where:
    """Where jobs run, as a user said it.

    Attributes:
        executor: Which executor.
        jobs: Worker processes of this machine; None is one a core.
        address: Of a Ray cluster.
        per_job: What a job takes of one of its nodes.
        accelerator: Where networks compute; None leaves it to the profile.
    """

    executor: ExecutorChoice = ExecutorChoice.processes
    jobs: int | None = None
    address: str = "auto"
    per_job: str = ""
    accelerator: str | None = None

    @contextmanager
    def opened(self, console: Console, per_job: str = "") -> Iterator[Executor]:
        """An executor whose progress is shown; a cluster is connected for the block.

        Args:
            console: Where to show it.
            per_job: What the profile says of a job, where the user said nothing.

        Raises:
            FleetError: The cluster cannot be used, before any work is begun.
            typer.BadParameter: ``--per-job`` cannot be read, or only makes sense with Ray.
        """
        place = nullcontext() if self.accelerator is None else chosen(self.accelerator)
        with place, self._executor(console, per_job) as executor:
            yield executor

    @contextmanager
    def _executor(self, console: Console, per_job: str) -> Iterator[Executor]:
        progress = FamilyProgress(console)
        if self.executor is ExecutorChoice.processes:
            if self.per_job:
                raise typer.BadParameter("--per-job is for --executor ray")
            keep_memory()  # jobs run in this process where there is one, or `--jobs 1`
            with progress, kept_workers():
                yield Processes(self.jobs, on_event=progress.update)
            return
        from fleet.execution.cluster import on_cluster

        share = share_of(self.per_job or per_job)
        with on_cluster(self.address, share, progress.update) as cluster, progress:
            yield cluster


def share_of(text: str) -> Share:
    """Read ``--per-job``, such as ``cpus=2,gpus=0.5,memory=8GB``.

    Raises:
        typer.BadParameter: A part is of another form.
    """
    from fleet.execution.cluster import Share

    found: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        match = re.fullmatch(r"(cpus|gpus|memory)=([0-9]+(?:\.[0-9]+)?)([KMG]I?B)?", part, re.I)
        unit = (match[3] or "").upper() if match else ""
        if match is None or (unit and match[1] != "memory") or not float(match[2]):
            raise typer.BadParameter(f"{part!r} is not like cpus=1, gpus=0.5 or memory=8GB")
        found[match[1].lower()] = float(match[2]) * _UNITS[unit]
    memory = found.pop("memory", None)
    return Share(**found, memory=None if memory is None else int(memory))
