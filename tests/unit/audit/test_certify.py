"""Certificates of devices whose margins are known on paper, and what is counted of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fleet.audit.certify.audit import CertifySettings, audit_certify
from fleet.audit.certify.result import CertifyAudit
from fleet.audit.core.gates import Demand, judge, refusals
from fleet.audit.core.members import Member
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead
from fleet.reports import AuditReport
from fleet.reports.html import render_html
from fleet.reports.views import audit_view, summary_lines

SHAPE = (1, 2, 2)
LEVELS = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()


def threshold(name: str, at: float, pixel: int = 0) -> Member:
    """Class 1 where a pixel is above a level; the values' lead is the distance, in levels."""
    encoding = IntervalEncoding(2, alpha=2.0, beta=18.0)
    head = SoftmaxHead(4, encoding)
    head.linear.weight.data.zero_()
    head.linear.weight.data[1, pixel] = 255.0
    head.linear.bias.data = torch.tensor([0.0, -at])
    classifier = Classifier(
        backbone=nn.Flatten(), head=head, task="int", head_name="softmax", encoding=encoding,
        num_classes=2, input_shape=SHAPE, mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    return Member(name, classifier)


@pytest.fixture(scope="module")
def audit() -> CertifyAudit:
    members = [threshold("a", 99.5), threshold("b", 119.5)]
    labels = (torch.arange(256) > 109).long()
    return audit_certify(members, LEVELS, labels, CertifySettings(eps=(10 / 255, 0.2)))


def test_shares_are_those_of_paper_and_pencil(audit: CertifyAudit) -> None:
    """Level k is class 1 from 110 on. Device a answers 1 from 100 on, b from 120 on."""
    a, b = audit.of("a", 10 / 255), audit.of("b", 10 / 255)
    # a: right on 0..99 and 110..255; 10 levels away on 0..89 and 110..255, gate 0.2 included.
    assert (a.n, a.correct, a.stays, a.never_wrong) == (256, 246, 236, 236)
    assert (b.correct, b.stays) == (246, 110 + 126)
    wide = audit.of("a", 0.2)  # 51 levels: 0..48 and 151..255
    assert wide.stays == 49 + 105
    assert wide.blast_radius == pytest.approx((246 - 154) / 246)
    assert wide.blast_interval[0] < wide.blast_radius < wide.blast_interval[1]
    assert audit.worst(0.2) == wide or audit.worst(0.2) == audit.of("b", 0.2)


def test_no_perturbation_fools_both_where_one_is_certified(audit: CertifyAudit) -> None:
    (pair,) = audit.apart(10 / 255)
    # a is certified on 0..89 and 110..255, b on 0..109 and 130..255: on all images one of them.
    assert (pair.devices, pair.n, pair.apart) == (("a", "b"), 256, 256)
    assert audit.at(10 / 255).images == (90 + 126, 40, 0)
    assert audit.at(10 / 255).share_at_most(1) == 1.0
    assert audit.at(0.2).share_at_most(1) < 1.0


def test_radii_are_found_by_bisection(audit: CertifyAudit) -> None:
    found = {radii.device: radii for radii in audit.radii}
    # The middle image of device a is some 64 levels from its threshold.
    assert found["a"].n == 256
    assert found["a"].quantiles[1] == pytest.approx(64 / 255, abs=0.05)
    assert found["a"].quantiles[2] <= 0.4


def test_smoothing_adds_l2_radii_and_changes_nothing_else(tmp_path: Path) -> None:
    images, labels = LEVELS[::16], (torch.arange(0, 256, 16) >= 100).long()
    settings = CertifySettings(eps=(0.05,), radii=12, smooth=0.05, draws=200)
    found = audit_certify([threshold("a", 100)], images, labels, settings)
    plain = audit_certify([threshold("a", 100)], images, labels, CertifySettings((0.05,), radii=12))
    (row,) = found.smoothed
    assert (plain.smoothed, plain.proven, plain.radii) == ((), found.proven, found.radii)
    # One pixel decides, so L2 is its distance; 200 draws prove 1.8 standard deviations at most.
    assert row.n == 12
    assert 8 <= row.proven <= 12
    assert 0.075 < row.quantiles[2] < 0.095
    page = render_html(AuditReport.of(found))
    assert "Median smoothing" in page
    assert "Median smoothing" not in render_html(AuditReport.of(plain))
    found.save(tmp_path / "audit.json")
    assert CertifyAudit.load(tmp_path / "audit.json") == found


def test_smoothing_without_an_image_to_work_on_is_refused() -> None:
    with pytest.raises(AuditError, match="no image to work on"):
        CertifySettings(eps=(0.05,), radii=0, smooth=0.25)


def test_noise_breaks_none_and_the_checks_say_so(audit: CertifyAudit) -> None:
    assert {check.id: check.verdict for check in audit.checks} == dict.fromkeys(
        ("K1", "K2", "K3"), "pass"
    )


def test_an_unsound_bound_is_caught_by_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: bounds of a ball a tenth as large as the one that is claimed."""
    from fleet.audit.certify import audit as module

    honest = module.certificates
    monkeypatch.setattr(module, "certificates", lambda c, x, y, eps, **_: honest(c, x, y, eps / 10))
    labels = (torch.arange(256) > 99).long()
    found = audit_certify([threshold("a", 99.5)], LEVELS, labels, CertifySettings(eps=(0.2,)))
    assert {check.id: check.verdict for check in found.checks}["K2"] == "fail"


def test_it_survives_json_and_is_gated_by_the_guarantee(audit: CertifyAudit) -> None:
    again = CertifyAudit.from_dict(audit.to_dict())
    assert again == audit
    damaged = audit.to_dict()
    damaged["proven"] = damaged["proven"][1:]
    with pytest.raises(AuditError, match="proofs"):
        CertifyAudit.from_dict(damaged)
    assert not refusals(judge(audit, Demand({"anyone": 0.5}, masked=True)))
    assert any("0.2" in reason for reason in refusals(judge(audit, Demand({"anyone": 0.1}))))


def test_the_report_leads_with_the_guarantee(audit: CertifyAudit) -> None:
    words = summary_lines(audit)
    assert "guaranteed blast radius 0.041" in words[0]
    assert "no perturbation fools both of two devices on 1.000" in words[0]
    page = render_html(AuditReport.of(audit))
    assert "what no attacker can do" in page
    assert "0.041" in page
    assert audit_view(audit) is not None


def test_a_network_without_bounds_is_open_and_named(
    linear: Callable[..., Member],
) -> None:
    members = [linear("plain", [0.0] * 4, 5.0, 2)]
    labels = torch.zeros(256, dtype=torch.long)
    found = audit_certify(members, LEVELS, labels, CertifySettings(eps=(0.1,)))
    assert (found.of("plain", 0.1).correct, found.of("plain", 0.1).stays) == (256, 0)
    (check,) = (check for check in found.checks if check.id == "K3")
    assert check.verdict == "warn"
    assert "plain" in check.finding


@pytest.mark.parametrize("eps", [(), (0.0,), (1.5,)])
def test_impossible_radii_are_refused(eps: tuple[float, ...]) -> None:
    with pytest.raises(AuditError, match="eps to certify"):
        CertifySettings(eps=eps)
