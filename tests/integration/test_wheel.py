"""An installed wheel has what the source tree has: a package is more than its modules."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

FORMS = {".py", ".yaml", ".jinja", ".css", ".typed"}


SMALL = """\
version: 1
name: small
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 600, test_limit: 60}}
control: false
defaults:
  model: {{architecture: cnn, width: 0.0625, activation: clip, head: softmax}}
  training: {{method: certified, epochs: 1, batch_size: 32, eps: 0.1}}
devices:
  - {{name: door, encoding: {{alpha: 2, beta: 18}}}}
  - {{name: gate, encoding: {{alpha: 1, beta: 19}}}}
"""


@pytest.fixture(scope="module")
def unpacked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site packages of a fresh environment with the wheel of this tree, made without a network.

    The environment borrows the dependencies of this one; `fleet` is its own.
    """
    needed = 77  # `build-system.requires` of pyproject.toml; torch brings it
    if int(metadata.version("setuptools").split(".")[0]) < needed:
        pytest.skip(f"building a wheel needs setuptools {needed}")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    shutil.copytree(
        project / "fleet", source / "fleet", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, source / name)
    pip = (sys.executable, "-m", "pip")
    options = ("--no-deps", "--no-index", "--quiet")
    build = (*pip, "wheel", *options, "--no-build-isolation", "-w", str(place), str(source))
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "fresh", with_pip=False)
    python = str(place / "fresh" / "bin" / "python")
    install = (*pip, "--python", python, "install", *options, str(wheel))
    subprocess.run(install, check=True, capture_output=True, text=True)
    (site,) = (place / "fresh" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return site


def test_every_file_of_the_package_is_in_the_wheel(project: Path, unpacked: Path) -> None:
    def files(root: Path) -> set[Path]:
        found = (root / "fleet").rglob("*")
        return {path.relative_to(root) for path in found if path.suffix in FORMS}

    assert files(unpacked) == files(project)


def test_the_papers_profiles_are_read_from_the_installed_package(
    project: Path, unpacked: Path, tmp_path: Path
) -> None:
    program = (
        "from fleet.paper.workspace import PROFILES\n"
        "from fleet.profiles import load_profile\n"
        "print(PROFILES)\n"
        "for path in PROFILES.iterdir():\n"
        "    print(load_profile(path, check_data=False).name)\n"
    )
    place, *names = run(unpacked, tmp_path, "python", "-c", program).splitlines()
    assert Path(place) == unpacked / "fleet" / "paper" / "profiles"
    assert sorted(names) == sorted(
        p.stem for p in (project / "fleet/paper/profiles").glob("*.yaml")
    )
    words = ("fleet", "reproduce", "stems", "--dry-run")
    assert run(unpacked, tmp_path, *words) == "would make stems in results/reproduce\n"


def test_the_first_use_of_an_installed_wheel(
    unpacked: Path, mnist_root: Path, tmp_path: Path
) -> None:
    run(unpacked, tmp_path, "fleet", "profiles", "new", "cams.yaml", "--root", mnist_root)
    schema = json.loads(run(unpacked, tmp_path, "fleet", "profiles", "schema"))
    assert "devices" in schema["properties"]
    run(unpacked, tmp_path, "fleet", "demo", "--dry-run")
    assert [path.name for path in tmp_path.iterdir()] == ["cams.yaml"]
    (tmp_path / "small.yaml").write_text(SMALL.format(root=mnist_root))
    words = ("demo", "--quick", "--profile", "small.yaml", "--jobs", "1")
    told = run(unpacked, tmp_path, "fleet", *words)
    assert told.count(": verified\n") == 2
    assert "The 2 devices of " in told
    assert len(list(tmp_path.glob("runs/*/audits/report.html"))) == 1


def run(site: Path, place: Path, program: str, *words: str | Path) -> str:
    """What a program of the fresh environment writes to stdout; it must end well."""
    done = subprocess.run(
        [site.parents[2] / "bin" / program, *map(str, words)],
        cwd=place,
        env={"OMP_NUM_THREADS": "1", "HOME": str(place / "home")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
