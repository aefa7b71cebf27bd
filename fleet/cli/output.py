"""Where output goes: data to stdout, everything else to stderr.

A reader that has left, a closed stream or a narrow encoding changes no exit code: that tells what
became of the command's work. Only data that a full disk loses are an error.
"""

import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fleet.errors import FleetWarning
from fleet.files import storage_error

PIPE_WIDTH = 100
"""Columns of what is not written to a terminal; a table whose words need more is wider."""

_WIDEST = 10_000


QUIET = "FLEET_QUIET"
"""Set to 1 in the environment by ``fleet --quiet``: progress and notes are left out."""


def is_quiet() -> bool:
    """Whether only results and what went wrong are to be shown."""
    return os.environ.get(QUIET) == "1"


class Format(StrEnum):
    """How a command writes its data.

    ``auto``: tables; styled on a terminal, plain text elsewhere. ``human``: styled tables
    everywhere. ``json``: one JSON document.
    """

    auto = "auto"
    human = "human"
    json = "json"


class Output:
    """One command's two streams.

    Args:
        form: A :class:`Format`, or another of its words that the command reads itself.
    """

    def __init__(self, form: StrEnum = Format.auto) -> None:
        self.form = form
        styled = True if form == Format.human else None
        self.stdout = _console(sys.stdout, force_terminal=styled)
        self.stderr = error_console()

    def data(self, human: RenderableType, value: Any) -> None:
        """Write the command's result: ``human`` as a table or text, ``value`` as JSON."""
        if self.form == Format.json:
            narrow = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
            text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=narrow)
            sys.stdout.write(text + "\n")
        else:
            self.stdout.print(human, crop=not isinstance(self.stdout, _Pipe))

    def text(self, text: str) -> None:
        """Write the command's result as it is."""
        sys.stdout.write(text)

    def note(self, text: str) -> None:
        """Say something about the work, on stderr; with ``--quiet`` only what went wrong."""
        if is_quiet() and not text.startswith(("error", "hint", "warning", "gate")):
            return
        self.stderr.print(Text(text), soft_wrap=True)

    def next_command(self, *words: str | Path) -> None:
        """Name the next command, on stderr, as it can be typed."""
        if is_quiet():
            return
        self.stderr.print(Text(f"next: {shlex.join(map(str, words))}", style="dim"), soft_wrap=True)


def table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Sequence[RenderableType]],
    caption: str | None = None,
) -> Table:
    """Lay rows out under columns; ``>`` at the head of a column's name sets it flush right."""
    made = Table(title=title, caption=caption)
    for name in columns:
        right = name.startswith(">")
        made.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def error_console() -> Console:
    """Build the console of stderr; asked for late, because tests and pipes replace the stream."""
    return _console(sys.stderr)


class _Pipe(Console):
    """A console without a right edge: a table is as wide as its words need."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        options = options or self.options
        if isinstance(renderable, Table) and renderable.box is not None:
            whole = options.update(width=_WIDEST)
            need = Measurement.get(self, whole, renderable).minimum
            options = options.update(max_width=max(options.max_width, need))
        return super().render(renderable, options)


def _console(stream: TextIO, *, force_terminal: bool | None = None) -> Console:
    """Build a console that prints a string as it is: ``[old]`` and ``:a:`` in names are no markup.

    Styles are given as :class:`~rich.text.Text` and to tables.
    """
    piped = not stream.isatty()
    return (_Pipe if piped else Console)(
        file=stream,
        force_terminal=force_terminal,
        width=PIPE_WIDTH if piped else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


@contextmanager
def careful_streams() -> Iterator[None]:
    """Make stdout, stderr and warnings what this module promises, for the length of a command."""
    before = sys.stdout, sys.stderr
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file would get its number, and what is written to it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = cast(TextIO, _Stream(sys.stdout, "standard output"))
    sys.stderr = cast(TextIO, _Stream(sys.stderr))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FleetWarning)
            usual = warnings.showwarning

            def show(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                if issubclass(category, FleetWarning):
                    error_console().print(Text(f"note: {message}"), soft_wrap=True)
                else:
                    usual(message, category, filename, lineno, file, line)

            warnings.showwarning = show
            yield
    finally:
        sys.stdout, sys.stderr = before


class _Stream:
    """A standard stream that is written at once, escapes what it cannot encode, and may be lost.

    Args:
        stream: The stream; None where it is closed.
        needed: What it is called in the error of a failed write; "" for what may be lost.
    """

    def __init__(self, stream: TextIO | None, needed: str = "") -> None:
        self._stream = stream or io.StringIO()
        self._needed = needed
        self.lost = False  # a reader has left: a command that never ends by itself ends
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        self.encoding = self._stream.encoding
        self.isatty = self._stream.isatty
        self.fileno = self._stream.fileno

    def write(self, text: str) -> int:
        if text == "":  # as typer probes streams; a full disk refuses even that
            return 0
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.lost = True
            with suppress(OSError), Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), self.fileno())  # takes what is left in the buffer
            if self._needed and not isinstance(error, BrokenPipeError):
                raise storage_error(Path(self._needed), error) from error
        return len(text)

    def flush(self) -> None:
        """Nothing is left to flush."""
