"""``fleet train``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fleet.cli import options
from fleet.cli.executors import Where
from fleet.cli.output import Format, Output, table
from fleet.cli.runs import next_step
from fleet.errors import DataError
from fleet.rundir import RunDirectory
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from fleet.execution import Executor
    from fleet.profiles.spec import DeviceSpec, FamilySpec
    from fleet.training.family import FamilyResult
    from fleet.training.plan import Resume, TrainingPlan


class ResumeMode(StrEnum):
    """What to do about an unfinished run."""

    auto = "auto"
    never = "never"
    must = "must"


def train(
    profiles: Annotated[
        Path, typer.Option("--profiles", "--profile", "-p", help="Profile (YAML) of the family.")
    ] = Path("profiles/devices.yaml"),
    device: options.Device = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory; by default runs/TIME-NAME.")
    ] = None,
    runs: options.Runs = Path("runs"),
    resume: Annotated[
        ResumeMode,
        typer.Option(help="Go on with an unfinished run if there is one; never; or demand one."),
    ] = ResumeMode.auto,
    new: Annotated[bool, typer.Option("--new", help="Begin a new run: --resume never.")] = False,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    executor: options.Executor = options.ExecutorChoice.processes,
    address: options.Address = "auto",
    per_job: options.PerJob = "",
    accelerator: options.Accelerator = None,
    log: options.Log = None,
    secret: options.Secret = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Train every device of a profile.

    An interrupted training goes on where it was and ends with the same weights, bit for bit.
    Devices that the profile adds to a run are trained into it.

    Example: fleet train --profiles profiles/devices.yaml
    """
    from fleet.training.plan import plan_training

    output = Output(form)
    mode: Resume = "never" if new else resume.value

    spec = read_profile(profiles, secret, data_root)
    plan = plan_training(spec, parent=runs, run=run, resume=mode, devices=device)
    if plan.pending:
        say_weak_diversity(output, plan.spec)
    if dry_run:
        output.data(_plan_table(plan), _plan_value(plan))
        return
    if plan.pending:
        from fleet.assembly import load_images

        images = load_images(plan.spec.data)
        where = Where(executor, jobs, address, per_job, accelerator)
        with where.opened(output.stderr, (spec or plan.spec).per_job) as opened:
            opened.accelerator(os.environ.get("FLEET_ACCELERATOR") or plan.spec.accelerator)
            verb = "going on with" if plan.resumed else "training into"
            todo = f"{len(plan.pending)} of {counted(len(plan.states), 'network')} to do"
            output.note(f"{verb} {plan.run.root}: {todo}")
            if plan.added:
                output.note(
                    f"new in this run: {', '.join(plan.added)}; all others stay as they are"
                )
            say_few_steps(output, plan.spec, len(images.train))
            result = _execute(plan, opened, log, output)
    else:
        _confirm(plan)
        result = None
    finished = _read_results(plan.run, list(plan.states))
    output.data(_result_table(plan, finished), {"run": str(plan.run.root), "devices": finished})
    for text in weak_devices(plan.spec, finished):
        output.note(text)
    if result is None:
        output.note(f"nothing to do: {plan.run.root} is trained; --new begins another run")
    else:
        _report_failures(output, result)
        output.note(f"wrote {plan.run.root}")
    output.next_command("fleet", *next_step(plan.run, plan.spec.devices), plan.run.root)


def read_profile(
    profile: Path, secret: Path | None, data_root: Path | None, *, check_data: bool = True
) -> FamilySpec:
    """Read a profile whose images may lie elsewhere by now (``--data-root``).

    Raises:
        DataError: They are not there.
        ProfileError: The profile cannot be read or used.
    """
    from fleet.profiles import load_profile

    spec = load_profile(profile, secret=secret, check_data=check_data and data_root is None)
    if data_root is None:
        return spec
    if check_data and not data_root.is_dir():
        raise DataError(
            f"--data-root is not a directory: {str(data_root)!r}",
            hint="name the directory that holds the images",
        )
    return replace(spec, data=replace(spec.data, root=data_root.absolute()))


def _execute(
    plan: TrainingPlan, executor: Executor, log: options.LogChoice | None, output: Output
) -> FamilyResult:
    from fleet.training.family import execute_plan

    if log is None:
        return execute_plan(plan, executor)
    from fleet.training.telemetry import TensorBoard

    with TensorBoard(plan.run) as board:
        result = execute_plan(plan, board.following(executor))
        board.follow()
    output.note(f"wrote {board.place}: `tensorboard --logdir {plan.run.root}` shows it")
    return result


def _confirm(plan: TrainingPlan) -> None:
    """Refuse a finished run whose images became others; remember where they moved."""
    from fleet.profiles.spec import read_family
    from fleet.rundata import check_files, move_images

    if plan.spec.data.root != read_family(plan.run).data.root:
        move_images(plan.run, plan.spec.data.root)
    else:
        check_files(plan.run, plan.spec.data)


_WEAK = 0.05
"""How far below the control a device's accuracy may end without a word."""


def weak_devices(spec: FamilySpec, results: list[dict[str, Any]]) -> Iterator[str]:
    """Say which devices end more than 5 points below their control, and what to change."""
    rates = {
        result["device"]: result["test"]["correct"] / result["test"]["n"]
        for result in results
        if result["status"] == "complete"
    }
    best = {
        c.model.architecture: rates[c.name]
        for c in spec.controls
        if c.encoding is None and c.name in rates
    }
    for device in spec.devices:
        if rates.get(device.name, 1.0) <= 1 / spec.data.num_classes:
            yield (
                f"warning: {device.name} is right on {rates[device.name]:.1%} of the test images, "
                f"no more than guessing: it learned nothing; {_remedy(device)}"
            )
            continue
        control = best.get(device.model.architecture)
        if control is None or device.name not in rates:
            continue
        behind = control - rates[device.name]
        if behind > _WEAK:
            yield (
                f"note: {device.name} is right on {rates[device.name]:.1%} of the test images, "
                f"{100 * behind:.0f} points below its control ({control:.1%}); {_remedy(device)}"
            )


def _remedy(device: DeviceSpec) -> str:
    epochs = f"raise `training.epochs` (now {device.training.epochs})"
    if device.training.method != "standard":
        return f"{epochs}, or lower the radius that it is trained for"
    if device.task == "int" and device.model.head != "softmax":
        head = device.model.head
        trade = ", which makes no use of orders" if head == "ordinal" else ""
        return f"try `model.head: softmax` (now {head}){trade}, or {epochs}"
    return f"{epochs}, or lower `training.learning_rate` (now {device.training.learning_rate:g})"


def say_few_steps(output: Output, spec: FamilySpec, images: int) -> None:
    """Name the devices with one step an epoch, and those that may collapse for want of steps."""
    from fleet.training.plan import LEAST_RAMP, hasty_devices, single_step_devices

    hasty = hasty_devices(spec, images)
    if hasty:
        steps = min(hasty.values())
        output.note(
            f"note: eps grows in {steps} steps for {_few(list(hasty))}: certified training with "
            f"fewer than {LEAST_RAMP} may collapse to None everywhere; raise "
            "`training.epochs`, `training.ramp` or `training.learning_rate`"
        )
    names = single_step_devices(spec, images)
    if names:
        output.note(
            f"note: 1 step an epoch for {_few(names)}: {images} images for training are fewer than "
            "two batches; a smaller `training.batch_size` gives more steps"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def say_weak_diversity(output: Output, spec: FamilySpec) -> None:
    """Say what makes devices alike, and what to change."""
    from fleet.profiles.planner import weak_diversity

    for text in weak_diversity(spec):
        output.note(f"note: weak diversity: {text}")


def _report_failures(output: Output, result: FamilyResult) -> None:
    for name, error in result.errors.items():
        output.note(f"error: {error.message}")
        if error.hint:
            output.note(f"hint:  {error.hint}")
        if os.environ.get("FLEET_DEBUG") == "1" and name in result.traces:
            output.note(result.traces[name])
    if result.errors:
        output.note(f"{len(result.errors)} of the devices failed; the others are kept")
        raise typer.Exit(2)


def _read_results(run: RunDirectory, names: list[str]) -> list[dict[str, Any]]:
    found = [run.result(name) for name in names]
    return [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]


def _result_table(plan: TrainingPlan, results: list[dict[str, Any]]) -> Table:
    title = f"{plan.spec.name}: clean accuracy, None counted as wrong"
    figures = (">validation", ">test", ">None", ">epochs", ">seconds", "weights")
    by_name = {result["device"]: result for result in results}
    rows = (
        _result_row(plan.spec.device(name), by_name.get(name, {"status": "not trained"}))
        for name in plan.states
    )
    return table(title, ("device", "task", "intervals", *figures), rows)


def _result_row(device: DeviceSpec, result: dict[str, Any]) -> tuple[str | Text, ...]:
    row = (device.name, device.task, _intervals(device))
    if result["status"] != "complete":
        return *row, Text(result["status"], style="bold red")
    validation, test = result["validation"], result["test"]
    return (
        *row,
        f"{validation['correct'] / validation['n']:.4f}",
        f"{test['correct'] / test['n']:.4f}",
        f"{test['rejected'] / test['n']:.2%}",
        str(result["epochs"]),
        f"{result['seconds']:.0f}",
        result["weights_sha256"][:12],
    )


def _plan_table(plan: TrainingPlan) -> Table:
    title = f"{'resume' if plan.resumed else 'new run'} {plan.run.root} (nothing is written)"
    columns = ("device", "state", "task", "intervals", "order", "model", "head", "training")
    devices = ((plan.spec.device(name), state) for name, state in plan.states.items())
    return table(title, columns, (_plan_row(device, state) for device, state in devices))


def _plan_row(device: DeviceSpec, state: str) -> tuple[str, ...]:
    model, training = device.model, device.training
    return (
        device.name,
        state,
        device.task,
        _intervals(device),
        _order(device),
        f"{model.architecture} x{model.width:g}",
        model.head,
        f"{counted(training.epochs, 'epoch')} of {training.batch_size}, {training.precision}",
    )


def _plan_value(plan: TrainingPlan) -> dict[str, Any]:
    return {
        "run": str(plan.run.root),
        "resumed": plan.resumed,
        "states": plan.states,
        "profile": plan.spec.redacted(),
    }


def _order(device: DeviceSpec) -> str:
    if device.encoding is None:
        return "-"
    if "order" in device.drawn:
        return "drawn"
    order = device.encoding.order
    return "identity" if order is None else " ".join(map(str, order))


def _intervals(device: DeviceSpec) -> str:
    if device.encoding is None:
        return "-"
    if device.drawn:
        return "drawn"
    low, high = device.encoding.span
    return f"{low:g} .. {high:g}"
