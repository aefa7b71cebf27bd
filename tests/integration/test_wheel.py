"""An installed wheel has what the source tree has: a package is more than its modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

FORMS = {".py", ".yaml", ".jinja", ".css", ".typed"}


@pytest.fixture(scope="module")
def unpacked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network and unpacked as an installation would."""
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
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(place), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


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
    place, *names = run(unpacked, tmp_path, "-c", program)
    assert Path(place) == unpacked / "fleet" / "paper" / "profiles"
    assert sorted(names) == sorted(
        p.stem for p in (project / "fleet/paper/profiles").glob("*.yaml")
    )
    words = ("-m", "fleet", "reproduce", "stems", "--dry-run")
    assert run(unpacked, tmp_path, *words) == ["would make stems in results/reproduce"]


def run(site: Path, place: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=place,
        env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()
