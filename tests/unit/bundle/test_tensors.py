import numpy as np
import pytest
from safetensors.numpy import save

from fleet.bundle.tensors import TensorInfo, tensor_layout
from fleet.errors import BundleError

PT = {"__metadata__": {"format": "pt"}}


def test_a_file_of_the_reference_library_is_accepted() -> None:
    arrays = {
        "w": np.ones((4, 3, 5, 5), np.float32),
        "empty": np.ones((0, 3), np.float32),
        "steps": np.array(7),
        "edges": np.ones(2),
    }
    layout = tensor_layout(save(arrays, metadata={"format": "pt"}))
    assert layout == {
        "w": TensorInfo("F32", (4, 3, 5, 5)),
        "empty": TensorInfo("F32", (0, 3)),
        "steps": TensorInfo("I64", ()),
        "edges": TensorInfo("F64", (2,)),
    }
    assert layout["w"].size == 1200
    assert layout["steps"].size == 8


def test_two_metadata_keys_are_refused() -> None:
    arrays = {"w": np.ones(2, np.float32)}
    with pytest.raises(BundleError, match="metadata must be exactly"):
        tensor_layout(save(arrays, metadata={"format": "pt", "by": "me"}))
    with pytest.raises(BundleError, match="metadata must be exactly"):
        tensor_layout(save(arrays))


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int32, np.bool_])
def test_other_types_are_refused(dtype: type) -> None:
    data = save({"w": np.ones(4, dtype)}, metadata={"format": "pt"})
    with pytest.raises(BundleError, match="'w' has a dtype that is none of F32, F64, I64"):
        tensor_layout(data)
