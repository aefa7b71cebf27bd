"""What a training is about to do: begin, go on, or refuse."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError, ProfileError
from fleet.files import write_bytes, write_json
from fleet.profiles.control import derive_controls, derive_twin
from fleet.profiles.spec import FamilySpec, read_family
from fleet.rundir import RunDirectory, record_start
from fleet.training.plan import plan_training

Family = Callable[..., FamilySpec]


def leave_behind(parent: Path, spec: FamilySpec, *finished: str) -> RunDirectory:
    run = RunDirectory(parent / "20260101-000000-tiny")
    write_json(run.profile, spec.to_dict())
    for name in finished:
        write_json(run.result(name), {"status": "complete"})
        write_bytes(run.model(name), b"weights")
    return run


def test_without_runs_a_training_begins_and_writes_nothing(family: Family, tmp_path: Path) -> None:
    plan = plan_training(family("a", "b"), parent=tmp_path)
    assert not plan.resumed
    assert plan.states == {"a": "new", "b": "new"}
    assert [device.name for device in plan.pending] == ["a", "b"]
    assert list(tmp_path.iterdir()) == []


def test_auto_goes_on_with_an_unfinished_run(family: Family, tmp_path: Path) -> None:
    run = leave_behind(tmp_path, family("a", "b", "c"), "a")
    write_bytes(run.checkpoint("b"), b"state")
    plan = plan_training(family("a", "b", "c"), parent=tmp_path)
    assert (plan.run, plan.resumed) == (run, True)
    assert plan.states == {"a": "finished", "b": "resume", "c": "new"}
    assert [device.name for device in plan.pending] == ["b", "c"]


def test_auto_finds_nothing_to_do_in_a_finished_run_of_the_same_profile(
    family: Family, tmp_path: Path
) -> None:
    run = leave_behind(tmp_path, family("a"), "a")
    plan = plan_training(family("a"), parent=tmp_path)
    assert (plan.run, plan.resumed, plan.pending) == (run, True, ())
    assert plan_training(family("a", epochs=9), parent=tmp_path).run != run
    assert plan_training(family("a"), parent=tmp_path, resume="never").run != run
    with pytest.raises(CheckpointError, match="no unfinished run"):
        plan_training(family("a"), parent=tmp_path, resume="must")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("finished", [("a",), ()])
def test_another_secret_is_refused_and_shows_no_drawn_value(
    family: Family, tmp_path: Path, finished: tuple[str, ...], named: bool
) -> None:
    drawn = replace(family("a"), secret="0" * 16)
    run = leave_behind(tmp_path, drawn, *finished)
    encoding = IntervalEncoding(10, 4.0, 8.125)
    other = replace(drawn, devices=(replace(drawn.devices[0], encoding=encoding),), secret="1" * 16)
    with pytest.raises(CheckpointError, match="the secret is not the one of") as caught:
        plan_training(other, parent=tmp_path, run=run.root if named else None)
    assert "8.125" not in caught.value.message
    assert "--secret" in str(caught.value.hint)
    assert not plan_training(other, parent=tmp_path, resume="never").resumed


def test_a_changed_profile_shows_no_drawn_value(family: Family, tmp_path: Path) -> None:
    plain = family("a")
    device = replace(plain.devices[0], encoding=IntervalEncoding(10, 4.125, 8.125))
    drawn = replace(device, drawn=("alpha", "beta"))
    run = leave_behind(tmp_path, replace(plain, devices=(drawn,)), "a")
    beside = replace(device, encoding=IntervalEncoding(10, 5.0, 9.125), drawn=("beta",))
    with pytest.raises(CheckpointError) as caught:
        plan_training(replace(plain, devices=(beside,)), run=run.root)
    assert "devices[a].encoding.alpha: a drawn value -> 5.0" in caught.value.message
    assert "devices[a].encoding.beta: a drawn value -> another" in caught.value.message
    assert not [value for value in ("4.125", "8.125", "9.125") if value in caught.value.message]


def test_a_run_without_a_fingerprint_is_gone_on_with(family: Family, tmp_path: Path) -> None:
    leave_behind(tmp_path, family("a"))
    assert plan_training(replace(family("a"), secret="1" * 16), parent=tmp_path).resumed


def test_auto_goes_on_with_the_last_begun_run_of_the_family_whatever_its_name(
    family: Family, tmp_path: Path
) -> None:
    spec = family("a")
    for name, of in (("z-baseline", spec), ("mine", spec), ("zz", replace(spec, name="other"))):
        run = RunDirectory(tmp_path / name)
        record_start(run)
        write_json(run.profile, of.to_dict())
    assert plan_training(spec, parent=tmp_path).run.name == "mine"


def test_a_result_without_weights_is_not_finished(family: Family, tmp_path: Path) -> None:
    run = leave_behind(tmp_path, family("a"), "a")
    run.model("a").unlink()
    assert plan_training(family("a"), parent=tmp_path).states == {"a": "new"}


def test_never_begins_anew_beside_an_unfinished_run(family: Family, tmp_path: Path) -> None:
    run = leave_behind(tmp_path, family("a"))
    plan = plan_training(family("a"), parent=tmp_path, resume="never")
    assert not plan.resumed
    assert plan.run != run
    with pytest.raises(CheckpointError, match="holds a run already"):
        plan_training(family("a"), run=run.root, resume="never")


def test_must_demands_an_unfinished_run(family: Family, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no unfinished run of 'tiny'"):
        plan_training(family("a"), parent=tmp_path, resume="must")
    leave_behind(tmp_path, family("a"))
    assert plan_training(family("a"), parent=tmp_path, resume="must").resumed


def test_runs_of_another_family_are_left_alone(family: Family, tmp_path: Path) -> None:
    leave_behind(tmp_path, replace(family("a"), name="other"))
    assert not plan_training(family("a"), parent=tmp_path).resumed


def test_a_changed_profile_is_refused_by_naming_every_changed_field(
    family: Family, tmp_path: Path
) -> None:
    before = family("a", "b")
    leave_behind(tmp_path, before)
    changed = family("a", "c", epochs=9)
    encoding = IntervalEncoding(10, 4.0, 8.0)
    devices = (replace(changed.devices[0], encoding=encoding), changed.devices[1])
    data = replace(changed.data, validation=300)
    with pytest.raises(CheckpointError) as caught:
        plan_training(replace(changed, devices=devices, data=data), parent=tmp_path)
    text = caught.value.message
    assert "devices[a].encoding.beta: 16.0 -> 8.0" in text
    assert "devices[a].training.epochs: 2 -> 9" in text
    assert "devices[b]: removed" in text
    assert "devices[c]" not in text  # a new device alone would be trained into the run
    assert "data.validation: 200 -> 300" in text
    assert "--resume never" in str(caught.value.hint)


def test_a_device_of_a_run_is_not_taken_out_of_it(family: Family, tmp_path: Path) -> None:
    leave_behind(tmp_path, family("a", "b"), "a", "b")
    with pytest.raises(CheckpointError, match=r"devices\[b\]: removed") as caught:
        plan_training(family("a"), parent=tmp_path)
    assert "put back what was removed" in str(caught.value.hint)
    assert "fleet package --device" in str(caught.value.hint)


@pytest.mark.parametrize("finished", [("a", "b"), ("a",)])
def test_a_profile_with_one_more_device_goes_on_with_its_run(
    family: Family, tmp_path: Path, finished: tuple[str, ...]
) -> None:
    run = leave_behind(tmp_path, family("a", "b"), *finished)
    plan = plan_training(family("new", "b", "a"), parent=tmp_path)
    assert (plan.run, plan.resumed, plan.added) == (run, True, ("new",))
    assert [device.name for device in plan.spec.devices] == ["a", "b", "new"]  # the run's order
    assert [name for name, state in plan.states.items() if state == "finished"] == [*finished]
    assert read_family(run) == family("a", "b")  # a plan writes nothing


def test_a_new_backbone_in_a_run_leaves_its_control_and_its_twin_as_they_are(
    family: Family, tmp_path: Path
) -> None:
    def controlled(spec: FamilySpec) -> FamilySpec:
        beside = (*derive_controls(spec.devices), derive_twin(spec.devices))
        return replace(spec, controls=beside)

    before = controlled(family("a", "b"))
    leave_behind(tmp_path, before, "a", "b", "control", "twin")
    (new,) = family("c", epochs=1).devices
    new = replace(new, model=replace(new.model, architecture="cnn"))
    plan = plan_training(
        controlled(replace(before, devices=(new, *before.devices))), parent=tmp_path
    )
    assert plan.added == ("c", "control-cnn")
    assert [device.name for device in plan.pending] == ["c", "control-cnn"]
    assert plan.spec.device("control") == before.device("control")
    assert plan.spec.device("twin") == before.device("twin")


def test_data_may_move_between_two_sittings(family: Family, tmp_path: Path) -> None:
    leave_behind(tmp_path, family("a"))
    moved = family("a")
    moved = replace(moved, data=replace(moved.data, root=tmp_path))
    assert plan_training(moved, parent=tmp_path).resumed


def test_a_damaged_result_or_profile_is_not_taken_for_a_finished_run(
    family: Family, tmp_path: Path
) -> None:
    run = leave_behind(tmp_path, family("a"), "a")
    run.result("a").write_text("{half")
    assert plan_training(family("a"), parent=tmp_path).states == {"a": "new"}
    run.profile.write_text(json.dumps([1]))
    assert not plan_training(family("a"), parent=tmp_path).resumed


def test_devices_are_selected_by_name(family: Family, tmp_path: Path) -> None:
    plan = plan_training(family("a", "b"), parent=tmp_path, devices=["b"])
    assert [device.name for device in plan.pending] == ["b"]
    with pytest.raises(ProfileError, match="no device 'z'") as caught:
        plan_training(family("a", "b"), parent=tmp_path, devices=["z"])
    assert "a, b" in str(caught.value.hint)
