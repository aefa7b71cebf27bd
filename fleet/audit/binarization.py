"""The binarization test (Zimmermann et al. 2022), for a scalar head: a test of the attack.

A low success rate means a strong network or a weak attack. So the test asks a question whose answer
is known. For each image, a new scalar head is fitted on the network's own penultimate features, so
that the image and many inner points of its eps ball lie in one interval, and one 8-bit image on the
edge of the ball lies above it. An adversarial image exists then by construction, and an attack that
does not find one is too weak for this network.

Measured on two devices of the paper's NN at eps 0.1, 16 images each: the adaptive protocol finds
all 32, the paper's none, and noise with as many tries as the adaptive one has gradients 10.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fleet.attacks import attackable, ball, quantise
from fleet.audit.bench import Bench
from fleet.audit.evidence import Binarization
from fleet.audit.members import Member, Sample, TransferSettings
from fleet.audit.result import Protocol
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier

INNER = 64
"""Points of each ball that lie in the interval, beside the image itself."""

EDGE = 64
"""Points on the edge of each ball; the one that can be told best from the inner ones is used."""

TIGHT = 0.99
"""Where the interval ends, as a share of the way from the highest inner point to the edge point."""

BELOW = 4.0
"""How far the interval reaches below the lowest inner point, in spreads: the way out is up."""

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
        wrapped = _wrapped(heads, member.classifier)
        bench = Bench.of(wrapped, points.keys.device, part, eps, settings)
        for protocol in solved:
            evaded = [bench.attack_whole(entry.attack) for entry in bench.entries(protocol)]
            solved[protocol] = int(torch.stack(evaded).any(0).sum())
        tries = 2 * settings.steps * settings.restarts
        random = int((bench.outcomes(_points(bench, "search", tries)) > 0).any(0).sum())
    return Binarization(member.name, eps, n, len(built) - n, **solved, random=random)


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
    with attackable(bench.classifier), torch.no_grad():
        parts: list[Tensor] = [
            bench.classifier.features(to_unit(images)).double()
            for images in points.flatten(0, 1).split(bench.settings.batch_size)
        ]
    features: Tensor = torch.cat(parts).unflatten(0, points.shape[:2])
    return features.transpose(0, 1)


def _wrapped(heads: RowHeads, network: Classifier) -> Classifier:
    """One classifier of two classes, whose first interval is [0, 1]."""
    encoding = IntervalEncoding(2, alpha=1.0, beta=1.0)
    wrapped = Classifier.from_module(heads, encoding, network.input_shape)
    wrapped.to(network.mean.device)
    return wrapped
