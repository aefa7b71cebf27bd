"""The state of an unfinished training, in one safetensors file and without pickle.

Tensors are named ``model.KEY``, ``optimizer.INDEX.KEY`` and ``method.KEY``; everything else is JSON
under the single metadata key ``fleet``. One file, because two cannot be replaced in one step.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from fleet.accelerator import kind_key
from fleet.errors import CheckpointError
from fleet.files import read_bytes, write_bytes
from fleet.models import Classifier, load_weights

_KEY = "fleet"


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: Current epoch, from 0.
        step: Next step inside it, from 0.
        loss_sum: Sum of the batch losses of this epoch so far.
        seconds: Time spent training, earlier sessions included.
        history: Metrics of the finished epochs.
        curve: Validations inside the current epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    position: Position,
    *,
    identity: str,
    method: Mapping[str, Any] | None = None,
) -> None:
    """Write the state, whole or not at all.

    Args:
        path: ``checkpoint.safetensors`` of the device.
        classifier: Network in training.
        optimizer: Its optimiser.
        position: Where the training stands.
        identity: Digest of everything that determines the training; resuming demands the same.
        method: The training method's own state: tensors and JSON values.

    Raises:
        StorageError: It cannot be written; the earlier checkpoint is kept.
    """
    tensors = {f"model.{key}": value for key, value in classifier.state_dict().items()}
    state = optimizer.state_dict()["state"]
    for index, entries in state.items():
        kept = {key: value for key, value in entries.items() if value is not None}
        tensors |= {f"optimizer.{index}.{key}": value for key, value in kept.items()}
    own = dict(method or {})
    tensors |= {f"method.{key}": own.pop(key) for key in [*own] if isinstance(own[key], Tensor)}
    note = {"identity": identity, "torch": torch.__version__, "position": asdict(position)}
    note |= kind_key()
    note["method"] = own
    plain = {key: value.detach().cpu().contiguous() for key, value in sorted(tensors.items())}
    write_bytes(path, save(plain, metadata={_KEY: json.dumps(note, sort_keys=True)}))


def load_checkpoint(
    path: Path, classifier: Classifier, optimizer: torch.optim.Optimizer, *, identity: str
) -> tuple[Position, dict[str, Any]]:
    """Restore a network and its optimiser in place.

    Returns:
        Where the training stands, and the method's own state.

    Raises:
        CheckpointError: The file is damaged or belongs to another training or torch version.
        FileNotFoundError: There is none.
    """
    data = read_bytes(path)
    note, tensors = _parse(path, data)
    anew = "`--resume never` trains anew"
    if note.get("identity") != identity:
        raise CheckpointError(f"{path} belongs to another profile or dataset", hint=anew)
    if note.get("torch") != torch.__version__:
        raise CheckpointError(
            f"{path} was written by torch {note.get('torch')}, this is {torch.__version__}: "
            "the rest of the training would differ",
            hint=f"install that version again, or {anew}",
        )
    if note.get("accelerator") != kind_key().get("accelerator"):
        raise CheckpointError(
            f"{path} was written on accelerator {note.get('accelerator', 'cpu')}: the rest of the "
            "training would differ",
            hint=f"say --accelerator {note.get('accelerator', 'cpu')}, or {anew}",
        )
    load_weights(classifier, _with_prefix(tensors, "model."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _with_prefix(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _lay_out_as_weights(optimizer)
    own = {**note["method"], **_with_prefix(tensors, "method.")}
    return Position(**note["position"]), own


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give each moment the memory layout of its weights.

    A file holds them contiguous, and a fused step pairs values by their place in memory: beside
    channels-last weights it would mix them up and raise nothing.
    """
    for weights, entries in optimizer.state.items():
        for key, value in entries.items():
            if value.shape == weights.shape:
                entries[key] = torch.empty_like(weights).copy_(value)


def _parse(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        tensors = load(data)
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        note = json.loads(header["__metadata__"][_KEY])
    except Exception as error:  # safetensors raises types of its own for each kind of damage
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="`--resume never` trains anew"
        ) from error
    return note, tensors


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
