"""An SVG file of ours made part of a page: own names, the page's colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from fleet.reports.palette import DARK, variable

_COLOR = re.compile("|".join(DARK))
_REFERENCE = re.compile(r"#([\w-]+)")
_DROPPED = {"metadata", "style"}  # the style is one rule for every element of the page
_FONT = "'DejaVu Sans'"
_FONTS = "'DejaVu Sans', Verdana, sans-serif"  # Verdana has the same widths


def inline_svg(svg: bytes, name: str, alt: str) -> str:
    """Turn a figure into an element that can stand in HTML beside others.

    Args:
        svg: A file that :mod:`fleet.reports.drawing` made.
        name: Of the figure; makes its ids different from those of other figures.
        alt: What the figure shows, in words, for those who do not see it.

    Returns:
        An ``<svg>`` element whose colours are CSS variables. Texts of the figure stay escaped.
    """
    root = ET.fromstring(svg)  # noqa: S314  our own output
    _clean(root)
    used = {found for node in root.iter() for found in _references(node)}
    for node in root.iter():
        _rename(node, used, name)
    attributes = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": alt,
        "style": f"width: {_inches(root):.2f}in",
    }
    root.attrib.clear()
    root.attrib.update(attributes)
    return ET.tostring(root, encoding="unicode")


def _clean(parent: ET.Element) -> None:
    """Drop what the page does not need, and the namespaces, which HTML knows by itself."""
    parent.tag = parent.tag.rpartition("}")[2]
    for name in [name for name in parent.attrib if name.startswith("{")]:
        parent.attrib["xlink:" + name.rpartition("}")[2]] = parent.attrib.pop(name)
    for child in list(parent):
        _clean(child)
        if child.tag in _DROPPED:
            parent.remove(child)


def _references(node: ET.Element) -> list[str]:
    named = [value for key, value in node.attrib.items() if key.endswith("href") or "url(" in value]
    return [found for value in named for found in _REFERENCE.findall(value)]


def _rename(node: ET.Element, used: set[str], name: str) -> None:
    identity = node.attrib.pop("id", None)
    if identity in used:
        node.attrib["id"] = f"{name}-{identity}"
    for key, value in node.attrib.items():
        if key.endswith("href") and value.startswith("#"):
            node.attrib[key] = f"#{name}-{value[1:]}"
        elif key in {"style", "fill", "stroke", "clip-path"}:
            text = value.replace("url(#", f"url(#{name}-").replace(_FONT, _FONTS)
            node.attrib[key] = _COLOR.sub(lambda found: f"var({variable(found[0])})", text)


def _inches(root: ET.Element) -> float:
    return float(root.attrib["width"].removesuffix("pt")) / 72
