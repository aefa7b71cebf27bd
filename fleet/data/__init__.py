"""Datasets as uint8 images, with their provenance.

The names below load torch when they are first used; :mod:`fleet.data.pictures` never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet.data.dataset import ImageData, Split, to_unit
    from fleet.data.load import load_data

__all__ = ["ImageData", "Split", "load_data", "to_unit"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    module = "fleet.data.load" if name == "load_data" else "fleet.data.dataset"
    return getattr(import_module(module), name)
