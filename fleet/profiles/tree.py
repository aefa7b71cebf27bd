"""A profile as a tree in which every key and every value knows where it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fleet.profiles.problems import Mark

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Entry:
    """One ``key: value`` of a mapping.

    Attributes:
        key: Where the key stands.
        node: The value.
    """

    key: Mark
    node: Node


@dataclass(frozen=True)
class Node:
    """One value.

    Attributes:
        value: A scalar, the items of a sequence, or the entries of a mapping by key.
        mark: Where it begins.
        path: Where it was written in the profile's terms, for example ``defaults.task``. A value
            that a device inherits keeps the path of its origin.
    """

    value: Scalar | tuple[Node, ...] | dict[str, Entry]
    mark: Mark
    path: str

    @property
    def entries(self) -> dict[str, Entry]:
        """Entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """Items of a sequence; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @cached_property
    def plain(self) -> Any:
        """The value in plain Python; sequences become tuples.

        Kept, because many devices share one inherited node.
        """
        if isinstance(self.value, dict):
            return {key: entry.node.plain for key, entry in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(item.plain for item in self.value)
        return self.value

    def find(self, *keys: str | int) -> Node | None:
        """Follow keys and list positions; None where one of them is absent."""
        node: Node | None = self
        for key in keys:
            if node is None:
                return None
            node = node._child(key)
        return node

    def nearest(self, keys: Sequence[str | int]) -> Node:
        """Follow keys as far as they go: the place to point at when something is absent."""
        node = self
        for key in keys:
            child = node._child(key)
            if child is None:
                break
            node = child
        return node

    def _child(self, key: str | int) -> Node | None:
        if isinstance(key, int):
            return self.items[key] if key < len(self.items) else None
        entry = self.entries.get(key)
        return None if entry is None else entry.node


def merge(base: Node, over: Node) -> Node:
    """Lay ``over`` on ``base``: mappings join key by key, anything else replaces what was there."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    entries = dict(base.value)
    for key, entry in over.value.items():
        below = entries.get(key)
        node = entry.node if below is None else merge(below.node, entry.node)
        entries[key] = Entry(entry.key, node)
    return Node(entries, over.mark, over.path)
