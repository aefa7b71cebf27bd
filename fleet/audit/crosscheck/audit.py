"""The cross-check: do the attacks of other libraries find more than the native audit?

They attack the same images through :class:`fleet.attacks.PseudoLogits`, and what they make
is scored as our own images are: rounded to 8 bits, re-projected into the eps ball, decided in fp32,
None included.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from fleet.assembly import run_images
from fleet.attacks import PseudoLogits, attackable, exact_eps, radius, reproject, to_bytes
from fleet.audit.core.evidence import Outcomes, attack_rows, count
from fleet.audit.core.jobs import AuditJob, SplitName, load_audited, run_all, take_sample
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.scoring import score_baseline, score_sets
from fleet.audit.core.sets import ProgressHook, announced, attack_surrogate
from fleet.audit.crosscheck.result import Crosscheck, NativeFigure, ToolFigure, ToolVersion
from fleet.audit.crosscheck.tools import TOOLS, Assignment, Attack, Tool
from fleet.data import to_unit
from fleet.errors import AuditError, BackendError
from fleet.execution import LOCAL, Executor, ProgressReporter
from fleet.profiles.spec import read_family
from fleet.provenance import environment, package_version, utc_now
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed

Figures = tuple[tuple[NativeFigure, ...], tuple[ToolFigure, ...]]
"""What one device's cross-check found."""


@dataclass(frozen=True)
class ToolEffort:
    """How hard the libraries try, and how much they may find beyond the native audit.

    Attributes:
        steps: Steps of each iterative run; 100 are AutoAttack's standard.
        restarts: Runs of each attack that offers restarts.
        queries: Forward passes of gradient-free attacks, for each image.
        tolerance: Evade rate that a library may find beyond the native audit, as a share.

    Raises:
        AuditError: A value is out of range.
    """

    steps: int = 100
    restarts: int = 1
    queries: int = 1000
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if min(self.steps, self.restarts, self.queries) < 1 or not 0 <= self.tolerance <= 1:
            raise AuditError(
                f"a library cannot try as hard as {self}",
                hint="steps, restarts and queries are 1 or more; tolerance is a share in [0, 1]",
            )


def crosscheck(
    members: Sequence[Member],
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: TransferSettings,
    effort: ToolEffort | None = None,
    *,
    tools: Sequence[Tool] = TOOLS,
    label: str = "in-memory",
    progress: ProgressHook | None = None,
) -> Crosscheck:
    """Attack devices in memory natively and with other libraries.

    Args:
        members: The devices; each is left exactly as it was.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: Of the native audit.
        effort: Of the libraries.
        tools: Which libraries; those that are not installed are named in the result.
        label: Name of the cross-check.
        progress: Called with (done, total, text).

    Raises:
        AuditError: The devices or images do not fit together, the norm is not ``linf``, or a
            device gives NaN.
        BackendError: None of the libraries is installed.
    """
    sample, effort = Sample.of(images, labels), effort or ToolEffort()
    check_members(members, sample)
    present = installed(tools)
    found = [
        crosscheck_device(member, sample, settings, effort, present)
        for member in announced(members, "cross-check", progress)
    ]
    return collect(found, settings, effort, tools, label=label, images=len(sample.images))


def installed(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """The libraries that this Python has.

    Raises:
        BackendError: It has none of them.
    """
    present = tuple(tool for tool in tools if package_version(tool.package) is not None)
    if not present:
        names = ", ".join(tool.package for tool in tools)
        raise BackendError(
            f"none of these is installed: {names}",
            hint="`make crosscheck` puts them into an environment of their own and checks there",
        )
    return present


def crosscheck_device(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    effort: ToolEffort,
    tools: Sequence[Tool],
    *,
    progress: ProgressHook | None = None,
) -> Figures:
    """Attack one device natively and with every library.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: Of the native audit.
        effort: Of the libraries.
        tools: Installed libraries.
        progress: Called before each attack with (done, total, text).

    Raises:
        AuditError: The norm is not ``linf``, or the device gives NaN.
    """
    if settings.norm != "linf":
        raise AuditError(
            f"the norm is {settings.norm}, and the libraries' attacks here are linf",
            hint="cross-check with linf",
        )
    runs = [(eps, tool, name) for eps in settings.eps for tool in tools for name in tool.attacks]
    correct = score_baseline(member, sample, settings).clean == 0
    worst = dict(zip(settings.eps, _native(member, sample, settings), strict=True))
    native = [NativeFigure(member.name, eps, count(worst[eps], correct)) for eps in settings.eps]
    figures = []
    for done, (eps, tool, name) in enumerate(runs):
        if progress is not None:
            progress(1 + done, 1 + len(runs), f"{tool.name} {name}, eps {eps:.4g}")
        outcomes, error = _try_attack(
            member, sample, replace(settings, eps=(eps,)), effort, tool=tool, attack=name
        )
        outcome, more = None, 0
        if outcomes is not None:
            outcome = count(outcomes, correct)
            more = int((correct & (outcomes > 0) & (worst[eps] == 0)).sum())
        figures.append(ToolFigure(member.name, eps, tool.name, name, outcome, more, error))
    return tuple(native), tuple(figures)


def collect(
    found: Sequence[Figures],
    settings: TransferSettings,
    effort: ToolEffort,
    tools: Sequence[Tool],
    *,
    label: str,
    images: int,
    provenance: dict[str, Any] | None = None,
) -> Crosscheck:
    """Put the devices' figures together.

    Args:
        found: One for each device, in order.
        settings: Of the native audit.
        effort: Of the libraries.
        tools: Libraries looked for, missing ones included.
        label: Name of the cross-check.
        images: Number of images.
        provenance: Where models and images come from, beside the environment.
    """
    versions = [
        ToolVersion(tool.name, tool.package, package_version(tool.package)) for tool in tools
    ]
    return Crosscheck(
        run=label,
        created=utc_now(),
        tolerance=effort.tolerance,
        tools=tuple(versions),
        native=tuple(figure for native, _ in found for figure in native),
        figures=tuple(figure for _, figures in found for figure in figures),
        settings={"images": images, "native": settings.to_dict(), "tools": asdict(effort)},
        provenance={"environment": environment(), **(provenance or {})},
    )


def _native(member: Member, sample: Sample, settings: TransferSettings) -> Outcomes:
    """Worst case of the adaptive protocol for each example, (E, N)."""
    sets = attack_surrogate(member, sample, settings)
    rows = attack_rows(sets.attacks)
    outcomes = score_sets(member, sample, sets.images[:, rows], settings).outcomes
    worst: Outcomes = outcomes.max(axis=1)
    return worst


def _try_attack(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    effort: ToolEffort,
    *,
    tool: Tool,
    attack: str,
) -> tuple[Outcomes | None, str]:
    """Outcomes, (N,), of one attack at one eps, or what it raised: that is part of the result."""
    parts = []
    try:
        with _seeded(derive_seed(settings.seed, member.name, tool.name, attack) % 2**31):
            for rows in sample.batches(settings.batch_size):
                batch = sample.part(rows)
                parts.append(_make(tool.attacks[attack], member, batch, settings.eps[0], effort))
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    trial = score_sets(member, sample, torch.cat(parts)[None, None], settings)
    outcomes: Outcomes = trial.outcomes[0, 0]
    return outcomes, ""


def _make(
    attack: Attack, member: Member, batch: Sample, eps: float, effort: ToolEffort
) -> torch.Tensor:
    """Adversarial images of one batch, uint8 (B, C, H, W) inside the eps ball."""
    model, device = PseudoLogits(member.classifier).eval(), member.classifier.mean.device
    clean = batch.images.to(device)
    with attackable(model):
        task = Assignment(
            model=model,
            images=to_unit(clean),
            labels=batch.labels.to(device),
            columns=model.num_columns,
            eps=exact_eps(eps),
            steps=effort.steps,
            restarts=effort.restarts,
            queries=effort.queries,
            seed=torch.initial_seed(),
        )
        made = attack(task).detach().nan_to_num(0.0)
    return reproject(to_bytes(made), clean, radius(eps)).cpu()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that the libraries draw from, and put them back; no warnings.

    Their warnings are about their own dependencies and are nothing that a user could mend.
    """
    state = np.random.get_state()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


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
    work = partial(check_device, effort=effort, tools=present)
    found = run_all("cross-check", work, audits, executor)
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


def check_device(
    job: AuditJob, *, effort: ToolEffort, tools: tuple[str, ...], progress: ProgressReporter
) -> Figures:
    """Cross-check one device of a run with the libraries of these names; the body of a job."""
    member, sample = load_audited(job)
    chosen = [tool for tool in TOOLS if tool.name in tools]
    return crosscheck_device(member, sample, job.settings, effort, chosen, progress=progress)
