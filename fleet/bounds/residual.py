"""Boxes through torchvision's ResNets and AlexNet.

The two paths of a residual block come from the same values, and interval bounds forget that, so
their radii add up. Sound, and loose: through a ResNet-18 that was not trained for bounds float32's
rounding alone grows beyond every margin, so that nothing is proven of it even at eps 0.
:mod:`fleet.bounds.box` imports this module when it meets such a network: torchvision, which takes
seconds to import, is loaded by then.
"""

from torch import nn
from torchvision.models import AlexNet, ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from fleet.bounds.box import Box, carry, propagate, rounding


def summed(one: Box, other: Box) -> Box:
    """All sums of a value in one box and a value in another of the same shape.

    Args:
        one: (B, C, H, W).
        other: The same shape, with clean values beside it or without, as ``one``.
    """
    values, radius = one.values + other.values, one.radius + other.radius
    total = one.moved(values, radius)
    if one.unit:
        gamma = rounding(1, one.unit)
        total = one.moved(values, radius + gamma * (total.centre.abs() + radius))
    return total


@carry.register
def _(layer: BasicBlock, box: Box) -> Box:
    path = nn.Sequential(layer.conv1, layer.bn1, layer.relu, layer.conv2, layer.bn2)
    return _joined(layer, propagate(path, box), box)


@carry.register
def _(layer: Bottleneck, box: Box) -> Box:
    path = nn.Sequential(layer.conv1, layer.bn1, layer.relu, layer.conv2, layer.bn2, layer.relu)
    return _joined(layer, propagate(path.extend([layer.conv3, layer.bn3]), box), box)


def _joined(layer: BasicBlock | Bottleneck, main: Box, box: Box) -> Box:
    shortcut = box if layer.downsample is None else propagate(layer.downsample, box)
    return propagate(layer.relu, summed(main, shortcut))


@carry.register
def _(layer: ResNet, box: Box) -> Box:
    stem = (layer.conv1, layer.bn1, layer.relu, layer.maxpool)
    blocks = (layer.layer1, layer.layer2, layer.layer3, layer.layer4)
    return propagate(nn.Sequential(*stem, *blocks, layer.avgpool, nn.Flatten(), layer.fc), box)


@carry.register
def _(layer: AlexNet, box: Box) -> Box:
    rest = (layer.avgpool, nn.Flatten(), layer.classifier)
    return propagate(nn.Sequential(layer.features, *rest), box)
