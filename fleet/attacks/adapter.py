"""Pseudo-logits, with which attacks written for K-way classifiers run on an interval classifier.

Handed the scalar itself, some of these attacks raise an error, and the most trusted one reports
every image as robust that is not of class 0.
"""

import torch
from torch import Tensor, nn

from fleet.attacks.objectives import interval_tensors
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead


class PseudoLogits(nn.Module):
    """A classifier whose largest column is its decision: a class, or one of the gaps.

    The 2K edges cut the line into K intervals and K + 1 gaps. Piece r has the value of the sum of
    ``o - e`` over the r edges e below it, in pitches. These are lines with slopes 0 to 2K that
    cross at the edges, so the argmax is the strict decoding. The difference of any two columns
    falls or rises with ``o`` everywhere: cross-entropy, margin and DLR losses, targeted or not,
    lose their direction at no more than single points. One of the values is never below 0, as
    attacks need that mask columns by multiplying with 0.

    For an ``ordinal`` head the edges between two slots ask their own unit, before its clip, in
    place of ``o``: a saturated unit has no gradient behind it.

    A ``softmax`` head gives the values before its gate and softmax, which hide every gradient, and
    one more column for None: the runner-up's value and the leader's gate.

    The logits of the tasks ``tra`` and ``hin`` are given as they are.

    Args:
        classifier: What is adapted; shared, not copied.

    Attributes:
        num_columns: 2K + 1 for the task ``int``: classes, then gaps from below; K + 1 for its
            head ``softmax``: classes, then None; else K.
    """

    edges: Tensor
    centers: Tensor
    class_slot: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.num_columns = classifier.num_classes
        if isinstance(classifier.head, SoftmaxHead):
            self.num_columns = classifier.num_classes + 1
        elif classifier.encoding is not None:
            tensors = interval_tensors(classifier, classifier.mean.device)
            self.num_columns = 2 * classifier.num_classes + 1
            self.pitch = tensors.pitch
            edges = torch.stack([tensors.slot_lower, tensors.slot_upper], 1).flatten()
            self.register_buffer("edges", edges)
            self.register_buffer("centers", tensors.center[tensors.slot_class])
            self.register_buffer("class_slot", tensors.class_slot)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the columns.

        Args:
            x: Images, float32 (B, C, H, W) in [0, 1].

        Returns:
            float32 (B, num_columns).
        """
        raw = self.classifier.raw(x)
        if isinstance(self.classifier.head, SoftmaxHead):
            best, label = raw.topk(2, dim=1)
            none = best[:, 1] + self.classifier.head.gates.float()[label[:, 0]]
            return torch.cat([raw, none.unsqueeze(1)], 1)
        outputs = self.classifier.outputs(raw)
        if self.classifier.encoding is None:
            return outputs
        above = self._positions(raw, outputs.unsqueeze(1)) - self.edges
        pieces = torch.cat([torch.zeros_like(above[:, :1]), above.cumsum(1) / self.pitch], 1)
        return torch.cat([pieces[:, 1::2][:, self.class_slot], pieces[:, ::2]], 1)

    def _positions(self, raw: Tensor, outputs: Tensor) -> Tensor:
        """What is compared with each edge, (B, 2K) or, where it is always ``o``, (B, 1)."""
        if self.classifier.head_name != "ordinal":
            return outputs
        between = self.centers[:-1] + self.centers.diff() * (raw + 0.5)
        return torch.cat([outputs, between.repeat_interleave(2, dim=1), outputs], 1)
