"""``data:`` to a :class:`DataSpec`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.profiles.problems import Problem
from fleet.profiles.schema import DataSection
from fleet.profiles.spec import DataSpec
from fleet.profiles.tree import Node
from fleet.vocabulary import DatasetName


@dataclass(frozen=True)
class Dataset:
    """What follows from a dataset's name.

    Attributes:
        num_classes: Number of classes; None where the profile must say it.
        channels: 1, 3, or None where the profile must say it.
        image_size: Height and width in pixels.
        train_images: Size of the training set; None where it is known only from the files.
        validation: Images for validation unless the profile says otherwise.
    """

    num_classes: int | None
    channels: int | None
    image_size: int
    train_images: int | None
    validation: int


DATASETS: dict[DatasetName, Dataset] = {
    "mnist": Dataset(10, 1, 28, 60_000, 5000),
    "fashion-mnist": Dataset(10, 1, 28, 60_000, 5000),
    "cifar10": Dataset(10, 3, 32, 50_000, 5000),
    "imagenet10": Dataset(10, 3, 224, None, 500),
    "folder": Dataset(None, None, 224, None, 500),
}


def resolve_data(
    section: DataSection, node: Node, directory: Path, *, check_data: bool
) -> tuple[DataSpec | None, list[Problem]]:
    """Resolve ``data:``.

    Args:
        section: The section as written.
        node: Where it was written.
        directory: The profile's directory; ``root`` is relative to it.
        check_data: Whether ``root`` must exist.

    Returns:
        The specification, or None if classes or channels are not known, and what is wrong.
    """
    dataset = DATASETS[section.dataset]
    num_classes = dataset.num_classes or section.classes
    channels = dataset.channels or section.channels
    problems = [
        *_fixed_problems("classes", dataset.num_classes, section.classes, section, node),
        *_fixed_problems("channels", dataset.channels, section.channels, section, node),
        *_split_problems(section, node, dataset),
    ]
    root = _usable(directory / section.root)
    if root is None or (check_data and not root.is_dir()):
        problems.append(_root_problem(root, node, section.dataset))
    if root is None or num_classes is None or channels is None:
        return None, problems
    spec = DataSpec(
        dataset=section.dataset,
        root=root,
        num_classes=num_classes,
        channels=channels,
        image_size=section.image_size or dataset.image_size,
        validation=section.validation or dataset.validation,
        train_limit=section.train_limit,
        test_limit=section.test_limit,
        split_seed=section.split_seed,
        skip_broken=section.skip_broken,
    )
    return spec, problems


def training_images(data: DataSpec) -> int | None:
    """Images that a training will see, where the profile alone tells it."""
    if data.train_limit is not None:
        return data.train_limit
    total = DATASETS[data.dataset].train_images
    return None if total is None or total <= data.validation else total - data.validation


def _fixed_problems(
    key: str, fixed: int | None, said: int | None, section: DataSection, node: Node
) -> Iterator[Problem]:
    if fixed is None and said is None:
        yield Problem(node.mark, f"{node.path}.{key} is missing; a folder does not tell it")
    if fixed is not None and said not in (None, fixed):
        written = node.entries[key].node
        text = f"{written.path} must be {fixed} for {section.dataset} (got {said})"
        yield Problem(written.mark, text, "leave it out; it follows from the dataset")


def _split_problems(section: DataSection, node: Node, dataset: Dataset) -> Iterator[Problem]:
    total = dataset.train_images
    if total is None:
        return
    validation = section.validation or dataset.validation
    if validation >= total:
        written = node.entries["validation"].node
        text = f"{written.path} must be smaller than the training set of {total} (got {validation})"
        yield Problem(written.mark, text)
    elif section.train_limit is not None and section.train_limit > total - validation:
        written = node.entries["train_limit"].node
        text = (
            f"{written.path} must be <= {total - validation}, the training set without its "
            f"validation images (got {section.train_limit})"
        )
        yield Problem(written.mark, text)


def _usable(path: Path) -> Path | None:
    """The absolute path, or None if no file system takes it."""
    try:
        absolute = path.resolve()
        absolute.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long; a null character; a loop of links
        return None
    return absolute


def _root_problem(root: Path | None, node: Node, dataset: str) -> Problem:
    written = node.entries["root"].node
    if root is None:
        return Problem(written.mark, f"{written.path} is not a usable path")
    return Problem(
        written.mark,
        f"{written.path} is not a directory: {str(root)!r}",
        "it is relative to the profile; `fleet profiles check --no-data` leaves it unchecked"
        + "; `fleet demo` fetches MNIST" * (dataset == "mnist"),
    )
