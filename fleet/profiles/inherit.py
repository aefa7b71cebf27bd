"""``defaults:`` and ``extends:``: what each device says once it has inherited the rest."""

from __future__ import annotations

from fleet.profiles.problems import Problem, did_you_mean
from fleet.profiles.tree import Entry, Node, merge


def inherit(root: Node) -> tuple[Node, list[Problem]]:
    """Merge ``defaults`` < ``extends`` chain < own values into every device.

    Mappings join key by key; lists and scalars replace what they stand over, and ``null`` takes
    an inherited value away.

    Returns:
        The profile with merged devices, and what is wrong with the names: duplicates, unknown
        parents, cycles. The link that closes a cycle is left out of the merge.
    """
    entry = root.entries.get("devices")
    if entry is None:
        return root, []
    devices = entry.node
    parents, problems = _parents(devices)
    defaults = root.find("defaults") or Node({}, root.mark, "defaults")
    merged: dict[int, Node] = {}
    for index in _ancestors_first(devices, parents, problems):
        parent = parents[index]
        inherited = defaults if parent is None else merged[parent]
        merged[index] = merge(_heritage(inherited), devices.items[index])
    if devices.items:
        items = tuple(merged[index] for index in range(len(devices.items)))
        devices = Node(items, devices.mark, devices.path)
    entries = {**root.entries, "devices": Entry(entry.key, devices)}
    return Node(entries, root.mark, root.path), problems + _duplicates(devices)


def _parents(devices: Node) -> tuple[list[int | None], list[Problem]]:
    """Position of the device that each device extends."""
    positions: dict[str, int] = {}
    for index, device in enumerate(devices.items):
        positions.setdefault(_text(device, "name"), index)
    parents: list[int | None] = []
    problems = []
    for device in devices.items:
        extends = device.find("extends")
        name = _text(device, "extends")
        parents.append(positions.get(name) if name else None)
        if extends is not None and name and name not in positions:
            known = [known for known in positions if known]
            text = f"{extends.path} names no device: {name!r}{did_you_mean(name, known)}"
            problems.append(Problem(extends.mark, text))
    return parents, problems


def _ancestors_first(
    devices: Node, parents: list[int | None], problems: list[Problem]
) -> list[int]:
    """Order of merging. Cuts cycles out of ``parents`` and reports them."""
    order: list[int] = []
    placed: set[int] = set()
    for start in range(len(parents)):
        chain: list[int] = []
        on_chain: dict[int, None] = {}
        index: int | None = start
        while index is not None and index not in placed and index not in on_chain:
            on_chain[index] = None
            index = parents[index]
        chain = list(on_chain)
        if index is not None and index in on_chain:
            problems.append(_cycle(devices, chain[chain.index(index) :]))
            parents[chain[-1]] = None
        order += reversed(chain)
        placed.update(chain)
    return order


def _cycle(devices: Node, chain: list[int]) -> Problem:
    names = [_text(devices.items[index], "name") for index in (*chain, chain[0])]
    extends = devices.items[chain[-1]].entries["extends"].node
    text = f"{extends.path} closes a cycle: {' extends '.join(map(repr, names))}"
    return Problem(extends.mark, text, "let one of them stand alone")


def _duplicates(devices: Node) -> list[Problem]:
    """Names that are one name, also where a file system ignores letter case."""
    first: dict[str, Node] = {}
    problems = []
    for device in devices.items:
        node = device.find("name")
        if node is None or not isinstance(node.value, str):
            continue
        other = first.setdefault(node.value.casefold(), node)
        if other is not node:
            text = f"{node.path} {node.value!r} is taken: {other.path} in line {other.mark.line}"
            if other.value != node.value:
                text += f" is {other.value!r}, and some file systems ignore letter case"
            problems.append(Problem(node.mark, text, "give every device a name of its own"))
    return problems


def _heritage(node: Node) -> Node:
    """What a device passes on: everything but its name and its own parent."""
    if not isinstance(node.value, dict):
        return node
    entries = {key: value for key, value in node.value.items() if key not in {"name", "extends"}}
    return Node(entries, node.mark, node.path)


def _text(device: Node, key: str) -> str:
    """A text value of a device, or nothing."""
    node = device.find(key)
    return node.value if node is not None and isinstance(node.value, str) else ""
