"""What attacks do to images: a few shown beside their originals, and which class becomes which.

Of each original, only the image that an attacker would send is counted. Nothing here imports torch.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

PER_DEVICE, MOST = 2, 12
"""Images shown of one device, and of a fleet."""

MOST_BYTES = 120_000
"""Of all pictures of an audit, in base64; a picture that does not fit is left out."""

SIDE = 64
"""Pixels of a picture's longer side at most."""

MOST_TURNS = 10
"""Pairs of classes listed for one eps."""

RULE = (
    f"Of each device the first {PER_DEVICE} audited images, in the order of the data set and of "
    "different classes, that it names rightly and that the one adversarial image an attacker "
    "would send turns into a wrong class or none, at the smallest eps where there is one; "
    f"at most {MOST} in all."
)
"""How pictures are chosen, in words."""

Named = NDArray[np.int16]
"""Decoded class of each image, -1 for None."""

_NONE = -1


@dataclass(frozen=True)
class Exhibit:
    """One adversarial image beside its original.

    Attributes:
        surrogate: Device on which it was made.
        eps: As asked for, pixel units.
        row: Place of the original in the sample.
        index: Number of the original in its split of the data set.
        true: Its class.
        decoded: Class that each device gives the adversarial image, None for no class.
        clean: The original as PNG, base64.
        difference: ``128 + gain * (adversarial - clean)``, likewise.
        adversarial: The adversarial image, likewise.
        gain: What the difference is multiplied by.
    """

    surrogate: str
    eps: float
    row: int
    index: int
    true: int
    decoded: dict[str, int | None]
    clean: str
    difference: str
    adversarial: str
    gain: float

    def __post_init__(self) -> None:
        for picture in self.pictures:
            try:
                data = base64.b64decode(picture, validate=True)
            except binascii.Error as error:
                raise ValueError(f"picture {self.index} of {self.surrogate}: {error}") from error
            if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(picture) > MOST_BYTES:
                raise ValueError(f"picture {self.index} of {self.surrogate} is no small PNG")

    @property
    def pictures(self) -> tuple[str, str, str]:
        """Clean, difference, adversarial."""
        return self.clean, self.difference, self.adversarial


@dataclass(frozen=True)
class Turn:
    """How often images of one class end as another.

    Attributes:
        eps: As asked for, pixel units.
        true: Class of the originals.
        becomes: What the devices decode; None for no class.
        count: So often.
        n: Images of ``true`` that the devices decode correctly without an attack, each device's
            (or pair's) counted.
    """

    eps: float
    true: int
    becomes: int | None
    count: int
    n: int

    def __post_init__(self) -> None:
        if not 0 < self.count <= self.n or self.becomes == self.true:
            raise ValueError(f"class {self.true} becomes {self.becomes} {self.count} of {self.n}")


@dataclass(frozen=True, eq=False)
class Tried:
    """One device's images on one device.

    Attributes:
        correct: Which originals the victim decodes correctly, bool (N,).
        named: What it decodes of the images to send, (E, N).
    """

    correct: NDArray[np.bool_]
    named: Named


def count_turns(tried: Sequence[Tried], labels: Named, eps: Sequence[float]) -> tuple[Turn, ...]:
    """Count which class becomes which at each eps, the most frequent first.

    Args:
        tried: Each victim with each surrogate that counts.
        labels: True classes, (N,).
        eps: Ascending.

    Returns:
        At most :data:`MOST_TURNS` for each eps.
    """
    found: list[Turn] = []
    for level, radius in enumerate(eps):
        there: Counter[int] = Counter()
        turned: Counter[tuple[int, int]] = Counter()
        for one in tried:
            true, named = labels[one.correct], one.named[level, one.correct]
            there.update(true.tolist())
            fooled = named != true
            turned.update(zip(true[fooled].tolist(), named[fooled].tolist(), strict=True))
        often = sorted(turned.items(), key=lambda item: (-item[1], item[0]))[:MOST_TURNS]
        found += [Turn(radius, t, class_of(b), count, there[t]) for (t, b), count in often]
    return tuple(found)


def few(shown: Iterable[Sequence[Exhibit]]) -> list[Exhibit]:
    """Keep as many exhibits as an audit may hold: the first of each device before the second."""
    kept: list[Exhibit] = []
    room = MOST_BYTES
    for one in chain.from_iterable(zip_longest(*shown)):
        size = sum(map(len, one.pictures)) if one else room + 1
        if one and size <= room and len(kept) < MOST:
            kept.append(one)
            room -= size
    return kept


def class_of(named: int) -> int | None:
    """A decoded class; None for no class."""
    return None if named == _NONE else named
