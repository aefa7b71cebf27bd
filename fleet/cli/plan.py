"""``fleet profiles plan``: encodings for a fleet, each choice with its figures."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.cli.profiles import Dataset, app, look_into
from fleet.errors import ProfileError
from fleet.files import write_text
from fleet.rundir import RunDirectory, find_run
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from fleet.audit.certify.coverage import Coverage
    from fleet.profiles.planner import FleetPlan
    from fleet.profiles.spec import FamilySpec

_COST = 0.005


@dataclass(frozen=True)
class _Basis:
    """What the profile takes over: sections as written, and what the ratio was chosen from."""

    classes: int
    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any]
    curve: list[Coverage]
    measured_on: str = ""


@app.command()
def plan(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="File to write.")] = Path(
        "profiles/planned.yaml"
    ),
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="How many devices.")] = 4,
    classes: Annotated[
        int | None,
        typer.Option(min=2, max=1000, help="Number of classes; by default as in the data."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A trained run: its data and its first device's recipe are taken over, and "
            "beta/(alpha+beta) is chosen on its validation images.",
        ),
    ] = None,
    runs: options.Runs = Path("runs"),
    cost: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of right answers, or certificates, that gaps may cost."
        ),
    ] = _COST,
    dataset: Annotated[Dataset, typer.Option(help="Without --run: the data.")] = Dataset.mnist,
    root: Annotated[Path, typer.Option(help="Without --run: where the data lies.")] = Path("data"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Choose encodings for a fleet, say why with figures, and write the profile.

    Orders that share no split of the classes come first; no two encodings are equivalent. With
    --run the gaps are as wide as a trained device can afford.

    Example: fleet profiles plan cameras.yaml --devices 8 --run runs/RUN
    """
    from fleet.profiles.planner import RATIO, plan_encodings, planned_profile

    if path.exists() and not (force or dry_run):
        raise ProfileError(f"{path} exists", hint="choose another name, or replace it with --force")
    output = Output(form)
    basis = (
        _of_dataset(dataset, root, path, output)
        if run is None
        else _of_run(run, runs, path, dry_run, output)
    )
    if classes not in (None, basis.classes):
        raise ProfileError(
            f"the data has {basis.classes} classes, not {classes}",
            hint="leave --classes out, or name other data with --dataset and --root",
        )
    ratio = RATIO
    if basis.curve:
        from fleet.audit.certify.coverage import choose_ratio

        ratio = choose_ratio(basis.curve, cost).ratio
    found = plan_encodings(basis.classes, devices, ratio)
    reasons = _reasons(found, basis, cost)
    text = planned_profile(
        found,
        name=path.stem,
        data=basis.data,
        model=basis.model,
        training=basis.training,
        reasons=reasons,
    )
    output.data(_table(found), _value(found, basis, reasons))
    for reason in reasons:
        output.note(f"- {reason}")
    if dry_run:
        output.note("nothing is written")
        return
    write_text(path, text)
    output.note(f"wrote {path}: {counted(devices, 'device')}")
    output.next_command("fleet", "profiles", "check", path)


def _of_dataset(dataset: Dataset, root: Path, path: Path, output: Output) -> _Basis:
    from fleet.profiles.starter import starter_sections

    photos = look_into(root, output) if dataset is Dataset.folder else None
    classes, data, model, training = starter_sections(dataset.value, photos)
    return _Basis(
        classes,
        {"dataset": dataset.value, "root": _relative(root, path), **data},
        model,
        training,
        [],
    )


def _of_run(run: Path, runs: Path, path: Path, dry_run: bool, output: Output) -> _Basis:
    from fleet.profiles.planner import written_data, written_recipe
    from fleet.profiles.spec import read_family

    found = find_run(run, runs)
    options.place_images(found, None, dry_run)
    family = read_family(found)
    if family.devices[0].encoding is None:
        raise ProfileError(
            f"{family.devices[0].name}, the first device of {found.root}, has no intervals",
            hint="name a run whose first device has task `int`",
        )
    output.note(f"deciding the validation images of {found.root} on {family.devices[0].name}")
    model, training = written_recipe(family)
    return _Basis(
        classes=family.data.num_classes,
        data=written_data(family, _relative(family.data.root, path)),
        model=model,
        training=training,
        curve=_curve(found, family),
        measured_on=family.devices[0].name,
    )


def _curve(run: RunDirectory, family: FamilySpec) -> list[Coverage]:
    import torch

    from fleet.assembly import run_images
    from fleet.audit.certify.coverage import coverage_curve
    from fleet.audit.core.members import Sample, load_member

    split = run_images(run, family.data).validation
    rows = torch.arange(len(split))
    sample = Sample(split.images(rows), split.labels[rows], rows)
    device = family.devices[0]
    eps = device.training.eps or 0.1
    return coverage_curve(load_member(run, family, device), sample, eps=eps)


def _relative(root: Path, path: Path) -> str:
    return os.path.relpath(root.resolve(), path.parent.resolve())


def _reasons(plan: FleetPlan, basis: _Basis, cost: float) -> list[str]:
    """One sentence with figures for each choice."""
    shares = plan.sharing()
    count, orders, zigzag = len(plan.encodings), shares["orders"], shares["zigzag"]
    possible = shares["possible"]
    there = f"{possible:,}" if possible < 10**12 else f"{possible:.2g}"
    words = [f"orders: {orders} of the {there} that are no reversal of another"]
    words[0] += f"; {zigzag} zig-zag, of which no two share a split"
    if orders > zigzag:
        words[0] += f", and {orders - zigzag} chosen greedily"
    if count > 1:
        most = "" if shares["most"] is None else f", at most {shares['most']}"
        words.append(
            f"two devices share {shares['mean']:.2f} of {shares['of']} splits on average{most}; "
            f"drawn at random they would share {shares['random']:.2f}"
        )
    if orders < count:
        words.append(
            f"there are no more orders of {plan.classes} classes: the others repeat them with "
            "wider intervals, which is little diversity"
        )
    words.append(_ratio_reason(plan, basis, cost))
    if basis.model.get("head") == "softmax":
        words.append(
            "head softmax: it learns the same function under every order, so the devices differ by "
            "seed alone; `head: ordinal` makes orders count"
        )
    words.append("seeds: a device's name is part of its seed, so all begin with other weights")
    words.append("twin: the first device again with other weights, for `fleet audit diversity`")
    return words


def _ratio_reason(plan: FleetPlan, basis: _Basis, cost: float) -> str:
    said = f"beta/(alpha+beta) {plan.ratio:g}: "
    if not basis.curve:
        return said + "the paper's 4 and 16; --run RUN chooses it on validation images"
    from fleet.reports.wording import format_rate

    chosen = next(point for point in basis.curve if point.ratio == plan.ratio)
    best = max(basis.curve, key=lambda point: point.right)
    certified = ""
    if chosen.certified is not None:
        most = max(point.certified or 0.0 for point in basis.curve)
        certified = f"; certified {format_rate(chosen.certified)}, at best {format_rate(most)}"
    return said + (
        f"the smallest that costs {100 * cost:g} points at most, of right answers or "
        f"certificates. "
        f"{basis.measured_on} answers {format_rate(chosen.coverage)} of {chosen.n} validation "
        f"images, {format_rate(chosen.risk)} of its answers are wrong; right on "
        f"{format_rate(chosen.right)}, at best {format_rate(best.right)} (at {best.ratio:g})"
        + certified
    )


def _table(plan: FleetPlan) -> Any:
    rows = (
        (f"{i + 1}", f"{e.alpha:g}", f"{e.beta:g}", " ".join(map(str, e.classes[:30])))
        for i, e in enumerate(plan.encodings)
    )
    columns = (">device", ">alpha", ">beta", "classes along the line")
    return table(f"{len(plan.encodings)} encodings of {plan.classes} classes", columns, rows)


def _value(plan: FleetPlan, basis: _Basis, reasons: list[str]) -> dict[str, Any]:
    curve = [
        {**asdict(p), "coverage": p.coverage, "risk": p.risk, "right": p.right} for p in basis.curve
    ]
    return {
        "classes": plan.classes,
        "ratio": plan.ratio,
        "encodings": [encoding.to_dict() for encoding in plan.encodings],
        "sharing": plan.sharing(),
        "curve": curve,
        "reasons": reasons,
    }
