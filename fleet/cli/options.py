"""Options that several commands share, declared once, and how their words are read."""

from __future__ import annotations

import math
from enum import StrEnum
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.output import Format
from fleet.errors import BundleError
from fleet.rundir import RunDirectory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

BUILD = "Build"
EVALUATE = "Evaluate"
ROLL_OUT = "Roll out"
ON_DEVICE = "On the device"
INSPECT = "Inspect"


class SplitChoice(StrEnum):
    """Which images are attacked."""

    test = "test"
    validation = "validation"


class NormChoice(StrEnum):
    """How eps is measured."""

    linf = "linf"
    l2 = "l2"


class PresetChoice(StrEnum):
    """How much an audit spends."""

    quick = "quick"
    standard = "standard"
    thorough = "thorough"


class ConfidenceChoice(StrEnum):
    """Which end of a rate's 95 % interval gates hold against their limit."""

    low = "lower"
    point = "point"
    high = "upper"


class AuditFormat(StrEnum):
    """How an audit writes its data: as :class:`Format`, or as a JUnit report of its checks."""

    auto = "auto"
    human = "human"
    json = "json"
    junit = "junit"


class ExecutorChoice(StrEnum):
    """Where jobs run."""

    processes = "processes"
    ray = "ray"


class AcceleratorChoice(StrEnum):
    """Where networks compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class LogChoice(StrEnum):
    """Where metrics go beside metrics.jsonl."""

    tensorboard = "tensorboard"


class FailOn(StrEnum):
    """What makes an audit end with exit code 1."""

    masked = "masked"


Form = Annotated[Format, typer.Option("--format", help="How to write the result to stdout.")]
AuditForm = Annotated[
    AuditFormat,
    typer.Option(
        "--format", help="How to write the result to stdout; junit: checks and gates, for CI."
    ),
]
Log = Annotated[
    LogChoice | None,
    typer.Option(
        "--log", help="Write loss, accuracy, certified share and the heat map for TensorBoard too."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        envvar="FLEET_JOBS",
        help="Worker processes, one thread each. By default one a core.",
    ),
]
Executor = Annotated[
    ExecutorChoice,
    typer.Option(
        "--executor",
        envvar="FLEET_EXECUTOR",
        help="processes: of this machine; ray: the nodes of a Ray cluster (docs/clusters.md).",
    ),
]
Accelerator = Annotated[
    AcceleratorChoice | None,
    typer.Option(
        "--accelerator",
        envvar="FLEET_ACCELERATOR",
        help="Where networks compute. By default as the profile says; auto: CUDA if it is there.",
    ),
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        metavar="HOST:PORT",
        help="Of the Ray cluster's head; auto: the cluster that this machine belongs to.",
    ),
]
PerJob = Annotated[
    str,
    typer.Option(
        "--per-job",
        metavar="SHARE",
        help="What a job takes of a node under Ray, like cpus=1,gpus=0.5,memory=8GB.",
    ),
]
Run = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="A run directory; by default the newest under runs/."),
]
Runs = Annotated[Path, typer.Option("--runs", envvar="FLEET_RUNS", help="Where runs are kept.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Say what would be done, and write nothing.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Where the images lie now, if they moved; the run remembers it.",
    ),
]
Device = Annotated[
    list[str] | None,
    typer.Option("--device", "-d", help="Only this device; repeat for several. By default all."),
]
Secret = Annotated[
    Path | None,
    typer.Option(
        "--secret",
        envvar="FLEET_SECRET",
        help="File that `auto` encodings are drawn from; by default FAMILY.secret beside the "
        "profile.",
    ),
]
Eps = Annotated[
    list[str] | None,
    typer.Option(
        "--eps", help="Radius like 0.1 or 8/255; repeat it. By default several that fit the images."
    ),
]
Norm = Annotated[
    NormChoice,
    typer.Option(
        help="linf: largest difference of a pixel; l2: length of the whole difference. Pixels run "
        "from 0 to 1."
    ),
]
Images = Annotated[int, typer.Option(min=1, help="Images to attack.")]
Split = Annotated[
    SplitChoice, typer.Option(help="Choose on validation; the test set is for final figures.")
]
Steps = Annotated[int, typer.Option(min=1, help="Steps of each iterative attack.")]
Restarts = Annotated[int, typer.Option(min=1, help="Runs of each iterative attack.")]
Brief = Annotated[
    bool,
    typer.Option(
        "--brief/--whole",
        help="Try fewer standing images again, leave out C&W and EAD, and measure three radii of "
        "the curve; checks that this leaves open warn.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of images, starts and noise.")]
Preset = Annotated[
    PresetChoice,
    typer.Option(
        "--preset", help="quick: minutes, for a first look; thorough: for a figure to publish."
    ),
]
Confidence = Annotated[
    ConfidenceChoice | None,
    typer.Option(
        "--confidence",
        help="What gates hold against their limit: the rate (point, the default), or an end of its "
        "95 % interval. upper passes only what surely keeps it.",
    ),
]
Fail = Annotated[
    FailOn | None,
    typer.Option(
        "--fail-on", help="masked: exit code 1 if the adaptive figures fail a reliability check."
    ),
]


def radii_of(texts: list[str] | None, norm: NormChoice = NormChoice.linf) -> tuple[float, ...]:
    """Read the radii of ``--eps``, such as ``0.031`` or ``8/255``; of ``l2`` such as ``1.5``.

    Raises:
        typer.BadParameter: One is no number in (0, 1], or for ``l2`` no number above 0.
    """
    return tuple(map(_share if norm is NormChoice.linf else _length, texts or ()))


def _share(text: str) -> float:
    head, slash, tail = text.partition("/")
    try:
        value = float(head) / float(tail) if slash else float(head)
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(f"{text!r} is neither like 0.031 nor like 8/255") from error
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{text} is not in (0, 1]; pixels run from 0 to 1")
    return value


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no l2 radius like 1.5") from error
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text} is not above 0; an l2 radius is a length like 1.5")
    return value


def place_images(run: RunDirectory, data_root: Path | None, dry_run: bool = False) -> None:
    """Obey ``--data-root``; a dry run writes nothing.

    Raises:
        FleetError: The images there are not those of the run.
    """
    if data_root is not None and not dry_run:
        from fleet.rundata import move_images

        move_images(run, data_root)


def bundles_in(paths: list[Path], release: str | None = None) -> list[Path]:
    """Replace each directory, there or not, by the bundles in it; files stay as they are.

    Args:
        paths: Files and directories.
        release: Take the bundles of this release alone out of directories.

    Raises:
        BundleError: A directory holds none.
    """
    pattern = "*.fleet" if release is None else f"*-{escape(release)}.fleet"
    found: list[Path] = []
    for path in paths:
        folder = path.is_dir() or not (path.suffix or path.exists())
        inside = sorted(path.glob(pattern)) if folder else [path]
        if not inside:
            of = "" if release is None else f" of release {release}"
            raise BundleError(f"no bundles{of} in {path}", hint="`fleet package` makes some")
        found += inside
    return found


def device_key(home: Path | None) -> X25519PrivateKey | None:
    """The key that opens what is sealed to the device in ``home``; None without one.

    Raises:
        RolloutError: There is no device, or its keys are damaged.
    """
    if home is None:
        return None
    from fleet.rollout.keys import load_identity

    return load_identity(home).seal_key
