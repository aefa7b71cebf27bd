"""Run independent jobs: in this process, or in local worker processes, behind one function."""

from fleet.execution.jobs import Job, JobOutcome, Progress, run_jobs

__all__ = ["Job", "JobOutcome", "Progress", "run_jobs"]
