"""The house: imports point down, and torch stays out of the quick parts."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROWS = [
    {
        "accelerator",
        "errors",
        "files",
        "notebook",
        "provenance",
        "rundir",
        "seeding",
        "vocabulary",
    },
    {"encoding"},
    {"data", "models", "profiles"},
    {"rundata"},
    {"assembly", "attacks", "bounds", "bundle"},
    {"execution", "runtime"},
    {"audit", "training"},
    {"reports", "rollout"},
    {"api", "paper"},
    {"cli"},
]
ROW = {package: row for row, packages in enumerate(ROWS) for package in packages}
ROW_ZERO_ORDER = [
    "errors",
    "vocabulary",
    "accelerator",
    "notebook",
    "provenance",
    "seeding",
    "files",
    "rundir",
]
WITHOUT_TORCH = {
    "errors",
    "files",
    "notebook",
    "provenance",
    "rundir",
    "seeding",
    "vocabulary",
    "profiles",
    "rundata",
    "bundle",
    "reports",
    "rollout",
}
ROOT = Path(__file__).resolve().parents[2] / "fleet"
MODULES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """Dotted names that a module imports, at its top or anywhere; typing-only ones do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    skipped = {id(inner) for node in typing_only for inner in ast.walk(node)}
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_map_of_the_house_names_every_room() -> None:
    import fleet

    named = set((fleet.__doc__ or "").partition("The parts")[2].split())
    assert not set(ROW) - named


def test_modules_import_only_from_rows_below_their_own() -> None:
    offences = []
    for path in MODULES:
        own = package_of(path)
        if own in {"__init__", "__main__"}:
            continue
        assert own in ROW, f"{path} belongs to no row of the house"
        for name in imports(path, everywhere=True):
            parts = name.split(".")
            if parts[0] != "fleet" or len(parts) < 2 or parts[1] == own:
                continue
            if ROW[own] == 0 == ROW[parts[1]]:
                below = ROW_ZERO_ORDER.index(parts[1]) < ROW_ZERO_ORDER.index(own)
            else:
                below = ROW[parts[1]] < ROW[own]
            if not below:
                offences.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not offences


@pytest.mark.parametrize("package", ["execution", "runtime"])
def test_modules_of_a_package_import_each_other_in_one_direction(package: str) -> None:
    graph = {}
    for path in sorted((ROOT / package).glob("*.py")):
        name = f"fleet.{package}.{path.stem}"
        if path.stem != "__init__":
            graph[name] = imports(path, everywhere=True)
    inner = {name: found & set(graph) for name, found in graph.items()}
    list(TopologicalSorter(inner).static_order())  # raises CycleError


def test_torch_stays_out_of_the_parts_that_a_device_or_a_help_text_needs() -> None:
    heavy = {"torch", "torchvision"}
    late = {"cli", "__init__", "__main__", "execution"}
    offences = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if package_of(path) in WITHOUT_TORCH | late
        and heavy
        & {
            name.split(".")[0]
            for name in imports(path, everywhere=package_of(path) in WITHOUT_TORCH)
        }
    ]
    assert not offences


def test_modules_stay_small_and_have_names_that_say_something() -> None:
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path
        assert path.stem not in {"utils", "util", "common", "helpers", "misc"}, path


def test_only_the_command_line_prints_or_exits() -> None:
    for path in MODULES:
        if package_of(path) == "cli":
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        names = {ast.unparse(call.func) for call in calls}
        assert not names & {"print", "sys.exit", "exit", "quit"}, f"{path} prints or exits"


def test_help_and_the_torch_free_parts_load_no_torch() -> None:
    code = (
        "import sys\n"
        "import fleet, fleet.encoding, fleet.profiles, fleet.bundle, fleet.reports, fleet.cli.app\n"
        "import fleet.runtime, fleet.training.plan\n"
        "bad = {'torch', 'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'loaded {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_public_can_be_reached() -> None:
    import fleet

    for name in fleet.__all__:
        assert getattr(fleet, name) is not None
    assert set(fleet.__all__) <= set(dir(fleet))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fleet.nonsense
