"""The device side: a bundle in, decisions out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fleet.bundle import Bundle, Manifest, read_bundle
from fleet.encoding import REJECTED
from fleet.errors import BackendError, DataError
from fleet.notebook import data_frame, html_table
from fleet.runtime.engine import Engine, EngineName, FloatArray


def pictures_of(images: Any, shape: tuple[int, int, int]) -> list[Any] | None:
    """Pictures that must be brought into a frame first; None for a batch or one of its images.

    Args:
        images: What :meth:`DeviceClassifier.predict` takes.
        shape: (C, H, W) that the device takes.
    """
    if isinstance(images, (str, os.PathLike)) or hasattr(images, "convert"):
        return [images]
    if isinstance(images, (list, tuple)):
        return list(images)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim not in (2, 3):
        return None
    grey = shape[0] == 1
    if images.shape in (shape, (*shape[1:], shape[0])) or (grey and images.shape[-2:] == shape[1:]):
        return None
    colours = images.ndim == 3 and images.shape[-1] in (1, 3)
    return [images] if colours or images.ndim == 2 else None


def as_batch(images: Any, shape: tuple[int, int, int]) -> FloatArray:
    """Check images and turn them into float32.

    Args:
        images: numpy array or torch tensor, uint8 in 0..255 or float32 in [0, 1], of shape
            (N, C, H, W), (N, H, W, C), one of these without N, or (N, H, W) where C is 1.
        shape: (C, H, W) that the device takes.

    Returns:
        float32 (N, C, H, W) in [0, 1].

    Raises:
        DataError: Another type, shape or range, or NaN.
    """
    given = _as_array(images)
    array = _planes(given, shape)
    if array.ndim != 4 or array.shape[1:] != shape:
        raise DataError(
            f"images have shape {given.shape}; this device takes {('N', *shape)}",
            hint="resize them, or let the device read files with predict_files",
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # a NaN fails both
        raise DataError(
            f"pixels run from {array.min()} to {array.max()}; float32 images must be in [0, 1]",
            hint="divide 8-bit values by 255, or give them as uint8; do not normalise",
        )
    return np.ascontiguousarray(array)


def _planes(given: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Bring the axes of one image or many into the order (N, C, H, W), where they fit ``shape``."""
    last = (*shape[1:], shape[0])
    if given.shape in (shape, last, shape[1:] if shape[0] == 1 else shape):
        given = given[np.newaxis]
    if given.ndim == 3 and shape[0] == 1:
        return given[:, np.newaxis]
    if given.shape[1:] == last and last != shape:
        return given.transpose(0, 3, 1, 2)
    return given


def _as_array(images: Any) -> NDArray[Any]:
    if hasattr(images, "detach"):  # a torch tensor, recognised without importing torch
        try:
            images = images.detach().cpu().numpy()
        except TypeError as error:  # bfloat16 has no numpy form
            raise DataError(f"images cannot be read: {error}", hint="convert to float32") from error
    if not isinstance(images, np.ndarray):
        raise DataError(
            f"images are a {type(images).__name__}",
            hint="give a numpy array or a torch tensor; predict_files takes files",
        )
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"images are {images.dtype}", hint="give uint8 in 0..255 or float32 in [0, 1]"
        )
    return images


BATCH = 256
"""Images computed at once; bounds the memory, whatever the caller gives."""


@dataclass(frozen=True)
class Prediction:
    """One decision. The scalar behind it is not given out: it would tell the encoding.

    Attributes:
        label: Name of the class, or None for rejected.
        index: Number of the class, or None for rejected.
        margin: How far the output is from another decision. Task ``int``: in units of the mean
            slot width, 0 or more inside an interval, below 0 in a gap. Tasks ``tra`` and ``hin``:
            the largest logit minus the next. -inf where the output is not finite.
    """

    label: str | None
    index: int | None
    margin: float


@dataclass(frozen=True)
class RawPrediction(Prediction):
    """A decision and the scalar behind it, for laboratories: many of them tell the encoding.

    Attributes:
        output: The scalar of task ``int``; None for the others.
    """

    output: float | None


class Predictions(list[Prediction]):
    """Decisions in the order of the images."""

    def to_dataframe(self) -> Any:
        """One row for each image, as a ``pandas.DataFrame``.

        Raises:
            BackendError: pandas is not installed.
        """
        return data_frame([vars(prediction) for prediction in self])

    def _repr_html_(self) -> str:
        """Draw a table in a notebook."""
        rows = [(place, p.label or "None", p.margin) for place, p in enumerate(self)]
        return html_table("Decisions", ("image", "label", "margin"), rows)


@dataclass(frozen=True)
class DeviceClassifier:
    """One device's classifier; make one with :func:`load_bundle`.

    Attributes:
        manifest: The bundle's manifest.
        engine: What computes the network.
    """

    manifest: Manifest
    engine: Engine

    def predict(self, images: Any, *, raw: bool = False) -> Predictions:
        """Decide about one image or many.

        The last bits of a margin can depend on how many images are given at once.

        Args:
            images: A path, a ``PIL.Image`` or an array of one picture as cameras give them, uint8
                (H, W, 3), (H, W, 1) or, not for grey devices, (H, W); a sequence of such. They are
                brought into the device's size and colours. Or a batch of just the device's shape,
                a numpy array or torch tensor, uint8 in 0..255 or float32 in [0, 1], of shape
                (N, C, H, W), (N, H, W, C), one of these without N, or (N, H, W) for grey devices.
                Not normalised: the model does that.
            raw: Give :class:`RawPrediction` values.

        Returns:
            N predictions, in order; a list with one for one image.

        Raises:
            DataError: The images have another type, shape or range, hold NaN, or cannot be read.
        """
        shape = self.manifest.model.input_shape
        pictures = pictures_of(images, shape)
        if pictures is not None:
            return self.predict_files(pictures, raw=raw)
        batch = as_batch(images, shape)
        chunks = (batch[start : start + BATCH] for start in range(0, len(batch), BATCH))
        return Predictions(found for chunk in chunks for found in self._decide(chunk, raw))

    def predict_files(self, paths: Sequence[Any], *, raw: bool = False) -> Predictions:
        """Decide about image files, brought into the device's size and colours.

        Args:
            paths: JPEG, PNG, BMP or WebP files, or pictures as :meth:`predict` takes them.
            raw: Give :class:`RawPrediction` values.

        Returns:
            One prediction for each path, in order.

        Raises:
            DataError: A file is absent or is no readable image; the message names it.
            BackendError: Pillow is not installed.
        """
        try:
            from fleet.data.pictures import Frame, any_picture  # noqa: PLC0415
        except ImportError as error:
            raise BackendError(
                f"image files cannot be read here: {error}", hint="pip install pillow"
            ) from error
        images = self.manifest.preprocessing
        frame = Frame(images.channels, images.image_size, images.fit)
        found = Predictions()
        for start in range(0, len(paths), BATCH):
            pictures = [any_picture(picture, frame) for picture in paths[start : start + BATCH]]
            found += self.predict(np.stack(pictures), raw=raw)
        return found

    def _decide(self, images: FloatArray, raw: bool) -> list[Prediction]:
        outputs = self.engine.outputs(images)
        encoding = self.manifest.encoding
        decided = _top(outputs) if encoding is None else encoding.decide(outputs.tolist())
        names = self.manifest.class_names
        found = [
            Prediction(None, None, margin)
            if index == REJECTED
            else Prediction(names[index], index, margin)
            for index, margin in decided
        ]
        if not raw:
            return found
        scalars = [None] * len(found) if encoding is None else outputs.tolist()
        return [RawPrediction(**vars(p), output=o) for p, o in zip(found, scalars, strict=True)]


def load_bundle(
    path: Path | str, *, key: X25519PrivateKey | None = None, engine: EngineName = "auto"
) -> DeviceClassifier:
    """Load a device from its bundle, after every check of :func:`fleet.bundle.verify_bundle`.

    Example::

        classifier = fleet.load_bundle("cam-01-2026.11.1.fleet")
        classifier.predict(images)  # [Prediction(label='7', index=7, margin=0.31), ...]

    Args:
        path: A ``.fleet`` file.
        key: The device's private key, for a sealed bundle.
        engine: What computes the network: ``edge`` (ONNX Runtime), ``torch``, or ``auto``.

    Raises:
        BundleError: The file is no bundle, is damaged, or its weights do not fit its manifest.
        BackendError: The engine cannot start on this machine.
    """
    bundle = read_bundle(Path(path), key=key)
    return DeviceClassifier(bundle.manifest, load_engine(engine, bundle))


def load_engine(name: EngineName, bundle: Bundle) -> Engine:
    """Start an engine on a bundle's weights.

    Args:
        name: ``torch``, ``edge`` (ONNX Runtime), or ``auto``: the edge engine where the bundle
            carries a graph and ONNX Runtime is installed, else torch.
        bundle: An opened bundle.

    Raises:
        BackendError: There is no such engine, or this machine lacks what it needs.
        BundleError: The weights do not fit the manifest.
    """
    if name == "auto":
        edge = bundle.graph is not None and find_spec("onnxruntime") is not None
        name = "edge" if edge else "torch"
    if name not in _ENGINES:
        raise BackendError(
            f"there is no engine {name!r}", hint=f"the engines are: auto, {', '.join(_ENGINES)}"
        )
    module, kind, extra = _ENGINES[name]
    try:
        engine = getattr(import_module(module), kind)
    except (ImportError, OSError) as error:
        raise BackendError(
            f"the {name} engine cannot start: {error}",
            hint=f"pip install 'interval-fleet[{extra}]'; `fleet doctor` looks further",
        ) from error
    return cast(Engine, engine(bundle))


_ENGINES = {
    "edge": ("fleet.runtime.onnx_engine", "OnnxEngine", "edge"),
    "torch": ("fleet.runtime.torch_engine", "TorchEngine", "train"),
}
"""Module, class, and the extra that brings what it needs."""


def _top(logits: FloatArray) -> list[tuple[int, float]]:
    """Class of the largest logit and its lead over the next; rejected where any is not finite."""
    finite = np.isfinite(logits).all(axis=1)
    ordered = np.sort(logits.astype(np.float64), axis=1)
    with np.errstate(invalid="ignore"):  # infinity minus infinity, replaced just below
        lead = ordered[:, -1] - ordered[:, -2]
    classes, leads = (
        np.where(finite, logits.argmax(axis=1), REJECTED),
        np.where(finite, lead, -np.inf),
    )
    return list(zip(classes.tolist(), leads.tolist(), strict=True))
