"""torchvision's published ImageNet weights: fetched once, checked each time, never unpickled."""

import hashlib
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from fleet.errors import BackendError
from fleet.files import make_directory


def pretrained_state(architecture: str) -> dict[str, Tensor]:
    """Read the published weights of a torchvision network, fetching them if need be.

    Args:
        architecture: torchvision's name, for example ``resnet18``.

    Returns:
        The state of ``torchvision.models.get_model(architecture)``, on the CPU.

    Raises:
        BackendError: They cannot be fetched, or the file is not the published one.
        StorageError: torch's cache directory cannot be written.
    """
    url: str = get_model_weights(architecture).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        _fetch(url, path)
    elif not _digest(path).startswith(_published(path)):
        raise BackendError(
            f"{path} is not the published file (its SHA-256 must begin with {_published(path)})",
            hint="delete it and run the command again",
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise BackendError(
            f"cannot read {path}: {error}", hint="delete it and try again"
        ) from error
    # DenseNet's file is older than the rule that module names hold no dot (norm.1 is now norm1).
    return {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): v for key, v in state.items()}


def _fetch(url: str, path: Path) -> None:
    make_directory(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), _published(path), progress=False)
    except (OSError, RuntimeError) as error:  # no network; a file that is not the published one
        raise BackendError(
            f"cannot fetch the pretrained weights from {url}: {error}",
            hint=f"fetch that file elsewhere and put it at {path}, or set `pretrained: false`",
        ) from error


def _published(path: Path) -> str:
    """First hexadecimal digits of the file's SHA-256, which torchvision puts into its name."""
    return path.stem.rpartition("-")[2]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
