"""The profile language: what may be written, with units, bounds and defaults.

Pydantic models of the file as written. Nothing here crosses two sections; that is the work of
``data_section``, ``device_section`` and ``family``.
"""

import dataclasses
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from fleet.vocabulary import (
    ARCHITECTURES,
    TORCHVISION,
    ZOO,
    DatasetName,
    ModelSpec,
    Task,
    TrainingSpec,
)

MAX_DEVICES = 10_000
MAX_CLASSES = 1000

# Names of the branches of a union. Pydantic puts them into the place of an error.
NUMBER = "=number"
LENGTH = "=length"
PER_CLASS = "=per-class"
SLOTS = "=slots"
AUTO = "=auto"
SPREAD = "=spread"
MAPPING = "=mapping"


def _length_branch(value: Any) -> str:
    if isinstance(value, tuple):
        return PER_CLASS
    return AUTO if value == "auto" else LENGTH


def _number_branch(value: Any) -> str:
    return AUTO if value == "auto" else NUMBER


def _order_branch(value: Any) -> str:
    return {"auto": AUTO, "spread": SPREAD}.get(value, SLOTS) if isinstance(value, str) else SLOTS


def _encoding_branch(value: Any) -> str:
    return AUTO if value == "auto" else MAPPING


def _known_architecture(name: str) -> str:
    if name in ARCHITECTURES or re.fullmatch(ZOO, name):
        return name
    expected = ", ".join(map(repr, ARCHITECTURES))
    raise PydanticCustomError(
        "literal_error", "unknown", {"expected": f"{expected} or '{TORCHVISION}NAME'"}
    )


ArchitectureName = Annotated[
    str,
    AfterValidator(_known_architecture),
    WithJsonSchema(
        {"anyOf": [{"enum": list(ARCHITECTURES)}, {"type": "string", "pattern": f"^{ZOO}$"}]}
    ),
]
Auto = Annotated[Literal["auto"], Tag(AUTO)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Gap = Annotated[float, Field(gt=0)]
Length = Annotated[float, Field(ge=0)]
Slot = Annotated[int, Field(ge=0)]
PerClass = Field(max_length=MAX_CLASSES)
Gaps = Annotated[
    Auto | Annotated[Gap, Tag(LENGTH)] | Annotated[tuple[Gap, ...], Tag(PER_CLASS), PerClass],
    Discriminator(_length_branch),
]
Lengths = Annotated[
    Auto | Annotated[Length, Tag(LENGTH)] | Annotated[tuple[Length, ...], Tag(PER_CLASS), PerClass],
    Discriminator(_length_branch),
]
Spread = Annotated[Literal["spread"], Tag(SPREAD)]
Slots = Annotated[
    Auto | Spread | Annotated[tuple[Slot, ...], Tag(SLOTS), PerClass],
    Discriminator(_order_branch),
]
Number = Annotated[Auto | Annotated[float, Tag(NUMBER)], Discriminator(_number_branch)]


class Section(BaseModel):
    """Base of every mapping in a profile: unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataSection(Section):
    """The images of a family."""

    dataset: DatasetName = Field(
        description="`folder` takes one directory of images for each class."
    )
    root: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="Directory that holds the dataset, relative to this profile."
    )
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)] | None = Field(
        default=None, description="Number of classes; follows from the dataset except for `folder`."
    )
    channels: Literal[1, 3] | None = Field(
        default=None,
        description="1 (grey) or 3 (colour); follows from the dataset except for `folder`.",
    )
    image_size: Annotated[int, Field(ge=16, le=1024)] | None = Field(
        default=None,
        description="Height and width in pixels after resizing; null is the dataset's own "
        "(28, 32 or 224).",
    )
    validation: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Images cut from the training set for every choice; null is 5000 for MNIST, "
        "Fashion-MNIST and CIFAR-10, 500 for the others.",
    )
    train_limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Train on this many images only; null takes all."
    )
    test_limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Test on this many test images only, drawn by `split_seed`; null takes all.",
    )
    split_seed: Seed = Field(default=0, description="Seed of the validation split.")
    skip_broken: bool = Field(
        default=False,
        description="Leave out images that cannot be read, and say which; `false` refuses them.",
    )


class EncodingSection(Section):
    """The intervals of one device (Eq. 1). `auto` draws a value from the family secret."""

    alpha: Gaps | None = Field(
        default=None,
        description="Gap after a class's interval (paper: α), > 0; one number, a list with one for "
        "each class, or `auto`.",
    )
    beta: Lengths | None = Field(
        default=None,
        description="Length of a class's interval (paper: β), >= 0; one number, a list with one "
        "for each class, or `auto`.",
    )
    s0: Number = Field(
        default=0.0, description="Lower edge of slot 0, or `auto`; carries no diversity."
    )
    order: Slots | None = Field(
        default=None,
        description="Slot of each class, counted from 0; `auto` draws it from the secret; `spread` "
        "takes the next of a fixed list of orders that share little; null is the paper's order "
        "0, 1, 2, ...",
    )


def _written(name: str, spec: type, **hints: Any) -> type[Section]:
    """The mapping that a specification is written as; what has no default may be left out."""
    hints = get_type_hints(spec) | hints
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        hint = hints[field.name]
        given = field.default is not dataclasses.MISSING
        default = field.default if given else None
        value = Field(default=default, **field.metadata["written"])
        fields[field.name] = (hint if given else hint | None, value)
    return create_model(name, __base__=Section, __doc__=spec.__doc__, **fields)


if TYPE_CHECKING:  # a section has the fields of its specification
    ModelSection = ModelSpec
    TrainingSection = TrainingSpec
else:
    ModelSection = _written("ModelSection", ModelSpec, architecture=ArchitectureName)
    TrainingSection = _written("TrainingSection", TrainingSpec)


class DefaultsSection(Section):
    """Settings of a device."""

    task: Task = Field(
        default="int",
        description="`int` (interval labels), `tra` (cross-entropy) or `hin` (multi-class hinge).",
    )
    encoding: (
        Annotated[Auto | Annotated[EncodingSection, Tag(MAPPING)], Discriminator(_encoding_branch)]
        | None
    ) = Field(
        default=None,
        description="Intervals of task `int`; `auto` draws all of them; null for the other tasks.",
    )
    model: ModelSection = Field(default=ModelSection(), description="Network.")
    training: TrainingSection = Field(default=TrainingSection(), description="Recipe.")
    allow_equivalent: bool = Field(
        default=False,
        description="Allow an encoding that is equivalent to another device's, so that the two "
        "differ in weights alone.",
    )


class PerJobSection(Section):
    """What Ray sets aside for one job; null leaves it to Ray: one CPU."""

    cpus: Annotated[float, Field(ge=0.01)] | None = Field(
        default=None, description="CPUs; a job computes with one thread."
    )
    gpus: Annotated[float, Field(ge=0.01)] | None = Field(
        default=None, description="GPUs; 0.5 lets two jobs share one."
    )
    memory: Annotated[str, Field(pattern=r"^[0-9]*[1-9][0-9]*[KMG]i?B$")] | None = Field(
        default=None, description="Memory, such as `8GB` or `512MiB`."
    )


class _Identity(Section):
    name: Name = Field(
        description="Unique name, also when letter case is ignored: letters, digits, `.`, `-`, "
        "`_`; beside a `count` with `{n}`, the number of the device.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_{][A-Za-z0-9._{}:-]*$"},
    )
    count: Annotated[int, Field(ge=1, le=MAX_DEVICES)] | None = Field(
        default=None,
        description="Devices that this entry stands for, numbered from 1: `name: cam-{n:03}` "
        "gives cam-001, cam-002, ...",
    )
    extends: str | None = Field(
        default=None, description="Name of another device whose settings this one starts from."
    )


class DeviceSection(DefaultsSection, _Identity):
    """One device."""


def _or_one(listed: dict[str, Any]) -> None:
    """Turn the schema of a list into that of a list or one item of it."""
    words = listed.pop("description")
    branches = [listed["items"], dict(listed)]
    listed.clear()
    listed.update(anyOf=branches, description=words)


class ProfileSection(Section):
    """A whole profile."""

    version: Literal[1] = Field(description="Version of the profile language.")
    name: Name = Field(description="Name of the family; part of the run directory's name.")
    data: DataSection = Field(description="Which images, and how they are split.")
    defaults: DefaultsSection = Field(
        default=DefaultsSection(), description="What a device has unless it says otherwise."
    )
    control: bool = Field(
        default=True,
        description="Train an ordinary network of each backbone (task `tra`) beside the devices: "
        "the undefended baseline of every audit, shipped to nobody.",
    )
    twin: bool | None = Field(
        default=None,
        description="Train the first device a second time, with other weights, shipped to nobody: "
        "audits then tell what a different encoding bought from luck. By default it comes with the "
        "control, where several devices have encodings and no two the same.",
    )
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto",
        description="Where networks are trained and audited; `auto` is CUDA where it is there, "
        "else the CPU. `--accelerator` and FLEET_ACCELERATOR go before it.",
    )
    per_job: PerJobSection = Field(
        default=PerJobSection(),
        description="What a job takes of a node under `--executor ray`; `--per-job` goes before "
        "it. It changes no result.",
    )
    devices: Annotated[tuple[DeviceSection, ...], Field(min_length=1, max_length=MAX_DEVICES)] = (
        Field(
            description="The family, in the order of its audits; an entry with a count, such as "
            "`{count: 64, name: cam-{n:03}}`, needs no list.",
            json_schema_extra=_or_one,
        )
    )
