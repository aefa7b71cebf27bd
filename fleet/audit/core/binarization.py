"""The binarization test (Zimmermann et al. 2022): a test of the attack.

A low success rate means a strong network or a weak attack. So the test asks a question whose answer
is known. For each image, a new scalar head is fitted on the network's own penultimate features, so
that the image and many inner points of its eps ball lie in one interval, and one 8-bit image on the
edge of the ball lies above it. An adversarial image exists then by construction, and an attack that
does not find one is too weak for this network.

A network of the task ``tra`` or ``hin`` has no interval, so there the scalar makes two logits that
are equal at the interval's upper end, and the attack ascends the network's own task loss. They are
scaled so that the clean image leads by as much as it does on the network itself: a loss that has
gone flat there (a hinge, a saturated cross-entropy) is as flat in the test.

Measured on two devices of the paper's NN at eps 0.1, 16 images each: the adaptive protocol finds
all 32, the paper's none, and noise, with as many tries as the adaptive one has gradients, finds 10.
"""

import torch
from torch import Tensor, nn

from fleet.attacks import at_once, attackable, ball, quantise
from fleet.audit.core.bench import Bench
from fleet.audit.core.evidence import Binarization
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import Protocol
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import Head

INNER = 64
"""Points of each ball that lie in the interval, beside the image itself."""

EDGE = 64
"""Points on the edge of each ball; the one that can be told best from the inner ones is used."""

TIGHT = 0.99
"""Where the interval ends, as a share of the way from the highest inner point to the edge point."""

BELOW = 4.0
"""How far the interval reaches below the lowest inner point, in spreads: the way out is up."""

LEAST_LEAD = 1e-3
"""A network that is undecided at the clean image leads by so much in the test."""

RIDGE = 1e-3
"""Penalty of the fit, as a share of the features' variance."""


class RowHeads(nn.Module):
    """A linear head of its own for each image of a batch, on a network's features.

    ``o_i = (f(x_i) - mean_i) . weight_i + bias_i``. It takes V * B images, variant by variant.
    """

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, network: Classifier, mean: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Make the scalars, float32 (V * B,)."""
        features = self.network.features(x)
        with torch.autocast(x.device.type, enabled=False):
            rows = features.float().unflatten(0, (-1, len(self.bias)))
            scalars: Tensor = ((rows - self.mean) * self.weight).sum(2) + self.bias
            return scalars.flatten()


class RowLogits(nn.Module):
    """Two logits that are equal where the scalar of :class:`RowHeads` is 1.

    ``z_1 - z_0 = lead_i (o_i - 1) / (1 - o_i(clean))``, so the first class leads by ``lead_i`` at
    the clean image.
    """

    slope: Tensor

    def __init__(self, heads: RowHeads, clean: Tensor, lead: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("slope", lead / (1 - heads(clean)))

    def forward(self, x: Tensor) -> Tensor:
        """Make the logits, float32 (V * B, 2)."""
        behind = self.heads(x).unflatten(0, (-1, len(self.slope))) - 1
        half = (behind * self.slope).flatten() / 2
        return torch.stack([-half, half], dim=1)


class GivenHead(Head):
    """No layer at all: the features are the logits."""

    def forward(self, features: Tensor) -> Tensor:
        """Give the logits as they are, float32 (B, 2)."""
        return features

    def outputs(self, raw: Tensor) -> Tensor:
        """Give the logits as they are."""
        return raw


def binarization_test(
    member: Member, sample: Sample, eps: float, settings: TransferSettings
) -> Binarization:
    """Let both protocols, and noise, look for adversarial images that are known to exist.

    Features are ``classifier.features``. For a network wrapped by ``Classifier.from_module`` they
    are its output, and on one number a head cannot be built for every image.

    Args:
        member: The device; left exactly as it was.
        sample: One head is built for each image; labels play no part.
        eps: As asked for.
        settings: How thoroughly to attack.
    """
    points = Bench.of(member.classifier, f"{member.name} binarized", sample, eps, settings)
    mean, weight, bias = _fit(points)
    built = bias.isfinite()
    heads = RowHeads(member.classifier, mean[built], weight[built], bias[built])
    rows = built.nonzero().squeeze(1).cpu()
    n = len(rows)
    part = Sample(sample.images[rows], torch.zeros_like(rows), sample.indices[rows])
    solved: dict[Protocol, int] = {"paper": 0, "adaptive": 0}
    random = 0
    if n:
        wrapped = _wrapped(heads, member.classifier, points.clean[built])
        bench = Bench.of(wrapped, points.keys.device, part, eps, settings)
        for protocol in solved:
            solved[protocol] = int(_found(bench, protocol).sum())
        tries = 2 * settings.steps * settings.restarts
        random = int((bench.outcomes(_points(bench, "search", tries)) > 0).any(0).sum())
    return Binarization(member.name, eps, n, len(built) - n, **solved, random=random)


def _found(bench: Bench, protocol: Protocol) -> Tensor:
    """Where some attack of a protocol evades, bool (B,); once all fall, the rest is skipped."""
    found = torch.zeros_like(bench.labels, dtype=torch.bool)
    for entry in bench.entries(protocol):
        found |= bench.attack_whole(entry.attack)
        if bool(found.all()):
            break
    return found


def _fit(bench: Bench) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a head for each image: mean (B, D), weight (B, D), bias (B,); NaN where none exists.

    The inner points have ``o`` in [0, 1] and the edge point has it above 1. The direction is
    Fisher's: the edge point's distance from the mean, whitened by the inner points' covariance.
    """
    inner = _features(bench, torch.cat([bench.clean.unsqueeze(0), _points(bench, "inner", INNER)]))
    edge = _features(bench, _points(bench, "edge", EDGE))
    mean = inner.mean(1, keepdim=True)
    spread, far = inner - mean, edge - mean
    gram = spread @ spread.mT
    ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30).view(-1, 1, 1)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    # Woodbury: (X'X + r I)^-1 d = (d - X' (X X' + r I)^-1 X d) / r, of size INNER and not D.
    solved = torch.linalg.solve(gram + ridge * eye, spread @ far.mT)
    weights = (far - (spread.mT @ solved).mT) / ridge
    inside = weights @ spread.mT
    outside = (weights * far).sum(2)
    room = 1 - inside.amax(2) / outside
    best = room.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    high, low = inside.amax(2)[rows, best], inside.amin(2)[rows, best]
    upper = high + TIGHT * (outside[rows, best] - high)
    lower = low - BELOW * (upper - low)
    width = torch.where(room[rows, best] > 0, upper - lower, torch.nan)
    weight = weights[rows, best] / width.unsqueeze(1)
    return mean.squeeze(1).float(), weight.float(), (-lower / width).float()


def _points(bench: Bench, purpose: str, count: int) -> Tensor:
    """8-bit points of each ball, (count, B, C, H, W): in its inside, or on its edge."""
    clean = to_unit(bench.clean)
    around = ball(clean, bench.exact, bench.settings.norm)
    points = []
    for draw in range(count):
        if purpose == "inner":
            point = around.random(bench.keys, purpose, draw)
        else:
            # So far outside that every pixel (or the whole difference) ends on the edge.
            away = bench.keys.normal(clean.shape[1:], purpose, draw)
            point = around.project(clean + 1e4 * away)
        points.append(point)
    return quantise(torch.stack(points), bench.clean, bench.eps, bench.settings.norm)


def _features(bench: Bench, points: Tensor) -> Tensor:
    """Features of 8-bit points (P, B, C, H, W), image by image: float64 (B, P, D)."""
    size = at_once(bench.settings.batch_size, bench.clean)
    with attackable(bench.classifier), torch.no_grad():
        parts: list[Tensor] = [
            bench.classifier.features(to_unit(images)).double()
            for images in points.flatten(0, 1).split(size)
        ]
    features: Tensor = torch.cat(parts).unflatten(0, points.shape[:2])
    return features.transpose(0, 1)


def _wrapped(heads: RowHeads, network: Classifier, clean: Tensor) -> Classifier:
    """One classifier of two classes, the first of which is [0, 1], or ends at 1."""
    if network.encoding is not None:
        encoding = IntervalEncoding(2, alpha=1.0, beta=1.0)
        wrapped = Classifier.from_module(heads, encoding, network.input_shape)
    else:
        channels = network.input_shape[0]
        wrapped = Classifier(
            backbone=_with_logits(heads, network, clean),
            head=GivenHead(),
            task=network.task,
            head_name="logits",
            encoding=None,
            num_classes=2,
            input_shape=network.input_shape,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )
    return wrapped.to(network.mean.device)


def _with_logits(heads: RowHeads, network: Classifier, clean: Tensor) -> RowLogits:
    with attackable(network), torch.no_grad():
        first, second = network(to_unit(clean)).topk(2, dim=1).values.unbind(1)
        return RowLogits(heads, to_unit(clean), (first - second).clamp(min=LEAST_LEAD))
