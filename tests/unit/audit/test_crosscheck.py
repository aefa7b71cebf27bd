"""Other libraries against the native audit, on devices whose best attack is known on paper."""

from __future__ import annotations

import io
import json
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.core.result import Outcome
from fleet.audit.crosscheck.audit import ToolEffort, crosscheck, installed
from fleet.audit.crosscheck.result import Crosscheck, NativeFigure, ToolFigure, ToolVersion
from fleet.audit.crosscheck.tools import TOOLS, Assignment, Tool
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError, BackendError
from fleet.models import Classifier
from fleet.provenance import package_version
from fleet.reports.crosscheck import crosscheck_view, summary_lines

Maker = Callable[..., Member]
LEVELS = 8
SETTINGS = TransferSettings(eps=(LEVELS / 255,), steps=4, restarts=1, precision="fp32")
QUICK = ToolEffort(steps=10, queries=20)


def best(task: Assignment) -> Tensor:
    """The best attack on any linear device whose weights are all positive: brighten everything."""
    return (task.images + task.eps).clamp(max=1)


def nothing(task: Assignment) -> Tensor:
    return task.images


def too_far(task: Assignment) -> Tensor:
    """Leaves the ball by far, and gives a NaN."""
    made = torch.ones_like(task.images)
    made[:, :, 0, 0] = torch.nan
    return made


def broken(task: Assignment) -> Tensor:
    raise RuntimeError(f"{len(task.images)} images are too many")


def tool(package: str = "numpy", **attacks: Callable[[Assignment], Tensor]) -> Tool:
    """A library that is always installed."""
    return Tool("mine", package, attacks)


def greys(count: int = 6) -> tuple[Tensor, Tensor]:
    """Images of one level each, from 98 to 98 + count - 1, all of class 1."""
    levels = torch.arange(98, 98 + count, dtype=torch.uint8)
    return levels.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous(), torch.ones(count).long()


def test_what_a_library_makes_is_scored_as_our_own(linear: Maker) -> None:
    # o is the mean level - 77: from 21 to 26, slot 1 is [20, 30]. 8 levels up leave it from 23 on,
    # 8 levels down always; both end in a gap.
    member = linear("a", [0.25] * 4, -77.0)
    tools = [tool(best=best, nothing=nothing, too_far=too_far)]
    found = crosscheck([member], *greys(), SETTINGS, tools=tools)
    assert found.native_at("a", LEVELS / 255) == Outcome(6, 0, 6)
    figures = {figure.attack: figure for figure in found.figures}
    assert figures["best"].outcome == Outcome(6, 0, 4)
    assert figures["nothing"].outcome == Outcome(6, 0, 0)
    # Re-projected: three pixels up and one down move o by 4 levels, to 30 at most.
    assert figures["too_far"].outcome == Outcome(6, 0, 0)
    assert [figures[name].more for name in figures] == [0, 0, 0]
    assert found.exceeding == found.failed == ()


def test_a_library_that_finds_more_is_named(linear: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(member: Member, sample: Any, settings: TransferSettings) -> np.ndarray:
        return np.zeros((1, len(sample.images)), dtype=np.int8)

    monkeypatch.setattr("fleet.audit.crosscheck.audit._native", blind)
    member = linear("a", [0.25] * 4, -77.0)
    found = crosscheck([member], *greys(), SETTINGS, tools=[tool(best=best, nothing=nothing)])
    assert [(f.attack, f.more, found.excess(f)) for f in found.exceeding] == [("best", 4, 4 / 6)]
    lines = summary_lines(found)
    assert "mine best on a" in lines[-1]
    assert "66.7 points above the native audit, over 0.5 points" in lines[-1]


def test_an_attack_that_raises_is_part_of_the_result(linear: Maker) -> None:
    member = linear("a", [0.25] * 4, -77.0)
    tools = [tool(broken=broken, best=best), Tool("gone", "no-such-package", {"best": best})]
    found = crosscheck([member], *greys(), SETTINGS, tools=tools)
    assert [f.error for f in found.failed] == ["RuntimeError: 6 images are too many"]
    assert {f.tool for f in found.figures} == {"mine"}
    lines = summary_lines(found)
    assert "missing: no-such-package" in lines
    assert any(line.startswith("failed: mine broken on a") for line in lines)
    assert lines[-1] == "none of 1 results is above the native audit by over 0.5 points"


def test_none_installed_is_one_clear_error(linear: Maker) -> None:
    missing = [Tool("gone", "no-such-package", {"best": best})]
    with pytest.raises(BackendError, match="no-such-package") as caught:
        crosscheck([linear("a", [0.25] * 4, -77.0)], *greys(), SETTINGS, tools=missing)
    assert "make crosscheck" in str(caught.value.hint)


def test_another_norm_is_refused(linear: Maker) -> None:
    settings = replace(SETTINGS, norm="l2", eps=(0.5,))
    with pytest.raises(AuditError, match="norm is l2"):
        crosscheck([linear("a", [0.25] * 4, -77.0)], *greys(), settings, tools=[tool(best=best)])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"queries": 0}, {"tolerance": 2}])
def test_efforts_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(AuditError, match=next(iter(wrong))):
        ToolEffort(**wrong)


def test_random_numbers_are_the_seeds_and_the_callers_stay(linear: Maker) -> None:
    drawn: list[tuple[float, float]] = []

    def draw(task: Assignment) -> Tensor:
        drawn.append((float(torch.rand(())), float(np.random.rand())))
        warnings.warn("about something else", DeprecationWarning, stacklevel=1)
        return task.images

    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for _ in range(2):
        crosscheck([linear("a", [0.25] * 4, -77.0)], *greys(), SETTINGS, tools=[tool(draw=draw)])
    assert drawn[0] == drawn[1]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def result() -> Crosscheck:
    return Crosscheck(
        run="run",
        created="2026-01-01T00:00:00+00:00",
        tolerance=0.005,
        tools=(ToolVersion("art", "adversarial-robustness-toolbox", "1.20.1"),),
        native=(NativeFigure("a", 0.1, Outcome(200, 50, 10)),),
        figures=(
            ToolFigure("a", 0.1, "art", "pgd", Outcome(200, 51, 10), 1),
            ToolFigure("a", 0.1, "art", "fab", Outcome(200, 61, 1), 3),
            ToolFigure("a", 0.1, "art", "cw", None, 0, "ValueError: no"),
        ),
        settings={},
        provenance={},
    )


def test_the_tolerance_itself_is_allowed() -> None:
    check = result()
    assert check.excess(check.figures[0]) == pytest.approx(0.005)
    assert check.exceeding == (check.figures[1],)
    assert check.excess(check.figures[2]) is None
    nobody = replace(check, native=(NativeFigure("a", 0.1, Outcome(0, 0, 0)),))
    assert nobody.exceeding == ()


def test_what_was_not_compared_is_named() -> None:
    check = result()
    whole = replace(check, figures=check.figures[:2])
    assert whole.gaps() == []
    assert check.gaps() == ["nothing was compared with art cw on a at eps 0.1: ValueError: no"]
    dead = replace(whole, native=(NativeFigure("a", 0.1, Outcome(0, 0, 0)),))
    assert dead.gaps() == ["nothing was compared on a: it decodes no image correctly"]
    missing = replace(whole, tools=(ToolVersion("foolbox", "foolbox", None),))
    assert missing.gaps() == []
    assert missing.gaps(["foolbox"]) == ["nothing was compared with foolbox: it is not installed"]


def test_the_file_is_read_back_whole_or_refused(tmp_path: Path) -> None:
    check = result()
    check.save(tmp_path / "audit.json")
    data = json.loads((tmp_path / "audit.json").read_text())
    assert data["schema"] == "fleet.audit.crosscheck/1"
    assert Crosscheck.from_dict(data) == check
    for wrong, words in (
        ({**data, "schema": "fleet.audit.transfer/1"}, "schema"),
        ({**data, "native": []}, "incomplete"),
        ({**data, "tools": [{}]}, "incomplete"),
        ({**data, "more": 1}, "incomplete"),
    ):
        with pytest.raises(AuditError, match=words):
            Crosscheck.from_dict(wrong)


def test_the_table_holds_every_figure() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(crosscheck_view(result()))
    text = console.export_text()
    assert "a, eps 0.1" in text
    for words in ("fleet, adaptive worst case", "0.300", "art fab", "0.310", "+1.0", "failed"):
        assert words in text


class Wave(nn.Module):
    """A device with curvature, so that libraries have something to climb."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * 4).squeeze(1) * 16 + 15


@pytest.mark.parametrize("name", [tool.name for tool in TOOLS])
def test_each_installed_library_runs_and_finds_no_more(name: str) -> None:
    tools = [tool for tool in TOOLS if tool.name == name]
    if package_version(tools[0].package) is None:
        pytest.skip(f"{tools[0].package} is not installed (make crosscheck)")
    device = Classifier.from_module(Wave(), IntervalEncoding(5, alpha=2, beta=4), (1, 4, 4)).eval()
    images = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 255).byte()
    labels = device.decode(device(images / 255))
    kept = labels >= 0
    settings = TransferSettings(eps=(6 / 255,), steps=20, restarts=2, precision="fp32")
    found = crosscheck(
        [Member("wave", device)], images[kept], labels[kept], settings, QUICK, tools=tools
    )
    assert found.failed == found.exceeding == ()
    native = found.native_at("wave", 6 / 255)
    assert 0 < native.evade < native.n == int(kept.sum())
    for figure in found.figures:
        assert figure.outcome is not None
        # Not a number that a silent failure would give.
        assert figure.outcome.evade >= native.evade / 3, figure


def test_the_tool_table_names_what_the_extra_installs() -> None:
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    extra = tomllib.loads(project.read_text())["project"]["optional-dependencies"]["crosscheck"]
    packages = {tool.package for tool in TOOLS}
    # torchattacks pins requests 2.25 and comes without its dependencies, in the Makefile.
    assert {line.split(">")[0] for line in extra} == packages - {"torchattacks"}
    assert "torchattacks" in (project.parent / "Makefile").read_text()


def test_installed_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"foolbox": "1", "pyautoattack": "2"}
    monkeypatch.setattr("fleet.audit.crosscheck.audit.package_version", here.get)
    assert [tool.name for tool in installed(TOOLS)] == ["foolbox", "autoattack"]
