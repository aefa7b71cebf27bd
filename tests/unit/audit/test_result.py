"""``audit.json`` and its values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.audit.core.result import AuditedDevice, Matrix, Outcome, wilson_interval
from fleet.audit.transfer.result import SCHEMA, TransferAudit
from fleet.errors import AuditError


def audit(maker: Any) -> TransferAudit:
    evidence = maker.build()
    return TransferAudit(
        "r", "now", evidence.devices, evidence.eps, (), {}, {}, evidence.noise, evidence.matrices
    )


def test_wilson_interval_by_hand() -> None:
    """Wilson 1927, 8 of 10: centre (0.8 + z^2/20) / (1 + z^2/10)."""
    low, high = wilson_interval(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson_interval(3, 2)


def test_rates_and_intervals_of_an_outcome() -> None:
    outcome = Outcome(n=10, flip=5, reject=3)
    assert outcome.evade == 8
    assert outcome.rate("evade") == 0.8
    assert outcome.rate("flip") == 0.5
    assert outcome.interval("evade") == wilson_interval(8, 10)
    assert Outcome(0, 0, 0).rate("flip") is None
    assert Outcome(0, 0, 0).interval("flip") == (0.0, 1.0)


def test_clean_figures_of_a_device() -> None:
    device = AuditedDevice("a", "int", "nn", "linear", None, "", images=50, correct=40, rejected=5)
    assert (device.clean_accuracy, device.clean_reject_rate) == (0.8, 0.1)


def test_look_ups_say_what_is_missing(maker: Any) -> None:
    result = audit(maker)
    assert result.matrix("paper", 0.2, "pgd").cell("a", "b").victim == "b"
    assert result.noise_floor("b", 0.1).eps == 0.1
    with pytest.raises(KeyError):
        result.matrix("paper", 0.3)
    with pytest.raises(KeyError):
        result.noise_floor("c", 0.1)
    with pytest.raises(KeyError):
        Matrix("paper", "pgd", 0.1, ()).cell("a", "b")


def test_an_audit_survives_json(maker: Any, tmp_path: Path) -> None:
    result = audit(maker)
    path = tmp_path / "deep" / "audit.json"
    result.save(path)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert TransferAudit.load(path) == result


def spoil_cell(plain: dict[str, Any]) -> None:
    worst = [m for m in plain["matrices"] if m["attack"] == "worst"]
    del worst[0]["cells"][0]


def spoil_count(plain: dict[str, Any]) -> None:
    plain["matrices"][0]["cells"][0]["outcome"]["flip"] = 101


def spoil_name(plain: dict[str, Any]) -> None:
    plain["devices"][1]["name"] = plain["devices"][0]["name"]


def spoil_encoding(plain: dict[str, Any]) -> None:
    plain["devices"][0]["encoding"] = {"alpha": -1}


def spoil_unknown(plain: dict[str, Any]) -> None:
    plain["matrices"][0]["cells"][0]["outcome"]["more"] = 1


def spoil_clean(plain: dict[str, Any]) -> None:
    plain["devices"][0]["correct"] = 101


@pytest.mark.parametrize(
    "spoil", [spoil_cell, spoil_count, spoil_name, spoil_encoding, spoil_clean, spoil_unknown]
)
def test_an_audit_that_contradicts_itself_is_refused(
    maker: Any, spoil: Callable[[dict[str, Any]], None]
) -> None:
    plain = json.loads(json.dumps(audit(maker).to_dict()))
    TransferAudit.from_dict(plain)
    spoil(plain)
    with pytest.raises(AuditError, match="incomplete or contradicts itself"):
        TransferAudit.from_dict(plain)


def test_other_files_are_refused_with_a_hint(maker: Any, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    plain = audit(maker).to_dict()
    incomplete = {key: value for key, value in plain.items() if key != "noise"}
    for content, message in (
        ("not json", "cannot read"),
        ("[]", "is not an audit"),
        (json.dumps({**plain, "schema": "fleet.audit.transfer/0"}), "audit schema is"),
        (json.dumps(incomplete), "incomplete"),
    ):
        path.write_text(content)
        with pytest.raises(AuditError, match=message) as caught:
            TransferAudit.load(path)
        assert caught.value.hint
    with pytest.raises(AuditError, match="cannot read"):
        TransferAudit.load(tmp_path / "absent.json")
