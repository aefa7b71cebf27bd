"""A profile of devices that differ: encodings chosen for them, with the figures behind the choice.

Also what is weak about the diversity of a fleet that is there, in plain words.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any

import yaml

from fleet.encoding import IntervalEncoding
from fleet.encoding.orders import (
    Order,
    expected_shared,
    mean_shared,
    shared_dichotomies,
    spread_orders,
    zigzag_orders,
)
from fleet.profiles.spec import FamilySpec
from fleet.vocabulary import plain_settings

RATIO = 0.8
"""beta / (alpha + beta) unless a trained run says otherwise: that of the paper's 4 and 16."""

PITCH = 20.0
"""Alpha + beta, the paper's; it carries no diversity."""

_WIDEST = 0.99
_FEW = 300
"""Up to so many devices every pair is looked at."""


@dataclass(frozen=True)
class FleetPlan:
    """Encodings for a fleet.

    Attributes:
        classes: Number of classes, K.
        ratio: beta / (alpha + beta) of the first devices.
        encodings: One for each device; no two are equivalent.
    """

    classes: int
    ratio: float
    encodings: tuple[IntervalEncoding, ...]

    @property
    def orders(self) -> list[Order]:
        """Order of each device (class -> slot)."""
        return [encoding.slots for encoding in self.encodings]

    def sharing(self) -> dict[str, Any]:
        """How much two devices share, plain JSON values.

        ``mean`` and ``most`` are splits of the classes that two orders make alike, over all pairs;
        ``most`` is None for more than 300 devices. ``random`` is the mean of orders that are drawn,
        and ``of`` how many splits an order makes.
        """
        pairs = combinations(self.orders, 2) if len(self.orders) <= _FEW else None
        distinct = len(set(self.orders))
        return {
            "mean": mean_shared(self.orders),
            "most": None
            if pairs is None
            else max((shared_dichotomies(*p) for p in pairs), default=0),
            "random": expected_shared(self.classes),
            "of": self.classes - 1,
            "orders": distinct,
            "zigzag": len(set(self.orders) & set(zigzag_orders(self.classes))),
            "possible": math.factorial(self.classes) // 2,
        }


def plan_encodings(classes: int, count: int, ratio: float = RATIO) -> FleetPlan:
    """Choose encodings of which no two are equivalent.

    Orders come first: the zig-zag ones, of which no two share a split, then greedy ones. Where
    there are no more, they begin again with another ratio, between the given one and 0.99.

    Args:
        classes: Number of classes, K >= 2.
        count: Devices.
        ratio: beta / (alpha + beta), above 0 and below 0.99.
    """
    orders = spread_orders(classes, count)
    rounds = math.ceil(count / len(orders))
    shares = [ratio + (_WIDEST - ratio) * again / rounds for again in range(rounds)]
    betas = [round(PITCH * share, 6) for share in shares]
    encodings = tuple(
        IntervalEncoding(
            classes,
            round(PITCH - betas[i // len(orders)], 6),
            betas[i // len(orders)],
            order=orders[i % len(orders)],
        )
        for i in range(count)
    )
    return FleetPlan(classes, ratio, encodings)


def planned_profile(
    plan: FleetPlan,
    *,
    name: str,
    data: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    reasons: Sequence[str] = (),
) -> str:
    """Write a plan as a profile, YAML with the reasons as comments.

    Args:
        plan: The encodings.
        name: Name of the family.
        data: Section ``data:``, as written.
        model: Section ``model:`` of all devices, as written.
        training: Section ``training:`` of all devices, as written.
        reasons: One sentence for each choice.
    """
    first = plan.encodings[0]
    lengths = {"alpha": first.alpha, "beta": first.beta}
    head = {
        "version": 1,
        "name": name,
        "data": data,
        "twin": True,
        "defaults": {"encoding": lengths, "model": model, "training": training},
    }
    digits = max(2, len(str(len(plan.encodings))))
    lines = [f"# {reason}" for reason in reasons]
    lines += [yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "devices:"]
    for i, encoding in enumerate(plan.encodings):
        own = {"alpha": encoding.alpha, "beta": encoding.beta}
        written = {**(own if own != lengths else {}), "order": list(encoding.slots)}
        lines.append(f"  - {{name: device-{i + 1:0{digits}d}, encoding: {_flow(written)}}}")
    return "\n".join(lines) + "\n"


def written_recipe(family: FamilySpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sections ``model:`` and ``training:`` of a family's first device, defaults left out."""
    device = family.devices[0]

    def changed(spec: Any) -> dict[str, Any]:
        known = {f.name: f.default for f in fields(spec)}
        return {name: v for name, v in plain_settings(spec).items() if v != known[name]}

    return changed(device.model), changed(device.training)


def written_data(family: FamilySpec, root: str) -> dict[str, Any]:
    """Section ``data:`` of a family whose images lie in ``root``."""
    data = family.data
    plain = {**asdict(data), "root": root, "classes": data.num_classes}
    del plain["num_classes"]
    if data.dataset != "folder":
        del plain["classes"], plain["channels"]
    return {name: value for name, value in plain.items() if value is not None}


def weak_diversity(family: FamilySpec) -> Iterator[str]:
    """Say what is weak about a fleet's diversity, and what to change; nothing of one device."""
    devices = [device for device in family.devices if device.encoding is not None]
    if len(devices) < 2:
        return
    alike = Counter(d.encoding.canonical() for d in devices if d.encoding is not None)
    twice = sum(times for times in alike.values() if times > 1)
    if twice:
        yield (
            f"{twice} of {len(devices)} devices have an encoding that is equivalent to another "
            "device's, so that only their weights differ: give them another order "
            "(`order: spread`) or beta/(alpha+beta)"
        )
    if len({d.model.weights for d in devices}) == 1 and devices[0].model.weights is not None:
        yield (
            f"all {len(devices)} devices start from the same weights {devices[0].model.weights}, "
            "so that their features are alike: start from different ones, or leave "
            "`model.weights` out"
        )
    ordered = [d.encoding.slots for d in devices if d.encoding and d.model.head != "softmax"]
    if not ordered:
        yield (
            f"all {len(devices)} devices have the head softmax, which learns the same function "
            "under every order, so that they differ by seed alone: `model.head: ordinal` makes "
            "orders count, and is right on fewer images"
        )
        return
    classes, shared = family.data.num_classes, mean_shared(ordered)
    if shared > expected_shared(classes) + (classes - 1) / 10:
        yield (
            f"two devices share {shared:.1f} of the {classes - 1} splits that their orders make, "
            f"on average; orders drawn at random share {expected_shared(classes):.1f}: write "
            "`order: spread`"
        )


def _flow(value: dict[str, Any]) -> str:
    """A mapping on one line, as YAML and without quotes around its keys."""
    return "{" + ", ".join(f"{key}: {json.dumps(item)}" for key, item in value.items()) + "}"
