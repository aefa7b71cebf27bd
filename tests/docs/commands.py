"""Whether a command line in a document is one that the program and the Makefile know."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import typer

from fleet.cli.app import command_line

Path_ = tuple[str, ...]
_HELP = {"--help", "-h"}


def segments(line: str) -> list[list[str]]:
    """Simple commands of a shell line, without variables before them and ``.venv/bin/``."""
    found: list[list[str]] = [[]]
    for token in shlex.split(line):
        if token in {"&&", "||", "|", ";"}:
            found.append([])
        elif found[-1] or not re.match(r"\w+=", token):
            found[-1].append(token.removeprefix(".venv/bin/"))
    return [segment[2:] if segment[1:3] == ["-m", "fleet"] else segment for segment in found]


def faults(line: str, makefile: Path) -> list[str]:
    """What is wrong with the ``fleet`` and ``make`` commands of a line."""
    found = []
    for name, *arguments in filter(None, segments(line)):
        if name == "make":
            names = [a for a in arguments if not a.startswith("-") and "=" not in a]
            found += [f"no target {n} in {line!r}" for n in names if n not in targets(makefile)]
        elif name == "fleet":
            found += [f"{fault} in {line!r}" for fault in resolve(arguments)[1]]
    return found


def resolve(arguments: list[str]) -> tuple[set[Path_], list[str]]:
    """Commands that the arguments name (``check|show`` names two), and what is wrong with them."""
    at: list[tuple[Path_, Any]] = [((), tree())]
    wrong = []
    for argument in arguments:
        commands = [command for _, command in at]
        if argument.startswith("-") and argument != "-":
            name = argument.partition("=")[0]
            wrong += [f"no option {name}" for command in commands if name not in options(command)]
        elif all(hasattr(command, "commands") for command in commands):
            if argument in {"...", "…"}:
                break
            names = argument.split("|")
            wrong += [f"no command {n}" for n in names for c in commands if n not in c.commands]
            at = [((*p, n), c.commands[n]) for p, c in at for n in names if n in c.commands]
    return {path for path, command in at if not hasattr(command, "commands")}, wrong


@cache
def tree() -> Any:
    """The program's command tree."""
    return typer.main.get_command(command_line())


def leaves(command: Any = None, path: Path_ = ()) -> set[Path_]:
    """Every command that does something, by its words."""
    command = command or tree()
    if not hasattr(command, "commands"):
        return {path}
    return {leaf for name, c in command.commands.items() for leaf in leaves(c, (*path, name))}


def options(command: Any) -> set[str]:
    """Options of one command."""
    spellings = (name for p in command.params for name in (*p.opts, *p.secondary_opts))
    return {name for name in spellings if name.startswith("-")} | _HELP


@cache
def targets(makefile: Path) -> set[str]:
    """Names that ``make`` takes."""
    rules = re.findall(r"^([\w-]+):(?!=)", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    return set(rules)
