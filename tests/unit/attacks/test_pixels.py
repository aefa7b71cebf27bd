"""The eps ball on the 8-bit grid."""

import math

import pytest
import torch

from fleet.accelerator import halving
from fleet.attacks import exact_eps, radius, reproject, to_bytes
from fleet.attacks.pixels import at_once
from fleet.errors import AuditError, FleetWarning


@pytest.mark.parametrize(
    ("eps", "levels"),
    [(8 / 255, 8), (4 / 255, 4), (1 / 255, 1), (0.1, 25), (0.3, 76), (0.01, 2), (1.0, 255)],
)
def test_radius_counts_the_whole_levels_inside_eps(eps: float, levels: int) -> None:
    assert radius(eps) == levels
    assert exact_eps(eps) == levels / 255


def test_every_fraction_of_255_is_exactly_its_numerator() -> None:
    assert [radius(levels / 255) for levels in range(1, 256)] == list(range(1, 256))


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.0001, 8.0, math.nan, math.inf])
def test_eps_outside_its_range_is_refused(eps: float) -> None:
    with pytest.raises(AuditError, match=r"not in \(0, 1\]") as caught:
        radius(eps)
    assert caught.value.hint is not None


def test_an_eps_below_one_level_is_refused_because_no_8_bit_image_is_that_near() -> None:
    with pytest.raises(AuditError, match="less than one level"):
        radius(0.0039)


def test_to_bytes_rounds_to_the_nearest_level_and_half_to_even() -> None:
    levels = torch.tensor([0.0, 0.4, 0.5, 0.6, 1.5, 2.5, 254.5, 255.0], dtype=torch.float64)
    assert to_bytes(levels / 255).tolist() == [0, 0, 0, 1, 2, 2, 254, 255]


def test_to_bytes_inverts_division_by_255() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(levels.float() / 255), levels)


def test_reproject_moves_only_pixels_that_are_too_far() -> None:
    clean = torch.tensor([0, 10, 100, 250], dtype=torch.uint8)
    moved = torch.tensor([9, 0, 101, 255], dtype=torch.uint8)
    assert reproject(moved, clean, 3).tolist() == [3, 7, 101, 253]


def test_the_exact_l2_radius_is_a_length_on_the_grid() -> None:
    assert exact_eps(1 / 255, "l2") == 1 / 255
    assert exact_eps(1.5 / 255, "l2") == math.sqrt(2) / 255
    assert exact_eps(exact_eps(2.34, "l2"), "l2") == exact_eps(2.34, "l2")
    with pytest.raises(AuditError, match="less than one level"):
        exact_eps(0.0039, "l2")


def test_work_that_runs_out_of_memory_is_halved_down_to_four_rows() -> None:
    tried: list[int] = []

    def work(rows: torch.Tensor) -> list[int]:
        tried.append(len(rows))
        if len(rows) > 4:
            raise MemoryError
        found: list[int] = rows.tolist()
        return found

    with pytest.warns(FleetWarning, match="8 images at once need more memory than there is"):
        assert halving(work, torch.arange(8)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert tried == [8, 4, 4]
    with pytest.raises(MemoryError):
        halving(work, torch.arange(7))
    assert tried == [8, 4, 4, 7]


def test_another_error_is_not_tried_again() -> None:
    tried: list[int] = []

    def work(rows: torch.Tensor) -> None:
        tried.append(len(rows))
        raise ValueError("no memory's fault")

    with pytest.raises(ValueError, match="no memory's fault"):
        halving(work, torch.arange(16))
    assert tried == [16]


@pytest.mark.parametrize(
    ("asked", "side", "batch"), [(500, 64, 128), (100, 64, 100), (500, 224, 10), (500, 1000, 4)]
)
def test_a_batch_holds_fewer_of_larger_images(asked: int, side: int, batch: int) -> None:
    assert at_once(asked, torch.empty(2, 3, side, side, device="meta")) == batch
