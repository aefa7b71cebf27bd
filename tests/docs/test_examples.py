"""Every script in examples/, run as a user runs it, in another directory."""

import io
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, chdir, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROFILE = """\
version: 1
name: pair
twin: false
data: {{dataset: mnist, root: {root}, validation: 500}}
defaults:
  model: {{width: 0.125}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
    model: {{head: ordinal}}
  - name: gate
    encoding: {{alpha: 4, beta: 16, order: [4, 2, 7, 0, 9, 6, 3, 8, 1, 5]}}
    model: {{head: ordinal}}
"""


RunExample = Callable[..., str]


@pytest.fixture(scope="module")
def run_example(
    one_core: Callable[..., AbstractContextManager[None]],
    light_probes: Callable[..., AbstractContextManager[None]],
) -> RunExample:
    """Run a script in this process, which has imported torch already, and give its output."""

    def run(name: str, *arguments: str | Path | int, cwd: Path) -> str:
        path, output = str(EXAMPLES / f"{name}.py"), io.StringIO()
        with (
            patch.object(sys, "argv", [path, *map(str, arguments)]),
            one_core(),
            light_probes(),
            chdir(cwd),
            redirect_stdout(output),
        ):
            runpy.run_path(path, run_name="__main__")
        return output.getvalue()

    return run


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    cut_mnist: Callable[[Path, int, int], None],
    run_example: RunExample,
) -> tuple[Path, str]:
    """Where train_and_audit.py ran, and what it said."""
    place = tmp_path_factory.mktemp("examples")
    cut_mnist(place / "data", 3500, 300)
    (place / "pair.yaml").write_text(PROFILE.format(root=place / "data"))
    arguments = ("--quick", "--profile", "pair.yaml", "--images", 15, "--jobs", 1)
    return place, run_example("train_and_audit", *arguments, cwd=place)


def test_design_an_encoding(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "design_an_encoding.py", "--classes", "6"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    output = done.stdout
    assert "class 3 has the interval [12, 15]\n" in output
    assert "  output 15.5: None, margin -0.125\n" in output
    answers = dict(re.findall(r"^  (.+): (yes|no)$", output, re.M))
    assert answers == {
        "scaled by 10": "yes",
        "shifted by 7": "yes",
        "reversed": "yes",
        "beta 9": "no",
        "zig-zag order": "no",
    }
    assert "3 zig-zag orders, as classes along the line:\n  0 1 5 2 4 3\n" in output
    assert output.endswith("neighbours that two of them share, at most: 0\n")
    assert list(tmp_path.iterdir()) == []


def test_train_and_audit(trained: tuple[Path, str]) -> None:
    place, output = trained
    accuracies = dict(re.findall(r"^(\w+): test accuracy ([\d.]+), None", output, re.M))
    assert set(accuracies) == {"door", "gate", "control"}
    assert all(float(accuracy) > 0.5 for accuracy in accuracies.values())
    written = [place / path for path in re.findall(r"^wrote (.+)$", output, re.M)]
    assert {path.name for path in written} >= {
        "report.html", "transfer.csv", "transfer.png", "transfer.svg",
    }  # fmt: skip
    assert all(path.stat().st_size > 0 for path in written)
    audit = json.loads((written[0].parent / "transfer" / "audit.json").read_text())
    assert [device["name"] for device in audit["devices"]] == ["door", "gate", "control"]
    assert "adaptive, eps 0.1" in output
    assert re.search(r"paper, eps 0\.1 .*\[MASKED: ", output)


def test_predict_on_device(
    trained: tuple[Path, str], call_fleet: Callable[..., Any], run_example: RunExample
) -> None:
    place, _ = trained
    done = call_fleet("package", "--out", "bundles", "--release", "1", cwd=place)
    assert done.returncode == 0, done.stderr
    output = run_example("predict_on_device", "bundles/door-1.fleet", "--count", 200, cwd=place)
    first, *lines, last = output.splitlines()
    assert first == "door, release 1"
    decided = [re.fullmatch(r"  a (\d): (\d|None: .*), margin ([-+][\d.]+)", x) for x in lines]
    decisions = [(m[1], m[2], m[3].startswith("-")) for m in decided if m is not None]
    assert len(decisions) == 200
    assert all(label.startswith("None") == negative for _, label, negative in decisions)
    correct = sum(truth == label for truth, label, _ in decisions)
    rejected = sum(negative for _, _, negative in decisions)
    assert last == f"{correct} of 200 correct, {rejected} rejected"
    assert correct > 100


def test_audit_your_own_model(tmp_path: Path, run_example: RunExample) -> None:
    output = run_example("audit_your_own_model", cwd=tmp_path)
    best = dict(re.findall(r"^(\w+): the best attack evades ([\d.]+)$", output, re.M))
    rate = r"^(adaptive|paper): (\w+) -> (\w+) evade ([\d.]+) of \d+$"
    found = {(p, s, v): float(r) for p, s, v, r in re.findall(rate, output, re.M)}
    assert len(found) == 8
    for name in ("door", "gate"):
        # Not one image less: the adaptive attack is exact where the best one is known.
        assert found["adaptive", name, name] == float(best[name])
        assert found["paper", name, name] < found["adaptive", name, name] / 2
    assert re.search(r"^fail: M1 paper: ", output, re.M)
    assert re.search(r"^fail: M13 paper: ", output, re.M)
    assert not re.search(r"^fail: \w+ (adaptive|both): ", output, re.M)


def test_any_module(tmp_path: Path, run_example: RunExample) -> None:
    output = run_example("any_module", cwd=tmp_path)
    accuracy = re.search(r"^clean accuracy ([\d.]+)$", output, re.M)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.7
    rate = r"^eps (\d+)/255: flip ([\d.]+), reject ([\d.]+), evade ([\d.]+) of \d+$"
    found = {
        int(e): (float(f), float(r), float(v)) for e, f, r, v in re.findall(rate, output, re.M)
    }
    assert set(found) == {4, 16}
    assert all(f + r == pytest.approx(v, abs=2e-3) for f, r, v in found.values())
    assert found[16][2] > found[4][2] > 0
    assert output.endswith("left as it was: yes\n")


def test_every_example_has_a_test_and_a_line_in_the_index() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert {f"test_{name}" for name in scripts} <= set(globals())
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {name for name in scripts if f"[{name}.py]({name}.py)" in index} == scripts


def test_a_whole_rollout(
    tmp_path: Path, run_example: RunExample, call_fleet: Callable[..., Any]
) -> None:
    """Its commands run in this process, but for the one on a faulty processor."""
    start = subprocess.run

    def run(command: list[str], *, cwd: Path, env: dict[str, str], **more: Any) -> Any:
        if "faulty" in env["PYTHONPATH"]:
            return start(command, cwd=cwd, env=env, **more)
        return call_fleet(*command[3:], cwd=cwd)

    with patch.object(subprocess, "run", run):
        output = run_example("rollout/rollout", "--quick", cwd=tmp_path)
    assert output.endswith("done: one canary, one failed self-test, one revoked device\n")
    after = output.split("# on a faulty processor")[1]
    assert "of 16 test images otherwise than when it was packaged" in " ".join(after.split())
    assert "the device went back" in " ".join(after.split())
    assert "cam-02: release 2026.11.1" in after
    assert "not yet: 1 device failed; at most 0 may" in after
