"""What ``fleet audit certify`` proved. Nothing in this module imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from fleet.audit.core.result import AuditResult, Reached, pick, wilson_interval

SCHEMA = "fleet.audit.certify/1"

Interval = tuple[float, float]


@dataclass(frozen=True)
class Proven:
    """What is proven of one device at one eps.

    Attributes:
        device: Device name.
        eps: Largest change of a pixel.
        n: Images.
        correct: Decoded correctly without an attack.
        stays: Decoded correctly whatever the perturbation: certified.
        never_wrong: Decoded correctly or as None whatever the perturbation.
    """

    device: str
    eps: float
    n: int
    correct: int
    stays: int
    never_wrong: int

    def __post_init__(self) -> None:
        if not 0 <= self.stays <= min(self.correct, self.never_wrong) <= self.n:
            raise ValueError(f"{self.stays} stay of {self.correct} correct of {self.n}")

    @property
    def stay_rate(self) -> float:
        """Certified share of all images."""
        return self.stays / self.n

    @property
    def stay_interval(self) -> Interval:
        """Wilson 95 % interval of :attr:`stay_rate`."""
        return wilson_interval(self.stays, self.n)

    @property
    def never_wrong_rate(self) -> float:
        """Share of all images that can never be decoded as a wrong class."""
        return self.never_wrong / self.n

    @property
    def never_wrong_interval(self) -> Interval:
        """Wilson 95 % interval of :attr:`never_wrong_rate`."""
        return wilson_interval(self.never_wrong, self.n)

    @property
    def blast_radius(self) -> float | None:
        """``(c - s) / c``: no attack, transfer or coalition evades more of what it gets right."""
        return (self.correct - self.stays) / self.correct if self.correct else None

    @property
    def blast_interval(self) -> Interval:
        """Wilson 95 % interval of :attr:`blast_radius`."""
        return wilson_interval(self.correct - self.stays, self.correct)


@dataclass(frozen=True)
class PairProof:
    """For how many images it is proven that no perturbation fools both devices.

    Attributes:
        devices: Two names.
        eps: Largest change of a pixel.
        n: Images.
        apart: Certified on one of the two at least.
    """

    devices: tuple[str, str]
    eps: float
    n: int
    apart: int

    @property
    def rate(self) -> float:
        """Share of all images."""
        return self.apart / self.n


@dataclass(frozen=True)
class Reach:
    """How many devices one perturbation could fool.

    Attributes:
        eps: Largest change of a pixel.
        images: At place k the images that lack a certificate on exactly k devices, so that no
            perturbation fools more than k; k from 0 to the number of devices, controls left out.
    """

    eps: float
    images: tuple[int, ...]

    def share_at_most(self, devices: int) -> float:
        """Share of images on which no perturbation fools more than so many devices."""
        return sum(self.images[: devices + 1]) / sum(self.images)


@dataclass(frozen=True)
class Radii:
    """Largest certified eps, or L2 radius, over images.

    Attributes:
        device: Device name.
        n: Images searched.
        proven: Of these, how many have a certificate at any eps.
        quantiles: 10 %, 50 % and 90 % quantile over all ``n``, an image without one being 0.
    """

    device: str
    n: int
    proven: int
    quantiles: tuple[float, float, float]


@dataclass(frozen=True)
class CertifyAudit(AuditResult, schema=SCHEMA):
    """Everything that ``fleet audit certify`` proved.

    Attributes:
        devices: In the order of the profile; controls last.
        proven: One for each device and eps.
        pairs: One for each pair of devices and eps, controls left out.
        reach: One for each eps.
        radii: One for each device whose radii were searched.
        smoothed: The same of the median under noise, in L2; empty where it was not asked for.
        checks: What speaks against the proofs, in order of id.
    """

    proven: tuple[Proven, ...]
    pairs: tuple[PairProof, ...]
    reach: tuple[Reach, ...]
    radii: tuple[Radii, ...]
    smoothed: tuple[Radii, ...] = ()

    def of(self, device: str, eps: float) -> Proven:
        """Look up one device at one eps.

        Raises:
            KeyError: There is none.
        """
        found: Proven = self.row("proven", device=device, eps=eps)
        return found

    def worst(self, eps: float) -> Proven | None:
        """The device with the largest guaranteed blast radius; None where none decodes any image.

        This is the fleet's guarantee: no device loses more, whatever an attacker knows.
        """
        known = [self.of(name, eps) for name in self.fleet]
        return max(
            (found for found in known if found.correct),
            key=lambda found: found.blast_radius or 0.0,
            default=None,
        )

    def at(self, eps: float) -> Reach:
        """Look up how many devices one perturbation could fool.

        Raises:
            KeyError: There is none.
        """
        return pick(self.reach, eps=eps)

    def apart(self, eps: float) -> list[PairProof]:
        """All pairs at one eps."""
        return [pair for pair in self.pairs if pair.eps == eps]

    def reached(self) -> Iterator[Reached]:
        """What attacks could reach at most, for gates."""
        for eps in self.eps:
            for name in self.fleet:
                found = self.of(name, eps)
                rate, interval, n = found.blast_radius, found.blast_interval, found.correct
                yield Reached("anyone", eps, rate, interval, n, f"at most, of {name}", name)

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""
        if len(self.proven) != len(self.devices) * len(self.eps):
            raise ValueError(f"{len(self.proven)} proofs of {len(self.devices)} devices")
        pairs = sorted((*pair, eps) for pair in combinations(self.fleet, 2) for eps in self.eps)
        if sorted((*pair.devices, pair.eps) for pair in self.pairs) != pairs:
            raise ValueError("pairs of devices are missing, or there more than once")
        for eps in self.eps:
            for device in self.devices:
                found = self.of(device.name, eps)
                if (found.n, found.correct) != (device.images, device.correct):
                    raise ValueError(f"clean figures of {device.name}")
            if len(self.at(eps).images) != len(self.fleet) + 1 or not sum(self.at(eps).images):
                raise ValueError(f"reach at eps {eps}")
