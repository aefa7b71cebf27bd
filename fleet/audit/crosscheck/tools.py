"""Attacks of other libraries behind one signature, each called as its documentation shows.

Every library is imported when it is first used: none of them is a dependency of fleet.
"""

# These libraries carry no types.
# mypy: disable-error-code="import-untyped, import-not-found, no-any-return"

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

STRIDE = 2.5
"""Length of a PGD path in eps: steps of 2.5 eps / steps (Madry et al. 2018)."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a library is asked to attack.

    Attributes:
        model: Images, float32 (B, C, H, W) in [0, 1], to columns (B, K); largest is the decision.
        images: float32 (B, C, H, W) in [0, 1].
        labels: True classes, int64 (B,).
        columns: K.
        eps: Linf radius in pixel units.
        steps: Steps of each iterative run.
        restarts: Runs of each attack that offers restarts.
        queries: Forward passes of each gradient-free attack for each image.
        seed: Seed of its random numbers.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    columns: int
    eps: float
    steps: int
    restarts: int
    queries: int
    seed: int


Attack = Callable[[Assignment], Tensor]
"""Makes adversarial images, float (B, C, H, W), best in [0, 1] and within eps."""


@dataclass(frozen=True)
class Tool:
    """One library.

    Attributes:
        name: For people.
        package: Its distribution, whose version is recorded.
        attacks: By name.
    """

    name: str
    package: str
    attacks: Mapping[str, Attack]


def _torchattacks_pgd(task: Assignment) -> Tensor:
    import torchattacks  # noqa: PLC0415

    attack = torchattacks.PGD(
        task.model, eps=task.eps, alpha=STRIDE * task.eps / task.steps, steps=task.steps
    )
    return attack(task.images, task.labels)


def _torchattacks_apgd(task: Assignment, loss: str) -> Tensor:
    import torchattacks  # noqa: PLC0415

    attack = torchattacks.APGD(
        task.model,
        eps=task.eps,
        steps=task.steps,
        n_restarts=task.restarts,
        seed=task.seed,
        loss=loss,
    )
    return attack(task.images, task.labels)


def _foolbox(task: Assignment, name: str) -> Tensor:
    import foolbox  # noqa: PLC0415

    model = foolbox.PyTorchModel(task.model, bounds=(0, 1), device=task.images.device)
    rule = getattr(foolbox.attacks, name)(rel_stepsize=STRIDE / task.steps, steps=task.steps)
    attack = rule.repeat(task.restarts) if task.restarts > 1 else rule
    _, clipped, _ = attack(model, task.images, task.labels, epsilons=task.eps)
    return clipped


def _art_pgd(task: Assignment) -> Tensor:
    from art.attacks.evasion import ProjectedGradientDescent  # noqa: PLC0415

    attack = ProjectedGradientDescent(
        _art_classifier(task),
        norm=np.inf,
        eps=task.eps,
        eps_step=STRIDE * task.eps / task.steps,
        max_iter=task.steps,
        num_random_init=task.restarts,
        batch_size=len(task.images),
        verbose=False,
    )
    return _numpy_round_trip(attack, task)


def _art_apgd(task: Assignment, loss: str) -> Tensor:
    from art.attacks.evasion import AutoProjectedGradientDescent  # noqa: PLC0415

    attack = AutoProjectedGradientDescent(
        _art_classifier(task),
        norm=np.inf,
        eps=task.eps,
        eps_step=2 * task.eps,
        max_iter=task.steps,
        nb_random_init=task.restarts,
        batch_size=len(task.images),
        loss_type=loss,
        verbose=False,
    )
    return _numpy_round_trip(attack, task)


def _art_classifier(task: Assignment) -> object:
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    return PyTorchClassifier(
        task.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(task.images.shape[1:]),
        nb_classes=task.columns,
        clip_values=(0.0, 1.0),
        device_type="gpu" if task.images.is_cuda else "cpu",
    )


def _numpy_round_trip(attack: object, task: Assignment) -> Tensor:
    made = attack.generate(task.images.cpu().numpy(), task.labels.cpu().numpy())  # type: ignore[attr-defined]
    return torch.from_numpy(made).to(task.images)


def _autoattack(task: Assignment, name: str) -> Tensor:
    import pyautoattack  # noqa: PLC0415

    suite = pyautoattack.AutoAttack(
        task.model,
        version="custom",
        attacks=[name],
        eps=task.eps,
        seed=task.seed,
        device=task.images.device,
    )
    for part in (suite.apgd, suite.apgd_targeted, suite.fab):
        part.n_iter, part.n_restarts = task.steps, task.restarts
    suite.square.n_queries = task.queries
    targets = min(9, task.columns - 1)
    suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = targets
    made, _ = suite.run_standard_evaluation(task.images, task.labels, batch_size=len(task.images))
    return made


TOOLS = (
    Tool(
        "torchattacks",
        "torchattacks",
        {
            "pgd": _torchattacks_pgd,
            "apgd-ce": partial(_torchattacks_apgd, loss="ce"),
            "apgd-dlr": partial(_torchattacks_apgd, loss="dlr"),
        },
    ),
    Tool(
        "foolbox",
        "foolbox",
        {
            "pgd": partial(_foolbox, name="LinfPGD"),
            "adam-pgd": partial(_foolbox, name="LinfAdamPGD"),
        },
    ),
    Tool(
        "art",
        "adversarial-robustness-toolbox",
        {
            "pgd": _art_pgd,
            "auto-pgd-ce": partial(_art_apgd, loss="cross_entropy"),
            "auto-pgd-dlr": partial(_art_apgd, loss="difference_logits_ratio"),
        },
    ),
    Tool(
        "autoattack",
        "pyautoattack",
        {
            name: partial(_autoattack, name=name)
            for name in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
        },
    ),
)
"""Libraries of the extra ``crosscheck``."""
