"""Decide which run to write and which devices are left to train. No torch here."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet.errors import CheckpointError, ProfileError
from fleet.files import read_json
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.rundir import RunDirectory, list_runs, new_run
from fleet.training.growth import Growth, compare_run
from fleet.training.rotation import check_settled

Resume = Literal["auto", "never", "must"]
State = Literal["new", "resume", "finished"]


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is about to do.

    Attributes:
        spec: The whole family.
        run: Where it is written; does not exist yet if nothing is resumed.
        resumed: Whether the run exists already.
        states: For each selected device, in the run's order, what is there of it.
        added: Networks that are new to the run.
    """

    spec: FamilySpec
    run: RunDirectory
    resumed: bool
    states: dict[str, State]
    added: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[DeviceSpec, ...]:
        """Devices that are still to be trained."""
        return tuple(
            d for d in self.spec.trained if self.states.get(d.name, "finished") != "finished"
        )


def single_step_devices(spec: FamilySpec, images: int) -> list[str]:
    """Devices whose epoch is one step, because the images are fewer than two batches."""
    return [device.name for device in spec.trained if images < 2 * device.training.batch_size]


LEAST_RAMP = 250
"""Steps in which eps should grow: in fewer, certified training can end with a head of almost zero,
which no perturbation moves and which answers None to every image."""


def hasty_devices(spec: FamilySpec, images: int) -> dict[str, int]:
    """Certified devices whose eps grows in fewer than :data:`LEAST_RAMP` steps, and in how many."""
    ramps = {
        device.name: int(
            device.training.ramp * device.training.epochs * (images // device.training.batch_size)
        )
        for device in spec.devices
        if device.training.method == "certified"
    }
    return {name: steps for name, steps in ramps.items() if steps < LEAST_RAMP}


def plan_training(
    spec: FamilySpec,
    *,
    parent: Path = Path("runs"),
    run: Path | None = None,
    resume: Resume = "auto",
    devices: Sequence[str] | None = None,
) -> TrainingPlan:
    """Plan a training; writes nothing.

    Args:
        spec: Resolved profile.
        parent: Where runs are kept.
        run: A run directory of the user's choice, or None for the newest of this family or a new
            one.
        resume: ``auto`` goes on with an unfinished run of this family if there is one, extends the
            newest by devices that the profile adds to it, and finds nothing to do if it is finished
            and of the same profile; ``must`` demands one with something to do, ``never`` always
            begins a new one.
        devices: Names to train, or None for all.

    Raises:
        ProfileError: A name in ``devices`` is not in the profile.
        CheckpointError: There is nothing to resume, or the profile changed since; the message
            names the fields. Or ``run`` is no directory.
    """
    if run is not None and run.exists() and not run.is_dir():
        raise CheckpointError(
            f"{run} is not a directory", hint="name a run, or a directory that is to become one"
        )
    selected = _select(spec, devices)
    found = None if resume == "never" else _found(spec, parent, run, selected, resume)
    if resume == "never" and run is not None and RunDirectory(run).profile.exists():
        raise CheckpointError(
            f"{run} holds a run already", hint="choose another --run, or use --resume auto"
        )
    if found is None:
        if resume == "must":
            raise CheckpointError(
                f"there is no unfinished run of {spec.name!r} under {run or parent}",
                hint="`--resume auto` begins a new one",
            )
        target = RunDirectory(run) if run is not None else new_run(parent, spec.name)
        return TrainingPlan(spec, target, False, dict.fromkeys(selected, "new"))
    check_settled(found)
    growth = compare_run(found, spec)
    check_growth(found, growth)
    selected = _select(growth.spec, devices)
    states = {name: device_state(found, name) for name in selected}
    return TrainingPlan(growth.spec, found, True, states, growth.added)


def check_growth(run: RunDirectory, growth: Growth) -> None:
    """Refuse a profile that does more to a run than to add devices.

    Raises:
        CheckpointError: It lacks devices of the run, or some fields differ; the message names all.
    """
    found = [*(f"{place}: removed" for place in growth.removed), *growth.changed]
    if not found:
        return
    undo = (
        "put back what was removed (a run keeps its devices; `fleet package --device` chooses "
        "those that are shipped)"
        if growth.removed
        else "undo the change"
    )
    raise CheckpointError(
        f"the profile changed since {run.root} began:\n  " + "\n  ".join(found),
        hint=f"{undo} to go on with that run; `--new`, which is `--resume never`, begins another",
    )


def _select(spec: FamilySpec, devices: Sequence[str] | None) -> list[str]:
    known = [device.name for device in spec.trained]
    unknown = [name for name in devices or [] if name not in known]
    if unknown:
        raise ProfileError(
            f"no device {unknown[0]!r} in this profile", hint=f"its devices are {', '.join(known)}"
        )
    return [name for name in known if devices is None or name in devices]


def _found(
    spec: FamilySpec, parent: Path, run: Path | None, selected: Sequence[str], resume: Resume
) -> RunDirectory | None:
    """The run to go on with: the one named, or the newest of the family unless it is done with."""
    if run is not None:
        chosen = RunDirectory(run)
        if not chosen.profile.exists():
            return None
        _check_secret(chosen, spec)
        return chosen
    newest = (c for c in reversed(list_runs(parent)) if _family_name(c) == spec.name)
    candidate = next(newest, None)
    if candidate is None:
        return None
    _check_secret(candidate, spec)
    if any(device_state(candidate, name) != "finished" for name in selected):
        return candidate
    return candidate if resume == "auto" and not compare_run(candidate, spec).changed else None


def _check_secret(run: RunDirectory, spec: FamilySpec) -> None:
    recorded = read_family(run)
    if None not in (recorded.secret, spec.secret) and recorded.secret != spec.secret:
        raise CheckpointError(
            f"the secret is not the one of {run.root}: every `auto` encoding would be another one",
            hint="name the secret of that run with --secret (a profile looks beside itself for the "
            "file that bears the family's name); `--new` begins a run with other encodings",
        )


def _family_name(run: RunDirectory) -> str | None:
    try:
        return str(read_json(run.profile)["name"])
    except (CheckpointError, KeyError):
        return None


def device_state(run: RunDirectory, device: str) -> State:
    """What a run holds of a device; one whose result is damaged is not finished."""
    with suppress(CheckpointError):
        if run.finished(device):
            return "finished"
    return "resume" if run.checkpoint(device).exists() else "new"
