"""YAML text to a :class:`Node` tree, with YAML 1.2's scalars and with limits.

PyYAML alone reads ``no`` as False, ``012`` as 10 and ``1e-3`` as text, and lets the last of two
equal keys win without a word.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from fleet.errors import ProfileError
from fleet.profiles.problems import Mark, Problem, ProfileFileError, Source
from fleet.profiles.tree import Entry, Node, Scalar

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000  # more than MAX_BYTES can spell without aliases
MAX_DIGITS = 400  # of one number

PLACE = r"\{n(:(?P<digits>0?[0-9]))?\}"
"""The number of a device, in the name of an entry that stands for many. YAML knows braces inside
``{...}`` only in quotes; here ``{count: 64, name: cam-{n:03}}`` is read as it is meant."""

_CORE = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"[-+]?[0-9]+\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}
# What PyYAML breaks lines at; str.splitlines() breaks at more.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def read_source(path: Path) -> tuple[Source, str]:
    """Read a profile's text.

    Raises:
        ProfileFileError: The file cannot be read.
        ProfileError: It is too large, or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ProfileFileError(
            f"cannot read profile {path}: {reason}",
            hint="`fleet profiles new` writes a starter profile",
        ) from error
    if len(data) > MAX_BYTES:
        raise ProfileError(
            f"{path} is larger than {MAX_BYTES // 1024} KiB",
            hint="move what devices share into `defaults:` or into a device that others extend",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.object has lost the byte order mark, if there was one.
        source, mark = _source_and_mark(path, error.object[: error.start].decode("utf-8"))
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise source.error([Problem(mark, wrong, "save the profile as UTF-8 text")]) from error
    return Source(path, tuple(_LINE_END.split(text))), text


def parse(source: Source, text: str) -> Node:
    """Parse a profile's text.

    Raises:
        ProfileError: It is not YAML, is empty, has duplicate keys or unknown tags, or exceeds a
            limit.
    """
    try:
        # As many characters, so that every place stays the one in the file.
        root = yaml.compose(re.sub(PLACE, lambda m: f"\ue000{m[0][1:-1]}\ue001", text), _Loader)
    except yaml.MarkedYAMLError as error:
        raise source.error([_syntax_problem(error)]) from error
    except yaml.reader.ReaderError as error:
        _, mark = _source_and_mark(source.path, text[: error.position])
        hex_code = f"U+{ord(text[error.position]):04X}"
        raise source.error([Problem(mark, f"character {hex_code} is not allowed")]) from error
    if root is None:
        raise source.error(
            [Problem(Mark(1, 1), "the profile is empty", "`fleet profiles new` writes a starter")]
        )
    converter = _Converter()
    node = converter.convert(root, "", ())
    if converter.problems:
        raise source.error(converter.problems)
    return node


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with the resolvers of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node; the parser below recurses, so depth is bounded here."""
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="too deeply nested", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_CORE + _name, _pattern, None)


class _Converter:
    """Turns PyYAML nodes into ours and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._nodes = 0

    def convert(self, node: yaml.Node, path: str, parents: tuple[int, ...]) -> Node:
        mark = _mark(node.start_mark)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self._report(mark, "aliases expand to too many values")
            return Node(None, mark, path)
        if id(node) in parents:
            self._report(mark, "an anchor holds an alias of itself")
            return Node(None, mark, path)
        inside = (*parents, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
            return Node(dict(self._entries(node, path, inside)), mark, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
            items = (
                self.convert(item, f"{path}[{i}]", inside) for i, item in enumerate(node.value)
            )
            return Node(tuple(items), mark, path)
        return Node(self._scalar(node, mark), mark, path)

    def _entries(
        self, node: yaml.MappingNode, path: str, inside: tuple[int, ...]
    ) -> Iterator[tuple[str, Entry]]:
        seen: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            key = key_node.value
            if key_node.tag != _CORE + "str":
                self._report(mark, "a key must be text", "put it in quotes if it is meant as a key")
                continue
            if key in seen:
                text = f"key {key!r} is written twice; the first is in line {seen[key].line}"
                self._report(mark, text, "keep one of the two")
                continue
            seen[key] = mark
            child = f"{path}.{_spelled(key)}" if path else _spelled(key)
            yield key, Entry(mark, self.convert(value_node, child, inside))

    def _scalar(self, node: yaml.Node, mark: Mark) -> Scalar:
        kind = node.tag.removeprefix(_CORE)
        if isinstance(node, yaml.ScalarNode):
            if kind == "str":
                return str(node.value).replace("\ue000", "{").replace("\ue001", "}")
            if kind in _SCALARS and _SCALARS[kind].match(node.value):
                if len(node.value) <= MAX_DIGITS:
                    return _value(kind, node.value)
                self._report(mark, f"a number may have {MAX_DIGITS} characters at most")
                return None
        tag = node.tag.replace(_CORE, "!!")
        self._report(mark, f"tag {tag!r} does not belong here", "write the value without a tag")
        return None

    def _report(self, mark: Mark, text: str, hint: str | None = None) -> None:
        self.problems.append(Problem(mark, text, hint))


def _spelled(key: str) -> str:
    plain = key.isprintable() and not re.search(r"\s", key) and 0 < len(key) <= 64
    return key if plain else repr(key[:64])


def _value(kind: str, text: str) -> Scalar:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = Mark(1, 1) if mark is None else _mark(mark)
    text = error.problem or "not YAML"
    if "'\\t'" in text:
        return Problem(where, "a tab cannot indent YAML", "indent with spaces")
    if "single document" in (error.context or ""):
        return Problem(where, "a profile is one YAML document", "remove what follows this `---`")
    context = f"{error.context}: " if error.context else ""
    return Problem(where, f"not YAML: {context}{text}")


def _mark(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _source_and_mark(path: Path, before: str) -> tuple[Source, Mark]:
    """Place of the character that follows ``before``, when there is no parser to tell it."""
    lines = tuple(_LINE_END.split(before))
    return Source(path, lines), Mark(len(lines), len(lines[-1]) + 1)
