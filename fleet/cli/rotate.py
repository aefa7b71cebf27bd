"""``fleet rotate``: a new key for a device whose weights were extracted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.audit.core.kind import curve_eps
from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.cli.progress import FamilyProgress
from fleet.execution import Job, Processes
from fleet.files import locked, read_json
from fleet.rundir import RunDirectory, find_run

if TYPE_CHECKING:
    from fleet.audit.rotation import Survival
    from fleet.training.rotation import Rotation


def rotate(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The extracted device.")],
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Change the seed alone, and not the order too.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the new key, which can then be drawn again; by default nobody can."
        ),
    ] = None,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Re-key an extracted device, and prove that the images made on it no longer work.

    The device gets another order and seed and is trained again in its run; its burnt weights are
    kept apart, where nothing packages them. Killed, it goes on.

    Exit codes: 0 proven; 1 not proven, and the new weights are in place all the same; 2 failed.

    Example: fleet rotate cam-03
    """
    from fleet.audit.rotation import survivals
    from fleet.profiles.spec import read_family
    from fleet.training.rotation import next_rotation, read_rotations

    output = Output(form)
    found = find_run(run, runs)
    options.place_images(found, data_root, dry_run)
    rotation = next_rotation(found, device, keep_order=keep_order, seed=seed)
    what = f"generation {rotation.generation}, new {_key(rotation)}"
    output.note(f"rotating {device} in {found.root}: {what}")
    if dry_run:
        output.data("nothing is trained and nothing is written", _value(found, rotation, []))
        return
    radii = curve_eps(read_family(found).data)[1:3]
    rotation = _carry_out(found, rotation, radii, jobs, output)
    kept = {r.generation - 1: r.images for r in read_rotations(found) if r.device == device}
    (tried,) = _perform(jobs, output, Job(f"try on {device}", survivals, (found, device, kept)))
    proven = all(row.ground != "none" for row in tried)
    rotation = dataclasses.replace(
        rotation,
        status="proven" if proven else "not proven",
        proof={"survivals": [row.to_dict() for row in tried]},
    )
    rotation.save()
    output.data(_table(device, tried), _value(found, rotation, tried))
    before, now = _accuracy(rotation.root / "burnt/result.json"), _accuracy(found.result(device))
    output.note(f"{device} is right on {now} of the test images, {before} before")
    output.note(f"wrote {rotation.root / 'rotation.json'}; the burnt weights lie beside it")
    if not proven:
        output.note(
            f"not proven: images made on the burnt weights may still work on {device}; a device of "
            "`method: certified` or `adversarial` leaves them little"
        )
    output.next_command("fleet", "audit", "transfer", found.root)
    output.next_command("fleet", "package", found.root, "--device", device)
    if not proven:
        raise typer.Exit(1)


def _carry_out(
    run: RunDirectory,
    rotation: Rotation,
    radii: tuple[float, ...],
    jobs: int | None,
    output: Output,
) -> Rotation:
    """Keep the images, exchange the device, and train it."""
    from fleet.audit.rotation import keep_images
    from fleet.profiles.spec import read_family
    from fleet.training.plan import TrainingPlan, device_state
    from fleet.training.rotation import exchange, twins_of

    name = rotation.device
    if rotation.status == "begun":
        _perform(
            jobs, output, Job(f"images of {name}", keep_images, (run, name, rotation.images, radii))
        )
        with locked(run.root, "training"):
            rotation = exchange(run, rotation)
    family = read_family(run)
    twins = twins_of(family) if family.devices[0].name == name else []
    plan = TrainingPlan(family, run, True, {n: device_state(run, n) for n in (name, *twins)})
    if plan.pending:
        from fleet.training.family import execute_plan

        if {device.name for device in plan.pending}.intersection(twins):
            output.note(f"the twin repeats {name}, and is trained again with it")
        with FamilyProgress(output.stderr) as progress:
            result = execute_plan(plan, Processes(jobs, on_event=progress.update))
        for error in result.errors.values():
            raise error
    return rotation


def _perform(jobs: int | None, output: Output, job: Job) -> list[Any]:
    with FamilyProgress(output.stderr) as progress:
        return Processes(jobs, on_event=progress.update).values([job])


def _key(rotation: Rotation) -> str:
    before, after = rotation.before.encoding, rotation.after.encoding
    return "seed" if before == after else "order and seed"


_VERDICTS = {"noise": "as noise", "certificate": "by certificate", "none": "NOT PROVEN"}


def _table(device: str, tried: list[Survival]) -> Table:
    columns = (
        "made on", ">eps", ">n", ">evaded it", ">evade now", ">noise", ">above noise", ">open",
        "dead",
    )  # fmt: skip
    rows = (
        (
            f"gen. {row.generation}",
            f"{row.eps:.3g}",
            str(row.n),
            f"{row.on_burnt:.1%}",
            _share(row.evaded, row.n),
            _share(row.noise, row.n),
            f"< {100 * row.excess_bound:.1f}",
            "-" if row.open is None else _share(row.open, row.n),
            _VERDICTS[row.ground],
        )
        for row in tried
    )
    title = f"images made on burnt weights, tried on the present ones of {device}"
    caption = (
        "above noise: 95 % bound in points, dead below 2; open: without certificate, which bounds "
        "evade"
    )
    return table(title, columns, rows, caption)


def _share(count: int, n: int) -> str:
    return f"{count / n:.1%}" if n else "-"


def _accuracy(path: Path) -> str:
    test = read_json(path)["test"]
    return f"{test['correct'] / test['n']:.1%}"


def _value(run: RunDirectory, rotation: Rotation, tried: list[Survival]) -> dict[str, Any]:
    return {
        "run": str(run.root),
        "device": rotation.device,
        "generation": rotation.generation,
        "new": _key(rotation),
        "status": rotation.status,
        "survivals": [row.to_dict() for row in tried],
    }
