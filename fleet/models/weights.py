"""Weights in and out: safetensors bytes that depend on the weights alone."""

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from fleet.errors import CheckpointError
from fleet.files import read_bytes
from fleet.models.classifier import Classifier

_SHOWN = 3
"""Keys named for each kind of fault; a wrong architecture has hundreds."""


def load_weights(classifier: Classifier, state: Mapping[str, Tensor]) -> None:
    """Copy weights into a classifier: all of them, or none if anything does not fit.

    The constants of an interval head (its middle and pitch, or its start and steps) must be those
    of the classifier's own encoding. ``mean`` and ``std`` are taken from ``state``.

    Args:
        classifier: Same architecture, head and encoding as the one that ``state`` comes from.
        state: Tensors by name, as :func:`weights_bytes` holds them.

    Raises:
        CheckpointError: Keys are missing, unexpected or of another shape or type, or the weights
            belong to another encoding.
    """
    own = classifier.state_dict()
    faults = [
        *_named("missing", (key for key in own if key not in state)),
        *_named("unexpected", (key for key in state if key not in own)),
        *_named("of another shape or type", _misfits(own, state)),
    ]
    if faults:
        raise CheckpointError(
            f"the weights do not fit the classifier: {'; '.join(faults)}",
            hint="they come from another architecture, width, head or image shape",
        )
    for key, buffer in classifier.head.named_buffers():
        if not torch.equal(buffer.cpu(), state[f"head.{key}"].cpu()):
            raise CheckpointError(
                f"the weights belong to another encoding (head.{key} differs)",
                hint="use the encoding that they were trained with",
            )
    classifier.load_state_dict(dict(state))


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Copy a trained network's weights into a backbone; its last layer is left behind.

    Args:
        backbone: A network without its last layer.
        path: ``model.safetensors`` of a run, or a state dictionary of the same network, as
            safetensors or as ``torch.save`` writes it (read without unpickling code).

    Raises:
        CheckpointError: The file cannot be read, or lacks weights of this backbone.
    """
    state = _read_state(path)
    if any(key.startswith("backbone.") for key in state):
        state = {key.removeprefix("backbone."): value for key, value in state.items()}
    own = backbone.state_dict()
    faults = [
        *_named("missing", (key for key in own if key not in state)),
        *_named("of another shape or type", _misfits(own, state)),
    ]
    if faults:
        raise CheckpointError(
            f"{path} does not hold this backbone: {'; '.join(faults)}",
            hint="`model.weights` takes a network of the same architecture, width and stem",
        )
    backbone.load_state_dict({key: state[key] for key in own})


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        data = read_bytes(path)
        if path.suffix == ".safetensors":
            return load(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
        text = str(error).partition("\n")[0]
        raise CheckpointError(
            f"cannot read weights from {path}: {text}",
            hint="`model.weights` takes a state dictionary: .safetensors, or a .pth file",
        ) from error
    if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
        return state
    raise CheckpointError(
        f"{path} is no state dictionary", hint="write `torch.save(network.state_dict(), path)`"
    )


def weights_bytes(classifier: Classifier) -> bytes:
    """Serialise every parameter and buffer as safetensors.

    Equal weights give equal bytes: keys are sorted, memory layout is left out, and there is one
    metadata key only (``format: pt``), because safetensors writes several in no fixed order.
    """
    state = classifier.state_dict()
    plain = {key: state[key].detach().cpu().contiguous() for key in sorted(state)}
    return save(plain, metadata={"format": "pt"})


def weights_digest(classifier: Classifier) -> str:
    """SHA-256 of :func:`weights_bytes`, 64 hexadecimal digits."""
    return hashlib.sha256(weights_bytes(classifier)).hexdigest()


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterable[str]:
    for key, wanted in own.items():
        given = state.get(key)
        if given is None or (given.shape == wanted.shape and given.dtype == wanted.dtype):
            continue
        yield f"{key} ({_kind(given)}, not {_kind(wanted)})"


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _named(fault: str, keys: Iterable[str]) -> list[str]:
    found = list(keys)
    if not found:
        return []
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"{fault}: {', '.join(found[:_SHOWN])}{more}"]
