"""Sample bundles for this directory."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "unit" / "bundle" / "bundle_samples.py"


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """The module ``bundle_samples``."""
    spec = importlib.util.spec_from_file_location("bundle_samples", SAMPLES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
