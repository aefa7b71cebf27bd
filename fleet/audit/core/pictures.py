"""Pictures of a few adversarial images beside their originals, chosen by ``exhibits.RULE``."""

import base64
import io

import torch
from PIL import Image

from fleet.audit.core.exhibits import PER_DEVICE, SIDE, Exhibit, Tried, class_of
from fleet.audit.core.sets import AdversarialSets


def exhibit(sets: AdversarialSets, own: Tried) -> tuple[Exhibit, ...]:
    """Choose images of one device, and make their pictures.

    Args:
        sets: The images made on it.
        own: The images to send, on itself.
    """
    labels = sets.sample.labels
    for level, radius in enumerate(sets.eps):
        named = torch.from_numpy(own.named[level])
        fooled = (torch.from_numpy(own.correct) & (named != labels)).nonzero().flatten().tolist()
        first = {int(labels[row]): row for row in reversed(fooled)}  # of each class
        if first:
            return tuple(
                Exhibit(
                    sets.surrogate,
                    radius,
                    row,
                    int(sets.sample.indices[row]),
                    int(labels[row]),
                    {sets.surrogate: class_of(int(named[row]))},
                    *_pictures(sets.sample.images[row], sets.images[level, sets.sent, row]),
                )
                for row in sorted(first.values())[:PER_DEVICE]
            )
    return ()


def _pictures(clean: torch.Tensor, adversarial: torch.Tensor) -> tuple[str, str, str, float]:
    """Clean, difference, adversarial and gain; of large images every k-th pixel, as it is."""
    step = -(-max(clean.shape[1:]) // SIDE)
    before, after = (image[:, ::step, ::step].int() for image in (clean, adversarial))
    change = after - before
    gain = round(127 / max(1, int(change.abs().max())), 1)
    return _png(before), _png((128 + gain * change).round()), _png(after), gain


def _png(image: torch.Tensor) -> str:
    """A grey or a colour picture, base64; of other channel counts the first one or three."""
    pixels = image.clamp(0, 255).to(torch.uint8)
    shown = pixels[0] if len(pixels) < 3 else pixels[:3].permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(shown.contiguous().numpy()).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
