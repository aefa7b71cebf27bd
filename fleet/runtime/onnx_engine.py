"""The edge engine: a weight-free graph and the bundle's weights in ONNX Runtime, without torch."""

from typing import cast

import onnxruntime
from safetensors.numpy import load

from fleet.bundle import Bundle
from fleet.errors import BackendError, BundleError
from fleet.runtime.engine import FloatArray


class OnnxEngine:
    """Runs a bundle in float32 on the processor, one thread.

    Weights go from memory to the session; none is written to disk.

    Args:
        bundle: An opened bundle that carries a graph.

    Raises:
        BackendError: The bundle carries no graph.
        BundleError: Graph and weights do not fit each other.
    """

    def __init__(self, bundle: Bundle) -> None:
        if bundle.graph is None:
            raise BackendError(
                f"the bundle of {bundle.manifest.device!r} carries no graph for the edge engine",
                hint="package it with `fleet package --edge`, or install interval-fleet[train]",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # BatchNorm's counter of batches is among the weights and not in the graph.
        weights = {k: v for k, v in load(bundle.model).items() if k.encode() in bundle.graph}
        self._kept = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in weights.values()]
        try:
            options.add_external_initializers(list(weights), self._kept)
            self._session = onnxruntime.InferenceSession(
                bundle.graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BundleError(
                f"graph and weights of {bundle.manifest.device!r} do not fit each other: "
                f"{str(error)[:200]}",
                hint="the bundle was put together wrongly; package the device again",
            ) from error

    def outputs(self, images: FloatArray) -> FloatArray:
        """Compute what is decoded; see :class:`fleet.runtime.engine.Engine`."""
        return cast(FloatArray, self._session.run(["outputs"], {"images": images})[0])
