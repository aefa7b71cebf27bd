"""What follows from a setting that is defined once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args

import pytest

from fleet.bundle import ModelSection
from fleet.profiles.schema import _written
from fleet.vocabulary import HEADS, HeadName, ModelSpec, Task, TrainingSpec, plain_settings, setting


@dataclass(frozen=True)
class Grown(ModelSpec):
    """The network of a device in a later version."""

    depth: int = setting(3, "Layers.", later=True, ge=1, le=9)


def test_a_later_setting_at_its_default_leaves_no_trace() -> None:
    before = plain_settings(ModelSpec(head="linear"))
    assert plain_settings(Grown(head="linear")) == before
    assert plain_settings(Grown(head="linear", depth=4)) == {**before, "depth": 4}


def test_a_later_setting_can_be_written_within_its_bounds() -> None:
    section = _written("GrownSection", Grown)
    written: Any = section.model_validate({"depth": 9})
    assert (written.depth, written.head, written.architecture) == (9, None, "nn")
    with pytest.raises(ValueError, match="less than or equal to 9"):
        section.model_validate({"depth": 10})


@pytest.mark.parametrize("spec", [ModelSpec, TrainingSpec])
def test_every_setting_says_what_it_means(spec: Any) -> None:
    for field in fields(spec):
        assert field.metadata["written"]["description"].endswith(".")


def test_every_task_has_heads_and_every_head_a_task() -> None:
    assert set(HEADS) == set(get_args(Task))
    assert {head for heads in HEADS.values() for head in heads} == set(get_args(HeadName))


def test_a_manifest_names_all_that_finished_weights_depend_on() -> None:
    section = ModelSection(head="ordinal", num_classes=3, input_shape=(1, 28, 28))
    assert set(section.to_dict()) == {
        *("architecture", "head", "width", "batch_norm", "stem"),
        *("num_classes", "input_shape"),
    }
