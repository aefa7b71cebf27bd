import hashlib
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest

from fleet.audit.transfer.result import TransferAudit
from fleet.encoding import IntervalEncoding
from fleet.errors import BackendError
from fleet.reports import heatmap_png, heatmap_svg

SVG = "{http://www.w3.org/2000/svg}"

THERE = """
import hashlib, sys
from pathlib import Path
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import heatmap_png, heatmap_svg
audit = TransferAudit.load(Path(sys.argv[1]))
for draw in (heatmap_png, heatmap_svg):
    print(hashlib.sha256(draw(audit)).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_the_figure_says_what_it_shows(audit):
    found = texts(heatmap_svg(audit))
    assert "Transfer audit: evade (flip or reject), worst case over the attacks" in found
    assert any("Lighter = higher" in text for text in found)
    assert found.count("adaptive protocol") == found.count("paper protocol") == 2
    assert found.count("eps 0.1 (25.5/255), n 958 to 979") == 2
    assert found.count("MASKED: M1, M8 failed") == 2
    assert "Run 20261122-213100-demo, 2026-11-22T21:36:04Z." in found


def test_the_numbers_are_those_of_the_audit(make_audit):
    audit = make_audit(eps=(0.1,), protocols=("adaptive",))
    found = texts(heatmap_svg(audit))
    matrix = audit.matrix("adaptive", 0.1)
    expected = [f"{cell.outcome.rate('evade'):.3f}" for cell in matrix.cells]
    start = found.index(expected[0])
    assert found[start : start + 16] == expected
    assert found.count("noise floor") == 1
    assert [f"{d.clean_accuracy:.3f}" in found for d in audit.devices] == [True] * 4


def test_the_diagonal_is_outlined_and_its_numbers_bold(make_audit):
    svg = heatmap_svg(make_audit(["a", "b", "c"], eps=(0.1,), protocols=("adaptive",)))
    assert svg.count(b"stroke: #e0402f") == 3
    bold = [
        "".join(node.itertext()).strip()
        for node in ET.fromstring(svg).iter(f"{SVG}text")
        if "700" in node.get("style", "") or "bold" in node.get("style", "")
    ]
    assert {"0.950", "0.960", "0.970"} <= set(bold)


@pytest.mark.parametrize("count", [1, 9, 16])
def test_a_cell_keeps_its_size_however_many_devices(make_audit, count):
    names = [f"camera-{index:02d}" for index in range(count)]
    audit = make_audit(names, eps=(0.1,), protocols=("adaptive",))
    width, height = size(heatmap_png(audit))
    cell = 0.62 if count <= 8 else 0.46
    assert width >= 160 * count * cell
    assert 160 * count * cell < height < 160 * (count * cell + 6)


def test_many_devices_get_two_decimals(make_audit):
    names = [f"camera-{index:02d}" for index in range(9)]
    found = texts(heatmap_svg(make_audit(names, eps=(0.1,), protocols=("adaptive",))))
    assert "0.95" in found
    assert "0.950" not in found


def test_no_examples_is_a_dash_and_not_a_zero(make_audit):
    data = make_audit(["a", "b"], eps=(0.1,), protocols=("adaptive",)).to_dict()
    for cell in data["matrices"][0]["cells"]:
        cell["outcome"] = {"n": 0, "flip": 0, "reject": 0}
    found = texts(heatmap_svg(type(make_audit()).from_dict(data)))
    assert found.count("–") == 4


def test_hostile_names_are_drawn_as_text(make_audit):
    names = ["$\\frac{a}$", "<svg onload=1>", "日本\x0b\u202e", "x" * 60]
    found = texts(heatmap_svg(make_audit(names, eps=(0.1,), protocols=("adaptive",))))
    assert {"$\\frac{a}$", "<svg onload=1>", "\ufffd" * 4, "x" * 19 + "…"} <= set(found)


def test_nothing_outside_the_file_is_named(make_audit):
    svg = heatmap_svg(make_audit(["a", "b"], eps=(0.1,)))
    outside = [
        value
        for node in ET.fromstring(svg).iter()
        for name, value in node.attrib.items()
        if name.endswith("href") and not value.startswith("#")
    ]
    assert outside == []
    assert b"<script" not in svg


def test_settings_of_the_user_neither_change_the_figure_nor_are_changed(make_audit):
    audit = make_audit(["a", "b"], eps=(0.1,))
    before = heatmap_png(audit)
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 30, "savefig.bbox": "tight"}):
        assert heatmap_png(audit) == before
        assert matplotlib.rcParams["font.size"] == 30


def test_another_process_draws_the_same_bytes(make_audit, tmp_path):
    audit = make_audit(["a", "b", "c"], eps=(0.1,), protocols=("adaptive",))
    path = tmp_path / "audit.json"
    audit.save(path)
    command = [sys.executable, "-c", THERE, str(path)]
    there = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd())
    here = [hashlib.sha256(draw(audit)).hexdigest() for draw in (heatmap_png, heatmap_svg)]
    assert there.stdout.split() == here


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_error_says_what_to_install(audit):
    with pytest.raises(BackendError, match="figures need matplotlib") as caught:
        heatmap_png(audit)
    assert 'pip install "interval-fleet[train]"' in caught.value.hint


def test_axes_show_the_encodings(make_audit):
    audit = make_audit(eps=(0.1,), protocols=("adaptive",), with_control=True)
    found = texts(heatmap_svg(audit))
    assert {"α 4, β 16", "α 4, β 8 to 17", "no intervals", "tra-nn (control)"} <= set(found)
    slots = [text for text in found if len(text) == 1]
    orders = ["".join(slots[start : start + 10]) for start in range(0, len(slots), 10)]
    for device in audit.devices[:4]:
        along = "".join(map(str, IntervalEncoding.from_dict(device.encoding).classes))
        assert orders.count(along) == 2  # beside its row and above its column


def test_a_private_encoding_is_not_taken_for_none(make_audit):
    data = make_audit(["a", "b"], eps=(0.1,), protocols=("adaptive",)).to_dict()
    data["devices"][0]["encoding"] = None
    found = texts(heatmap_svg(TransferAudit.from_dict(data)))
    assert found.count("not disclosed") == 2
    assert "no intervals" not in found


def test_a_line_sets_the_controls_apart(make_audit):
    settings = {"eps": (0.1,), "protocols": ("adaptive",)}
    drawn = [heatmap_svg(make_audit(with_control=on, **settings)) for on in (False, True)]
    assert [svg.count(b"stroke-width: 2.2") for svg in drawn] == [0, 2]


def test_a_large_fleet_is_one_picture_without_numbers(make_audit):
    names = [f"camera-{index:02d}" for index in range(21)]
    svg = heatmap_svg(make_audit(names, eps=(0.1,), protocols=("adaptive",)))
    found = texts(svg)
    assert svg.count(b"<image") == 1
    assert all(found.count(name) == 2 for name in names)
    assert not [text for text in found if text.startswith("0.9")]
