"""Run independent jobs: an :class:`Executor` says where, in this process or in local workers."""

from fleet.execution.jobs import (
    Executor,
    Job,
    JobOutcome,
    OnEvent,
    Progress,
    ProgressReporter,
    Serial,
)
from fleet.execution.local import LOCAL, Processes

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
]
