"""Results in a notebook: as data frames, for which pandas is imported late, and as HTML tables."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import import_module
from typing import Any

from fleet.errors import BackendError


def data_frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Make a ``pandas.DataFrame`` of rows with the same keys.

    Raises:
        BackendError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise BackendError(
            f"a data frame needs pandas: {error}", hint="pip install pandas"
        ) from error
    return pandas.DataFrame(rows)


def html_table(
    caption: str, heads: Iterable[str], rows: Iterable[Sequence[object]], *, title: str = "th"
) -> str:
    """Write a table; every text is escaped.

    Args:
        caption: What it shows.
        heads: Of the columns.
        rows: Cells; a float is written to three decimals.
        title: Tag of the first cell of a row: ``th`` where it names the row, else ``td``.
    """
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    body = "".join(f"<tr>{''.join(_cells(row, title))}</tr>" for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(row: Sequence[object], title: str) -> Iterable[str]:
    for place, value in enumerate(row):
        tag = title if place == 0 else "td"
        text = f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)
        yield f"<{tag}>{escape(text)}</{tag}>"
