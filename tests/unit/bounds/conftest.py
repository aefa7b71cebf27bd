"""Small devices, trained within seconds on MNIST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from fleet.audit.core.members import Member
from fleet.data import ImageData, load_data
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier, build_classifier
from fleet.profiles.spec import DeviceSpec
from fleet.training.fit import METHODS
from fleet.training.method import Batch
from fleet.vocabulary import ModelSpec, TrainingSpec

ROOT = Path(__file__).resolve().parents[3] / "examples" / "data"


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def mnist() -> ImageData:
    return load_data(
        "mnist", ROOT, channels=1, image_size=28, num_classes=10, validation=500,
        train_limit=4000, test_limit=1000,
    )  # fmt: skip


@pytest.fixture(scope="package")
def train(mnist: ImageData) -> Callable[..., Classifier]:
    """Train a device of the architecture `cnn` for some steps, without files."""

    def trained(
        head: str, method: str, *, steps: int, activation: str, **recipe: float
    ) -> Classifier:
        encoding = IntervalEncoding(10, 2.0, 18.0)
        model = ModelSpec("cnn", width=0.25, activation=activation, head=head)  # type: ignore[arg-type]
        training = TrainingSpec(method=method, learning_rate=5e-3, **recipe)  # type: ignore[arg-type]
        device = DeviceSpec("device", "int", encoding, model, training)
        classifier = build_classifier(
            **vars(model), task="int", encoding=encoding, num_classes=10,
            input_shape=(1, 28, 28), mean=mnist.mean, std=mnist.std, seed=0,
        ).to(memory_format=torch.channels_last)  # fmt: skip
        work = METHODS[method](device, mnist, classifier)
        torch.manual_seed(0)
        work.begin()
        optimizer = torch.optim.Adam(work.parameter_groups(), lr=5e-3, fused=True)  # type: ignore[arg-type]
        classifier.train()
        for step in range(steps):
            rows = torch.randint(len(mnist.train), (128,))
            for group in optimizer.param_groups:
                group["lr"] = work.learning_rate(step, steps)
            x = mnist.train.images(rows).float().div_(255)
            x = x.contiguous(memory_format=torch.channels_last)
            loss = work.loss(Batch(x, mnist.train.labels[rows], step, steps, 0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        work.before_evaluation(final=True)
        return classifier.eval()

    return trained


@pytest.fixture(scope="package")
def certified(
    train: Callable[..., Classifier],
    once: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Member]:
    """One certified device of each head."""
    recipe, heads = {"eps": 0.1, "kappa": 0.5}, ("softmax", "ordinal")

    def make(place: Path) -> None:
        for head in heads:
            device = train(head, "certified", steps=120, activation="clip", **recipe)
            torch.save(device, place / head)

    place = once("certified", make, tmp_path_factory.mktemp("certified"))
    return {head: Member(head, torch.load(place / head, weights_only=False)) for head in heads}
