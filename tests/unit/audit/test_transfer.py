"""The whole audit on linear devices, where the matrix follows from w alone.

The best Linf attack of L levels on ``o = w . k`` adds ``L sign(w)``, so on a victim v the output
moves by exactly ``L * sign(w) . v``: by ``L ||v||_1`` if signs agree, by nothing if orthogonal.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import FLIP, REJECT
from fleet.audit.core.checks import flag
from fleet.audit.core.evidence import VictimScores, count_matrices
from fleet.audit.core.members import Member, Sample
from fleet.audit.core.result import Matrix, Outcome
from fleet.audit.core.scoring import score_sets
from fleet.audit.core.sets import attack_surrogate
from fleet.audit.transfer.audit import TransferSettings, audit_transfer
from fleet.audit.transfer.result import TransferAudit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Member]

# name, w, b: every output is 25 at level 128, the middle of slot 1 = [20, 30].
DEVICES = {
    "a": ([1.0, 1.0, 1.0, 1.0], -487.0),
    "aligned": ([2.0, 1.0, 1.0, 1.0], -615.0),
    "opposite": ([-1.0, -1.0, -1.0, -1.0], 537.0),
    "orthogonal": ([1.0, -1.0, 1.0, -1.0], 25.0),
}


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.full((count, 1, 2, 2), 128, dtype=torch.uint8), torch.ones(count).long()


def audit(linear: Make, *levels: int, devices: dict = DEVICES, **values: object) -> TransferAudit:
    members = [linear(name, w, b) for name, (w, b) in devices.items()]
    values = {"restarts": 1, **values}  # from the image itself: no random start
    settings = TransferSettings(eps=tuple(level / 255 for level in levels), steps=4, **values)
    return audit_transfer(members, *images(), settings)


def matrices(linear: Make, *levels: int) -> dict[tuple[str, int], Matrix]:
    """The worst case and each attack at each level, by attack: an audit without its checks."""
    members = [linear(name, w, b) for name, (w, b) in DEVICES.items()]
    eps = tuple(level / 255 for level in levels)
    settings = TransferSettings(eps, steps=4, restarts=1)
    sample = Sample.of(*images())
    clean = np.zeros(len(sample.labels), dtype=np.int8)
    sets = {member.name: attack_surrogate(member, sample, settings) for member in members}
    scores = [
        VictimScores(
            victim.name,
            clean,
            np.stack([clean] * len(eps)),
            {
                name: score_sets(victim, sample, made.images, settings).outcomes
                for name, made in sets.items()
            },
            0,
            True,
        )
        for victim in members
    ]
    counted = count_matrices(scores, {name: made.attacks for name, made in sets.items()}, eps)
    adaptive = [matrix for matrix in counted if matrix.protocol == "adaptive"]
    return {(matrix.attack, round(matrix.eps * 255)): matrix for matrix in adaptive}


def decoded(o: float) -> int:
    label = IntervalEncoding(3, alpha=10.0, beta=10.0).decode(o)
    return 0 if label == 1 else REJECT if label is None else FLIP


def counted(outcome: Outcome) -> int:
    """All images are equal, so one code says it all."""
    assert (outcome.n, outcome.evade) in {(4, 0), (4, 4)}
    return FLIP if outcome.flip else REJECT if outcome.reject else 0


def test_up_and_down_give_the_exact_matrix(linear: Make) -> None:
    levels = (1, 2, 3, 4, 5, 9)
    found = matrices(linear, *levels)
    for level, (attack, direction) in product(levels, (("up", 1), ("down", -1))):
        for (surrogate, (w, _)), (victim, (v, _)) in product(DEVICES.items(), repeat=2):
            shift = direction * level * float(torch.tensor(w).sign() @ torch.tensor(v))
            outcome = found[attack, level].cell(surrogate, victim).outcome
            assert counted(outcome) == decoded(25 + shift), (attack, level, surrogate, victim)


def evaded(matrix: Matrix, surrogate: str, victim: str) -> tuple[int, int]:
    outcome = matrix.cell(surrogate, victim).outcome
    return outcome.flip, outcome.reject


def test_the_worst_case_is_a_reject_below_the_gap_and_a_flip_beyond_it(linear: Make) -> None:
    """||w||_1 = 4: one level leaves o inside, two end in the gap, four inside the neighbour."""
    wanted_at = {1: (0, 0), 2: (0, 4), 3: (0, 4), 4: (4, 0), 30: (4, 0)}
    found = matrices(linear, *wanted_at)
    for level, wanted in wanted_at.items():
        matrix = found["worst", level]
        assert evaded(matrix, "a", "a") == wanted
        assert evaded(matrix, "opposite", "a") == wanted
        assert evaded(matrix, "orthogonal", "a") == (0, 0)
        assert evaded(matrix, "a", "orthogonal") == (0, 0)


def test_segment_search_turns_every_overshoot_into_a_flip(linear: Make) -> None:
    """At 30 levels UP and DOWN end beyond the line's ends: rejects, with a flip on the way."""
    result = audit(linear, 30, targets="none")
    eps = 30 / 255
    assert evaded(result.matrix("adaptive", eps, "up"), "a", "a") == (0, 4)
    assert evaded(result.matrix("adaptive", eps, "down"), "a", "a") == (0, 4)
    assert evaded(result.matrix("adaptive", eps, "segment"), "a", "a") == (4, 0)


def test_the_papers_protocol_sees_nothing_where_the_adaptive_one_evades_all(
    linear: Make,
) -> None:
    result = audit(linear, 8)
    eps = 8 / 255
    for name in DEVICES:
        assert evaded(result.matrix("paper", eps, "fgsm"), name, name) == (0, 0)
        assert result.matrix("adaptive", eps).cell(name, name).outcome.rate("flip") == 1.0
    verdicts = {(check.id, check.subject): check.verdict for check in result.checks}
    assert verdicts["M1", "paper"] == "fail"
    assert verdicts["M1", "adaptive"] == "pass"
    assert verdicts["M13", "paper"] == "fail"
    assert verdicts["M3", ""] == "pass"
    assert verdicts["M8", "adaptive"] == "pass"
    assert verdicts["M12", ""] == "pass"
    assert flag(result, "paper")
    assert not flag(result, "adaptive")


def test_eps_between_levels_counts_as_the_level_below(linear: Make) -> None:
    members = [linear("a", *DEVICES["a"])]
    settings = TransferSettings(eps=(2.9 / 255,), steps=4)
    result = audit_transfer(members, *images(), settings)
    assert result.settings["levels"] == [2]
    up = result.matrix("adaptive", 2.9 / 255, "up").cell("a", "a").outcome
    assert counted(up) == decoded(25 + 2 * 4)


def test_results_do_not_depend_on_the_batch_size(linear: Make) -> None:
    devices = {name: DEVICES[name] for name in ("a", "aligned")}
    small = audit(linear, 3, 9, devices=devices, batch_size=1).to_dict()
    large = audit(linear, 3, 9, devices=devices, batch_size=250).to_dict()
    for plain in (small, large):
        del plain["created"], plain["settings"]["batch_size"]
    assert small == large


def test_another_seed_changes_the_noise_and_the_random_starts(linear: Make) -> None:
    sets = []
    for seed in (0, 0, 1):
        settings = TransferSettings(eps=(0.2,), steps=1, seed=seed)
        sets.append(attack_surrogate(linear("a", *DEVICES["a"]), Sample.of(*images()), settings))
    pgd = [made.images[0, [name.attack for name in made.attacks].index("pgd")] for made in sets]
    assert torch.equal(pgd[0], pgd[1])
    assert not torch.equal(pgd[0], pgd[2])


def test_two_runs_give_the_same_audit(linear: Make) -> None:
    first, second = audit(linear, 5), audit(linear, 5)
    assert replace(first, created="") == replace(second, created="")


def test_denominators_are_the_victims_correct_images(linear: Make) -> None:
    """b decodes the brighter half wrong, so its column counts the other half."""
    level = torch.tensor([128, 128, 129, 129], dtype=torch.uint8)
    x = level.reshape(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
    members = [linear("a", *DEVICES["a"]), linear("b", [5.0, 5.0, 5.0, 5.0], -2535.0)]
    result = audit_transfer(members, x, torch.ones(4).long(), TransferSettings((0.1,), steps=2))
    a, b = result.devices
    assert (a.correct, a.rejected) == (4, 0)
    assert (b.correct, b.rejected) == (2, 0)
    matrix = result.matrix("adaptive", 0.1)
    assert matrix.cell("a", "a").outcome.n == 4
    assert matrix.cell("a", "b").outcome.n == 2
    assert matrix.cell("b", "a").outcome.n == 4
    assert matrix.cell("b", "a").joint.n == 2


def test_a_control_device_without_rejects_stands_beside_the_scalar_ones(
    linear: Make, logits: Make
) -> None:
    control = logits("control", [[0.0] * 4, [1.0] * 4, [-1.0] * 4])
    members = [linear("a", *DEVICES["a"]), control]
    result = audit_transfer(members, *images(), TransferSettings((0.1,), steps=2))
    assert [device.task for device in result.devices] == ["int", "tra"]
    assert result.devices[1].encoding is None
    assert {cell.surrogate for cell in result.matrix("adaptive", 0.1, "margin").cells} == {
        "control"
    }
    assert len(result.matrix("adaptive", 0.1).cells) == 4
    assert result.matrix("adaptive", 0.1).cell("a", "control").outcome.reject == 0


def test_a_control_device_falls_at_its_exact_margin(logits: Make) -> None:
    """True logit s = sum of levels, the other 3s - 1034: they cross at s = 517, 5 above 512."""

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.flatten(1).sum(1, keepdim=True) * 255
            return torch.cat([3 * total - 1034, total, total - 100, total], dim=1)

    member = logits("c", [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    member.classifier.backbone = Sum()
    member.classifier.head.linear.weight.data = torch.eye(3, 4)
    for level, flips in ((1, 0), (2, 4)):
        settings = TransferSettings((level / 255,), steps=2, precision="fp32")
        result = audit_transfer([member], *images(), settings)
        assert result.matrix("adaptive", level / 255).cell("c", "c").outcome.flip == flips
        assert result.matrix("paper", level / 255).cell("c", "c").outcome.flip == flips


def test_all_slots_as_targets(linear: Make) -> None:
    result = audit(linear, 5, targets="all", noise_draws=1)
    names = {matrix.attack for matrix in result.matrices if matrix.protocol == "adaptive"}
    assert {"worst", "up", "down", "target-0", "target-1", "target-2", "segment"} <= names
    assert "target-lower" not in names
    toward = result.matrix("adaptive", 5 / 255, "target-2").cell("a", "a").outcome
    assert counted(toward) == decoded(25 + 5 * 4)


def test_float_images_are_rounded_to_8_bits_first(linear: Make) -> None:
    x, y = images()
    settings = TransferSettings((0.05,), steps=2)
    members = [linear("a", *DEVICES["a"])]
    exact = audit_transfer(members, x, y, settings)
    floats = audit_transfer(members, x.float() / 255 + 0.001, y, settings)
    assert floats.matrices == exact.matrices


def test_progress_reaches_its_total(linear: Make) -> None:
    seen: list[tuple[int, int, str]] = []
    members = [linear(name, *DEVICES[name]) for name in ("a", "aligned")]
    settings = TransferSettings((0.05,), steps=1)
    audit_transfer(members, *images(), settings, progress=lambda *step: seen.append(step))
    assert seen == [
        (0, 2, "attack a"), (1, 2, "attack aligned"), (2, 2, "done"),
    ]  # fmt: skip


def test_the_result_survives_its_file(linear: Make, tmp_path) -> None:
    result = audit(linear, 4)
    result.save(tmp_path / "audit.json")
    assert TransferAudit.load(tmp_path / "audit.json") == result


def test_no_image_correct_leaves_cells_empty_and_says_so(linear: Make) -> None:
    x, _ = images()
    result = audit_transfer(
        [linear("a", *DEVICES["a"])], x, torch.zeros(4).long(), TransferSettings((0.1,), steps=1)
    )
    outcome = result.matrix("adaptive", 0.1).cell("a", "a").outcome
    assert outcome.n == 0
    assert outcome.rate("evade") is None
    assert "M15" in {check.id for check in result.checks if check.verdict == "warn"}


def test_a_private_encoding_is_kept_out_of_the_result(linear: Make) -> None:
    open_member = linear("a", *DEVICES["a"])
    settings = TransferSettings((0.05,), steps=1)
    shown = audit_transfer([open_member], *images(), settings)
    hidden = audit_transfer([replace(open_member, private=True)], *images(), settings)
    assert shown.devices[0].encoding == open_member.classifier.encoding.to_dict()
    assert hidden.devices[0].encoding is None
    assert hidden.matrices == shown.matrices


class Fragile(nn.Module):
    """Finite at the images, NaN a few levels above them."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1) * 255
        return torch.where(total > 520, torch.nan, total - 487)


def test_nan_under_attack_is_a_reject_and_a_failing_check() -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    member = Member("a", Classifier.from_module(Fragile(), encoding, (1, 2, 2)))
    result = audit_transfer([member], *images(), TransferSettings((0.1,), steps=3, noise_draws=2))
    (check,) = [check for check in result.checks if check.id == "M3"]
    assert check.verdict == "fail"
    assert "a (" in check.finding
    assert flag(result, "adaptive")


def test_nan_without_an_attack_is_an_error(linear: Make) -> None:
    member = linear("a", [float("nan"), 1.0, 1.0, 1.0], 0.0)
    with pytest.raises(AuditError, match="a gives NaN or infinite outputs for 4 of 4"):
        audit_transfer([member], *images(), TransferSettings((0.1,), steps=1))


class Dice(nn.Module):
    """Random in eval mode too, as home-made dropout is."""

    def forward(self, x: Tensor) -> Tensor:
        return 25 + torch.rand(len(x)) + 0 * x.flatten(1).sum(1)


def test_random_outputs_fail_a_check() -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    member = Member("a", Classifier.from_module(Dice(), encoding, (1, 2, 2)))
    result = audit_transfer([member], *images(), TransferSettings((0.1,), steps=1))
    assert "M11" in {check.id for check in result.checks if check.verdict == "fail"}
    assert flag(result, "adaptive")


def test_the_l2_audit_moves_a_linear_device_by_its_length(linear: Make) -> None:
    """The best l2 attack of length L levels moves ``o = w . k`` by L ||w||_2, here 2 L.

    On the 8-bit grid: 4 levels of length are 2 on each of 4 pixels, so o leaves slot 1 (5 away) for
    the gap; 12 are 6 on each, o = 49 is past slot 2 = [40, 50] only with 13.
    """
    device = linear("a", *DEVICES["a"])
    for length, wanted in ((2, 0), (4, REJECT), (9, FLIP)):
        eps = length / 255
        settings = TransferSettings((eps,), steps=8, restarts=1, norm="l2", precision="fp32")
        result = audit_transfer([device], *images(), settings)
        outcome = result.matrix("adaptive", eps, "up").cell("a", "a").outcome
        assert counted(outcome) == wanted == decoded(25 + 2 * length), length
        assert result.settings["norm"] == "l2"
        assert result.settings["levels"] is None
        (check,) = [check for check in result.checks if check.id == "M12"]
        assert check.verdict == "pass"
