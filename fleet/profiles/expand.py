"""``count:``: one entry of ``devices:`` that stands for many devices."""

import re
from collections.abc import Iterator

from fleet.profiles.problems import Problem
from fleet.profiles.schema import MAX_DEVICES
from fleet.profiles.tree import Entry, Node
from fleet.profiles.validate import shown
from fleet.profiles.yaml_text import PLACE


def expand(root: Node) -> tuple[Node, list[Problem]]:
    """Put one device for each number in the place of every entry with a ``count``.

    The devices of an entry are numbered from 1; ``{n}`` in its name, or ``{n:03}`` with at least
    three digits, is the number. They share all other nodes, hence also the place in the file. An
    entry with a count may stand without a list around it.

    Returns:
        The profile with a list of single devices, and what is wrong with counts and their names.
    """
    written = root.entries.get("devices")
    if written is None:
        return root, []
    node = written.node
    entries = (node,) if "count" in node.entries else node.items
    sizes: list[int] = []
    problems: list[Problem] = []
    for entry in entries:
        problems += (found := list(_problems(entry, MAX_DEVICES - sum(sizes))))
        count = entry.find("count")
        sizes.append(count.value if count and isinstance(count.value, int) and not found else 1)
    if problems:  # the first of each entry shows what else is wrong
        sizes = [1] * len(sizes)
    devices = [
        _member(entry, number)
        for entry, size in zip(entries, sizes, strict=True)
        for number in range(1, size + 1)
    ]
    if not entries:
        return root, []
    listed = Entry(written.key, Node(tuple(devices), node.mark, node.path))
    return Node({**root.entries, "devices": listed}, root.mark, root.path), problems


def _problems(entry: Node, room: int) -> Iterator[Problem]:
    count, name = entry.find("count"), entry.find("name")
    if count is None:
        return
    if type(count.value) is not int or count.value < 1:
        yield Problem(count.mark, f"{count.path} must be a whole number >= 1 (got {shown(count)})")
    elif count.value > room:
        text = f"{count.path} {count.value} makes more than the {MAX_DEVICES} devices of a profile"
        yield Problem(count.mark, text)
    if name is None or (isinstance(name.value, str) and not re.search(PLACE, name.value)):
        mark, path = entry.nearest(["name"]).mark, f"{entry.path}.name"
        text = f"{path} must hold {{n}}, the number of the device, beside a count"
        yield Problem(mark, text, "write for example `name: cam-{n:03}`")


def _member(entry: Node, number: int) -> Node:
    if "count" not in entry.entries:
        return entry
    own = {key: value for key, value in entry.entries.items() if key != "count"}
    name = own.get("name")
    if name is not None and isinstance(name.node.value, str):
        text = re.sub(PLACE, lambda found: f"{number:{found['digits'] or ''}}", name.node.value)
        own["name"] = Entry(name.key, Node(text, name.node.mark, name.node.path))
    return Node(own, entry.mark, entry.path)
