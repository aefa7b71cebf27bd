"""The Square attack (Andriushchenko et al. 2020): random search with outputs, no gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.exits import Outside
from fleet.attacks.gradient import checked
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.attacks.outcomes import Criterion, evades, outcomes_of
from fleet.attacks.pixels import LEVELS, Norm, radius, squared_radius, to_bytes
from fleet.attacks.queries import Queried
from fleet.attacks.square_moves import Moves, moves
from fleet.attacks.state import attackable
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.models import Classifier

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the authors halve the squares' area."""

_OUTPUTS = Outside()

_BLOCK = 50
"""Queries between two looks at who is done."""


@dataclass(frozen=True)
class Square:
    """Change one random square at a time and keep what does not lower the objective.

    Ties are kept: where a clipped head's output is flat, the search then drifts instead of
    standing still. Measured on 59 validation images of an undefended `ordinal` device, 400 queries,
    eps 0.1 and 0.2: evades 7 and 39 with ties, 4 and 30 without; no difference on `linear` heads
    and logits. One value for both edges, not up and down with half the queries each: on a `linear`
    device 58 images, evades 21 and 49 (17 and 48). A first share of 0.8 was the best of 0.05, 0.3
    and 0.8 for ``linf``.

    Every image sent is an 8-bit image inside the ball, as a device in the field gets it. The
    random numbers of an image depend on its key alone, not on its batch.

    Attributes:
        eps: Radius in pixel units.
        queries: Images sent for each image at most, shared among the variants of the objective.
        objective: What to raise. The default sees outputs only, as a remote attacker does;
            :class:`fleet.attacks.Directions` sees inside the head, for a check by the owner.
        norm: How the radius is measured.
        share: Share of the area that the first squares have; it falls as the authors let it fall,
            in proportion to the budget.
    """

    eps: float
    queries: int = 1000
    objective: Objective = _OUTPUTS
    norm: Norm = "linf"
    share: float = 0.8

    def __post_init__(self) -> None:
        _ = radius(self.eps) if self.norm == "linf" else squared_radius(self.eps)
        if self.queries < self.variants or not 0 < self.share <= 1:
            raise AuditError(
                f"{self.queries} queries for {self.variants} variants, share {self.share}",
                hint="give one query or more for each variant, and a share in (0, 1]",
            )

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`: the best of each variant, on the 8-bit grid."""
        search = _Search(self, classifier, images, labels, keys, criterion=evades)
        with attackable(classifier):
            search.ask(search.everyone(), range(self.steps))
        return search.best.float() / LEVELS

    def run(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        keys: SampleKeys,
        criterion: Criterion = evades,
    ) -> Queried:
        """Attack until the criterion is met, and count.

        Variants take turns. Images that are done are left out from the next block of 50 queries
        on, which saves time and changes no result.

        Args:
            classifier: Left exactly as it was.
            images: float32 (B, C, H, W) in [0, 1]; rounded to 8 bits first.
            labels: True classes, int64 (B,).
            keys: Names the random numbers.
            criterion: Which outcomes count.

        Raises:
            AuditError: The images leave [0, 1].
        """
        search = _Search(self, classifier, images, labels, keys, criterion=criterion)
        with attackable(classifier):
            for first in range(0, self.steps, _BLOCK):
                rows = (~search.success).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                search.ask(rows, range(first, min(first + _BLOCK, self.steps)))
        return search.result()

    @property
    def steps(self) -> int:
        """Queries of each variant."""
        return self.queries // self.variants

    def side_share(self, step: int) -> float:
        """Share of the area that a square has at a step."""
        position = step * 10_000 // self.steps
        return self.share * 0.5 ** sum(position > start for start in _HALVINGS)


class _Search:
    """The state of a batch: the best image of each variant, and what met the criterion."""

    def __init__(
        self,
        attack: Square,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        keys: SampleKeys,
        *,
        criterion: Criterion,
    ) -> None:
        self._attack, self._classifier, self._criterion = attack, classifier, criterion
        self._clean, self._labels, self._keys = to_bytes(checked(images)), labels, keys
        variants, count = attack.variants, len(images)
        self.best = self._clean.repeat(variants, 1, 1, 1, 1)
        self._values = torch.full((variants, count), -torch.inf, device=images.device)
        self._first = self._clean.clone()
        self.success = torch.zeros_like(labels, dtype=torch.bool)
        self._queries = torch.full_like(labels, attack.steps * variants)

    def everyone(self) -> Tensor:
        """Rows of all images, int64 (B,)."""
        return torch.arange(len(self._labels), device=self._labels.device)

    def result(self) -> Queried:
        """The image that met the criterion, else the best over the variants."""
        best = self.best[self._values.argmax(0), self.everyone()]
        images = torch.where(self.success.view(-1, 1, 1, 1), self._first, best)
        return Queried(images, self.success, self._queries)

    def ask(self, rows: Tensor, steps: range) -> None:
        """Take these steps with these images, int64 (A,)."""
        attack, labels = self._attack, self._labels[rows]
        keys = SampleKeys(self._keys.seed, self._keys.device, self._keys.indices[rows])
        value = attack.objective.bind(self._classifier, labels)
        around = moves(self._clean[rows].repeat(attack.variants, 1, 1, 1), attack.eps, attack.norm)
        best, values = self.best[:, rows].flatten(0, 1), self._values[:, rows].flatten()
        for step in steps:
            draw = _draw(keys, around, attack.variants, step)
            tried = (
                around.propose(best, attack.side_share(step), draw)
                if step > 0
                else around.start(draw)
            )
            reached, outcomes = self._look(tried, value, labels)
            self._note(rows, tried, outcomes, step)
            better = reached >= values
            values = torch.where(better, reached, values)
            best = torch.where(better.view(-1, 1, 1, 1), tried, best)
        self.best[:, rows] = best.unflatten(0, (attack.variants, -1))
        self._values[:, rows] = values.unflatten(0, (attack.variants, -1))

    def _look(self, tried: Tensor, value: Value, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Objective and outcome of 8-bit images, in fp32."""
        unit = to_unit(tried).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(unit.device.type, enabled=False):
            raw = self._classifier.raw(unit)
            decoded = self._classifier.decode(self._classifier.outputs(raw))
            reached = value(raw)
        return reached.clone(), outcomes_of(decoded, labels.repeat(self._attack.variants))

    def _note(self, rows: Tensor, tried: Tensor, outcomes: Tensor, step: int) -> None:
        """Count the first image of each row that meets the criterion; variants take turns."""
        met = self._criterion(outcomes).unflatten(0, (self._attack.variants, -1))
        which = met.int().argmax(0)
        fresh = met.any(0) & ~self.success[rows]
        number = step * self._attack.variants + which + 1
        shown = tried.unflatten(0, (self._attack.variants, -1))[
            which, torch.arange(len(which), device=which.device)
        ]
        self._queries[rows] = torch.where(fresh, number, self._queries[rows])
        self._first[rows] = torch.where(fresh.view(-1, 1, 1, 1), shown, self._first[rows])
        self.success[rows] |= fresh


def _draw(keys: SampleKeys, around: Moves, variants: int, step: int) -> Tensor:
    shape = torch.Size((around.numbers,))
    return torch.cat([keys.uniform(shape, "square", step, v) for v in range(variants)])
