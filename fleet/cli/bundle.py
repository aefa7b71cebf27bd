"""``fleet package``, ``fleet verify`` and ``fleet predict``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.options import (
    DataRootOption,
    DeviceOption,
    DryRunOption,
    FormatOption,
    RunArgument,
    RunsOption,
    place_images,
)
from fleet.cli.output import Format, Output

if TYPE_CHECKING:
    from fleet.bundle import Plan, Verification
    from fleet.rundir import RunDirectory
    from fleet.runtime import Prediction


def package(
    run: RunArgument = None,
    release: Annotated[
        str | None, typer.Option("--release", "-r", help="Release name; the run's date by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; RUN/bundles by default.")
    ] = None,
    device: DeviceOption = None,
    runs: RunsOption = Path("runs"),
    data_root: DataRootOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace bundles of this name whose content differs.")
    ] = False,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Write one bundle for each trained device.

    The same weights, audit and release give the same bytes, from any run and at any time.

    Example: fleet package --release 2026.11.1
    """
    from fleet.bundle import plan_run, write_plans
    from fleet.rundir import find_run

    output = Output(form)
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    chosen = release if release is not None else _release(found)
    directory = found.bundles if out is None else out
    output.note(f"packaging {found.root} as release {chosen}")
    plans = plan_run(found, chosen, directory, device)
    if not dry_run:
        write_plans(plans, force=force)
    title = f"bundles in {directory}{' (nothing is written)' if dry_run else ''}"
    words = _PLANNED if dry_run else _DONE
    value = {"bundles": [_plan_value(plan, words) for plan in plans]}
    output.data(_plan_table(title, plans, words), value)
    if not dry_run:
        written = sum(plan.state != "unchanged" for plan in plans)
        output.note(f"wrote {written} bundles to {directory}, {len(plans) - written} were there")
        output.next_command("fleet", "verify", directory)


def verify(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Bundles, or directories of them; by default those of the newest run.",
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    form: FormatOption = Format.auto,
) -> None:
    """Check every byte of bundles; exit code 1 if any check of any bundle fails.

    Bundles are not signed: this finds damage and mix-ups, not somebody who rewrites a bundle.

    Example: fleet verify runs/20261122-213100-demo/bundles
    """
    from fleet.bundle import verify_bundle

    output = Output(form)
    paths = _expand(bundles) if bundles else _newest(runs, output)
    results = [verify_bundle(path) for path in paths]
    failed = [result for result in results if not result.ok]
    value = {"ok": not failed, "bundles": [_verification_value(result) for result in results]}
    _write_lines(output, (line for result in results for line in _verification(result)), value)
    if failed:
        output.note(f"{len(failed)} of {len(results)} bundles failed")
        raise typer.Exit(1)
    output.next_command("fleet", "predict", results[0].path, "IMAGE...")


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fleet file.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="JPEG, PNG, BMP or WebP files.")
    ],
    form: FormatOption = Format.auto,
) -> None:
    """Decide what is on images, as the device would: a class, or None, with its margin.

    The margin is how far the output is from another decision; it is below 0 in a gap.

    Example: fleet predict cam-01-2026.11.1.fleet digit.png
    """
    from fleet.runtime import load_bundle

    output = Output(form)
    classifier = load_bundle(bundle)
    found = list(zip(images, classifier.predict_files(images), strict=True))
    manifest = classifier.manifest
    value = {
        "device": manifest.device,
        "release": manifest.release,
        "predictions": [_prediction_value(path, prediction) for path, prediction in found],
    }
    width = max(len(str(prediction.label)) for _, prediction in found)
    lines = (f"{p.label!s:<{width}}  {p.margin:+.3f}  {path}" for path, p in found)
    _write_lines(output, lines, value)


def _release(run: RunDirectory) -> str:
    """The date at the head of the run's name, so that the default is the same tomorrow."""
    stamp = re.match(r"([0-9]{4})([0-9]{2})([0-9]{2})-", run.name)
    if stamp is None:
        raise typer.BadParameter(
            f"the run {run.name} has no date in its name; name the release", param_hint="--release"
        )
    return ".".join(stamp.groups())


def _newest(runs: Path, output: Output) -> list[Path]:
    """List the bundles of the newest run, and say which run that is."""
    from fleet.rundir import find_run

    directory = find_run(None, runs).bundles
    output.note(f"verifying the bundles in {directory}")
    return _inside(directory)


def _expand(paths: list[Path]) -> list[Path]:
    """Replace each directory by the bundles in it."""
    return [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]


def _inside(directory: Path) -> list[Path]:
    """List the bundles in a directory, which need not be there."""
    from fleet.errors import BundleError

    found = sorted(directory.glob("*.fleet"))
    if not found:
        raise BundleError(f"no bundles in {directory}", hint="`fleet package` makes some")
    return found


def _write_lines(output: Output, lines: Iterable[str], value: Any) -> None:
    """Plain lines instead of a table: digests and paths are for copying and must not wrap."""
    if output.form is Format.json:
        output.data("", value)
    else:
        typer.echo("\n".join(lines))


_PLANNED = {"new": "new", "unchanged": "unchanged", "different": "other content is there"}
_DONE = {"new": "written", "unchanged": "unchanged", "different": "replaced"}


def _plan_table(title: str, plans: list[Plan], words: dict[str, str]) -> Table:
    table = Table(title=title)
    for name in ("bundle", "state"):
        table.add_column(name, overflow="fold")
    for name in ("bytes", "test accuracy", "None"):
        table.add_column(name, justify="right")
    for name in ("audited", "sha256"):
        table.add_column(name)
    for plan in plans:
        metrics = plan.manifest.metrics
        table.add_row(
            plan.info.path.name,
            words[plan.state],
            f"{plan.info.size:,}",
            f"{metrics.accuracy:.4f}",
            f"{metrics.reject_rate:.2%}",
            "no" if plan.manifest.audit is None else "yes",
            plan.info.sha256[:12],
        )
    return table


def _plan_value(plan: Plan, words: dict[str, str]) -> dict[str, Any]:
    return {
        "device": plan.manifest.device,
        "release": plan.manifest.release,
        "state": words[plan.state],
        "path": str(plan.info.path),
        "sha256": plan.info.sha256,
        "bytes": plan.info.size,
    }


def _verification(result: Verification) -> Iterable[str]:
    yield f"{result.path}: {'verified' if result.ok else 'NOT VERIFIED'}"
    for check in result.checks:
        yield f"  {'ok' if check.ok else 'FAILED':<6}  {check.name:<15}  {check.detail}"
    for note in result.notes:
        yield f"  note    {note}"


def _verification_value(result: Verification) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "ok": result.ok,
        "signed": False,
        "checks": [vars(check) for check in result.checks],
        "notes": list(result.notes),
    }


def _prediction_value(path: Path, prediction: Prediction) -> dict[str, Any]:
    margin = prediction.margin if math.isfinite(prediction.margin) else None
    return {
        "image": str(path),
        "label": prediction.label,
        "index": prediction.index,
        "margin": margin,
    }
