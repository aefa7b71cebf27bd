"""Certified training: the loss of the worst values that any perturbation within eps can reach.

Interval bound propagation (Gowal et al. 2018) with the recipe of Shi et al. 2021: weights that keep
the bounds' width from layer to layer, BatchNorm through clean statistics, and short ramps of eps
and of the worst case's weight.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from fleet.bounds.box import image_box, normalised, propagate
from fleet.bounds.certify import certificates
from fleet.bounds.heads import lower_margins
from fleet.data import to_unit
from fleet.models import Classifier
from fleet.training.method import Batch, Method, Verdict, clean_margins, margin_loss

STATISTICS = 5000
"""Training images from which BatchNorm's statistics are taken before an evaluation."""

PROBE = 500
"""Validation images that are certified after each epoch, for the record."""

INITIAL_GAIN = 0.5
"""Gain of BatchNorm before a clip: neurons begin linear over two standard deviations."""


class Certified(Method):
    """Mix the clean loss and the worst case's: ``kappa * clean + (1 - kappa) * worst``.

    During the warm-up eps is 0; then it grows in a straight line to ``eps_factor * eps`` while
    kappa falls from 1 to the profile's. Bounds are computed in float32 whatever the precision.
    """

    growth_limit = None

    def begin(self) -> None:
        """Draw the weights of all but the last layer from N(0, sqrt(2 pi) / inputs)."""
        for layer in self.classifier.backbone.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                spread = math.sqrt(2 * math.pi) / layer.weight[0].numel()
                nn.init.normal_(layer.weight, 0, spread)
        if self.device.model.activation == "clip":
            for norm in _norms(self.classifier):
                nn.init.constant_(norm.weight, INITIAL_GAIN)

    def radius_and_share(self, progress: float) -> tuple[float, float]:
        """Eps and kappa at a share of the steps, [0, 1]."""
        spec = self.device.training
        done = min(1.0, max(0.0, (progress - spec.warm_up) / spec.ramp))
        return done * spec.eps * spec.eps_factor, 1 - done * (1 - spec.kappa)

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of the batch."""
        eps, kappa = self.radius_and_share(batch.step / batch.steps)
        classifier, head, labels = self.classifier, self.classifier.head, batch.labels
        if eps == 0:
            loss = margin_loss(
                head, clean_margins(head, classifier.raw(batch.images), labels), labels
            )
        else:
            images = image_box(batch.images, eps, clean=True)
            images = normalised(images, classifier.mean, classifier.std)
            box = propagate(classifier.backbone, images)
            clean = margin_loss(head, clean_margins(head, head(box.clean), labels), labels)
            worst = margin_loss(head, lower_margins(head, box, labels), labels)
            loss = kappa * clean + (1 - kappa) * worst
        if self.device.training.l1:
            sizes = [p.abs().sum() for p in classifier.parameters() if p.dim() > 1]
            loss = loss + self.device.training.l1 * torch.stack(sizes).sum()
        return loss

    def before_evaluation(self, *, final: bool) -> None:  # noqa: ARG002
        """Take BatchNorm's statistics from clean images and the present weights."""
        settle_statistics(self.classifier, self._batches(STATISTICS))

    def end_epoch(self, epoch: int) -> Verdict:  # noqa: ARG002
        """Record the share of validation images that is certified at the profile's eps."""
        self.before_evaluation(final=False)
        split = self.images.validation
        rows = torch.arange(min(PROBE, len(split)))
        found = certificates(
            self.classifier,
            to_unit(split.images(rows)),
            split.labels[rows],
            self.device.training.eps,
            dtype=torch.float32,
        )
        self.classifier.train()
        return Verdict(metrics={"certified": int(found.stays.sum()), "certified_n": len(rows)})

    def _batches(self, count: int) -> Iterator[Tensor]:
        split = self.images.train
        for rows in torch.arange(min(count, len(split))).split(500):
            yield to_unit(split.images(rows)).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def settle_statistics(classifier: Classifier, batches: Iterable[Tensor]) -> None:
    """Take BatchNorm's statistics anew, as the plain mean over all batches.

    Args:
        classifier: Its mode is as before afterwards.
        batches: Images, float32 (B, C, H, W) in [0, 1]; the more, the better.
    """
    was_training, norms = classifier.training, list(_norms(classifier))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    classifier.train()
    for x in batches:
        classifier(x)
    classifier.train(was_training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _norms(classifier: Classifier) -> Iterator[nn.BatchNorm1d | nn.BatchNorm2d]:
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            yield layer
