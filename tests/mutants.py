"""Would the tests notice? Mutate the central modules, and count the mutants that no test kills.

    python tests/mutants.py                      # 40 seeded mutants of each module of each group
    python tests/mutants.py encoding bundle --sample 0    # every mutant of two groups: hours

mutmut makes the mutants and forks one process for each. A second call with the same seed takes up
what a first one left, and tries the survivors again: their tests may have come since. A function
that changed is tried again too. docs/decisions/0009-mutants.md holds
the last results and the reasons for the survivors.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NEEDED = ("fleet", "tests", "profiles", "examples")
WORDS = re.compile(r'"[^"]*"')
SURVIVED = {0: "survived", 5: "no test", 33: "no test", None: "not tried"}


@dataclass(frozen=True)
class Group:
    """Modules, and the quick tests that are to notice what changes in them; both globs."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "encoding": Group(
        ("fleet/encoding/[a-z]*.py",), ("tests/unit/encoding", "tests/property/test_encoding_*.py")
    ),
    "attacks": Group(
        ("fleet/attacks/[a-z]*.py",), ("tests/unit/attacks", "tests/property/test_attacks_*.py")
    ),
    "audit": Group(
        (
            "fleet/audit/**/counting.py",
            "fleet/audit/**/scoring.py",
            "fleet/audit/**/evidence.py",
            "fleet/audit/**/probes.py",
            "fleet/audit/**/checks.py",
            "fleet/audit/**/checks/[a-z]*.py",
        ),
        (
            "tests/unit/audit/test_checks*.py",
            "tests/unit/audit/test_coalition.py",
            "tests/unit/audit/test_coalition_checks.py",
            "tests/unit/audit/test_counting.py",
            "tests/unit/audit/test_cache.py",
            "tests/unit/audit/test_members.py",
            "tests/unit/audit/test_probes.py",
            "tests/unit/audit/test_query.py",
            "tests/unit/audit/test_result.py",
            "tests/unit/audit/test_scoring.py",
            "tests/unit/audit/test_sets.py",
            "tests/unit/audit/test_trace.py",
            "tests/unit/audit/test_trace_calibration.py",
            "tests/unit/audit/test_transfer.py",
            "tests/unit/audit/test_whitebox.py",
        ),
    ),
    "bundle": Group(
        ("fleet/bundle/[a-z]*.py",),
        (
            "tests/unit/bundle",
            "tests/hostile/test_bundle_[cdmw]*.py",
            "tests/property/test_bundle*",
        ),
    ),
    "training": Group(
        ("fleet/training/[a-z]*.py",),
        (
            "tests/unit/training/test_[!k]*.py",
            "tests/unit/bounds/test_adversarial.py",
            "tests/unit/bounds/test_certify.py",
        ),
    ),
}


def main() -> int:
    """Sample and run; exit code 1 where fewer than nine of ten are killed."""
    parser = argparse.ArgumentParser(description="Mutate the central modules.")
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="default: all")
    parser.add_argument("--sample", type=int, default=40, help="mutants a module; 0 takes all")
    parser.add_argument("--seed", type=int, default=0, help="chooses the sample")
    parser.add_argument("--work", type=Path, default=PROJECT / "build" / "mutants")
    options = parser.parse_args()
    weak = False
    for name in options.groups or GROUPS:
        place = options.work.resolve() / name
        prepare(place, GROUPS[name])
        mutmut(place, "run", "no mutant has this name", check=False)  # makes the mutants alone
        chosen = sample(results(place), options.sample, options.seed)
        tried = results(place)
        waiting = [mutant for mutant in chosen if tried[mutant] in SURVIVED]
        if waiting:
            mutmut(place, "run", "--max-children", "1", *waiting)
        weak |= report(name, place, chosen)
    return int(weak)


def prepare(place: Path, group: Group) -> None:
    """Lay out a copy of the project in which mutmut works; it keeps its results there."""
    place.mkdir(parents=True, exist_ok=True)
    for part in NEEDED:
        shutil.rmtree(place / part, ignore_errors=True)
        shutil.copytree(PROJECT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "source_paths": ["fleet"],
        "only_mutate": matches(group.modules),
        "pytest_add_cli_args_test_selection": matches(group.tests),
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "also_copy": [*NEEDED, "pyproject.toml"],
        "debug": True,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    (place / "pyproject.toml").write_text(
        "\n".join([text, "[tool.mutmut]", *lines, ""]), encoding="utf-8"
    )


def matches(patterns: Iterable[str]) -> list[str]:
    """Paths that exist, in the project's terms."""
    found = {path for pattern in patterns for path in PROJECT.glob(pattern)}
    return sorted(path.relative_to(PROJECT).as_posix() for path in found)


def mutmut(place: Path, *arguments: str, check: bool = True) -> str:
    """Run mutmut in a group's place, and return what it prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        sys.exit(f"mutmut failed in {place}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def results(place: Path) -> dict[str, int | None]:
    """Exit code of the tests by the mutant's name; None for one that was not tried."""
    files = (place / "mutants").rglob("*.meta")
    codes = [json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"] for file in files]
    return {name: code for found in codes for name, code in found.items()}


def sample(found: Iterable[str], count: int, seed: int) -> list[str]:
    """Choose ``count`` mutants of each module, or all."""
    modules: dict[str, list[str]] = {}
    for name in sorted(found):
        modules.setdefault(module_of(name), []).append(name)
    return [
        name
        for module, names in modules.items()
        for name in (
            random.Random(f"{seed}/{module}").sample(names, min(count, len(names)))
            if count
            else names
        )
    ]


def module_of(mutant: str) -> str:
    """``fleet.encoding.edges.x_first__mutmut_3`` is a mutant of ``fleet.encoding.edges``."""
    return mutant.rpartition(".")[0]


def report(name: str, place: Path, chosen: list[str]) -> bool:
    """Print the share of each module and what survived; True where fewer than 9 of 10 fell."""
    found = results(place)
    lived = [mutant for mutant in chosen if found[mutant] in SURVIVED]
    for module in dict.fromkeys(map(module_of, chosen)):
        of_module = [mutant for mutant in chosen if module_of(mutant) == module]
        left = sum(mutant in lived for mutant in of_module)
        print(f"{module}: {len(of_module) - left} of {len(of_module)} killed")
    shown = {mutant: changed(place, mutant) for mutant in lived}
    words = [mutant for mutant in lived if only_words(shown[mutant])]
    share = 1 - len(lived) / max(1, len(chosen))
    print(
        f"{name}: {len(chosen) - len(lived)} of {len(chosen)} killed ({share:.1%}); "
        f"of {len(lived)} survivors {len(words)} change only the text of a literal"
    )
    for mutant in lived:
        print(f"  {mutant} {SURVIVED[found[mutant]]}", *shown[mutant], sep="\n      ")
    return share < 0.9


def changed(place: Path, mutant: str) -> list[str]:
    """Lines of a mutant's diff."""
    lines = mutmut(place, "show", mutant, check=False).splitlines()
    return [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def only_words(diff: list[str]) -> bool:
    """Whether old and new differ in the text of literals alone."""
    old, new = ("".join(line[1:] for line in diff if line[0] == sign) for sign in "-+")
    return bool(diff) and WORDS.sub("", old) == WORDS.sub("", new)


if __name__ == "__main__":
    sys.exit(main())
