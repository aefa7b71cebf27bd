"""Package a run for a depot: one bundle of format 2 for each device, sealed to its key."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.bundle import Bundle, Manifest, pack_second
from fleet.bundle.described import summarise_certificate
from fleet.bundle.package import plan_run
from fleet.errors import BundleError, RolloutError
from fleet.files import canonical_json, write_bytes, write_json, write_text
from fleet.profiles.spec import read_family
from fleet.rollout.depot import Depot
from fleet.rollout.operations import read_release
from fleet.rundir import RunDirectory

TEST_IMAGES = 16
"""Images of the self-test; they come from the validation split."""


@dataclass(frozen=True)
class Packaged:
    """One bundle that was written.

    Attributes:
        device: Device name.
        path: The file.
        counter: Its counter.
        size: Bytes.
        sha256: Digest of the whole file.
        sealed_to: Opaque name of the device, or None if it is not sealed.
        transfer: Largest audited transfer rate, or None where there is no audit.
        audit: What the audit says, in one line.
        certificate: What is certified, in one line.
    """

    device: str
    path: Path
    counter: int
    size: int
    sha256: str
    sealed_to: str | None
    transfer: float | None
    audit: str
    certificate: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "path": str(self.path), "file": self.path.name}


def package_for_depot(
    run: RunDirectory,
    release: str,
    out: Path,
    depot: Depot,
    *,
    devices: Sequence[str] | None = None,
    sealed: bool = True,
    edge: bool = True,
    counter: int | None = None,
    floor: int = 0,
    allow_unaudited: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> list[Packaged]:
    """Write one bundle for each device, and ``release.json`` and ``SHA256SUMS`` beside them.

    Everything is checked before the first file is written.

    Args:
        run: A run whose devices are finished.
        release: Release name.
        out: Directory to write to.
        depot: Where the devices are enrolled.
        devices: Names, or None for all of the profile.
        sealed: False for laboratories: whoever has the file can read encoding and weights.
        edge: Export the graph that a device without torch runs.
        counter: Number of the release; one above the highest in the depot by default.
        floor: Lowest counter that a device may go back to after this release.
        allow_unaudited: Package without an audit; the manifest says so.
        force: Replace bundles of this release that are there.
        dry_run: Do everything, and write nothing.

    Raises:
        RolloutError: A device is not enrolled, its audit is missing, or two
            devices have the same weights.
        BundleError: A bundle of this release is there: sealing gives other bytes each time.
        BundleError, CheckpointError: As :func:`fleet.bundle.package.plan_run`.
        BackendError: The graph cannot be exported on this machine.
    """
    plans = plan_run(run, release, out, devices)
    manifests = [plan.manifest for plan in plans]
    if not force:
        _check_absent([plan.info.path for plan in plans])
    _check_twins(manifests)
    if not allow_unaudited:
        for manifest in manifests:
            _check_audit(manifest)
    recipients = {m.device: _recipient(depot, m.device) if sealed else None for m in manifests}
    number = counter if counter is not None else _next_counter(depot)
    bundles = [Bundle(plan.manifest, plan.weights.read_bytes()) for plan in plans]
    certificates = {m.device: _certificate(run, m) for m in manifests}
    tests = _self_tests(run, bundles)
    graphs = _graphs(bundles) if edge else {}  # takes seconds: after all that may be missing
    written = []
    for bundle in bundles:
        manifest = bundle.manifest
        data = pack_second(
            manifest,
            bundle.model,
            counter=number,
            floor=floor,
            card=model_card(manifest).encode("utf-8"),
            graph=graphs.get(_shape(manifest), b""),
            self_test=tests[manifest.device],
            recipient=recipients[manifest.device],
            allowed_unaudited=allow_unaudited,
            certificate=certificates[manifest.device],
        )
        path = out / manifest.file_name
        if not dry_run:
            write_bytes(path, data)
        recipient = recipients[manifest.device]
        written.append(
            Packaged(
                manifest.device,
                path,
                number,
                len(data),
                hashlib.sha256(data).hexdigest(),
                None if recipient is None else recipient[0],
                transfer_of(manifest),
                _audit_line(manifest),
                _certificate_line(certificates[manifest.device]),
            )
        )
    if not dry_run:
        _write_lists(out, release, written)
    return written


def transfer_of(manifest: Manifest) -> float | None:
    """Largest audited transfer rate of a device, or None where there is no audit."""
    rows = manifest.audit.rows if manifest.audit is not None else ()
    return max((row.transfer_evade for row in rows), default=None)


def model_card(manifest: Manifest) -> str:
    """Describe a model in public, in Markdown; it holds nothing that differs between devices."""
    model, provenance = manifest.model, manifest.provenance
    size = "x".join(map(str, model.input_shape))
    return "\n".join(
        [
            f"# Image classifier, release {manifest.release}",
            "",
            f"One number for each image; a class is an interval of it, and everything between the "
            f"intervals is None (task `{manifest.task}`).",
            "",
            "| | |",
            "|---|---|",
            f"| network | `{model.architecture}`, head `{model.head}`, input {size} |",
            f"| classes | {', '.join(manifest.class_names)} |",
            f"| data | {provenance.dataset}, SHA-256 {provenance.dataset_sha256} |",
            f"| made with | fleet {provenance.fleet_version}, torch {provenance.torch_version} |",
            "",
            "Each device has its own weights and its own intervals, sealed to its own key. "
            "Accuracy, audit and certificate of each stand in its manifest.",
            "",
        ]
    )


def _check_absent(paths: Sequence[Path]) -> None:
    present = [path.name for path in paths if path.exists()]
    if present:
        raise BundleError(
            f"this release is packaged already: {', '.join(present)} in {paths[0].parent}",
            hint="publish it, give the new one another --release, or replace it with --force",
        )


def _check_twins(manifests: Sequence[Manifest]) -> None:
    """Two devices with one set of weights are one device with two names."""
    seen: dict[str, str] = {}
    for manifest in manifests:
        if (twin := seen.setdefault(manifest.payload.sha256, manifest.device)) != manifest.device:
            raise RolloutError(
                f"{manifest.device} and {twin} have the same weights: whoever breaks one has both",
                hint="give each device its own seed or order, and train again",
            )


def _check_audit(manifest: Manifest) -> None:
    if manifest.audit is None:
        raise RolloutError(
            f"{manifest.device} has no transfer audit of these weights",
            hint="`fleet audit transfer` first, or --allow-unaudited, which the manifest records",
        )


def _certificate(run: RunDirectory, manifest: Manifest) -> dict[str, Any] | None:
    path = run.audit_file("certify")
    return summarise_certificate(path, manifest.device, manifest.payload.sha256)


def _audit_line(manifest: Manifest) -> str:
    rows = manifest.audit.rows if manifest.audit is not None else ()
    said = [f"{r.transfer_evade:.3f} at eps {r.eps:.4g} (n {r.n})" for r in rows]
    return f"transfer {', '.join(said)}" if said else "not audited"


def _certificate_line(certificate: dict[str, Any] | None) -> str:
    rows = certificate["rows"] if certificate is not None else ()
    said = [f"{r['stay']:.3f} at eps {r['eps']:.4g} (n {r['n']})" for r in rows]
    return f"certified {', '.join(said)}" if said else "not certified"


def _recipient(depot: Depot, name: str) -> tuple[str, bytes]:
    enrolment = depot.enrolled().get(name)
    if enrolment is None or enrolment.revoked:
        raise RolloutError(
            f"{name} is {'not enrolled' if enrolment is None else 'revoked'} in {depot.root}",
            hint="`fleet device init` on the device, then `fleet enroll device.json` here",
        )
    return enrolment.id, enrolment.seal_key


def _next_counter(depot: Depot) -> int:
    releases = [path.stem for path in (depot.root / "releases").glob("*.json")]
    counters = [e.assignment.counter for r in releases for e in read_release(depot, r).values()]
    return max(counters, default=0) + 1


def _shape(manifest: Manifest) -> str:
    """What a graph depends on: the same for all devices with one network."""
    return canonical_json([manifest.task, manifest.model.to_dict()])


def _graphs(bundles: Sequence[Bundle]) -> dict[str, bytes]:
    from fleet.runtime.export import export_graph  # noqa: PLC0415  # torch

    found: dict[str, bytes] = {}
    for bundle in bundles:
        key = _shape(bundle.manifest)
        if key not in found:
            found[key] = export_graph(bundle)
    return found


def _self_tests(run: RunDirectory, bundles: Sequence[Bundle]) -> dict[str, bytes]:
    from fleet.runtime.export import self_test, test_images  # noqa: PLC0415  # torch

    images = test_images(read_family(run).data, TEST_IMAGES)
    return {b.manifest.device: self_test(b, images) if len(images) else b"" for b in bundles}


def _write_lists(out: Path, release: str, written: Sequence[Packaged]) -> None:
    write_json(
        out / "release.json",
        {"release": release, "bundles": [entry.to_dict() for entry in written]},
    )
    lines = [f"{entry.sha256}  {entry.path.name}\n" for entry in written]
    write_text(out / "SHA256SUMS", "".join(lines))
