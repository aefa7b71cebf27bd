"""Where networks compute: the processor, or an accelerator beside it. Torch is imported late."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from fleet.errors import BackendError, is_out_of_memory, note
from fleet.vocabulary import Precision

if TYPE_CHECKING:
    import torch


Value = TypeVar("Value")

ACCELERATOR = "FLEET_ACCELERATOR"
"""Environment variable by which a command tells its workers."""


def find_accelerator(asked: str) -> str:
    """Find what ``asked`` means on this machine: ``auto`` is CUDA where there is one, else the CPU.

    ``auto`` never takes MPS: it has no float64, which certificates need.

    Args:
        asked: ``auto``, ``cpu``, ``cuda`` or ``mps``; or one CUDA device, like ``cuda:1``.

    Raises:
        BackendError: It is not there, or the word is none of these.
    """
    import torch

    kind, _, number = asked.partition(":")
    if kind == "auto" and not number:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in {"cpu", "cuda", "mps"} or (number and not number.isdecimal()):
        raise BackendError(
            f"there is no accelerator {asked!r}", hint="choose auto, cpu, cuda or mps"
        )
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(number or 0) >= count:
        built = kind == "cpu" or getattr(torch.backends, kind).is_built()
        found = f"this machine has {count}" if built else f"torch {torch.__version__} has no {kind}"
        raise BackendError(
            f"--accelerator {asked}: {found}",
            hint="`fleet doctor` says what is there and which torch to install; "
            "--accelerator auto takes what there is",
        )
    return asked


@contextmanager
def chosen(name: str) -> Iterator[None]:
    """Compute on ``name`` in a block, in this process and in those it starts."""
    before = os.environ.get(ACCELERATOR)
    os.environ[ACCELERATOR] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[ACCELERATOR]
        else:
            os.environ[ACCELERATOR] = before


def torch_device() -> torch.device:
    """Where this process computes, as ``FLEET_ACCELERATOR`` says; the CPU where it says nothing.

    On CUDA only algorithms that give the same bits each time are taken, and float32 is not cut to
    TF32. Processes of one machine go round its devices.
    """
    import torch

    name = find_accelerator(os.environ.get(ACCELERATOR) or "cpu")
    if name.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        if name == "cuda":
            name = f"cuda:{os.getpid() % torch.cuda.device_count()}"
    return torch.device(name)


def halving(work: Callable[[torch.Tensor], Value], rows: torch.Tensor) -> list[Value]:
    """Work on images; where memory runs out, on each half of them, and so on down to four.

    A note says so. It frees what the failed attempt held first.

    Args:
        work: Its result for some rows does not depend on the others, and it leaves no trace of an
            attempt that ran out of memory.
        rows: Which images, 1-D.

    Returns:
        What the parts came to, in the order of ``rows``; one if memory is enough.
    """
    try:
        return [work(rows)]
    except Exception as error:
        if len(rows) < 8 or not is_out_of_memory(error):
            raise
    free_memory()
    note(f"{len(rows)} images at once need more memory than there is: half of them are taken")
    return [value for half in rows.tensor_split(2) for value in halving(work, half)]


def free_memory() -> None:
    """Give back what torch keeps for later; call it after an error is handled, which holds more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is no CUDA


@cache
def multiplies_bf16(kind: str) -> bool:
    """Whether bf16 is quicker than fp32 on a torch device of this kind.

    A processor without the instructions emulates it: measured on an Intel Xeon without AVX512-BF16
    and AMX, an attack's gradients take 2.2 times as long as in fp32.
    """
    import torch

    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if kind != "cpu" or able.get("architecture") != "x86_64":
        return True
    return bool(able["avx512_bf16"] or able["amx_bf16"])


def precise(kind: str, precision: Precision) -> torch.autocast:
    """Compute a block in bf16 if that is asked for and quicker, else in fp32, which is more exact.

    Args:
        kind: Of the torch device, for example ``cpu``.
        precision: What is asked for.
    """
    import torch

    bf16 = precision == "bf16" and multiplies_bf16(kind)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bf16)


def kind_key() -> dict[str, str]:
    """The accelerator's part of a key; empty for the CPU, so that older keys stay valid."""
    name = os.environ.get(ACCELERATOR) or "cpu"
    kind = (find_accelerator(name) if name == "auto" else name).partition(":")[0]
    return {} if kind == "cpu" else {"accelerator": kind}


def accelerator_words() -> str:
    """The accelerator and its name, for a record."""
    import torch

    device = torch_device()
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type
