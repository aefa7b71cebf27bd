import re
import xml.etree.ElementTree as ET

import pytest

from fleet.reports.html import inline_svg
from fleet.reports.palette import DARK, INK, LINE, PAPER, contrast, variable, variables


@pytest.fixture(scope="module")
def inlined(drawn):
    return {figure.name: inline_svg(figure.svg, figure.name, figure.alt) for figure in drawn}


def test_every_id_is_the_figures_own_and_is_used(inlined):
    seen = set()
    for name, text in inlined.items():
        ids = re.findall(r'\bid="([^"]*)"', text)
        assert len(ids) == len(set(ids))
        assert all(found.startswith(f"{name}-") for found in ids)
        used = set(re.findall(r'(?:url\(#|href="#)([^")]*)', text))
        assert used == set(ids)
        assert not seen & set(ids)
        seen |= set(ids)


def test_colours_follow_the_readers_scheme(inlined):
    for text in inlined.values():
        assert not [color for color in DARK if color in text]
        assert f"var({variable(INK)})" in text


def test_nothing_but_drawing_is_left(inlined):
    for text in inlined.values():
        assert text.startswith("<svg viewBox=")
        assert "http" not in text
        assert "<style" not in text
        assert "<metadata" not in text


def test_each_figure_says_what_it_shows(inlined, drawn):
    for figure in drawn:
        root = ET.fromstring(inlined[figure.name].replace("xlink:href", "href"))
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == figure.alt


def test_text_that_looks_like_markup_stays_text():
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="72pt" viewBox="0 0 1 1"><g id="a">'
        b'<text style="fill: #1b1d22">&lt;b id="x" onload=1&gt; #1b1d22</text></g></svg>'
    )
    text = inline_svg(svg, "f", '"><script>')
    assert "&lt;b id=" in text
    assert "&gt; #1b1d22" in text
    assert "<script" not in text
    assert 'id="a"' not in text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_lines_and_letters_stand_out_from_their_paper(dark):
    shown = {light: DARK[light] if dark else light for light in DARK}
    for light, color in shown.items():
        if light not in (PAPER, LINE):  # the grid may be faint
            least = 4.5 if light == INK else 1.8 if light == "#b9bec8" else 3
            assert contrast(color, shown[PAPER]) >= least, light


def test_every_colour_has_a_variable_in_both_schemes():
    for dark in (False, True):
        declared = re.findall(r"(--fig-\d+): (#[0-9a-f]{6});", variables(dark=dark))
        assert [name for name, _ in declared] == [variable(color) for color in DARK]
    with pytest.raises(ValueError, match="not in list"):
        variable("#123456")
