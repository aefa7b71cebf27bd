"""Realistic audits of every kind without a model: four devices and a control, two radii.

The figures follow what was measured on small MNIST networks: the paper's loss is blind (diagonal
near 0 while transfer is not), the adaptive attack is not, and noise alone does something.
"""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import combinations, islice
from typing import Any

import pytest

from fleet.audit.coalition.result import (
    CoalitionAudit,
    CoalitionTrial,
    CurvePoint,
    DeviceRisk,
    EffectiveSize,
    GreedyStep,
    HalfPoint,
    InputShare,
    VictimOutcome,
)
from fleet.audit.core.evidence import Binarization
from fleet.audit.core.result import AuditedDevice, Cell, Check, Matrix, NoiseFloor, Outcome
from fleet.audit.query.result import Fidelity, QueryAudit, QueryCurve, QueryPoint, WhiteBox
from fleet.audit.trace.result import (
    SCORES,
    Calibration,
    Confusion,
    EvasionPrice,
    Outsider,
    Threshold,
    TraceAudit,
    TraceRate,
)
from fleet.audit.transfer.result import TransferAudit
from fleet.audit.whitebox.result import (
    Margins,
    MinimumDistance,
    WhiteboxAudit,
    WhiteboxFigure,
)
from fleet.reports.figures import DrawnFigure, draw_figures
from fleet.reports.report import AuditReport

IMAGES = 1000
NAMES = ("gate-north", "gate-south", "sorter-1", "handheld")
ATTACKS = {
    "adaptive": ("worst", "pgd-up-down", "pgd-targeted"),
    "paper": ("worst", "fgsm", "pgd"),
}
PROVENANCE: dict[str, Any] = {
    "dataset": {"name": "mnist", "sha256": "ab" * 32},
    "versions": {"fleet": "0.1.0", "torch": "2.15.0"},
    "command": ["fleet", "audit", "transfer"],
}
HEAD: dict[str, Any] = {"run": "20261122-213100-demo", "created": "2026-11-22T21:36:04Z"}


def device(index: int, name: str) -> AuditedDevice:
    rejected = 9 + 4 * (index % 5)
    order = None if index == 0 else [(3 * slot + index) % 10 for slot in range(10)]
    encoding: dict[str, Any] = {
        "num_classes": 10,
        "alpha": 4.0,
        "beta": 16.0 if index != 1 else [8.0 + y for y in range(10)],
        "s0": 0.0,
        "order": order,
    }
    return AuditedDevice(
        name=name,
        task="int",
        architecture="nn",
        head="ordinal" if index == 2 else "linear",
        encoding=encoding,
        weights_sha256=f"{index % 16:x}" * 64,
        images=IMAGES,
        correct=IMAGES - 12 - 3 * (index % 4) - rejected,
        rejected=rejected,
    )


def control(name: str = "tra-nn") -> AuditedDevice:
    return AuditedDevice(name, "tra", "nn", "logits", None, "c" * 64, IMAGES, 986, 0, "control")


def outcome(n: int, flip: float, reject: float) -> Outcome:
    flips = round(n * min(1.0, flip))
    return Outcome(n, flips, min(n - flips, round(n * reject)))


def cell(devices: Sequence[AuditedDevice], i: int, j: int, protocol: str, scale: float) -> Cell:
    white_box = i == j
    if protocol == "adaptive":
        flip = 0.93 + 0.01 * (j % 5) if white_box else 0.07 + 0.21 * ((3 * i + 5 * j) % 7) / 6
        reject = 0.02 if white_box else 0.08
    else:
        flip = 0.0004 * i if white_box else 0.02 + 0.05 * ((i + 2 * j) % 4) / 3
        reject = 0.001 * j if white_box else 0.06
    n = devices[j].correct
    plain = outcome(n, flip * scale, reject * scale)
    both = round(0.97 * n)
    joint = outcome(both, min(1.0, flip * scale) * 0.98, reject * scale * 0.98)
    reached = round(both * (0.96 if protocol == "adaptive" else min(1.0, 0.004 * i)))
    given = outcome(reached, 1.05 * flip * scale, reject * scale)
    return Cell(devices[i].name, devices[j].name, plain, joint, given)


def checks() -> tuple[Check, ...]:
    return (
        Check(
            "M1",
            "gradient of the attack loss",
            "fail",
            "the loss of 'paper' has a zero gradient on 97.3 % of the images",
            "at most 1 %",
            "paper",
        ),
        Check("M3", "gradient of the output", "pass", "never zero, always finite", "none"),
        Check(
            "M8",
            "transfer is no better than white-box",
            "fail",
            "into handheld transfer reaches 0.130, white-box 0.003",
            "no column's transfer above its diagonal",
            "paper eps 0.1",
        ),
        Check(
            "M9",
            "converged",
            "warn",
            "doubling the steps raises evade by 0.7 points",
            "less than 0.5 points",
            "adaptive, sorter-1",
        ),
        Check("M12", "images stay in the ball", "pass", "largest |x_adv - x| 0.09804", "eps"),
    )


def floors(devices: Sequence[AuditedDevice], eps: Sequence[float]) -> tuple[NoiseFloor, ...]:
    return tuple(
        NoiseFloor(d.name, radius, outcome(d.correct, 0.1 * radius, 0.2 * radius), draws=10)
        for radius in eps
        for d in devices
    )


def members(names: Sequence[str], *, with_control: bool) -> tuple[AuditedDevice, ...]:
    devices = tuple(device(index, name) for index, name in enumerate(names))
    return (*devices, control()) if with_control else devices


def build(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.1, 0.2),
    protocols: Sequence[str] = ("paper", "adaptive"),
    found: tuple[Check, ...] | None = None,
    with_control: bool = False,
) -> TransferAudit:
    devices = members(names, with_control=with_control)
    every = range(len(devices))
    matrices = tuple(
        Matrix(
            protocol,
            attack,
            radius,
            tuple(
                cell(devices, i, j, protocol, radius / 0.1 * 0.8**rank)
                for i in every
                for j in every
            ),
        )
        for protocol in protocols
        for rank, attack in enumerate(ATTACKS[protocol])
        for radius in eps
    )
    return TransferAudit(
        **HEAD,
        devices=devices,
        eps=tuple(eps),
        matrices=matrices,
        noise=floors(devices, eps),
        checks=checks() if found is None else found,
        settings={
            "seed": 7,
            "images": IMAGES,
            "decode": "strict",
            "scoring": "fp32, images rounded to 8 bits",
            "attacks": {"pgd-up-down": {"steps": 40, "restarts": 2, "targeted": False}},
            "segment_points": 65,
        },
        provenance=PROVENANCE,
    )


def rise(eps: float, half: float) -> float:
    """A curve of success against eps that reaches 1/2 at ``half``."""
    return eps**3 / (eps**3 + half**3)


def whitebox(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.3),
    protocols: Sequence[str] = ("paper", "adaptive"),
    found: tuple[Check, ...] | None = None,
    with_control: bool = True,
) -> WhiteboxAudit:
    devices = members(names, with_control=with_control)

    def figure(i: int, d: AuditedDevice, protocol: str, attack: str, radius: float):
        scale = 1.0 if attack == "worst" else 0.9
        half = 0.05 + 0.015 * (i % 4)
        blind = protocol == "paper" and d.role == "device"
        flip = 0.05 * radius if blind else rise(radius, half) * scale
        reject = 0.03 * radius if blind else 0.25 * radius * (1 - rise(radius, half)) * 3
        reject = 0.0 if d.role == "control" else reject
        plain = outcome(d.correct, flip, reject)
        floor = Outcome(plain.n, plain.flip + plain.reject // 2, 0)
        return WhiteboxFigure(d.name, protocol, attack, radius, plain, floor)

    attacks = {"paper": ("worst", "fgsm", "pgd"), "adaptive": ("worst", "pgd", "apgd")}
    return WhiteboxAudit(
        **HEAD,
        norm="linf",
        devices=devices,
        eps=tuple(eps),
        figures=tuple(
            figure(i, d, protocol, attack, radius)
            for i, d in enumerate(devices)
            for protocol in protocols
            for attack in attacks[protocol]
            for radius in eps
        ),
        noise=floors(devices, eps),
        margins=tuple(
            Margins(
                d.name,
                "linf",
                tuple(
                    round(0.05 * (1 + 0.2 * (i % 4)) * (k / (301 - k)) ** 0.4, 6)
                    for k in range(1, 301)
                ),
            )
            for i, d in enumerate(devices)
        ),
        distances=tuple(
            MinimumDistance(d.name, attack, norm, 100, 98, (low, 2 * low, 4 * low))
            for d in devices
            for attack, norm, low in (("cw-l2", "l2", 0.4), ("linear", "linf", 0.02))
        ),
        binarization=tuple(Binarization(d.name, 0.1, 64, 0, 12, 63, 20) for d in devices[:2]),
        checks=checks() if found is None else found,
        settings={"seed": 7, "images": IMAGES, "attacks": {"apgd": {"steps": 40}}},
        provenance=PROVENANCE,
    )


def coalition(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.1, 0.2),
    found: tuple[Check, ...] | None = None,
    with_control: bool = True,
) -> CoalitionAudit:
    devices = members(names, with_control=with_control)
    shipped = [d for d in devices if d.role == "device"]
    fleet = tuple(d.name for d in shipped)

    def trial(owned: tuple[str, ...], choices: tuple[str, ...], radius: float) -> CoalitionTrial:
        def victim(j: int, d: AuditedDevice) -> VictimOutcome:
            mine = d.name in owned
            base = 0.9 if mine else 0.12 + 0.16 * len(owned) ** 0.7 + 0.03 * (j % 3)
            base *= min(1.0, radius / 0.1 * (1 if mine else 0.8))
            joint = round(0.9 * IMAGES)
            return VictimOutcome(
                d.name,
                mine,
                outcome(d.correct, base * 0.7, base * 0.3),
                outcome(joint, base * 0.7, base * 0.3),
            )

        victims = tuple(victim(j, d) for j, d in enumerate(shipped))
        return CoalitionTrial(owned, owned or ("tra-nn",), choices, "uniform", radius, victims)

    trials: list[CoalitionTrial] = []
    points: list[CurvePoint] = []
    for radius in eps:
        for size in [k for k in range(0 if with_control else 1, len(fleet)) if k < 6 or k % 8 == 0]:
            drawn = list(islice(combinations(fleet, size), 12))
            greedy = fleet[-size:] if size else ()
            made = []
            for owned in dict.fromkeys([*drawn, greedy]):
                choices = ["random"] * (owned in drawn) + ["greedy"] * (owned == greedy)
                made.append(trial(owned, tuple(choices) if size else ("control",), radius))
            trials += made
            for choice in ("random", "greedy") if size else ("control",):
                kept = [t for t in made if choice in t.choices]
                share = sum(t.share for t in kept) / len(kept)
                whole = sum(t.whole_share for t in kept) / len(kept)
                mine = sum(t.owned_share or 0 for t in kept) / len(kept) if size else None
                bounds = [max(0.0, min(1.0, share + d)) for d in (-0.02, 0.02, -0.06, 0.06)]
                points.append(
                    CurvePoint(
                        "uniform", radius, choice, size, len(kept), len(drawn) < 12, share,
                        *bounds, share * 0.7, mine, whole,
                    )
                )  # fmt: skip
    half = []
    for radius in eps:
        for choice in ("random", "greedy"):
            sizes = [
                p.size
                for p in points
                if p.eps == radius and p.choice in (choice, "control") and p.share >= 0.5
            ]
            half.append(HalfPoint("uniform", radius, choice, min(sizes, default=None)))
    count = len(fleet)
    return CoalitionAudit(
        **HEAD,
        devices=devices,
        eps=tuple(eps),
        attacks=("uniform",),
        trials=tuple(trials),
        curve=tuple(points),
        half=tuple(half),
        risks=tuple(
            DeviceRisk(d.name, "uniform", radius, 0.3 + 0.02 * (j % 5), 0.28, 0.4, 0.35, 0.3, 0.4)
            for radius in eps
            for j, d in enumerate(shipped)
        ),
        inputs=tuple(
            InputShare("uniform", radius, "random", 1, "others", 900, 0.3, 0.75, 0.2, 0.05)
            for radius in eps
        ),
        effective=tuple(
            EffectiveSize("uniform", radius, count, count * (count - 1), 0.4, count / 2.2)
            for radius in eps
        ),
        greedy=tuple(GreedyStep(name, 0.3) for name in reversed(fleet)),
        noise=floors(shipped, eps),
        checks=(Check("C1", "more devices, more harm", "pass", "never falls", "rule"),)
        if found is None
        else found,
        settings={"draws": 12, "bootstrap": 1000},
        provenance=PROVENANCE,
    )


def query(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.1, 0.2),
    found: tuple[Check, ...] | None = None,
) -> QueryAudit:
    devices = members(names, with_control=False)
    methods = {
        "noise": ("scores", "image", 0.1),
        "square": ("scores", "image", 0.9),
        "decision": ("label", "image", 0.45),
        "extraction": ("scores", "total", 0.5),
        "transfer+queries": ("scores", "image", 0.95),
    }

    def curve(i: int, d: AuditedDevice, radius: float, method: str) -> QueryCurve:
        answer, counted, reach = methods[method]
        budgets = (10, 30, 100, 300, 1000) if counted == "image" else (1000, 5000)
        points = tuple(
            QueryPoint(
                q,
                outcome(
                    d.correct, 0.7 * reach * (k + 1) / 5 * min(1, 0.5 + radius * 2), 0.02 * (k + i)
                ),
            )
            for k, q in enumerate(budgets)
        )
        owned = tuple(n for n in names if n != d.name)[:2] if method.startswith("transfer") else ()
        median = 210 if points[-1].outcome.evade * 2 > d.correct and counted == "image" else None
        return QueryCurve(d.name, radius, method, answer, counted, owned, points, median)

    return QueryAudit(
        **HEAD,
        devices=devices,
        eps=tuple(eps),
        curves=tuple(
            curve(i, d, radius, method)
            for i, d in enumerate(devices)
            for radius in eps
            for method in methods
        ),
        fidelity=tuple(Fidelity(d.name, q, 500, 430, 440) for d in devices for q in (1000, 5000)),
        white_box=tuple(
            WhiteBox(d.name, radius, outcome(d.correct, 0.95, 0.03))
            for d in devices
            for radius in eps
        ),
        checks=(Check("Q1", "square beats noise", "pass", "by 0.5", "rule"),)
        if found is None
        else found,
        settings={"budgets": [10, 1000]},
        provenance=PROVENANCE,
    )


def trace(
    names: Sequence[str] = NAMES,
    *,
    eps: Sequence[float] = (0.1, 0.2),
    found: tuple[Check, ...] | None = None,
) -> TraceAudit:
    devices = members(names, with_control=False)
    count = len(devices)

    def rate(radius: float, attacker: str, score: str, evidence: int) -> TraceRate:
        share = {"deviation": 0.8, "alignment": 0.87, "combined": 0.95}[score]
        share = min(0.99, share + 0.02 * evidence) * (1 if attacker == "naive" else 0.6)
        n = 200 // evidence
        confusion = []
        for row, d in enumerate(devices):
            hits = round(n * share)
            rest, more = divmod(n - hits, max(1, count - 1))
            named = [rest + (1 if k < more else 0) for k in range(count - 1)]
            named.insert(row, hits)
            confusion.append(Confusion(d.name, tuple(named), tuple(v * 9 // 10 for v in named)))
        outsiders = (Outsider("tra-nn", "control", 200, 1), Outsider("own", "surrogate", 200, 3))
        return TraceRate(radius, attacker, score, evidence, 2.5, tuple(confusion), outsiders)

    return TraceAudit(
        **HEAD,
        devices=devices,
        eps=tuple(eps),
        rates=tuple(
            rate(radius, attacker, score, evidence)
            for radius in eps
            for attacker in ("naive", "hiding")
            for score in SCORES
            for evidence in (1, 3)
        ),
        prices=tuple(
            EvasionPrice(radius, attacker, 800, 760 - 90 * k, 500 - 200 * k, 2400)
            for radius in eps
            for k, attacker in enumerate(("naive", "hiding"))
        ),
        calibrations=tuple(
            Calibration(
                radius,
                ((0.1,) * count, (0.0,) * count),
                ((1.0,) * count, (0.5,) * count),
                tuple(Threshold(score, m, 2.5) for score in SCORES for m in (1, 3)),
                (500,) * count,
            )
            for radius in eps
        ),
        checks=(Check("T1", "calibrated", "pass", "false positives 1.0 %", "rule"),)
        if found is None
        else found,
        settings={"evidence": [1, 3]},
        provenance=PROVENANCE,
    )


def whole(names: Sequence[str] = NAMES, **settings: Any) -> AuditReport:
    return AuditReport.of(
        whitebox(names, **settings),
        build(names, with_control=True, **settings),
        coalition(names, **settings),
        query(names, **settings),
        trace(names, **settings),
    )


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., TransferAudit]:
    return build


@pytest.fixture(scope="session")
def make_whitebox() -> Callable[..., WhiteboxAudit]:
    return whitebox


@pytest.fixture(scope="session")
def make_coalition() -> Callable[..., CoalitionAudit]:
    return coalition


@pytest.fixture(scope="session")
def make_query() -> Callable[..., QueryAudit]:
    return query


@pytest.fixture(scope="session")
def make_trace() -> Callable[..., TraceAudit]:
    return trace


@pytest.fixture(scope="session")
def make_report() -> Callable[..., AuditReport]:
    return whole


@pytest.fixture(scope="session")
def audit() -> TransferAudit:
    return build()


@pytest.fixture(scope="session")
def report() -> AuditReport:
    return whole()


@pytest.fixture(scope="session")
def drawn() -> list[DrawnFigure]:
    return draw_figures(whole(eps=(0.1,)))


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device: modules that need matplotlib were never imported, and cannot be."""
    for name in list(sys.modules):
        if name.startswith("fleet.reports.") and ("_figure" in name or name.endswith("drawing")):
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


LOOK = """
onload = () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, box = page.querySelector("#verdict");
    page.querySelectorAll("details").forEach(part => part.open = true);
    const wide = [page.documentElement, ...page.querySelectorAll(".scroll")]
      .filter(part => part.scrollWidth > part.clientWidth + 1)
      .map(part => [part.getAttribute("aria-label"), part.scrollWidth, part.clientWidth]);
    return {wide, bottom: box.getBoundingClientRect().bottom,
            first: box.querySelector("dt").textContent};
  });
  document.title = JSON.stringify(told);
}"""


@pytest.fixture
def look(tmp_path):
    """Open pages in windows of these sizes, folded parts opened, and say what is seen of each."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")

    def opened(*windows):
        frames = [
            f'<iframe width={width} height={height} style="border:0" srcdoc="{html.escape(page)}">'
            "</iframe>"
            for page, width, height in windows
        ]
        page = tmp_path / "windows.html"
        text = f"<!doctype html><script>{LOOK}</script>{''.join(frames)}"
        page.write_text(text, encoding="utf-8")
        flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
        flags += " disable-component-update disable-sync window-size=1600,900 dump-dom"
        found = subprocess.run(
            ["chromium", *(f"--{f}" for f in flags.split()), f"--user-data-dir={tmp_path}/user",
             page.as_uri()],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        title = re.search("<title>(.*?)</title>", found.stdout, re.DOTALL)
        return json.loads(html.unescape(title[1]))

    return opened
