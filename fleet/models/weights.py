"""Weights in and out: safetensors bytes that depend on the weights alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from fleet.errors import CheckpointError
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
