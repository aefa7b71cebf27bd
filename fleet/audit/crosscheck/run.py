"""The cross-check of a run: devices as independent jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.assembly import run_images
from fleet.audit.core.jobs import AuditJob, SplitName, take_sample
from fleet.audit.core.members import TransferSettings, check_members, load_member
from fleet.audit.crosscheck.audit import Figures, ToolEffort, collect, crosscheck_device, installed
from fleet.audit.crosscheck.result import Crosscheck
from fleet.audit.crosscheck.tools import TOOLS, Tool
from fleet.errors import AuditError
from fleet.execution import LOCAL, Executor, Job, ProgressReporter
from fleet.profiles.resolved import read_family
from fleet.rundir import RunDirectory


@dataclass(frozen=True)
class CrosscheckJob:
    """Everything that one job needs.

    Attributes:
        audit: Run, device, native settings and images.
        effort: Of the libraries.
        tools: Names of the installed libraries.
    """

    audit: AuditJob
    effort: ToolEffort
    tools: tuple[str, ...]


def crosscheck_run(
    run: RunDirectory,
    settings: TransferSettings,
    effort: ToolEffort,
    *,
    images: int,
    tools: Sequence[Tool] = TOOLS,
    executor: Executor = LOCAL,
    split: SplitName = "test",
) -> Crosscheck:
    """Cross-check every device of a run on a seeded sample of its images.

    Args:
        run: A finished training.
        settings: Of the native audit.
        effort: Of the libraries.
        images: Images to attack; all of the split if it has fewer.
        tools: Which libraries.
        executor: Where the jobs ``cross-check NAME`` run.
        split: Which images.

    Raises:
        AuditError: Fewer than one image is asked for, or a device cannot be audited.
        BackendError: None of the libraries is installed.
        CheckpointError: A device is not finished.
        DataError: The images cannot be read.
    """
    if images < 1:
        raise AuditError(f"{images} images to attack", hint="attack at least one image")
    family = read_family(run)
    run_images(run, family.data)  # before anything is attacked
    present = tuple(tool.name for tool in installed(tools))
    audits = [AuditJob(run, device.name, settings, images, split) for device in family.devices]
    work = [
        Job(f"cross-check {audit.device}", check_device, (CrosscheckJob(audit, effort, present),))
        for audit in audits
    ]
    found = executor.values(work)
    sample = take_sample(run_images(run, family.data), audits[0])
    return collect(
        found,
        settings,
        effort,
        tools,
        label=run.name,
        images=len(sample.images),
        provenance={"profile_sha256": family.digest(), "split": split},
    )


def check_device(job: CrosscheckJob, *, progress: ProgressReporter) -> Figures:
    """Cross-check one device of a run; the body of a job."""
    audit = job.audit
    family = read_family(audit.run)
    member = load_member(audit.run, family, family.device(audit.device))
    sample = take_sample(run_images(audit.run, family.data), audit)
    check_members([member], sample)
    tools = [tool for tool in TOOLS if tool.name in job.tools]
    return crosscheck_device(member, sample, audit.settings, job.effort, tools, progress=progress)
