"""``defaults:`` and ``extends:``: what each device says once it has inherited the rest."""

from typing import NamedTuple

from fleet.profiles.problems import Problem, did_you_mean
from fleet.profiles.tree import Entry, Node, merge


class Inheritance(NamedTuple):
    """What :func:`inherit` makes of a profile.

    Attributes:
        root: The profile with merged devices.
        problems: Names that are taken, parents that are not there, cycles.
        orphans: Positions of devices that miss values because an ancestor is missing.
    """

    root: Node
    problems: list[Problem]
    orphans: set[int]


def inherit(root: Node) -> Inheritance:
    """Merge ``defaults`` < ``extends`` chain < own values into every device.

    Mappings join key by key; lists and scalars replace what they stand over, and ``null`` takes
    an inherited value away.
    """
    entry = root.entries.get("devices")
    if entry is None or not entry.node.items:
        return Inheritance(root, [], set())
    devices = entry.node
    defaults = root.find("defaults") or Node({}, root.mark, "defaults")
    lineage = _Lineage(devices)
    merged: dict[int, Node] = {}
    for index in lineage.ancestors_first():
        parent = lineage.parents[index]
        if parent in lineage.orphans:
            lineage.orphans.add(index)
        inherited = defaults if parent is None else merged[parent]
        merged[index] = merge(_heritage(inherited), devices.items[index])
    items = tuple(merged[index] for index in range(len(merged)))
    whole = Entry(entry.key, Node(items, devices.mark, devices.path))
    return Inheritance(
        Node({**root.entries, "devices": whole}, root.mark, root.path),
        lineage.problems + _taken_names(devices),
        lineage.orphans,
    )


class _Lineage:
    """Who extends whom, by position; gathers what is wrong with it."""

    def __init__(self, devices: Node) -> None:
        self._devices = devices.items
        self.problems: list[Problem] = []
        self.orphans: set[int] = set()
        positions: dict[str, int] = {}
        for index, device in enumerate(self._devices):
            positions.setdefault(_text(device, "name") or "", index)
        positions.pop("", None)
        self.parents = [self._parent(index, positions) for index in range(len(self._devices))]

    def ancestors_first(self) -> list[int]:
        """An order in which every device follows its parent. Cycles are cut open and reported."""
        order: list[int] = []
        placed: set[int] = set()
        for start in range(len(self.parents)):
            chain: dict[int, None] = {}
            index: int | None = start
            while index is not None and index not in placed and index not in chain:
                chain[index] = None
                index = self.parents[index]
            links = list(chain)
            if index is not None and index in chain:
                self._cut(links[links.index(index) :])
            order += reversed(links)
            placed.update(links)
        return order

    def _parent(self, index: int, positions: dict[str, int]) -> int | None:
        name = _text(self._devices[index], "extends")
        if name is None or name in positions:
            return positions.get(name or "")
        extends = self._devices[index].entries["extends"].node
        text = f"{extends.path} names no device: {name!r:.80}{did_you_mean(name, positions)}"
        self.problems.append(Problem(extends.mark, text))
        self.orphans.add(index)
        return None

    def _cut(self, cycle: list[int]) -> None:
        last = cycle[-1]
        names = [repr(_text(self._devices[index], "name")) for index in (*cycle, cycle[0])]
        extends = self._devices[last].entries["extends"].node
        text = f"{extends.path} closes a cycle: {' extends '.join(names)}"
        self.problems.append(Problem(extends.mark, text, "let one of them stand alone"))
        self.orphans.add(last)
        self.parents[last] = None


def _taken_names(devices: Node) -> list[Problem]:
    """Names that are one name, also where a file system ignores letter case."""
    first: dict[str, Node] = {}
    problems = []
    for device in devices.items:
        node = device.find("name")
        if node is None or not isinstance(node.value, str):
            continue
        other = first.setdefault(node.value.casefold(), node)
        if other is not node:
            text = f"{node.path} {node.value!r:.80} is taken (line {other.mark.line})"
            if other.value != node.value:
                text += f" by {other.value!r:.80}; some file systems ignore letter case"
            problems.append(Problem(node.mark, text, "give every device a name of its own"))
    return problems


def _heritage(node: Node) -> Node:
    """What is passed on: everything but a device's name and its own parent."""
    if not isinstance(node.value, dict):
        return node
    entries = {key: value for key, value in node.value.items() if key not in {"name", "extends"}}
    return Node(entries, node.mark, node.path)


def _text(device: Node, key: str) -> str | None:
    node = device.find(key)
    return node.value if node is not None and isinstance(node.value, str) else None
