"""Jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fleet.execution.jobs import Job, JobOutcome, OnProgress, Progress, perform
from fleet.execution.threads import limited_threads


def run_serial(
    jobs: Sequence[Job], *, threads: int, on_progress: OnProgress
) -> dict[str, JobOutcome]:
    """See :func:`fleet.execution.run_jobs`."""
    with limited_threads(threads):
        return {job.name: perform(job, partial(_report, on_progress, job.name)) for job in jobs}


def _report(on_progress: OnProgress, job: str, done: int, total: int, text: str = "") -> None:
    on_progress(Progress(job, done, total, text))
