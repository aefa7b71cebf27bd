"""Run independent jobs: an :class:`Executor` says where, in this process or in local workers."""

from fleet.execution.jobs import (
    LOCAL,
    Executor,
    Job,
    JobOutcome,
    OnEvent,
    Processes,
    Progress,
    ProgressReporter,
    Serial,
    keep_memory,
    kept_workers,
)

__all__ = [
    "LOCAL",
    "Executor",
    "Job",
    "JobOutcome",
    "OnEvent",
    "Processes",
    "Progress",
    "ProgressReporter",
    "Serial",
    "keep_memory",
    "kept_workers",
]
