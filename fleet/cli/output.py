"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

PIPE_WIDTH = 100
"""Columns of a table that is not written to a terminal."""


class Format(StrEnum):
    """How a command writes its data.

    ``auto``: tables; styled on a terminal, plain text elsewhere. ``human``: styled tables
    everywhere. ``json``: one JSON document.
    """

    auto = "auto"
    human = "human"
    json = "json"


class Output:
    """One command's two streams."""

    def __init__(self, form: Format = Format.auto) -> None:
        self.form = form
        styled = True if form is Format.human else None
        self.stdout = Console(
            file=sys.stdout,
            force_terminal=styled,
            width=None if sys.stdout.isatty() else PIPE_WIDTH,
            highlight=False,
            soft_wrap=False,
        )
        self.stderr = error_console()

    def data(self, human: RenderableType, value: Any) -> None:
        """Write the command's result: ``human`` as a table or text, ``value`` as JSON."""
        if self.form is Format.json:
            sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        else:
            self.stdout.print(human)

    def note(self, text: str) -> None:
        """Say something about the work, on stderr."""
        self.stderr.print(Text(text), soft_wrap=True)

    def next_command(self, *words: str | Path) -> None:
        """Name the next command, on stderr, as it can be typed."""
        self.stderr.print(Text(f"next: {shlex.join(map(str, words))}", style="dim"), soft_wrap=True)


def error_console() -> Console:
    """Build the console of stderr; asked for late, because tests and pipes replace the stream."""
    width = None if sys.stderr.isatty() else PIPE_WIDTH
    return Console(file=sys.stderr, highlight=False, width=width)
