"""``fleet package``, ``fleet verify`` and ``fleet inspect``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.audit.core.kind import GATES, Attacker
from fleet.cli import options
from fleet.cli.gates import demand_of, gate_bundles
from fleet.cli.output import Format, Output, table
from fleet.errors import BundleError
from fleet.rundir import find_run
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from fleet.bundle import Verification
    from fleet.bundle.package import Plan
    from fleet.rollout.packaging import Packaged


def package(
    run: options.Run = None,
    release: Annotated[
        str | None, typer.Option("--release", "-r", help="Release name; the run's date by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; RUN/bundles by default.")
    ] = None,
    device: options.Device = None,
    runs: options.Runs = Path("runs"),
    data_root: options.DataRoot = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace bundles of this name whose content differs.")
    ] = False,
    depot: Annotated[
        Path | None,
        typer.Option(
            "--depot", envvar="FLEET_DEPOT", help="Seal each bundle to its device enrolled here."
        ),
    ] = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="With --depot, for laboratories: seal nothing.")
    ] = False,
    edge: Annotated[
        bool, typer.Option(help="With --depot: export the graph for devices without torch.")
    ] = True,
    counter: Annotated[
        int | None,
        typer.Option(min=1, help="With --depot: number of the release; by default the next."),
    ] = None,
    floor: Annotated[
        int, typer.Option(min=0, help="With --depot: lowest counter a device may go back to.")
    ] = 0,
    require_audit: Annotated[
        bool, typer.Option("--require-audit", help="Exit code 1 if a device is not audited.")
    ] = False,
    max_transfer: Annotated[
        float | None, typer.Option(min=0, max=1, help=GATES["device"].help)
    ] = None,
    max_outsider: Annotated[
        float | None, typer.Option(min=0, max=1, help=GATES["outsider"].help)
    ] = None,
    min_diversity: Annotated[
        float | None, typer.Option(min=0, max=1, help=GATES["twin"].help)
    ] = None,
    confidence: options.Confidence = None,
    fail_on: options.Fail = None,
    allow_unaudited: Annotated[
        bool,
        typer.Option(
            "--allow-unaudited",
            help="With --depot: package unaudited devices; the manifest says so.",
        ),
    ] = False,
    oms_key: Annotated[
        Path | None,
        typer.Option(
            "--oms-key",
            metavar="PEM",
            help="Private key, P-256 to P-521: sign each bundle as OpenSSF Model Signing does.",
        ),
    ] = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Write one bundle for each trained device.

    The same weights, audit and release give the same bytes, from any run and at any time. Gates
    judge the run's audits before anything is written.

    Example: fleet package --require-audit --max-transfer 0.2
    """
    from fleet.bundle.package import plan_run, release_of, write_plans

    output = Output(form)
    limits: dict[Attacker, float | None] = {
        "device": max_transfer,
        "outsider": max_outsider,
        "twin": min_diversity,
    }
    given = {who: limit for who, limit in limits.items() if limit is not None}
    demand = demand_of(given, confidence, fail_on)
    found = find_run(run, runs)
    options.place_images(found, data_root, dry_run)
    chosen = release if release is not None else release_of(found)
    directory = found.bundles if out is None else out
    output.note(f"packaging {found.root} as release {chosen}")
    key = None
    if oms_key is not None:  # read before anything is written
        from fleet.rollout.oms import load_oms_key

        key = load_oms_key(oms_key)
    plans = plan_run(found, chosen, directory, device)
    gate_bundles(found, plans, demand, output, audited=require_audit)
    title = f"bundles in {directory}{' (nothing is written)' if dry_run else ''}"
    if depot is None:
        if not dry_run:
            write_plans(plans, force=force)
        words = _PLANNED if dry_run else _DONE
        shown = table(title, _COLUMNS, (_plan_row(plan, words) for plan in plans))
        values, files = [_plan_value(plan, words) for plan in plans], [p.info.path for p in plans]
    else:
        from fleet.rollout.depot import Depot
        from fleet.rollout.packaging import package_for_depot

        rows = package_for_depot(
            found,
            chosen,
            directory,
            Depot(depot),
            devices=device,
            sealed=not unsealed,
            edge=edge,
            counter=counter,
            floor=floor,
            allow_unaudited=allow_unaudited,
            force=force,
            dry_run=dry_run,
        )
        shown = table(title, _SEALED, map(_sealed_row, rows))
        values, files = [row.to_dict() for row in rows], [row.path for row in rows]
    if key is not None and not dry_run:
        _sign(files, key, output)
    output.data(shown, {"bundles": values})
    if dry_run:
        return
    if depot is None:
        _say_written(plans, directory, output)
    else:
        output.next_command("fleet", "publish", directory, "--release", chosen, "--depot", depot)


def _say_written(plans: Sequence[Plan], directory: Path, output: Output) -> None:
    written = sum(plan.state != "unchanged" for plan in plans)
    output.note(
        f"wrote {counted(written, 'bundle')} to {directory}, {len(plans) - written} were there"
    )
    output.note(
        "they are unsealed and unsigned: `fleet keys init` and `fleet package --depot DEPOT` "
        "change that"
    )
    output.next_command("fleet", "verify", directory)


def _sign(paths: list[Path], key: EllipticCurvePrivateKey, output: Output) -> None:
    from fleet.rollout.oms import sign_file

    output.note(f"signed: {', '.join(sign_file(path, key).name for path in paths)}")


def verify(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Bundles, or directories of them; by default those of the newest run.",
        ),
    ] = None,
    runs: options.Runs = Path("runs"),
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Fail unless they are this device's.")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", "-r", help="Fail unless they are of this release.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="A device's directory, to open sealed payloads.")
    ] = None,
    form: options.Form = Format.auto,
) -> None:
    """Check every byte of bundles; exit code 1 if any check of any bundle fails.

    Bundles are not signed: this finds damage and mix-ups, not somebody who rewrites a bundle.

    Example: fleet verify runs/20261122-213100-demo/bundles
    """
    from fleet.bundle import verify_bundle

    output = Output(form)
    if not bundles:
        bundles = [find_run(None, runs).bundles]
        output.note(f"verifying the bundles in {bundles[0]}")
    paths, key = options.bundles_in(bundles), options.device_key(home)
    results = [_expected(verify_bundle(path, key=key), device, release) for path in paths]
    failed = [result for result in results if not result.ok]
    value = {"ok": not failed, "bundles": [_verification_value(result) for result in results]}
    _write_lines(output, (line for result in results for line in _verification(result)), value)
    if failed:
        output.note(f"{len(failed)} of {counted(len(results), 'bundle')} failed")
        raise typer.Exit(1)
    opened = [result.path for result in results if result.opened and home is None]
    if opened:
        output.next_command("fleet", "predict", opened[0], "IMAGE...")


def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .fleet file.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the encoding too; it may be drawn from a secret.")
    ] = False,
    form: options.Form = Format.auto,
) -> None:
    """Show what a bundle says of itself; of a sealed one, what everybody may read.

    Example: fleet inspect cam-01-2026.11.1.fleet
    """
    from fleet.bundle import verify_bundle

    found = verify_bundle(bundle)
    if not found.ok:
        failed = next((check for check in found.checks if not check.ok), None)
        reason = "" if failed is None else f": {failed.name}: {failed.detail}"
        raise BundleError(f"{bundle} is damaged{reason}", hint="`fleet verify` lists every check")
    value: dict[str, Any] = {}
    for part in (found.manifest, found.envelope):
        value |= {} if part is None else part.to_dict()
    if found.manifest is not None and value.get("encoding") is not None and not reveal:
        value["encoding"] = "hidden; --reveal shows it"
    value["state"] = "opened" if found.opened else "sealed, not opened"
    output = Output(form)
    _write_lines(output, (f"{name:<34} {text}" for name, text in _flat(value)), value)
    if not found.opened:
        output.note("sealed, not opened: weights, encoding and seed are for its device alone")


def _flat(value: dict[str, Any], head: str = "") -> Iterator[tuple[str, str]]:
    """Names with dots, and what they hold in words."""
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{head}{name}.")
        elif isinstance(inner, (list, tuple)) and inner and isinstance(inner[0], dict):
            for i, row in enumerate(inner):
                yield from _flat(row, f"{head}{name}[{i}].")
        elif isinstance(inner, (list, tuple)):
            yield f"{head}{name}", ", ".join(map(str, inner)) or "-"
        else:
            yield f"{head}{name}", "-" if inner in (None, {}) else str(inner)


def _write_lines(output: Output, lines: Iterable[str], value: Any) -> None:
    """Plain lines instead of a table: digests and paths are for copying and must not wrap."""
    if output.form is Format.json:
        output.data("", value)
    else:
        typer.echo("\n".join(lines))


_COLUMNS = ("bundle", "state", ">bytes", ">test accuracy", ">None", "audited", "sha256")
_SEALED = ("bundle", "bytes", "counter", "sealed to", "transfer", "sha256")
_PLANNED = {"new": "new", "unchanged": "unchanged", "different": "other content is there"}
_DONE = {"new": "written", "unchanged": "unchanged", "different": "replaced"}


def _plan_row(plan: Plan, words: dict[str, str]) -> tuple[str, ...]:
    metrics = plan.manifest.metrics
    return (
        plan.info.path.name,
        words[plan.state],
        f"{plan.info.size:,}",
        f"{metrics.accuracy:.4f}",
        f"{metrics.reject_rate:.2%}",
        "no" if plan.manifest.audit is None else "yes",
        plan.info.sha256[:12],
    )


def _plan_value(plan: Plan, words: dict[str, str]) -> dict[str, Any]:
    return {
        "device": plan.manifest.device,
        "release": plan.manifest.release,
        "state": words[plan.state],
        "path": str(plan.info.path),
        "sha256": plan.info.sha256,
        "bytes": plan.info.size,
    }


def _sealed_row(row: Packaged) -> tuple[str, ...]:
    sealed = row.sealed_to or "NOBODY: unsealed"
    transfer = "not audited" if row.transfer is None else f"{row.transfer:.3f}"
    size, sha256 = f"{row.size:,}", row.sha256[:12]
    return row.path.name, size, str(row.counter), sealed, transfer, sha256


def _expected(result: Verification, device: str | None, release: str | None) -> Verification:
    """Add the answer to "is this mine, and this one?"."""
    from fleet.bundle import CheckLine

    named = result.manifest or result.envelope
    if named is None:
        return result
    lines = [
        CheckLine(
            name, found == wanted, f"{found}" if found == wanted else f"{found}, not {wanted}"
        )
        for name, found, wanted in (
            ("this device", named.device, device),
            ("this release", named.release, release),
        )
        if wanted is not None
    ]
    if all(line.ok for line in lines):
        return replace(result, checks=(*result.checks, *lines))
    return replace(result, checks=(*result.checks, *lines), manifest=None, envelope=None)


def _verification(result: Verification) -> Iterable[str]:
    state = "verified" if result.opened else "sealed, not opened"
    yield f"{result.path}: {state if result.ok else 'NOT VERIFIED'}"
    for check in result.checks:
        yield f"  {'ok' if check.ok else 'FAILED':<6}  {check.name:<15}  {check.detail}"
    for note in result.notes:
        yield f"  note    {note}"


def _verification_value(result: Verification) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "ok": result.ok,
        "opened": result.opened,
        "signed": False,
        "checks": [vars(check) for check in result.checks],
        "notes": list(result.notes),
    }
