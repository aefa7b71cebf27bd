"""Waves: who gets a release first, and what has to be true before the next ones do.

Pure rules on frozen values; nothing here reads or writes a file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal

from fleet.errors import RolloutError
from fleet.rollout.reports import Report
from fleet.vocabulary import counted

Phase = Literal["running", "paused", "cancelled", "complete", "rolled-back"]
CANARY = "canary"


@dataclass(frozen=True)
class Policy:
    """What a wave has to show before the next one starts.

    Attributes:
        min_success: Least share of a wave's devices that have committed, in [0, 1].
        max_failures: Most failed devices in the whole rollout.
        max_failure_share: Most failed devices as a share of those exposed, in [0, 1].
        min_reports: Least number of devices of the wave that have reported about this release.
        bake: Seconds that a wave has to last.
        max_transfer: Largest audited transfer rate of any exposed device, or None for no such gate.
    """

    min_success: float = 0.95
    max_failures: int = 1
    max_failure_share: float = 0.05
    min_reports: int = 1
    bake: int = 24 * 3600
    max_transfer: float | None = None

    def __post_init__(self) -> None:
        for name in ("min_success", "max_failure_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RolloutError(f"{name} is {getattr(self, name)}", hint="give a share, 0 to 1")
        if self.max_failures < 0 or self.min_reports < 1 or self.bake < 0:
            raise RolloutError(
                "the policy is unusable: max_failures and bake are 0 or more, min_reports 1 or more"
            )


@dataclass(frozen=True)
class Rollout:
    """One release on its way through the fleet; membership is frozen when it starts.

    Attributes:
        release: Release name.
        waves: Names of the devices of each wave, in order; every device once.
        policy: The gate between waves.
        phase: Where it stands.
        exposed: Number of waves that see the release.
        since: When the newest wave was exposed, seconds since 1970.
        previous: What each device had before, by name: release, for :func:`fleet.rollout` to give
            back.
    """

    release: str
    waves: tuple[tuple[str, ...], ...]
    policy: Policy
    phase: Phase = "running"
    exposed: int = 0
    since: int = 0
    previous: Mapping[str, str] = field(default_factory=dict)

    @property
    def members(self) -> tuple[str, ...]:
        """Devices that see the release now."""
        return tuple(name for wave in self.waves[: self.exposed] for name in wave)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "waves": [list(wave) for wave in self.waves]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Rollout:
        """Inverse of :meth:`to_dict`.

        Raises:
            RolloutError: It is no rollout.
        """
        try:
            waves = tuple(tuple(wave) for wave in value["waves"])
            return cls(**{**value, "waves": waves, "policy": Policy(**value["policy"])})
        except (KeyError, TypeError) as error:
            raise RolloutError(f"the record of the rollout is damaged: {error}") from error


@dataclass(frozen=True)
class Decision:
    """Whether the next wave may start.

    Attributes:
        go: Whether it may.
        stop: Whether too much has failed: the rollout should end here.
        reasons: Why not, one sentence each.
        committed: Devices that run the release for good.
        failed: Devices that reported a failure.
        silent: Devices that have not reported about this release.
    """

    go: bool
    stop: bool
    reasons: tuple[str, ...]
    committed: tuple[str, ...]
    failed: tuple[str, ...]
    silent: tuple[str, ...]


def parse_waves(text: str) -> tuple[str, ...]:
    """Read ``canary,10%,50%,100%``: an optional ``canary``, then rising shares up to 100 %.

    Raises:
        RolloutError: It is something else.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    shares = [_share(word) for word in words if word != CANARY]
    rising = all(a < b for a, b in pairwise(shares))
    if not shares or not rising or shares[-1] != 1 or CANARY in words[1:]:
        raise RolloutError(
            f"waves are {text!r}",
            hint="an optional canary first, then rising shares that end with 100%: "
            "canary,10%,50%,100%",
        )
    return words


def plan_waves(
    words: Sequence[str], devices: Mapping[str, str], release: str, canaries: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """Sort devices into waves: the same devices, release and words always give the same waves.

    Args:
        words: From :func:`parse_waves`.
        devices: Opaque names by device name.
        release: Release name.
        canaries: Names of the first wave; by default the first device of the order.

    Returns:
        Names of each wave; a wave without a device is left out.

    Raises:
        RolloutError: A canary is no device of the release, or there are canaries without a wave.
    """
    unknown = sorted(set(canaries) - set(devices))
    if unknown or (canaries and CANARY not in words):
        raise RolloutError(
            f"no canary {unknown[0]!r} in this release" if unknown else "no wave for the canaries",
            hint=f"its devices are {', '.join(sorted(devices))}; --waves canary,...",
        )
    order = sorted(devices, key=lambda name: (name not in canaries, _rank(release, devices[name])))
    waves, done = [], 0
    for word in words:
        until = max(1, len(canaries)) if word == CANARY else math.ceil(_share(word) * len(order))
        if until > done:
            waves.append(tuple(order[done:until]))
            done = until
    return tuple(waves)


def decide(
    rollout: Rollout,
    reports: Mapping[str, Report | None],
    now: int,
    transfer: Mapping[str, float | None],
) -> Decision:
    """Judge the newest wave of a rollout.

    Only signed reports about this release count: a device that failed to install another one is
    silent about this. The newest report of each device counts, so one that reports success and then
    goes back counts as failed.

    Args:
        rollout: The rollout.
        reports: Newest report of each device by name, or None.
        now: Seconds since 1970.
        transfer: Audited transfer rate of each device's weights, or None where there is no audit.
    """
    members = rollout.members
    about = {name: reports.get(name) for name in members}
    failed = tuple(n for n, r in about.items() if r is not None and r.failed == rollout.release)
    committed = tuple(
        n
        for n, r in about.items()
        if r is not None
        and (r.status, r.release) == ("committed", rollout.release)
        and n not in failed
    )
    silent = tuple(n for n in members if n not in failed and n not in committed)
    newest = rollout.waves[rollout.exposed - 1] if rollout.exposed else ()
    policy = rollout.policy
    stops = _failures(policy, failed, members)
    reasons = [*stops, *_progress(policy, newest, committed, failed)]
    if (left := rollout.since + policy.bake - now) > 0:
        reasons.append(f"the wave has to last another {_duration(left)}")
    reasons += _unaudited(policy, members, transfer)
    if rollout.phase != "running":
        reasons.append(f"the rollout is {rollout.phase}")
    return Decision(not reasons, bool(stops), tuple(reasons), committed, failed, silent)


def _failures(policy: Policy, failed: Sequence[str], members: Sequence[str]) -> list[str]:
    """Too many failures, by count or by share; one failure of one device is too many by share."""
    reasons = []
    if len(failed) > policy.max_failures:
        reasons.append(
            f"{counted(len(failed), 'device')} failed; at most {policy.max_failures} may"
        )
    enough = len(members) >= policy.min_reports
    if members and enough and len(failed) / len(members) > policy.max_failure_share:
        reasons.append(
            f"{len(failed)} of {len(members)} devices failed; "
            f"at most {policy.max_failure_share:.0%} may"
        )
    return reasons


def _progress(
    policy: Policy, wave: Sequence[str], committed: Sequence[str], failed: Sequence[str]
) -> list[str]:
    reasons = []
    done = [name for name in wave if name in committed]
    reported = len(done) + sum(name in failed for name in wave)
    needed = min(policy.min_reports, len(wave))
    if reported < needed:
        reasons.append(f"{reported} devices of the wave have reported; {needed} have to")
    if wave and len(done) / len(wave) < policy.min_success:
        reasons.append(
            f"{len(done)} of {len(wave)} devices of the wave have committed; "
            f"{policy.min_success:.0%} have to"
        )
    return reasons


def _unaudited(
    policy: Policy, members: Sequence[str], transfer: Mapping[str, float | None]
) -> list[str]:
    if policy.max_transfer is None:
        return []
    reasons = []
    for name in members:
        rate = transfer.get(name)
        if rate is None:
            reasons.append(f"{name}: no transfer audit of these weights")
        elif rate > policy.max_transfer:
            reasons.append(f"{name}: transfer {rate:.3f} is above {policy.max_transfer:g}")
    return reasons


def _share(word: str) -> float:
    try:
        share = float(word.removesuffix("%")) / 100 if word.endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise RolloutError(
            f"wave {word!r} is no share", hint="write 10%, 50%, 100%, or canary as the first"
        )
    return share


def _rank(release: str, device_id: str) -> str:
    return hashlib.sha256(f"{release}\0{device_id}".encode()).hexdigest()


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{max(1, rest // 60)} min"
