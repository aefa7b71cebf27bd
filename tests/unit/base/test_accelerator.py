"""Where networks compute: what is there, what is said where it is not, and memory that runs out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fleet.accelerator import (
    ACCELERATOR,
    chosen,
    find_accelerator,
    halving,
    kind_key,
    multiplies_bf16,
    precise,
    torch_device,
)
from fleet.data.dataset import MemoryImages, PlacedImages, Split
from fleet.encoding import IntervalEncoding
from fleet.errors import BackendError, CheckpointError, noted
from fleet.execution import Serial
from fleet.execution.cluster import Cluster, Share
from fleet.models import Classifier
from fleet.training.checkpoint import Position, load_checkpoint, save_checkpoint

GPU = torch.cuda.is_available()


def test_auto_takes_what_is_there() -> None:
    assert find_accelerator("auto") == ("cuda" if GPU else "cpu")
    assert torch_device() == torch.device("cpu")  # where nothing was chosen
    with chosen("cpu"):
        assert kind_key() == {}


@pytest.mark.parametrize("able", [True, False])
def test_bf16_is_taken_only_where_it_is_quicker(
    monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    found = {"architecture": "x86_64", "avx512_bf16": able, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    multiplies_bf16.cache_clear()
    x = torch.ones(4, 4)
    with precise("cpu", "bf16"):
        assert (x @ x).dtype == (torch.bfloat16 if able else torch.float32)
    with precise("cpu", "fp32"):
        assert (x @ x).dtype == torch.float32
    multiplies_bf16.cache_clear()
    assert multiplies_bf16("cuda")
    multiplies_bf16.cache_clear()


@pytest.mark.parametrize("asked", ["tpu", "cuda:x", "cuda:99", "auto:0", "cpu:1"])
def test_what_is_not_there_is_said(asked: str) -> None:
    with pytest.raises(BackendError) as told:
        find_accelerator(asked)
    assert asked in told.value.message
    assert told.value.hint


@pytest.mark.skipif(GPU, reason="this machine has CUDA")
def test_cuda_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, call_fleet: Callable[..., object], tmp_path: Path
) -> None:
    monkeypatch.delenv(ACCELERATOR, raising=False)
    project = Path(__file__).parents[3]
    words = ("train", "--profiles", project / "profiles" / "devices.yaml")
    done = call_fleet(*words, "--accelerator", "cuda", "--runs", tmp_path / "runs")
    assert done.returncode == 2  # type: ignore[attr-defined]
    assert "--accelerator cuda: this machine has 0" in done.stderr  # type: ignore[attr-defined]
    assert not (tmp_path / "runs").exists()


def test_the_variable_goes_before_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCELERATOR, "cpu")
    with Serial().accelerated("cuda"):
        assert torch_device().type == "cpu"
    monkeypatch.delenv(ACCELERATOR)
    with Serial().accelerated("auto"):
        assert torch_device().type == find_accelerator("auto")


def test_a_cluster_decides_by_what_each_job_has_of_a_node() -> None:
    assert Cluster().accelerator("auto") == "cpu"
    assert Cluster(share=Share(gpus=0.5)).accelerator("auto") == "cuda"
    with pytest.raises(BackendError, match="no GPU"):
        Cluster().accelerator("cuda")


def test_images_that_are_brought_to_an_accelerator_are_the_same() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2)
    split = Split(torch.arange(6), MemoryImages(pixels))
    assert split.to(torch.device("cpu")) is split
    rows = torch.tensor([4, 1])
    placed = PlacedImages(split.source, torch.device("cpu"))
    assert torch.equal(placed.read(rows), pixels[rows])
    assert len(placed) == 6


@pytest.mark.parametrize("fits", [7, 14, 100])
def test_a_batch_that_does_not_fit_is_halved_to_the_same_values(fits: int) -> None:
    sizes = []

    def work(rows: Tensor) -> Tensor:
        if len(rows) > fits:
            torch.empty(1 << 58)  # torch's own error
        sizes.append(len(rows))
        return rows * 2

    rows = torch.arange(29)
    with noted() as notes:
        assert torch.equal(torch.cat(halving(work, rows)), rows * 2)
    assert (len(notes) > 0) == (fits < 29)
    assert max(sizes) <= fits
    assert min(sizes) >= min(fits, 29) // 2


def test_four_images_that_do_not_fit_are_an_error_and_others_stay_errors() -> None:
    with pytest.raises(RuntimeError, match="memory"):
        halving(lambda _: torch.empty(1 << 58), torch.arange(7))
    with pytest.raises(ZeroDivisionError):
        halving(lambda _: 1 / 0, torch.arange(64))


def test_a_training_does_not_go_on_with_another_accelerator(tmp_path: Path) -> None:
    encoding = IntervalEncoding(2, 1.0, 1.0)
    network = Classifier.from_module(torch.nn.Linear(2, 1), encoding, (1, 1, 2))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    with chosen("cuda"):  # as a worker beside a card would write it
        save_checkpoint(tmp_path / "c", network, optimizer, Position(), identity="x")
    with pytest.raises(CheckpointError, match="written on accelerator cuda"):
        load_checkpoint(tmp_path / "c", network, optimizer, identity="x")
    with chosen("cuda"):
        load_checkpoint(tmp_path / "c", network, optimizer, identity="x")
