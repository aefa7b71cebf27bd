"""The white-box audit of a run: one job for each device, each of which resumes."""

from __future__ import annotations

from fleet.assembly import load_images
from fleet.audit.core.examination import Examination
from fleet.audit.core.jobs import (
    AuditJob,
    SplitName,
    audited_alone,
    describe_run,
    examine_device,
    load_audited,
    plan_jobs,
    run_all,
    take_sample,
)
from fleet.audit.core.kept import remember
from fleet.audit.core.members import TransferSettings
from fleet.audit.whitebox.audit import assemble_whitebox
from fleet.audit.whitebox.nearness import Nearness, attack_key, measure_nearness
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.execution import LOCAL, Executor, ProgressReporter
from fleet.rundir import RunDirectory


def audit_run_whitebox(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    executor: Executor = LOCAL,
    split: SplitName = "test",
) -> WhiteboxAudit:
    """Audit every device of a run, and its controls, with its own weights known.

    Files are kept under ``audits/whitebox`` as those of the transfer audit are under its own
    directory (:mod:`fleet.audit.core.jobs`), and ``nearness/NAME.json`` beside them.

    Args:
        run: A finished training.
        settings: How thoroughly to attack.
        images: Images to audit; all of the split if it has fewer.
        executor: Where the jobs ``attack NAME`` run.
        split: Which images.

    Raises:
        AuditError: Fewer than one image is asked for, or a device cannot be audited.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    family, jobs = plan_jobs(run, settings, images, split, "whitebox")
    provenance = describe_run(run, family)
    with audited_alone(run):
        found = run_all("attack", examine_closely, jobs, executor)
    sample = take_sample(load_images(family.data), jobs[0])
    return assemble_whitebox(
        [examined for examined, _ in found],
        [near for _, near in found],
        settings,
        label=run.name,
        details={"split": split, "images_sha256": sample.digest()},
        provenance=provenance,
    )


def examine_closely(job: AuditJob, *, progress: ProgressReporter) -> tuple[Examination, Nearness]:
    """Examine a device and measure its distances; the body of a job."""
    examined = examine_device(job, progress=_all_but_the_last(progress))
    member, sample = load_audited(job)
    near = remember(
        job.run.audit(job.kind) / "nearness" / f"{member.name}.json",
        {
            "device_sha256": member.digest(),
            "images_sha256": sample.digest(),
            "attacks": attack_key(job.settings),
        },
        Nearness,
        lambda: measure_nearness(member, sample, examined.baseline.clean, job.settings),
    )
    progress(1, 1, "attacked and measured")
    return examined, near


def _all_but_the_last(progress: ProgressReporter) -> ProgressReporter:
    """Leave one unit of work for what follows."""

    def report(done: int, total: int, text: str = "") -> None:
        progress(done, total + 1, text)

    return report
