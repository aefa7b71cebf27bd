"""Interval encodings: from a classifier's scalar output to a class, or to none.

``fleet.encoding.tensor`` holds the torch form and is imported by its own name, so that a device
without torch can decode. The rules are written down in docs/encoding.md.
"""

from fleet.encoding.interval import (
    REJECTED,
    CanonicalEncoding,
    DecodeMode,
    IntervalEncoding,
    equivalent,
)

__all__ = ["REJECTED", "CanonicalEncoding", "DecodeMode", "IntervalEncoding", "equivalent"]
