"""``fleet doctor``: is this machine able to do what the other commands ask of it?"""

import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.text import Text

from fleet.accelerator import ACCELERATOR
from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.errors import FleetError
from fleet.provenance import environment, package_version
from fleet.vocabulary import counted

MEND_TORCH = f"{sys.executable} -m pip install --upgrade --force-reinstall torch torchvision"
MEND_TRAIN = 'pip install "interval-fleet[train]"'
SMALL_TORCH = "`make install TORCH=cpu`"
MEND_EDGE = 'pip install "interval-fleet[edge]"'
IMPORT_TIMEOUT_S = 120
ENOUGH_DISK = 2**30  # bytes: a family of ten ResNet-18 with checkpoints
ENOUGH_FLASH = 2**26  # bytes: two slots, a download, and the metadata

# Imported in a process of its own: a broken pair raises in strange places, or crashes.
_PROBE = """
import torch, torchvision
boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
torchvision.ops.nms(boxes, torch.tensor([1.0]), 0.5)
there = torch.backends.mps.is_available() and ["mps"] or []
for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    found = torch.cuda.get_device_properties(number)
    there.append(f"cuda:{number} {found.name}, {found.total_memory / 2**30:.1f} GiB")
built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
print("\\n".join([built, *there]))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    mend: str = ""


def doctor(
    executor: options.Executor = options.ExecutorChoice.processes,
    address: options.Address = "auto",
    form: options.Form = Format.auto,
) -> None:
    """Look at this machine, and say how to mend what is broken.

    With --executor ray also at every node of the cluster. Exit code 1 when something needs mending.

    Example: fleet doctor
    """
    output = Output(form)
    trains = package_version("torch") is not None or package_version("torchvision") is not None
    tools = [*_torch(), _extras(), _cores()] if trains else [_device()]
    findings = [_python(), *tools, _disk(Path.cwd(), ENOUGH_DISK if trains else ENOUGH_FLASH)]
    if executor is options.ExecutorChoice.ray:
        findings += _nodes(address)
    marks = {True: Text("ok", style="green"), False: Text("mend", style="bold red")}
    rows = [(marks[finding.ok], finding.what, finding.detail) for finding in findings]
    value = {"findings": [asdict(f) for f in findings], "environment": environment()}
    output.data(table(f"fleet {environment()['fleet']}", ("", "what", "finding"), rows), value)
    broken = [finding for finding in findings if not finding.ok]
    for finding in broken:
        output.note(f"mend {finding.what}: {finding.mend}")
    if broken:
        raise typer.Exit(1)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _device() -> Finding:
    """A machine without torch is a device, and needs none."""
    version = package_version("onnxruntime")
    if version is None:
        detail = "neither onnxruntime nor torch: it verifies and installs bundles, and runs none"
        return Finding("device", False, detail, f"{MEND_EDGE}; to train, {MEND_TRAIN}")
    detail = (
        f"onnxruntime {version}: it verifies, installs and predicts; training and audits need "
        f"torch: {MEND_TRAIN}"
    )
    return Finding("device", True, detail)


def _torch() -> list[Finding]:
    what = "torch and torchvision"
    versions = f"torch {package_version('torch')}, torchvision {package_version('torchvision')}"
    if package_version("torch") is None or package_version("torchvision") is None:
        return [Finding(what, False, f"{versions}: training and audits need both", MEND_TRAIN)]
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Finding(what, False, f"{versions}: import hangs", MEND_TORCH)]
    if probe.returncode == 0:
        built, *there = probe.stdout.strip().splitlines()
        return [Finding(what, True, f"{versions}: a working pair"), _accelerator(built, there)]
    lines = probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"]
    return [Finding(what, False, f"{versions} do not fit together: {lines[-1]}", MEND_TORCH)]


def _accelerator(built: str, there: list[str]) -> Finding:
    """What there is beside the CPU, and whether this torch is the right one for it."""
    asked = (os.environ.get(ACCELERATOR) or "auto").partition(":")[0]
    driver = shutil.which("nvidia-smi") is not None
    cuda = built != "the CPU"
    if there:
        return Finding("accelerator", True, "; ".join(there))
    if asked in {"cuda", "mps"} or (driver and not cuda):
        mend = "`make install` takes torch for CUDA" if not cuda else "update the NVIDIA driver"
        return Finding("accelerator", False, f"none to be used; torch is for {built}", mend)
    smaller = f"; {SMALL_TORCH} takes a sixth of the disk" if cuda else ""
    return Finding("accelerator", True, f"none: the CPU; torch is for {built}{smaller}")


def _extras() -> Finding:
    missing = [name for name in ("matplotlib", "scikit-learn") if package_version(name) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "matplotlib, scikit-learn"
    return Finding("figures", not missing, detail, MEND_TRAIN)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    detail = f"{cores}: {counted(cores, 'device')} at a time can train, one thread each"
    return Finding("cores", True, detail)


def _nodes(address: str) -> list[Finding]:
    from fleet.execution.nodes import connect

    try:
        with connect(address, {"num_cpus": 1}) as nodes:
            return [Finding(f"node {node.name}", True, node.words()) for node in nodes]
    except FleetError as error:
        return [Finding("cluster", False, error.message, error.hint or "")]


def _disk(path: Path, enough: int) -> Finding:
    free = shutil.disk_usage(path).free
    detail = f"{free / 2**30:.1f} GiB free at {path}"
    return Finding("disk", free >= enough, detail, "free some space, or work elsewhere")
