"""The key of a device is exchanged whole, whatever moment a kill meets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.encoding.orders import reverse, shared_dichotomies, spread_orders
from fleet.errors import CheckpointError
from fleet.files import write_bytes, write_json
from fleet.profiles.control import derive_twin
from fleet.profiles.spec import FamilySpec, read_family
from fleet.rundir import RunDirectory
from fleet.training import rotation as module
from fleet.training.plan import plan_training
from fleet.training.rotation import exchange, next_rotation, read_rotations, rekey

Family = Callable[..., FamilySpec]


@pytest.fixture
def run(family: Family, tmp_path: Path) -> RunDirectory:
    """A run of a and b with orders of their own, both finished."""
    spec, orders = family("a", "b"), spread_orders(10, 2)
    devices = tuple(
        replace(device, encoding=replace(device.encoding, order=order))
        for device, order in zip(spec.devices, orders, strict=True)
    )
    run = RunDirectory(tmp_path / "20260101-000000-tiny")
    write_json(run.profile, replace(spec, devices=devices).to_dict())
    for name in "ab":
        write_json(run.result(name), {"status": "complete"})
        write_bytes(run.model(name), name.encode())
    return run


def test_a_new_key_is_another_seed_and_an_order_that_shares_nothing(run: RunDirectory) -> None:
    a, b = read_family(run).devices
    new = rekey(a, [a], [b])
    assert new.training.seed != a.training.seed
    assert shared_dichotomies(new.encoding.slots, a.encoding.slots) == 0
    assert new.encoding.slots not in {b.encoding.slots, reverse(b.encoding.slots)}
    assert replace(new, training=a.training, encoding=a.encoding) == a
    assert rekey(a, [a], [b]) != new  # nobody who knows the run can draw it again
    assert rekey(a, [a], [b], seed=3) == rekey(a, [a], [b], seed=3)
    assert rekey(a, [a], [b], keep_order=True).encoding == a.encoding


def test_a_rotation_keeps_away_from_the_orders_of_the_others_too(run: RunDirectory) -> None:
    a, b = read_family(run).devices
    away = rekey(a, [a], [b], seed=6)
    assert away != rekey(a, [a], [a], seed=6)
    assert next_rotation(run, "a", seed=6).after == away


class Killed(BaseException):
    """A kill, which nothing catches."""


@pytest.mark.parametrize("moment", range(4))
def test_an_exchange_that_was_killed_goes_on_and_no_weights_are_taken_for_others(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Kill before each step that writes: note, move, profile, note."""
    written, steps = read_family(run), iter(range(9))

    def killed(step: Callable[..., object]) -> Callable[..., object]:
        def carry_out(*arguments: object, **named: object) -> object:
            if next(steps) == moment:
                raise Killed
            return step(*arguments, **named)

        return carry_out

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", killed(module.write_json))
        patch.setattr(Path, "rename", killed(Path.rename))
        rotation = next_rotation(run, "a", seed=1)
        with pytest.raises(Killed):
            exchange(run, rotation)
    if moment:
        assert [found.status for found in read_rotations(run)] == ["begun"]
        with pytest.raises(CheckpointError, match=r"rotation of a in .* was interrupted"):
            plan_training(written, run=run.root)
        if run.model("a").exists():
            assert read_family(run) == written  # old weights under the old key alone
    settled = exchange(run, next_rotation(run, "a", seed=2))
    if moment:
        assert settled.after == rotation.after  # the key that was noted
    assert settled.status == "training"
    assert (settled.root / "burnt/model.safetensors").read_bytes() == b"a"
    assert not run.model("a").exists()
    assert read_family(run).device("a") == settled.after
    plan = plan_training(written, run=run.root)
    assert [device.name for device in plan.pending] == ["a"]
    assert plan.spec == read_family(run)
    assert exchange(run, settled) == settled


@pytest.mark.parametrize(("device", "keep"), [("a", False), ("a", True), ("b", False)])
def test_the_twin_goes_with_the_order_of_the_first_device_alone(
    run: RunDirectory, device: str, keep: bool
) -> None:
    family = read_family(run)
    with_twin = replace(family, controls=(*family.controls, derive_twin(family.devices)))
    write_json(run.profile, with_twin.to_dict())
    write_json(run.result("twin"), {"status": "complete"})
    write_bytes(run.model("twin"), b"twin")
    rotation = exchange(run, next_rotation(run, device, keep_order=keep, seed=1))
    now = read_family(run)
    moved = device == "a" and not keep
    assert (rotation.root / "twin/model.safetensors").exists() == moved
    assert run.model("twin").exists() != moved
    twin = next(control for control in now.controls if control.name == "twin")
    assert twin == derive_twin(now.devices if moved else family.devices)
    assert twin.encoding == now.devices[0].encoding
    pending = [each.name for each in plan_training(with_twin, run=run.root).pending]
    assert pending == ([device, "twin"] if moved else [device])


def test_a_profile_that_changes_a_rotated_device_is_refused(run: RunDirectory) -> None:
    written = read_family(run)
    exchange(run, next_rotation(run, "a"))
    a, b = written.devices
    changed = replace(a, training=replace(a.training, epochs=9))
    with pytest.raises(CheckpointError, match=r"devices\[a\].training.epochs: 2 -> 9"):
        plan_training(replace(written, devices=(changed, b)), run=run.root)
    now = read_family(run)
    assert plan_training(now, run=run.root).spec == now  # a profile may take the new key over


def test_a_damaged_record_is_refused(run: RunDirectory) -> None:
    rotation = exchange(run, next_rotation(run, "a"))
    (rotation.root / "rotation.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"rotation.json is damaged"):
        read_rotations(run)
    (rotation.root / "rotation.json").unlink()
    with pytest.raises(CheckpointError, match="not trained yet"):
        next_rotation(run, "a")


def test_each_rotation_counts_on_from_the_last_and_remembers_every_key(run: RunDirectory) -> None:
    written = read_family(run).device("a")
    keys = [written]
    for generation in (2, 3, 4):
        rotation = exchange(run, next_rotation(run, "a", seed=generation))
        assert (rotation.generation, rotation.root.name) == (generation, f"a-{generation}")
        assert (rotation.written, rotation.before) == (written, keys[-1])
        keys.append(rotation.after)
        write_bytes(run.model("a"), bytes(generation))
        replace(rotation, status="proven", proof={"n": generation}).save()
    orders = [key.encoding.slots for key in keys if key.encoding]
    assert len({*orders, *map(reverse, orders)}) == 8
    assert [found.generation for found in read_rotations(run)] == [2, 3, 4]
    assert read_rotations(run)[-1].proof == {"n": 4}
    with pytest.raises(CheckpointError, match="no device 'c'") as failed:
        next_rotation(run, "c")
    assert failed.value.hint == "it has a, b"


def test_a_seed_draws_the_same_rotation_again_and_keep_order_keeps_the_order(
    run: RunDirectory,
) -> None:
    drawn = next_rotation(run, "a", seed=5)
    assert next_rotation(run, "a", seed=5) == drawn
    assert next_rotation(run, "a", seed=6).after != drawn.after
    kept = next_rotation(run, "a", keep_order=True, seed=5)
    assert kept.after.encoding == drawn.before.encoding
    assert kept.after.training.seed == drawn.after.training.seed
