"""The query audit of a run: one job for each device's images, then one for each victim."""

from fleet.assembly import run_images
from fleet.audit.core import jobs
from fleet.audit.core.cache import remember
from fleet.audit.core.members import Sample, load_member
from fleet.audit.core.outsider import OWN_IMAGES, attacker_key, attacker_of
from fleet.audit.core.sets import AdversarialSets, require_sets, stored_sets
from fleet.audit.query.audit import QueriedVictim, assemble_query, attack_settings, query_victim
from fleet.audit.query.methods import QuerySettings
from fleet.audit.query.result import QueryAudit
from fleet.errors import AuditError, warn
from fleet.execution import ProgressReporter
from fleet.profiles.spec import FamilySpec, read_family


@jobs.of_run("query", attack_settings)
def audit_run_query(
    audit: jobs.RunAudit, settings: QuerySettings, victims: tuple[str, ...] = ()
) -> QueryAudit:
    """Ask the devices of a run, and its controls, about a seeded sample of its images.

    Budgets of the extraction are fitted to the training images, which is said by a warning. What is
    found about a victim is kept under ``audits/query``, and used again where everything
    that determines it is unchanged.

    Args:
        audit: At work.
        settings: How thoroughly to ask.
        victims: Names of the devices to ask; all if empty.
    """
    known = [job.device for job in audit.jobs]
    unknown = sorted(set(victims) - set(known))
    if unknown:
        raise AuditError(
            f"no device {', '.join(unknown)} in {audit.run.root}",
            hint=f"there are {', '.join(known)}",
        )
    data = audit.family.data
    own = min(OWN_IMAGES, len(run_images(audit.run, data).train))
    settings, changed = settings.fitted(own, data.num_classes)
    if changed:
        warn(changed)
    made = dict(zip(known, audit.each("attack", attack_device), strict=True))
    asked = [job for job in audit.jobs if not victims or job.device in victims]
    found = audit.each("ask", ask_device, asked, settings=settings, made=made)
    return assemble_query(found, settings, audit.origin())


def attack_device(job: jobs.AuditJob, *, progress: ProgressReporter) -> str:
    """Make one device's adversarial images, if they are not stored; the body of a job.

    Returns:
        Their digest.
    """
    member, sample = jobs.load_audited(job)
    sets = stored_sets(
        job.run.audits,
        member,
        sample,
        job.settings,
        lambda done, total, text: progress(done, total + 1, text),
    )
    progress(1, 1, "attacked")
    return sets.digest()


def ask_device(
    job: jobs.AuditJob, *, settings: QuerySettings, made: dict[str, str], progress: ProgressReporter
) -> QueriedVictim:
    """Ask one device; the body of a job that follows the attacks.

    Args:
        job: Who is asked.
        settings: Of the audit.
        made: Digests of the images that this audit made, by device and control.
        progress: Where to report.

    Raises:
        AuditError: The stored images are not these.
    """
    victim, sample = jobs.load_audited(job)
    family = read_family(job.run)
    owners = [device.name for device in family.devices]
    needed = {name: made[name] for name in dict.fromkeys((*owners, victim.name))}
    key = {
        "victim": victim.key(),
        "sets_sha256": list(needed.items()),
        "images_sha256": sample.digest(),
        "settings": settings.to_dict(),
        "attacker": attacker_key(family.device(job.device), family.data),
    }

    def make() -> QueriedVictim:
        sets = {name: _expected(job, family, name, sample, needed[name]) for name in needed}
        return query_victim(
            victim,
            sets,
            sample,
            settings,
            owners=owners,
            attacker=attacker_of(family.device(job.device), family.data, settings.seed),
        )

    found = remember(
        job.run.audit("query") / "asked" / f"{job.device}.json", key, QueriedVictim, make
    )
    progress(1, 1, "asked")
    return found


def _expected(
    job: jobs.AuditJob, family: FamilySpec, name: str, sample: Sample, digest: str
) -> AdversarialSets:
    """Read one device's images, which must be those that this audit made."""
    member = load_member(job.run, family, family.device(name))
    return require_sets(stored_sets(job.run.audits, member, sample, job.settings), digest)
