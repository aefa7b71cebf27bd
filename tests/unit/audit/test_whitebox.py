"""The white-box audit: exact on linear devices, and a result that cannot contradict itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fleet.audit.core.checks import flag
from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.core.result import Outcome
from fleet.audit.transfer.audit import audit_transfer
from fleet.audit.whitebox.audit import audit_whitebox
from fleet.audit.whitebox.result import (
    SCHEMA,
    Margins,
    MinimumDistance,
    WhiteboxAudit,
)
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.reports.flags import verdict

Make = Callable[..., Member]
W, B = [1.0, 1.0, 1.0, 1.0], -487.0  # output 25 at level 128, the middle of slot 1 = [20, 30]
LEVELS = (1, 3, 5, 9)  # inside, in the gap, flipped, beyond the last gap


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.full((count, 1, 2, 2), 128, dtype=torch.uint8), torch.ones(count).long()


def audit(*members: Member, **values: object) -> WhiteboxAudit:
    eps = tuple(level / 255 for level in LEVELS)
    settings = TransferSettings(**{"eps": eps, "steps": 4, "restarts": 1, **values})
    return audit_whitebox(members, *images(), settings)


@pytest.fixture(scope="module")
def found(linear: Make) -> WhiteboxAudit:
    return audit(linear("a", W, B))


def test_up_gives_the_exact_outcome_under_both_decode_rules(found: WhiteboxAudit) -> None:
    """L levels move o by 4 L: strict sees a gap where floor sees the class below it."""
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    for level, eps in zip(LEVELS, found.eps, strict=True):
        figure = found.figure("a", "adaptive", eps, "up")
        for outcome, mode in ((figure.outcome, "strict"), (figure.floor, "floor")):
            label = encoding.decode(25 + 4 * level, mode)
            wanted = Outcome(4, 0, 4) if label is None else Outcome(4, 4 * (label != 1), 0)
            assert outcome == wanted, (level, mode)


def test_it_is_the_diagonal_of_the_transfer_audit(linear: Make) -> None:
    members = [linear("a", W, B), linear("b", [2.0, 1.0, 1.0, 1.0], -615.0)]
    settings = TransferSettings(eps=(2 / 255, 5 / 255), steps=4, restarts=1)
    matrix = audit_transfer(members, *images(), settings)
    white = audit_whitebox(members, *images(), settings)
    assert white.devices == matrix.devices
    assert white.noise == matrix.noise
    for figure in white.figures:
        cells = matrix.matrix(figure.protocol, figure.eps, figure.attack)
        assert cells.cell(figure.device, figure.device).outcome == figure.outcome
    about_pairs = {"M8"}
    assert [c for c in matrix.checks if c.id not in about_pairs | {"M16"}] == [
        c for c in white.checks if c.id not in about_pairs | {"M16"}
    ]
    assert about_pairs.isdisjoint(check.id for check in white.checks)


def test_margins_and_minimum_distances_are_those_of_the_linear_device(
    found: WhiteboxAudit,
) -> None:
    """5 from the edge: 5 / ||w||_1 in Linf, 5 / ||w||_2 in l2, 5 / ||w||_inf in l1; in levels."""
    (margins,) = found.margins
    assert margins.norm == "linf"
    assert margins.values == pytest.approx([1.25 / 255] * 4, abs=1e-6)
    nearest = {distance.attack: distance for distance in found.distances}
    assert set(nearest) == {"cw-l2", "ead-l1", "deepfool-l2", "deepfool-linf"}
    for distance in nearest.values():
        assert (distance.n, distance.found) == (4, 4)
    # On the 8-bit grid 6 levels of sum get past the edge: (2, 2, 1, 1), and 2 in the largest.
    for attack, levels in (("deepfool-linf", 2), ("ead-l1", 6), ("deepfool-l2", 10**0.5)):
        assert nearest[attack].quantiles is not None
        low, _, high = nearest[attack].quantiles
        assert levels - 1e-3 <= 255 * low <= 255 * high <= 1.35 * levels, attack


def test_a_brief_audit_leaves_the_costly_minimum_norm_attacks_out(linear: Make) -> None:
    found = audit(linear("a", W, B), brief=True)
    assert [distance.attack for distance in found.distances] == ["deepfool-l2", "deepfool-linf"]
    assert "A brief audit: " in verdict(found)[1]
    assert "brief" not in verdict(audit(linear("a", W, B)))[1]


def test_a_control_has_figures_and_no_rejects(linear: Make, logits: Make) -> None:
    control = replace(logits("c", [[0.0] * 4, [1.0] * 4, [-1.0] * 4]), role="control")
    white = audit(linear("a", W, B), control, eps=(0.1,))
    assert [device.role for device in white.devices] == ["device", "control"]
    figure = white.figure("c", "adaptive", 0.1, "margin")
    assert figure.outcome == figure.floor
    with pytest.raises(KeyError):
        white.figure("a", "adaptive", 0.1, "margin")
    assert white.noise_floor("c", 0.1).outcome.reject == 0
    with pytest.raises(KeyError):
        white.noise_floor("c", 0.2)


class Fragile(nn.Module):
    """Finite at the images, NaN a few levels above them."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1) * 255
        return torch.where(total > 520, torch.nan, total - 487)


def test_nan_under_attack_is_flagged_and_nan_at_the_images_is_an_error(linear: Make) -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    fragile = Member("f", Classifier.from_module(Fragile(), encoding, (1, 2, 2)))
    white = audit(fragile, eps=(0.1,), steps=2)
    assert "M3" in {check.id for check in white.checks if check.verdict == "fail"}
    assert flag(white, "adaptive")
    with pytest.raises(AuditError, match="NaN or infinite outputs for 4 of 4"):
        audit(linear("n", [float("nan"), 1.0, 1.0, 1.0], 0.0), eps=(0.1,))


def test_a_device_that_knows_nothing_has_empty_figures(linear: Make) -> None:
    settings = TransferSettings(eps=(0.1,), steps=1, restarts=1)
    x, _ = images()
    white = audit_whitebox([linear("a", W, B)], x, torch.zeros(4).long(), settings)
    assert white.figure("a", "adaptive", 0.1).outcome == Outcome(0, 0, 0)
    assert white.margins == (Margins("a", "linf", ()),)
    assert {distance.n for distance in white.distances} == {0}


def test_progress_reaches_its_total(linear: Make) -> None:
    seen: list[tuple[int, int, str]] = []
    settings = TransferSettings(eps=(0.1,), steps=1, restarts=1)
    audit_whitebox(
        [linear("a", W, B)], *images(), settings, progress=lambda *step: seen.append(step)
    )
    assert seen == [(0, 1, "attack a"), (1, 1, "done")]


def test_the_result_survives_its_file(found: WhiteboxAudit, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.json"
    found.save(path)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert json.loads(path.read_text()) == json.loads(json.dumps(found.to_dict()))
    assert WhiteboxAudit.load(path) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: {"devices": ()}, "device names"),
        (lambda f: {"devices": f.devices * 2}, "device names"),
        (lambda f: {"eps": f.eps[::-1]}, "eps are"),
        (lambda f: {"eps": ()}, "eps are"),
        (lambda f: {"figures": f.figures[1:]}, "worst cases"),
        (lambda f: {"figures": (*f.figures, f.figures[0])}, "worst cases"),
        (
            lambda f: {"figures": (replace(f.figures[0], floor=Outcome(3, 0, 0)), *f.figures[1:])},
            "n of worst on a",
        ),
        (lambda f: {"noise": f.noise[1:]}, "noise floors"),
        (
            lambda f: {"noise": (replace(f.noise[0], outcome=Outcome(3, 0, 0)), *f.noise[1:])},
            "noise floor's n",
        ),
        (lambda f: {"margins": ()}, "margins"),
        (lambda f: {"distances": (replace(f.distances[0], device="b"),)}, "unknown devices"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    found: WhiteboxAudit, change: Callable[[WhiteboxAudit], dict], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        replace(found, **change(found))


@pytest.mark.parametrize(
    "values",
    [(2, 3, (0.1, 0.2, 0.3)), (2, 1, None), (2, 0, (0.1, 0.2, 0.3)), (2, 1, (0.3, 0.2, 0.1))],
)
def test_distances_that_contradict_themselves_are_refused(values: tuple) -> None:
    with pytest.raises(ValueError, match=r"found|ascend"):
        MinimumDistance("a", "cw-l2", "l2", *values)


@pytest.mark.parametrize("values", [(0.2, 0.1), (-0.1, 0.2)])
def test_margins_ascend_from_0(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="do not ascend"):
        Margins("a", "linf", values)
