"""The certificate audit of a run: one job for each device, each of which resumes."""

from __future__ import annotations

from fleet.audit.certify.audit import VERSION, Proof, assemble_certify, prove
from fleet.audit.certify.result import CertifyAudit
from fleet.audit.certify.settings import CertifySettings
from fleet.audit.core import jobs
from fleet.audit.core.kept import remember
from fleet.audit.core.members import TransferSettings
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.scoring import describe
from fleet.execution import LOCAL, Executor, ProgressReporter
from fleet.rundir import RunDirectory


def audit_run_certify(
    run: RunDirectory,
    settings: CertifySettings,
    *,
    images: int,
    executor: Executor = LOCAL,
    split: jobs.SplitName = "test",
) -> CertifyAudit:
    """Certify every device of a run, and its controls.

    Args:
        run: A finished training.
        settings: What is to be proven.
        images: Images to certify; all of the split if it has fewer.
        executor: Where the jobs ``certify NAME`` run.
        split: Which images.

    Raises:
        AuditError: Fewer than one image is asked for.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    drawn = TransferSettings(eps=settings.eps, seed=settings.seed)  # which images, and no more
    with jobs.auditing(
        run, drawn, images=images, split=split, kind="certify", executor=executor
    ) as audit:
        found = audit.each("certify", certify_device, settings=settings)
        devices, proofs = zip(*found, strict=True)
        return assemble_certify(devices, proofs, settings, audit.origin())


def certify_device(
    job: jobs.AuditJob, *, settings: CertifySettings, progress: ProgressReporter
) -> tuple[AuditedDevice, Proof]:
    """Certify one device of a run; the body of a job."""
    member, sample = jobs.load_audited(job)
    proof = remember(
        job.run.audit(job.kind) / "proofs" / f"{member.name}.json",
        {
            "device": member.key(),
            "images_sha256": sample.digest(),
            "settings": settings.to_dict(),
        },
        Proof,
        lambda: prove(member, sample, settings),
        version=VERSION,
    )
    progress(1, 1, "certified")
    return describe(member, proof.clean), proof
