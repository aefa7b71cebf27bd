"""Training against images made on other networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fleet.assembly import load_images, load_trained
from fleet.data import to_unit
from fleet.errors import CheckpointError, ProfileError
from fleet.execution.jobs import Progress, Serial
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory
from fleet.training import fit
from fleet.training.adversarial import ascend
from fleet.training.cross import Cross, load_pooled
from fleet.training.family import train_family

Family = Callable[..., FamilySpec]
EPS = 0.2


def train(spec: FamilySpec, root: Path) -> RunDirectory:
    return train_family(spec, run=root, executor=Serial()).run


@pytest.fixture(scope="module")
def others(family: Family, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    spec = family("one", "two", head="ordinal", epochs=4)
    return train(spec, tmp_path_factory.mktemp("others") / "pool")


@pytest.fixture
def pool(others: RunDirectory, tmp_path: Path) -> tuple[str, ...]:
    """Networks that a test may overwrite."""
    run = RunDirectory(shutil.copytree(others.root, tmp_path / "pool"))
    return tuple(str(run.model(name)) for name in ("one", "two"))


def crossed(family: Family, pool: tuple[str, ...], **changes: object) -> FamilySpec:
    return family(
        "new", head="ordinal", method="cross", pool=pool, eps=EPS, attack_steps=2, **changes
    )


def test_attacks_of_the_pool_reach_the_device_less_and_those_on_itself_do_not(
    family: Family, pool: tuple[str, ...], tmp_path: Path
) -> None:
    spec = crossed(family, pool, epochs=6, warm_up=0.1, ramp=0.3)
    defended = train(spec, tmp_path / "run")
    plain = train(family("new", head="ordinal", epochs=6), tmp_path / "plain")
    images = load_images(spec.data)
    rows = torch.arange(300)
    x, labels = to_unit(images.test.images(rows)), images.test.labels[rows]
    torch.manual_seed(0)
    made = [ascend(load_pooled(path), x, labels, EPS, step=EPS / 4, steps=10) for path in pool]

    def evaded(run: RunDirectory, moved: torch.Tensor | None = None) -> float:
        device = load_trained(run, spec.devices[0], spec.data)
        with torch.no_grad():
            right = device.decode(device(x)) == labels
        if moved is None:
            moved = ascend(device, x, labels, EPS, step=EPS / 4, steps=10)
        with torch.no_grad():
            fooled = device.decode(device(moved)) != labels
        return float((right & fooled).sum() / right.sum())

    for moved in made:
        assert evaded(defended, moved) < 0.6 * evaded(plain, moved)
    assert evaded(defended) > 2 * max(evaded(defended, moved) for moved in made)


def test_every_network_of_the_pool_is_attacked_and_none_is_trained(
    family: Family, pool: tuple[str, ...]
) -> None:
    spec = crossed(family, pool)
    images = load_images(spec.data)
    work = Cross(spec.devices[0], images, load_pooled(pool[0]))
    work.begin()
    torch.manual_seed(0)
    drawn = [work.attacked() for _ in range(40)]
    assert {id(network) for network in drawn} == {id(network) for network in work.pool}
    assert not {id(network) for network in drawn} & {id(work.classifier)}
    assert all(work.end_epoch(0).keep for _ in range(2))


def test_a_killed_training_goes_on_to_the_same_bits_and_a_changed_pool_is_refused(
    family: Family, pool: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = crossed(family, pool, warm_up=0.0, ramp=0.2)
    unbroken = train(spec, tmp_path / "unbroken")
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)  # after every step
    monkeypatch.setattr(fit, "REPORT_STEPS", 1)
    left = 11

    def stop(_: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_family(spec, run=tmp_path / "run", executor=Serial(on_event=stop))
    model = Path(pool[1])
    kept = model.read_bytes()
    model.write_bytes(Path(pool[0]).read_bytes())
    with pytest.raises(CheckpointError, match="new"):
        train(spec, tmp_path / "run")
    model.write_bytes(kept)
    finished = train(spec, tmp_path / "run")
    assert finished.model("new").read_bytes() == unbroken.model("new").read_bytes()


def test_a_pool_that_cannot_attack_is_refused_before_anything_is_written(
    family: Family, pool: tuple[str, ...], tmp_path: Path
) -> None:
    spec = crossed(family, pool)
    other = replace(spec, data=replace(spec.data, image_size=32))
    with pytest.raises(ProfileError, match=r"image_size 28, this profile has 32"):
        train(other, tmp_path / "run")
    copied = tmp_path / "model.safetensors"
    copied.write_bytes(Path(pool[0]).read_bytes())
    with pytest.raises(CheckpointError, match="is no network of a run"):
        train(crossed(family, (str(copied),)), tmp_path / "run")
    Path(pool[1]).write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="damaged"):
        train(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()
