"""``fleet profiles``: check, show, schema, new; :mod:`fleet.cli.plan` adds plan."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.cli.train import read_profile, say_few_steps, say_weak_diversity
from fleet.errors import DataError, ProfileError
from fleet.files import canonical_json, write_text
from fleet.training.cost import core_seconds
from fleet.vocabulary import counted, shown

if TYPE_CHECKING:
    from fleet.assembly import ImageCounts
    from fleet.profiles import DeviceSpec, FamilySpec, Photos
    from fleet.profiles.spec import DataSpec

HIDDEN = "auto"

app = typer.Typer(help="Check, show and start profiles (YAML).", no_args_is_help=True)

ProfileArgument = Annotated[Path, typer.Argument(metavar="[PROFILE]", help="The profile (YAML).")]


class Dataset(StrEnum):
    """Datasets that a starter profile can name."""

    mnist = "mnist"
    fashion_mnist = "fashion-mnist"
    cifar10 = "cifar10"
    imagenet10 = "imagenet10"
    folder = "folder"


class SchemaFormat(StrEnum):
    """How to write the profile language down."""

    json = "json"
    markdown = "markdown"


@app.command()
def check(
    profile: ProfileArgument = Path("profiles/devices.yaml"),
    no_data: Annotated[
        bool, typer.Option("--no-data", help="Do not ask whether the data is there.")
    ] = False,
    data_root: options.DataRoot = None,
    secret: options.Secret = None,
    form: options.Form = Format.auto,
) -> None:
    """Say whether a profile can be used, and what a folder holds; name every mistake.

    Exit codes: 0 it can; 1 it cannot; 2 it cannot be read.

    Example: fleet profiles check profiles/devices.yaml
    """
    from fleet.profiles import ProfileFileError
    from fleet.profiles.data_section import training_images

    output = Output(form)
    try:
        family = read_profile(profile, secret, data_root, check_data=not no_data)
        counts = None if no_data else _count_images(output, family.data)
    except ProfileFileError:
        raise
    except (DataError, ProfileError) as error:
        output.note(f"error: {error.message}")
        if error.hint:
            output.note(f"hint:  {error.hint}")
        raise typer.Exit(1) from error
    devices = counted(len(family.devices), "device")
    output.note(f"ok: {profile}: {devices}, {family.data.dataset}")
    say_weak_diversity(output, family)
    images = training_images(family.data) if counts is None else sum(counts.train)
    if counts is not None:
        output.data(_counts_table(family, counts), _counts_value(family, counts))
    if images is not None:
        say_few_steps(output, family, images)
        output.note(_effort(family, images))
    moved = () if data_root is None else ("--data-root", data_root)
    output.next_command("fleet", "train", "--profiles", profile, *moved)


@app.command()
def show(
    profile: ProfileArgument = Path("profiles/devices.yaml"),
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show values drawn from the family secret too.")
    ] = False,
    secret: options.Secret = None,
    form: options.Form = Format.auto,
) -> None:
    """Show a profile with every default filled in.

    Values that `auto` draws from the family secret stay hidden without --reveal.

    Example: fleet profiles show profiles/devices.yaml --format json
    """
    from fleet.profiles import load_profile

    family = load_profile(profile, secret=secret, check_data=False)
    if reveal and family.new_secret is not None:
        raise ProfileError(
            f"there is no secret {family.new_secret.path} to draw from",
            hint="the first training makes it; name another file with --secret",
        )
    Output(form).data(_table(family, reveal), family.to_dict() if reveal else family.redacted())


@app.command()
def schema(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; by default stdout.")
    ] = None,
    form: Annotated[
        SchemaFormat, typer.Option("--format", help="JSON Schema, or tables for readers.")
    ] = SchemaFormat.json,
) -> None:
    """Write the JSON Schema of the profile language, for editors.

    Example: fleet profiles schema --out profiles/devices.schema.json
    """
    from fleet.profiles import field_tables, json_schema

    markdown = form is SchemaFormat.markdown
    if out is not None:
        write_text(out, field_tables() if markdown else canonical_json(json_schema()))
        Output().note(f"wrote {out}")
    elif markdown:
        typer.echo(field_tables(), nl=False)
    else:
        Output(Format.json).data("", json_schema())


@app.command()
def new(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="File to write.")] = Path(
        "profiles/devices.yaml"
    ),
    devices: Annotated[int, typer.Option(min=1, max=1000, help="How many devices to list.")] = 4,
    dataset: Annotated[Dataset, typer.Option(help="Dataset to train on.")] = Dataset.mnist,
    root: Annotated[Path, typer.Option(help="Directory that holds the dataset.")] = Path("data"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented profile to start from; a folder of photos is looked into.

    Photos lie in ROOT/CLASS/, or in ROOT/train/CLASS/ and ROOT/test/CLASS/ (or ROOT/val/CLASS/).

    Example: fleet profiles new cameras.yaml --dataset folder --root photos
    """
    from fleet.profiles import template

    if path.exists() and not force:
        raise ProfileError(f"{path} exists", hint="choose another name, or replace it with --force")
    # Whoever reads the profile climbs from the real directory, whatever links lead there.
    place = root.resolve() if root.name in {"", ".."} else root.parent.resolve() / root.name
    relative = os.path.relpath(place, path.parent.resolve())
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:64] or "family"
    output = Output()
    photos = look_into(root, output) if dataset is Dataset.folder else None
    text = template(name, dataset=dataset.value, devices=devices, root=relative, photos=photos)
    write_text(path, text)
    output.note(f"wrote {path}: {counted(devices, 'device')} on {dataset.value} in {root}")
    output.next_command("fleet", "profiles", "check", path)


def look_into(root: Path, output: Output) -> Photos:
    """Survey a folder of photos, and say what was found and what is of no use."""
    from fleet.data.folder import SPLIT
    from fleet.data.survey import survey_folder
    from fleet.profiles import Photos

    found = survey_folder(root)
    train, test = sum(found.train), sum(found.test)
    colours = "grey" if found.channels == 1 else "colour"
    output.note(
        f"found {len(found.classes)} classes in {root}: {train} images for training and {test} "
        f"for test, {colours}, about {found.side} pixels"
    )
    if not found.is_split:
        output.note(f"note: {SPLIT}")
    for name in found.stray:
        output.note(f"note: a stray class folder, which training refuses: {name}")
    return Photos(len(found.classes), found.channels, found.side, train)


def _count_images(output: Output, data: DataSpec) -> ImageCounts | None:
    """Count images that are known only from where they lie; None where the profile tells enough."""
    from fleet.profiles.data_section import DATASETS

    if DATASETS[data.dataset].train_images is not None:
        return None
    try:
        from fleet.assembly import count_images
    except ModuleNotFoundError as error:
        output.note(f"note: the images are not looked at: {error.name} is not installed")
        return None
    return count_images(data)


def _counts_table(family: FamilySpec, counts: ImageCounts) -> Table:
    columns = (counts.train, counts.validation, counts.test)
    rows = [
        [shown(name), *map(str, row)] for name, *row in zip(counts.classes, *columns, strict=True)
    ]
    rows.append(["all", *(str(sum(column)) for column in columns)])
    title = f"images in {family.data.root}"
    return table(title, ("class", ">training", ">validation", ">test"), rows)


def _counts_value(family: FamilySpec, counts: ImageCounts) -> dict[str, Any]:
    names = ("train", "validation", "test")
    return {
        "root": str(family.data.root),
        "classes": [
            {"name": name, **{part: getattr(counts, part)[i] for part in names}}
            for i, name in enumerate(counts.classes)
        ],
        "steps": {d.name: sum(counts.train) // d.training.batch_size for d in family.trained},
        "minutes": _minutes(family, sum(counts.train)),
    }


def _effort(family: FamilySpec, images: int) -> str:
    steps = sorted({max(1, images // d.training.batch_size) for d in family.trained})
    told = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    minutes = _minutes(family, images)
    about = "less than a minute" if minutes < 1 else f"about {counted(round(minutes), 'minute')}"
    methods = " and ".join(sorted({d.training.method for d in family.trained}))
    return (
        f"{counted(len(family.trained), 'network')}, {told} step{'s'[told == '1' :]} an epoch; "
        f"roughly: {about} on {counted(os.cpu_count() or 1, 'core')} ({methods} training)"
    )


def _minutes(family: FamilySpec, images: int) -> float:
    """Minutes of training on this machine's cores, one network on each."""
    side = family.data.image_size
    costs = [core_seconds(d, images, side) / 60 for d in family.trained]
    return round(max([sum(costs) / (os.cpu_count() or 1), *costs]), 1)


def _table(family: FamilySpec, reveal: bool) -> Table:
    data = family.data
    title = f"{family.name}: {data.dataset}, {data.num_classes} classes of {data.image_size} pixels"
    line = ("outputs", "β/(α+β)", "classes along the line")
    rows = (_row(device, reveal) for device in family.devices)
    columns = ("device", "task", *line, "model", ">epochs")
    return table(title, columns, rows, _caption(family, reveal))


def _caption(family: FamilySpec, reveal: bool) -> str | None:
    hidden = not reveal and any(device.drawn for device in family.devices)
    return "auto: drawn from the family secret; --reveal shows it" if hidden else None


def _row(device: DeviceSpec, reveal: bool) -> list[str]:
    model = device.model
    width = "" if model.width == 1.0 else f" x{model.width:g}"
    network = f"{model.architecture}{width}, {model.head}"
    cells = [device.name, device.task, *_encoding_cells(device, reveal)]
    return [*cells, network, str(device.training.epochs)]


def _encoding_cells(device: DeviceSpec, reveal: bool) -> tuple[str, str, str]:
    """Outputs, ratio and order; what follows from a hidden value is hidden with it."""
    encoding = device.encoding
    if encoding is None:
        return "-", "-", "-"
    hidden = set() if reveal else set(device.drawn)
    low, high = encoding.span
    ratio = _ratio(encoding.alpha, encoding.beta)
    classes = encoding.classes
    order = " ".join(map(str, classes[:20])) + (" ..." if len(classes) > 20 else "")
    return (
        HIDDEN if hidden & {"alpha", "beta", "s0"} else f"{low:g} .. {high:g}",
        HIDDEN if hidden & {"alpha", "beta"} else ratio,
        HIDDEN if "order" in hidden else order,
    )


def _ratio(alpha: float | tuple[float, ...], beta: float | tuple[float, ...]) -> str:
    """beta/(alpha+beta), or the range that it has over the classes."""
    alphas = alpha if isinstance(alpha, tuple) else (alpha,)
    betas = beta if isinstance(beta, tuple) else (beta,)
    count = max(len(alphas), len(betas))
    pairs = zip(alphas * (count // len(alphas)), betas * (count // len(betas)), strict=True)
    ratios = [b / (a + b) for a, b in pairs]
    low, high = min(ratios), max(ratios)
    return f"{low:.3f}" if low == high else f"{low:.3f} .. {high:.3f}"
