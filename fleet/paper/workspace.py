"""The paper's experiments, and where a reproduction reads, writes and gets its networks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from fleet.data.read import read_mnist
from fleet.errors import DataError
from fleet.execution import LOCAL, Executor
from fleet.profiles import load_profile
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory
from fleet.training.family import execute_plan
from fleet.training.plan import plan_training
from fleet.vocabulary import Architecture, Stem

STAND_IN = "the ten classes of Imagenette at 64 pixels: a stand-in, NOT the paper's ten classes"
"""What the committed runs on photos were made on."""


QUICK = " (quick, on a few images of MNIST: its figures mean nothing)"
"""Ends the title of whatever was made with ``--quick``."""


@dataclass(frozen=True)
class Scale:
    """How thorough an experiment is.

    Attributes:
        images: Test images attacked.
        steps: Steps of each iterative attack.
        restarts: Runs of each iterative attack.
        batch_size: Images attacked at once.
    """

    images: int
    steps: int = 20
    restarts: int = 1
    batch_size: int = 125

    def quick(self) -> Self:
        """The same, small."""
        return replace(self, images=12, steps=2, restarts=1, batch_size=12)


@dataclass(frozen=True, kw_only=True)
class TableExperiment(Scale):
    """Table 1 or 2.

    Attributes:
        name: Of its result.
        number: Of the table.
        title: With the data that are really used.
        profiles: Backbone and profile of each family.
        measured: Of how many families the distances are measured; the attacks for that take many
            hundred steps, however few the images.
        own_data: Whether the images are not part of the project.
        same_data: Whether these are the paper's images.
    """

    name: str
    number: int
    title: str
    profiles: tuple[tuple[str, str], ...]
    measured: int = 3
    own_data: bool = False
    same_data: bool = True

    def quick(self) -> Self:
        """The same, small; its caller keeps the largest eps alone.

        Of photos the first backbone alone: the others take as long as all else together, and
        Table 1 goes through several.
        """
        return replace(
            super().quick(),
            title=self.title + QUICK,
            profiles=self.profiles if self.number == 1 else self.profiles[:1],
            measured=1 if self.number == 1 else 0,
        )


@dataclass(frozen=True, kw_only=True)
class ChoiceExperiment(Scale):
    """What the paper leaves open, on the networks of Table 1.

    Attributes:
        title: With the data that are really used.
        profiles: Backbone and profile of each family.
    """

    title: str
    profiles: tuple[tuple[str, str], ...]

    def quick(self) -> Self:
        """The same, small, on the first backbone; its caller keeps the largest eps alone."""
        return replace(super().quick(), title=self.title + QUICK, profiles=self.profiles[:1])


@dataclass(frozen=True, kw_only=True)
class MatrixExperiment(Scale):
    """Figure 3 on one data set.

    Attributes:
        name: Of its result.
        title: With the data that are really used.
        profile: Of the family.
        eps: Linf radii in pixel units.
        own_data: Whether the images are not part of the project.
        same_data: Whether these are images of the paper, though its Figure 3 shows ImageNet alone.
    """

    name: str
    title: str
    profile: str
    eps: tuple[float, ...]
    own_data: bool = False
    same_data: bool = True

    def quick(self) -> Self:
        """The same, small, at the largest eps alone."""
        return replace(super().quick(), title=self.title + QUICK, eps=self.eps[-1:])


_PHOTO_BACKBONES = ("alexnet", "densenet121", "resnet18")

TABLE1 = TableExperiment(
    name="table1",
    number=1,
    title="Table 1: MNIST",
    profiles=tuple((name, f"table1-{name}") for name in ("nn", "alexnet", "resnet18")),
    images=1000,
)

CHOICES = ChoiceExperiment(
    title="The paper's attacks on INT, MNIST", profiles=TABLE1.profiles, images=300, batch_size=100
)

TABLE2 = TableExperiment(
    name="table2",
    number=2,
    title="Table 2: the first ten classes of ImageNet",
    profiles=tuple((name, f"table2-{name}") for name in _PHOTO_BACKBONES),
    images=500,
    batch_size=50,
    own_data=True,
)

TABLE2_STAND_IN = TableExperiment(
    name="table2-standin",
    number=2,
    title=f"Table 2 on {STAND_IN}",
    profiles=tuple((name, f"table2-standin-{name}") for name in _PHOTO_BACKBONES),
    images=60,
    measured=0,
    batch_size=60,
    own_data=True,
    same_data=False,
)

FIGURE3_MNIST = MatrixExperiment(
    name="figure3-mnist",
    title="Figure 3 on MNIST",
    profile="figure3-mnist",
    eps=(0.05, 0.1),
    images=300,
    batch_size=100,
)

FIGURE3 = MatrixExperiment(
    name="figure3",
    title="Figure 3: the first ten classes of ImageNet",
    profile="figure3",
    eps=(0.01,),
    images=500,
    batch_size=50,
    own_data=True,
)

FIGURE3_STAND_IN = MatrixExperiment(
    name="figure3-standin",
    title=f"Figure 3, ordinal head, on {STAND_IN}",
    profile="figure3-standin",
    eps=(0.01,),
    images=40,
    batch_size=40,
    own_data=True,
    same_data=False,
)


Stage = Callable[[str, int], AbstractContextManager[Executor]]
"""Called with what begins and its number of jobs; gives what runs them."""

PROFILES = Path(__file__).with_name("profiles")
"""Directory of the package's profiles."""

QUICK_TRAINING = 2048
QUICK_KINDS = 512
QUICK_TEST = 128
"""``quick`` trains on so many images for one epoch, on fewer where kinds of network are compared,
for there are deep ones among them and none must learn; it validates and tests on so many."""

QUICK_PHOTO = 32
"""Side of what stands for photos in ``quick``; DenseNet-121's early shrinking needs it."""

QUICK_ENCODINGS = 3
"""``quick`` keeps the first so many encodings where encodings are compared."""


def quietly(executor: Executor) -> Stage:
    """Run the jobs of every stage in one place, and announce none."""
    return lambda _text, _jobs: nullcontext(executor)


HERE = quietly(LOCAL)


@dataclass(frozen=True)
class Workspace:
    """Directories and scale of a reproduction.

    Attributes:
        profiles: Directory of the committed profiles.
        runs: Trainings and audits are kept here, one run for each profile, and go on from here;
            MNIST too, where the profiles' own copy is not there.
        results: Where the small JSON results and the figures go.
        data: Directory of the images of Table 2 and Figure 3, in place of the profile's.
        quick: Everything small, to see that it works; its figures mean nothing.
        stage: Says where jobs run, and shows their progress.
    """

    profiles: Path
    runs: Path
    results: Path
    data: Path | None = None
    quick: bool = False
    stage: Stage = HERE

    def result(self, name: str) -> Path:
        """File of one result."""
        return self.results / f"{name}.json"

    def run(self, profile: str) -> RunDirectory:
        """Run of one profile."""
        return RunDirectory(self.runs / profile)

    def family(self, profile: str, *, own_data: bool = False) -> FamilySpec:
        """Read a committed profile, at the scale that was asked for.

        Args:
            profile: Name without ``.yaml``.
            own_data: Whether :attr:`data` takes the place of the profile's directory.

        Raises:
            ProfileError: The profile is absent or wrong.
            DataError: The directory of the images does not exist, or MNIST cannot be fetched.
        """
        spec = load_profile(self.profiles / f"{profile}.yaml", check_data=False)
        if own_data and self.data is not None:
            root = self.data.resolve()
            spec = replace(spec, data=replace(spec.data, root=root))
        if self.quick:
            spec = small(spec, self._digits())
        spec = replace(spec, data=self._found(spec.data))
        if not spec.data.root.is_dir():
            raise DataError(
                f"the images of {profile} are not there: {spec.data.root}",
                hint="name their directory with --data; --stand-in if it is not ImageNet",
            )
        return spec

    def trained(self, profile: str, *, own_data: bool = False) -> tuple[FamilySpec, RunDirectory]:
        """Train what is not trained yet of a profile.

        Raises:
            FleetError: A network could not be trained; the others are kept.
        """
        spec, run = self.family(profile, own_data=own_data), self.run(profile)
        plan = plan_training(spec, run=run.root)
        if plan.pending:
            with self.stage(f"train {profile}", len(plan.pending)) as executor:
                result = execute_plan(plan, executor)
            for error in result.errors.values():
                raise error
        return spec, run

    def _found(self, data: DataSpec) -> DataSpec:
        """The same images; an installed package has no MNIST beside it, and fetches it once."""
        if data.dataset != "mnist" or data.root.is_dir():
            return data
        root = (self.runs / "data").resolve()
        read_mnist(root)  # here, because workers would all fetch it at once
        return replace(data, root=root)

    def _digits(self) -> DataSpec:
        return load_profile(self.profiles / "table1-nn.yaml", check_data=False).data


def small(spec: FamilySpec, digits: DataSpec) -> FamilySpec:
    """The smallest family that goes the same way: one epoch, few images, MNIST.

    One of each kind of network where kinds are compared (TRA, HIN, INT). Where encodings are,
    two of the first ones, on the paper's NN, which learns something in so few steps.

    Args:
        spec: The committed profile.
        digits: MNIST; takes the place of photos.
    """
    compared = len({device.task for device in spec.devices}) > 1
    if compared:
        kinds: dict[tuple[str, Architecture], DeviceSpec] = {}
        for device in spec.devices:
            if device.training.seed < 1:
                kinds.setdefault((device.task, device.model.architecture), device)
        devices = [_short(device, device.model.architecture) for device in kinds.values()]
    else:
        encodings = list(dict.fromkeys(device.encoding for device in spec.devices))
        kept = encodings[:QUICK_ENCODINGS]
        chosen = [d for d in spec.devices if d.encoding in kept and d.training.seed < 2]
        devices = [_short(device, "nn") for device in chosen]
    data = replace(
        digits,
        image_size=28 if spec.data.dataset == digits.dataset else QUICK_PHOTO,
        validation=QUICK_TEST,
        train_limit=QUICK_KINDS if compared else QUICK_TRAINING,
        test_limit=QUICK_TEST,
    )
    return replace(spec, data=data, devices=tuple(devices))


def _short(device: DeviceSpec, architecture: Architecture) -> DeviceSpec:
    training = replace(device.training, epochs=1, batch_size=32, shift=1, mirror=False)
    stem: Stem = "auto" if architecture == "nn" else "imagenet"  # the quicker one
    model = replace(device.model, architecture=architecture, stem=stem)
    return replace(device, model=model, training=training)
