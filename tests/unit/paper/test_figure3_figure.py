import struct
import xml.etree.ElementTree as ET

import pytest

from fleet.paper.figure3 import summarise
from fleet.reports.figures import encoded
from unit.paper import figure3_samples as samples
from unit.paper.figure3_samples import GRID, audit

TITLE = "Figure 3 on ten classes of other photos at 64 pixels: a stand-in, NOT the paper's classes"
SVG = "{http://www.w3.org/2000/svg}"


def texts(result, *arguments):
    (svg,) = encoded("fleet.paper.figure3_figure:draw", (result, *arguments), "svg")
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def result():
    found = audit(
        lambda i, j: 0.911 if i == j else 0.321 if GRID[i] == GRID[j] else 0.211 + 0.001 * j,
        reject=lambda i, j: 0.05,
        protocols=("paper", "adaptive"),
        attacks=("worst", "pgd"),
        eps=(0.1, 0.2),
        checks=(samples.MASKED,),
    )
    return summarise(found, title=TITLE)


@pytest.fixture(scope="module")
def shown(result):
    return texts(result, 0.1)


def test_the_title_stands_whole_and_the_notes_say_what_is_counted(shown):
    assert TITLE in shown
    assert (
        "Evade (flip or reject) at eps 0.1 (25.5/255). 14 networks, 1000 images. "
        "Run 20261122-figure3, 2026-11-22T21:36:04+00:00." in shown
    )
    assert any("pairs of different networks" in text for text in shown)
    assert any("same encoding, another seed" in text for text in shown)


def test_four_panels_and_the_masked_ones_say_so(shown):
    assert shown.count("adaptive protocol") == shown.count("paper protocol") == 2
    assert shown.count("MASKED: M1 failed") == 2
    assert shown.count("beta fixed at 16, alpha varies; PGD") == 1
    assert shown.count("alpha fixed at 4, beta varies; worst case over the attacks") == 1


def test_the_cells_are_those_of_the_result(result, shown):
    sweep = result.sweeps[0]
    assert (sweep.protocol, sweep.fixed) == ("adaptive", "beta")
    means = [f"{cell.rates.evade.mean:.3f}" for cell in sweep.cells]
    start = shown.index(means[0])
    assert shown[start : start + 18 : 2] == means
    assert shown[start + 1] == "0.371–0.371"  # lowest to highest
    assert means[0] == means[4] == means[8] == "0.371"  # other seeds, not the white-box .961


def test_white_box_noise_and_clean_accuracy_stand_below(shown):
    assert shown.count("0.961") == 7  # each encoding of the adaptive panels once
    assert shown.count("white-box") == shown.count("noise floor") == 4
    assert shown.count("1.000") == 14
    assert shown.count("0.010–0.010") == 14


def test_names_are_the_encodings_with_their_share(shown):
    assert shown.count("α 4, β 16") == 8  # row and column of four panels
    assert shown.count("β/(α+β) 0.2") == 4


def test_the_diagonal_is_outlined(result):
    (svg,) = encoded("fleet.paper.figure3_figure:draw", (result, 0.1), "svg")
    assert svg.count(b"stroke: #e0402f") == 2 * (3 + 4)


def test_eps_and_kind_are_the_callers(result):
    found = texts(result, 0.2, "flip")
    assert any(text.startswith("Flip (wrong class) at eps 0.2 (51/255).") for text in found)
    assert found.count("0.911") == 7


def test_an_encoding_without_a_second_network_has_no_rate():
    grid = [(1, 16), (4, 16), (16, 16)]
    found = texts(summarise(audit(lambda i, j: 0.2, grid=grid), title="t"), 0.1)
    assert found.count("–") == 3 + 1  # three in beta's panel, one in alpha's
    assert "paper protocol" not in found


def test_one_sweep_alone_is_drawn():
    grid = [(1, 16), (1, 16), (16, 16)]
    found = texts(summarise(audit(lambda i, j: 0.2, grid=grid), title="t"), 0.1)
    assert found.count("adaptive protocol") == 1


def test_hostile_titles_are_drawn_as_text_and_pictures_stay_small(result):
    odd = summarise(
        audit(lambda i, j: 0.2, grid=GRID[:3]), title="$\\frac{a}$<svg onload=1>\u202e" + "x" * 99
    )
    found = texts(odd, 0.1)
    assert any(text.startswith("$\\frac{a}$<svg onload=1>\ufffd") for text in found)
    assert not any("\u202e" in text for text in found)
    png, again = (
        encoded("fleet.paper.figure3_figure:draw", (odd, 0.1), "png")[0] for _ in range(2)
    )
    assert png == again
    (png,) = encoded("fleet.paper.figure3_figure:draw", (result, 0.1), "png")
    assert max(struct.unpack(">II", png[16:24])) < 3000
