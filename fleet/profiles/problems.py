"""What is wrong in a profile, and where: problems, their excerpts, and the error made of them."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import ProfileError

EXCERPT_WIDTH = 100  # characters of a source line that an error shows


class ProfileFileError(ProfileError):
    """The profile, or the family secret beside it, cannot be read at all."""


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a profile.

    Attributes:
        line: Line number, counted from 1.
        column: Character in the line, counted from 1.
    """

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        mark: Where it was written.
        text: What is wrong, in one sentence without a final full stop.
        hint: How to mend it, or None.
    """

    mark: Mark
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Source:
    """The text of a profile, kept for excerpts.

    Attributes:
        path: The file as the user named it.
        lines: Its lines without their ends.
    """

    path: Path
    lines: tuple[str, ...] = ()

    def excerpt(self, mark: Mark) -> str:
        """Draw the marked line with a caret below the marked column.

        Characters that a terminal would obey rather than show become ``�``.
        """
        line = self.lines[mark.line - 1] if mark.line <= len(self.lines) else ""
        shown = "".join(_visible(character) for character in line)
        start = max(0, min(mark.column - 1 - EXCERPT_WIDTH // 2, len(shown) - EXCERPT_WIDTH))
        number = f"{mark.line:5d}"
        caret = " " * (mark.column - 1 - start) + "^"
        return f"{number} | {shown[start : start + EXCERPT_WIDTH]}\n{' ' * 5} | {caret}"

    def describe(self, problem: Problem) -> str:
        """Render a problem as ``path:line:column: text`` above its excerpt."""
        mark = problem.mark
        where = f"{self.path}:{mark.line}:{mark.column}"
        return f"{where}: {problem.text}\n{self.excerpt(mark)}"

    def error(self, problems: Iterable[Problem]) -> ProfileError:
        """Put all problems into one error, in the order of the file, each of them once."""
        unique = sorted(dict.fromkeys(problems), key=lambda problem: problem.mark)
        if len(unique) == 1:
            return ProfileError(self.describe(unique[0]), hint=unique[0].hint)
        parts = [
            self.describe(problem) + (f"\n        {problem.hint}" if problem.hint else "")
            for problem in unique
        ]
        return ProfileError(
            "\n".join(parts),
            hint=f"{len(unique)} mistakes; `fleet profiles schema` lists every key",
        )


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Suggest the nearest known word as ``; did you mean 'x'?``, or nothing."""
    close = difflib.get_close_matches(str(word)[:64], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _visible(character: str) -> str:
    if character == "\t":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
