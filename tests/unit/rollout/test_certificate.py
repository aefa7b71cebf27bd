"""What is certified goes into the manifest, and a device can ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.audit.certify.result import SCHEMA
from fleet.bundle import pack_second, verify_bundle
from fleet.bundle.described import CERTIFY_SCHEMA, summarise_certificate
from fleet.errors import CheckpointError, RolloutError
from fleet.files import write_json
from fleet.rollout.requirements import parse_requirement
from unit.bundle.bundle_samples import manifest, tiny_model

WEIGHTS = manifest(tiny_model()).payload.sha256


def audit(**changes: Any) -> dict[str, Any]:
    row = {"device": "cam-01", "eps": 0.1, "n": 1000, "correct": 980, "stays": 950}
    return {
        "schema": CERTIFY_SCHEMA,
        "settings": {"split": "test"},
        "devices": [{"name": "cam-01", "weights_sha256": WEIGHTS}],
        "proven": [{**row, "never_wrong": 960}],
        "checks": [{"verdict": "pass"}],
        **changes,
    }


def test_the_quoted_schema_is_that_of_the_certify_audit() -> None:
    assert CERTIFY_SCHEMA == SCHEMA


def test_a_certificate_stands_in_the_public_manifest(tmp_path: Path) -> None:
    path, bundle = tmp_path / "audit.json", tmp_path / "a.fleet"
    write_json(path, audit())
    certificate = summarise_certificate(path, "cam-01", WEIGHTS)
    assert certificate is not None
    (row,) = certificate["rows"]
    assert (row["clean"], row["stay"], row["never_wrong"]) == (0.98, 0.95, 0.96)
    assert row["blast_radius"] == pytest.approx(30 / 980)
    model = tiny_model()
    bundle.write_bytes(pack_second(manifest(model), model, counter=1, certificate=certificate))
    envelope = verify_bundle(bundle).envelope
    assert envelope is not None
    parse_requirement("certified>=0.95@0.1").check(envelope)
    with pytest.raises(RolloutError, match=r"has 0\.9500"):
        parse_requirement("certified>=0.96@0.1").check(envelope)


def test_other_weights_nothing_proven_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    assert summarise_certificate(path, "cam-01", WEIGHTS) is None
    write_json(path, audit())
    assert summarise_certificate(path, "cam-02", WEIGHTS) is None
    with pytest.raises(CheckpointError, match="other weights"):
        summarise_certificate(path, "cam-01", "0" * 64)
    nothing = [{**row, "stays": 0} for row in audit()["proven"]]
    write_json(path, audit(proven=nothing))
    assert summarise_certificate(path, "cam-01", WEIGHTS) is None
    write_json(path, audit(proven=[{"device": "cam-01"}]))
    with pytest.raises(CheckpointError, match="is damaged"):
        summarise_certificate(path, "cam-01", WEIGHTS)
