"""Random numbers that belong to a sample, not to a batch."""

import torch

from fleet.attacks import SampleKeys
from fleet.seeding import derive_seed

SHAPE = torch.Size((3, 5, 5))


def keys(indices: list[int], seed: int = 0, device: str = "a") -> SampleKeys:
    return SampleKeys(seed, device, torch.tensor(indices))


def splitmix(z: int) -> int:
    mask = 2**64 - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_numbers_follow_the_published_finaliser() -> None:
    golden = 0x9E3779B97F4A7C15
    stream = derive_seed(5, "a", "start", 2)
    sample = splitmix((7 * golden + stream) % 2**64)
    wanted = [splitmix((sample + pixel * golden) % 2**64) & 0xFFFFFF for pixel in range(1, 76)]
    drawn = keys([7], seed=5).uniform(SHAPE, "start", 2).flatten() * 2**24
    assert drawn.long().tolist() == wanted


def test_a_sample_has_the_same_numbers_in_every_batch() -> None:
    whole = keys([3, 1, 8, 1000000007]).uniform(SHAPE, "start", 0)
    parts = [keys([3]), keys([1, 8]), keys([1000000007])]
    assert torch.equal(whole, torch.cat([part.uniform(SHAPE, "start", 0) for part in parts]))


def test_another_seed_device_index_or_purpose_gives_other_numbers() -> None:
    base = keys([3]).uniform(SHAPE, "start", 0)
    others = [
        keys([3], seed=1).uniform(SHAPE, "start", 0),
        keys([3], device="b").uniform(SHAPE, "start", 0),
        keys([4]).uniform(SHAPE, "start", 0),
        keys([3]).uniform(SHAPE, "start", 1),
        keys([3]).uniform(SHAPE, "noise", 0),
    ]
    for other in others:
        assert (base == other).float().mean() < 0.1
        assert abs(torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]) < 0.4


def test_numbers_look_uniform_and_signs_fair() -> None:
    many = keys(list(range(2000)))
    uniform = many.uniform(SHAPE, "u")
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 1 / 2) < 0.003
    assert abs(uniform.var() - 1 / 12) < 0.002
    signs = many.signs(SHAPE, "s")
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.01


def test_normal_draws_have_mean_0_and_deviation_1_and_are_finite() -> None:
    draws = SampleKeys(0, "a", torch.arange(200)).normal(torch.Size((100,)), "x")
    assert draws.isfinite().all()
    assert abs(draws.mean()) < 0.03
    assert abs(draws.std() - 1) < 0.03
    assert torch.equal(
        SampleKeys(0, "a", torch.tensor([7])).normal(draws.shape[1:], "x"), draws[7:8]
    )
