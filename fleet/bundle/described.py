"""Describe a trained device: from the files of its run to its manifest."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

from fleet.bundle.audited import summarise_audit
from fleet.bundle.manifest import TIME_FORMAT, Manifest
from fleet.bundle.sections import Metrics, ModelSection, Payload, Preprocessing, Provenance
from fleet.errors import BundleError, CheckpointError
from fleet.files import read_json
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory


def describe_device(
    run: RunDirectory, spec: FamilySpec, device: DeviceSpec, release: str, model: bytes
) -> Manifest:
    """Make the manifest of one finished device.

    Args:
        run: The device's run.
        spec: Its family.
        device: The device.
        release: Release name.
        model: The device's weights, a whole safetensors file.

    Raises:
        CheckpointError: The run's files are incomplete or do not belong to each other.
        BundleError: ``SOURCE_DATE_EPOCH`` is set to something else than seconds.
    """
    result, dataset = read_json(run.result(device.name)), read_json(run.dataset)
    payload = Payload(hashlib.sha256(model).hexdigest(), len(model))
    images = spec.data
    try:
        _check_result(run, device.name, result, payload)
        test = result["test"]
        return Manifest(
            device=device.name,
            release=release,
            created=_created(),
            task=device.task,
            encoding=device.encoding,
            model=ModelSection(
                **vars(device.model),
                num_classes=images.num_classes,
                input_shape=(images.channels, images.image_size, images.image_size),
            ),
            preprocessing=Preprocessing(
                channels=images.channels,
                image_size=images.image_size,
                fit=dataset["fit"],
                mean=tuple(float(value) for value in dataset["mean"]),
                std=tuple(float(value) for value in dataset["std"]),
            ),
            class_names=tuple(dataset["class_names"]),
            payload=payload,
            metrics=Metrics(
                "test", test["n"], test["correct"] / test["n"], test["rejected"] / test["n"]
            ),
            audit=summarise_audit(
                run.audit("transfer") / "audit.json", device.name, payload.sha256
            ),
            provenance=Provenance(
                dataset=dataset["dataset"],
                dataset_sha256=dataset["sha256"],
                profile_digest=result["profile_digest"],
                seed=device.training.seed,
                fleet_version=result["fleet_version"],
                torch_version=result["torch_version"],
            ),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"the results of {device.name!r} in {run.name} are incomplete: "
            f"{type(error).__name__}: {error}",
            hint="train the device again with `fleet train --resume never`",
        ) from error


def _check_result(run: RunDirectory, device: str, result: dict[str, Any], payload: Payload) -> None:
    """The result must be about this device and these weights."""
    expected = {
        "device": device,
        "weights_sha256": payload.sha256,
        "weights_bytes": payload.length,
    }
    for key, value in expected.items():
        if result[key] != value:
            raise CheckpointError(
                f"{run.result(device)} does not belong to {run.model(device).name} beside it: "
                f"{key} is {result[key]!r}, and the file says {value!r}",
                hint="one of the two was changed; train the device again",
            )


def _created() -> str | None:
    """The time that reproducible-builds.org's variable names; a clock would change the bytes."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return None
    if epoch.isascii() and epoch.isdigit() and len(epoch) <= 11:
        return datetime.fromtimestamp(int(epoch), UTC).strftime(TIME_FORMAT)
    raise BundleError(
        f"SOURCE_DATE_EPOCH is {epoch!r}", hint="set it to whole seconds since 1970, or unset it"
    )
