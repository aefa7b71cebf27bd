"""Export a device's network as a graph without weights, and record what it should answer.

The graph is the same file for every device of one architecture, head and class count: weights and
the constants of the encoding are named in it and stay outside. So it tells no encoding, and can be
public while the weights are sealed. Needs the extra ``export`` (onnx and onnxscript).
"""

import contextlib
import io
import logging
import warnings
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from fleet.assembly import load_images
from fleet.bundle import Bundle
from fleet.errors import BackendError
from fleet.profiles.spec import DataSpec
from fleet.runtime.torch_engine import TorchEngine, build_network

EXTERNAL = "weights"
"""Location that the graph names for every tensor that a device brings."""


def export_graph(bundle: Bundle) -> bytes:
    """Export the network of a bundle as ONNX, without its weights.

    Args:
        bundle: Whose manifest describes the network; its weights are not looked at.

    Returns:
        A serialised model with the input ``images``, float32 (N, C, H, W) in [0, 1], and the
        output ``outputs``.

    Raises:
        BackendError: onnx or onnxscript is not installed, or the network cannot be exported.
    """
    classifier = build_network(bundle.manifest).eval()
    example = torch.zeros(2, *classifier.input_shape)
    try:
        with _quiet():
            program = torch.onnx.export(
                classifier,
                (example,),
                dynamo=True,
                optimize=False,  # else BatchNorm is folded, and the weights' names are lost
                dynamic_shapes={"x": {0: torch.export.Dim("n")}},
                input_names=["images"],
                output_names=["outputs"],
                verbose=False,
            )
    except ImportError as error:
        raise BackendError(
            f"the network cannot be exported: {error}", hint="pip install 'interval-fleet[export]'"
        ) from error
    except Exception as error:
        raise BackendError(
            f"the network of {bundle.manifest.model.architecture!r} cannot be exported: "
            f"{type(error).__name__}: {str(error)[:200]}",
            hint="package without --edge; torch can still run the bundle",
        ) from error
    return _without_weights(cast(Any, program).model_proto, set(classifier.state_dict()))


def test_images(data: DataSpec, count: int) -> NDArray[np.uint8]:
    """The first validation images of a run, uint8 (N, C, H, W); N is ``count`` at most.

    Raises:
        DataError: The images cannot be read.
    """
    split = load_images(data).validation
    images = split.images(torch.arange(min(count, len(split))))
    return cast("NDArray[np.uint8]", images.numpy())


def self_test(bundle: Bundle, images: NDArray[np.uint8]) -> bytes:
    """Record what a bundle answers, so that a device can compare before it commits.

    Args:
        bundle: An opened bundle.
        images: uint8 (N, C, H, W).

    Returns:
        safetensors: ``images``, ``outputs`` (float32), ``labels`` (int64, -1 for None).
    """
    outputs = TorchEngine(bundle).outputs(images.astype(np.float32) / np.float32(255))
    encoding = bundle.manifest.encoding
    labels = outputs.argmax(axis=1) if encoding is None else encoding.decode_array(outputs)
    tensors = {"images": images, "outputs": outputs, "labels": labels.astype(np.int64)}
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def _without_weights(model: Any, names: set[str]) -> bytes:
    """Cut the weights out, and whatever differs between two exports of one network."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.functions[:]
    model.producer_name, model.producer_version, model.graph.doc_string = "fleet", "", ""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for part in (*model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        if tensor.name in names:
            tensor.ClearField("raw_data")
            tensor.data_location = 1  # EXTERNAL
            del tensor.external_data[:]
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", EXTERNAL
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's progress and deprecations off the user's streams."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
