"""How many faults the tests try: the figures of docs/security.md.

``python -m pytest -m benchmark tests/benchmarks/test_faults.py`` writes
``results/rollout/faults.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unit.rollout.test_attacks_by_command import ON_FILES, ON_THE_LINK, ON_THE_OPERATOR
from unit.rollout.test_power_cut import (
    OPERATIONS,
    RANDOM_RUNS,
    FaultyDisk,
    Workshop,
    fresh,
    prepared,
    run,
)

RESULT = Path(__file__).resolve().parents[2] / "results" / "rollout" / "faults.json"
__all__ = ["prepared"]


@pytest.mark.benchmark
def test_count_the_faults(prepared: Workshop) -> None:
    steps = {}
    for name, (state, operation, _) in OPERATIONS.items():
        counter = FaultyDisk()
        assert run(prepared, fresh(prepared, state), operation, counter)
        steps[name] = counter.steps
    twice = {name: steps[name] * len(range(0, steps[name], 2)) for name in ("install", "commit")}
    found = {
        "attacks_on_files": len(ON_FILES),
        "attacks_on_the_link": len(ON_THE_LINK),
        "operator": len(ON_THE_OPERATOR),
        "steps": steps,
        "double_cuts": twice,
        "random_runs": RANDOM_RUNS,
    }
    RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
