"""The paper's attacks on INT under each choice of the details that the paper leaves open.

The loss stays Eq. 3 throughout, so every figure here is masked wherever Table 1's is. They show how
far a published number can move without anybody attacking better.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fleet import attacks
from fleet.attacks.gradient import input_gradient
from fleet.attacks.portfolio import PATH
from fleet.audit.core.cache import remember
from fleet.audit.core.evidence import count
from fleet.audit.core.jobs import AuditJob, describe_run, load_audited, plan_jobs, run_all
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.scoring import attacked, score_baseline, score_sets
from fleet.execution import ProgressReporter
from fleet.models import Classifier
from fleet.paper.published import TABLES
from fleet.paper.rows import Row, Rows
from fleet.paper.workspace import CHOICES, Workspace
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.provenance import utc_now
from fleet.vocabulary import Precision

KIND = "choices"


@dataclass(frozen=True)
class Choice:
    """One way to fill in what the paper leaves open.

    Attributes:
        name: Short.
        words: For people.
        attack: Makes the attack for a radius.
    """

    name: str
    words: str
    attack: Callable[[float], attacks.Attack]


def choices(steps: int, precision: Precision = "bf16") -> tuple[Choice, ...]:
    """All choices, the one of Table 1 in front for each attack.

    Args:
        steps: Of PGD in Table 1.
        precision: Of forward and backward passes.
    """
    loss = attacks.TaskLoss()

    def pgd(
        eps: float, *, times: float = 1, path: float = PATH, start: bool = True
    ) -> attacks.Attack:
        run = max(1, round(times * steps))
        return attacks.PGD(loss, eps, run, attacks.SignStep(path / run), 1, start, precision)

    table = f"PGD as in the table: {steps} steps along {PATH:g} eps from a random start"
    return (
        Choice("fgsm", "FGSM as in the table", lambda eps: attacks.FGSM(loss, eps, precision)),
        Choice(
            "fgsm-train",
            "FGSM, its gradient in training mode (BatchNorm sees the batch)",
            lambda eps: TrainingModeFGSM(eps, precision),
        ),
        Choice("pgd", table, pgd),
        Choice("image", "PGD from the image itself", partial(pgd, start=False)),
        Choice("half", "PGD, half the steps on the same path", partial(pgd, times=0.5)),
        Choice("five", "PGD, five times the steps on the same path", partial(pgd, times=5)),
        Choice("long", "PGD, twice the steps along 10 eps", partial(pgd, times=2, path=10)),
    )


@dataclass(frozen=True)
class TrainingModeFGSM:
    """FGSM on Eq. 3 by someone who forgot ``model.eval()``; the images are tried in eval mode.

    Attributes:
        eps: Linf radius in pixel units.
        precision: Of the forward and backward pass.
    """

    eps: float
    precision: Precision = "bf16"

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return 1

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: attacks.SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`; takes nothing from ``keys``."""
        del keys
        awake = copy.deepcopy(classifier).train()  # a copy: the statistics of the batch move it
        value = attacks.TaskLoss().bind(awake, labels)
        gradient, values = input_gradient(awake, images, value, self.precision)
        move = attacks.SignStep(1.0).begin(attacks.ball(images, self.eps), 1)
        return move(images.clone(), gradient, values, 0).unsqueeze(0)


def reproduce_choices(workspace: Workspace) -> Rows:
    """Try every choice on the first INT network of each of Table 1's backbones.

    Raises:
        FleetError: Images are missing, or a network cannot be trained or attacked.
    """
    published, scale = TABLES[1], CHOICES
    if workspace.quick:
        published, scale = published.largest(), scale.quick()
    settings = TransferSettings(
        eps=published.eps, steps=scale.steps, restarts=1, batch_size=scale.batch_size
    )
    rows: list[Row] = []
    provenance = {}
    for backbone, profile in scale.profiles:
        family, run = workspace.trained(profile)
        jobs = plan_jobs(run, settings, scale.images, "test", KIND)[1]
        first = [job for job in jobs if job.device == _first_interval(family).name]
        with workspace.stage(f"choices {profile}", len(first)) as executor:
            for found in run_all("choices", try_network, first, executor):
                rows += found
        provenance[backbone] = describe_run(run, family)
    return Rows(
        title=scale.title,
        created=utc_now(),
        words=tuple((choice.name, choice.words) for choice in choices(scale.steps)),
        rows=tuple(rows),
        settings={"images": scale.images, "eps": list(settings.eps)},
        provenance=provenance,
    )


def _first_interval(family: FamilySpec) -> DeviceSpec:
    devices = [device for device in family.devices if device.task == "int"]
    return min(devices, key=lambda device: device.training.seed)


def try_network(job: AuditJob, *, progress: ProgressReporter) -> list[Row]:
    """Try all choices on one network; the body of a job."""
    member, sample = load_audited(job)
    key = {
        "weights": member.weights_sha256,
        "images": sample.digest(),
        "settings": job.settings.to_dict(),
        "choices": [choice.words for choice in choices(job.settings.steps)],
    }
    found = remember(
        job.run.audit(KIND) / f"{job.device}.json",
        key,
        list[Row],
        lambda: try_all(member, sample, job.settings, progress),
    )
    progress(1, 1, "tried")
    return found


def try_all(
    member: Member, sample: Sample, settings: TransferSettings, progress: ProgressReporter
) -> list[Row]:
    """Attack one network under each choice, and count.

    Args:
        member: The network; left exactly as it was.
        sample: The clean images.
        settings: Radii, steps, precision, seed and batch size.
        progress: Called after each choice with (done, total, its words).

    Returns:
        A row for each choice and eps: ``n`` images decoded correctly, of them ``flip`` and
        ``reject``, and ``floor_flip`` under Eq. 2's floor decoding.
    """
    correct = score_baseline(member, sample, settings).clean == 0
    every = choices(settings.steps, settings.precision)
    rows = []
    for done, choice in enumerate(every):
        ready = [(eps, choice.attack(attacks.exact_eps(eps))) for eps in settings.eps]
        made = [
            attacked(attack, member, sample, eps, settings, stream=member.name)
            for eps, attack in ready
        ]
        trial = score_sets(member, sample, torch.stack(made), settings)
        for level, eps in enumerate(settings.eps):
            strict = count(trial.outcomes[level, 0], correct)
            floor = count(trial.floor[level, 0], correct)
            figures = {"n": strict.n, "flip": strict.flip, "reject": strict.reject}
            rows.append(
                Row(
                    {"network": member.architecture, "choice": choice.name, "eps": eps},
                    {**figures, "floor_flip": floor.flip},
                )
            )
        progress(done + 1, len(every) + 1, choice.words)
    return rows
