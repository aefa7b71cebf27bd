"""Segment search: settle whether a reject is a flip that was not looked for.

The output is continuous and the eps ball is convex. So where an attack carries the output past the
neighbouring interval, the segment from the image to the adversarial image holds a point inside
that interval.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.gradient import attackable
from fleet.attacks.objectives import interval_tensors
from fleet.attacks.outcomes import FLIP, REJECT, Criterion, decide, flips
from fleet.attacks.pixels import at_once
from fleet.models import Classifier


@dataclass(frozen=True)
class SegmentSearch:
    """Search the 8-bit points of segments: bisection where the lemma promises one, then a grid.

    Attributes:
        points: Equally spaced points of the grid, both ends counted.
        bisections: Halvings; each image stops at its first success.
        criterion: Which outcomes are looked for.
        batch_size: Images decided at once, see :func:`fleet.attacks.pixels.at_once`.
    """

    points: int = 65
    bisections: int = 12
    criterion: Criterion = flips
    batch_size: int = 500

    def __call__(
        self, classifier: Classifier, clean: Tensor, ends: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Search the segments of a batch; call inside ``attackable``.

        Args:
            classifier: Task ``int``.
            clean: Originals, uint8 (R, C, H, W).
            ends: Adversarial images, uint8 (R, C, H, W).
            labels: True classes, int64 (R,).

        Returns:
            Images, uint8 (R, C, H, W): a point that meets the criterion, or the end where none
            was found; and where one was found, bool (R,).
        """
        images, found = ends.clone(), torch.zeros_like(labels, dtype=torch.bool)
        for search in (self._bisect, self._grid):
            rows = (~found).nonzero().squeeze(1)
            for part in rows.split(at_once(self.batch_size, clean)):
                points, met = search(classifier, clean[part], ends[part], labels[part])
                images[part[met]] = points[met]
                found[part[met]] = True
        return images, found

    def _bisect(
        self, classifier: Classifier, clean: Tensor, ends: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Halve each segment around the centre of the interval next to the true one."""
        side, goal, passed = self._neighbour(classifier, clean, ends, labels)
        images, met = ends.clone(), torch.zeros_like(passed)
        low, high = torch.zeros_like(goal), torch.ones_like(goal)
        rows = passed.nonzero().squeeze(1)
        for _ in range(self.bisections):
            if len(rows) == 0:
                break
            middle = (low[rows] + high[rows]) / 2
            images[rows] = _between(clean[rows], ends[rows], middle)
            decided = decide(classifier, images[rows], labels[rows])
            success = self.criterion(decided.outcomes)
            met[rows[success]] = True
            beyond = side[rows] * (decided.outputs - goal[rows]) > 0
            high[rows] = torch.where(beyond, middle, high[rows])
            low[rows] = torch.where(beyond, low[rows], middle)
            rows = rows[~success]
        return images, met

    def _neighbour(
        self, classifier: Classifier, clean: Tensor, ends: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Side to which each end went, centre of the next interval there, and if it is passed."""
        tensors = interval_tensors(classifier, clean.device)
        outputs = decide(classifier, ends, labels).outputs
        side = (outputs - tensors.center[labels]).sign()
        slot = tensors.class_slot[labels] + side.nan_to_num().long()
        inside = (slot >= 0) & (slot < classifier.num_classes)
        goal = tensors.center[tensors.slot_class[slot.clamp(0, classifier.num_classes - 1)]]
        return side, goal, inside & (side * (outputs - goal) > 0)

    def _grid(
        self, classifier: Classifier, clean: Tensor, ends: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Try equally spaced points, the ends left out, from the original outwards."""
        images, met = ends.clone(), torch.zeros_like(labels, dtype=torch.bool)
        rows = torch.arange(len(labels), device=labels.device)
        for share in torch.linspace(0, 1, self.points).tolist()[1:-1]:
            points = _between(clean[rows], ends[rows], clean.new_tensor(share, dtype=torch.float32))
            success = self.criterion(decide(classifier, points, labels[rows]).outcomes)
            images[rows[success]] = points[success]
            met[rows[success]] = True
            rows = rows[~success]
            if len(rows) == 0:
                break
        return images, met


def _between(clean: Tensor, ends: Tensor, share: Tensor) -> Tensor:
    """8-bit points at ``share``, (R,) or a scalar, of the way; inside the ball as the ends are."""
    weight = share.reshape(-1, 1, 1, 1)
    return torch.lerp(clean.float(), ends.float(), weight).round_().to(torch.uint8)


def settle(
    classifier: Classifier,
    clean: Tensor,
    candidates: Tensor,
    labels: Tensor,
    search: SegmentSearch | None = None,
) -> Tensor:
    """Choose the one image for each original that its attacker would send.

    A candidate that flips, else a point of a segment that flips, else one that is rejected, else
    the one that comes farthest; of several equals, the one whose candidate came farthest.

    Args:
        classifier: Task ``int``; left exactly as it was.
        clean: Originals, uint8 (B, C, H, W).
        candidates: What several attacks made of them, uint8 (A, B, C, H, W).
        labels: True classes, int64 (B,).
        search: How segments are searched; the default search if None.

    Returns:
        uint8 (B, C, H, W).
    """
    tensors = interval_tensors(classifier, clean.device)
    with attackable(classifier):
        decided = [decide(classifier, images, labels) for images in candidates]
        outcomes = torch.stack([decision.outcomes for decision in decided])
        outputs = torch.stack([decision.outputs for decision in decided])
        candidates = candidates.clone()
        unsettled = (outcomes == REJECT) & ~(outcomes == FLIP).any(0)
        which, rows = unsettled.nonzero(as_tuple=True)
        points, found = (search or SegmentSearch())(
            classifier, clean[rows], candidates[which, rows], labels[rows]
        )
    candidates[which, rows] = points
    outcomes[which[found], rows[found]] = FLIP
    distance = (outputs - tensors.center[labels]).abs().nan_to_num(0.0, posinf=0.0) / tensors.pitch
    best = (outcomes + distance / (1 + distance)).argmax(0)
    return candidates[best, torch.arange(len(labels), device=labels.device)]
