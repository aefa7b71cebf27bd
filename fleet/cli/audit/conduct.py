"""What every audit command does: find the run, say what is to be done, do it, show it, judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fleet.audit.core.kind import Kind, load, usual_radii
from fleet.audit.core.kind import keep as keep_audit
from fleet.cli import options
from fleet.cli.audit.request import Request
from fleet.cli.gates import close, demand_of, told
from fleet.cli.output import Output
from fleet.cli.runs import next_step
from fleet.files import read_json
from fleet.rundir import RunDirectory, find_run
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from fleet.audit.core.gates import Ruling
    from fleet.audit.core.result import AuditResult
    from fleet.profiles.spec import FamilySpec


@dataclass(frozen=True)
class Subject:
    """The run that is audited, and what was asked.

    Attributes:
        asked: The request.
        radii: Those that were asked for; empty for those that fit the images.
        run: The run, once found, so that a training that ends meanwhile changes nothing.
        family: Its devices.
        output: Of the command.
    """

    asked: Request
    radii: tuple[float, ...]
    run: RunDirectory
    family: FamilySpec
    output: Output

    def count(self, split: options.SplitChoice, images: int) -> int:
        """Images of a split, ``images`` at most; says so where there are fewer."""
        there = read_json(self.run.dataset).get(split.value)
        if not isinstance(there, int) or there >= images:
            return images
        self.output.note(f"note: {split.value} images: {images} asked for, {there} there")
        return there


@dataclass(frozen=True)
class Work:
    """One audit that is about to be made.

    Attributes:
        kind: Which.
        settings: How thoroughly.
        images: Images of the split.
        arguments: What the kind's function takes beyond these.
        words: What a user is told beyond devices, images and radii.
        value: What a dry run tells beyond run, images and settings, as plain JSON values.
    """

    kind: Kind
    settings: Any
    images: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    value: Mapping[str, Any] = field(default_factory=dict)


def find(asked: Request) -> Subject:
    """Find the run of a request.

    Raises:
        FleetError: There is none, it is damaged, or its images are not where they should be.
        typer.BadParameter: A radius cannot be read.
    """
    from fleet.profiles.spec import read_family

    radii = options.radii_of(asked.eps, asked.norm)
    run = find_run(asked.run, asked.runs)
    options.place_images(run, asked.data_root, asked.dry_run)
    return Subject(asked, radii, run, read_family(run), Output(asked.form))


def prepare(subject: Subject, **effort: Any) -> Work:
    """Settings and images of an audit; loads torch.

    Args:
        subject: The run.
        effort: Settings beyond radii and seed; the kind's own where they are not named.
    """
    asked, kind = subject.asked, subject.asked.kind
    brief = effort.get("brief", False)
    radii = subject.radii or usual_radii(kind, subject.family.data, asked.norm, brief=brief)
    settings = load(kind.settings)(eps=radii, seed=asked.seed, **effort)
    return Work(kind, settings, subject.count(asked.split, asked.images))


def conduct(work: Work, subject: Subject, *, then: str = "") -> None:
    """Make one audit as its command was asked to; exit code 1 if it does not pass a gate.

    Args:
        work: The audit.
        subject: The run.
        then: The next command without ``fleet``; ``{run}`` stands for the run. By default what the
            run lacks.
    """
    announce(work, subject)
    if subject.asked.dry_run:
        subject.output.data("nothing is attacked and nothing is written", planned(work, subject))
        return
    audit = perform(work, subject)
    keep(audit, work.kind, subject)
    rulings = judged(audit, subject)
    show({work.kind.name: audit}, audit.to_dict(), subject, {work.kind.name: rulings})
    close(told(rulings, subject.output), subject.output)
    words = then.split() or [*next_step(subject.run, subject.family.devices), "{run}"]
    words = [str(subject.run.root) if word == "{run}" else word for word in words]
    subject.output.next_command("fleet", *words)


def planned(work: Work, subject: Subject) -> dict[str, Any]:
    """What a dry run tells, as plain JSON values."""
    value = {"run": str(subject.run.root), "images": work.images, **work.value}
    return {**value, "settings": work.settings.to_dict()}


def announce(work: Work, subject: Subject) -> None:
    """Say what is about to be done."""
    asked, output, family = subject.asked, subject.output, subject.family
    eps = ", ".join(f"{value:.4g}" for value in work.settings.eps)
    about = [
        counted(len(family.devices), "device"),
        *([f"{len(family.controls)} beside them"] if family.controls else []),
        counted(work.images, f"{asked.split.value} image"),
        *work.words,
        f"{asked.norm.value} eps {eps}",
    ]
    output.note(f"{work.kind.title} audit of {subject.run.root}: {', '.join(about)}")


def perform(work: Work, subject: Subject) -> Any:
    """Call the library, and show the progress of its jobs."""
    with subject.asked.where.opened(subject.output.stderr, subject.family.per_job) as executor:
        return load(work.kind.run)(
            subject.run,
            work.settings,
            images=work.images,
            executor=executor,
            split=subject.asked.split.value,
            **work.arguments,
        )


def keep(audit: Any, kind: Kind, subject: Subject) -> None:
    """Write ``audit.json``."""
    path = keep_audit(audit, subject.run.audit(kind.name))
    subject.output.note(f"wrote {path}")


def show(
    audits: Mapping[str, AuditResult],
    value: Any,
    subject: Subject,
    rulings: Mapping[str, Sequence[Ruling]],
    errors: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Render the run's report anew, and print audits: for people, as JSON or as a JUnit report.

    Args:
        audits: By kind.
        value: What is printed as JSON.
        subject: The run.
        rulings: What became of the gates, by kind.
        errors: Why other audits could not be made, by kind.
    """
    from fleet.reports import AuditReport, read_audits
    from fleet.reports.junit import junit
    from fleet.reports.views import report_view
    from fleet.reports.write import render_run_reports

    report, *others = render_run_reports(subject.run.audits)
    if subject.asked.form is options.AuditFormat.junit:
        subject.output.text(junit(audits, rulings, errors))
    else:
        made, whole = AuditReport.of(*audits.values()), read_audits(subject.run.audits)
        subject.output.data(report_view(made, whole=whole), value)
    subject.output.note(f"wrote {report}, and {len(others)} tables and figures beside it")


def judged(audit: Any, subject: Subject) -> list[Ruling]:
    """Hold an audit to the gates of its request."""
    from fleet.audit.core.gates import judge

    asked = subject.asked
    return judge(audit, demand_of(asked.limits, asked.confidence, asked.fail_on))
