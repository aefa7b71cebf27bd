"""A training that is killed at any moment goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fleet.execution import Serial
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

Family = Callable[..., FamilySpec]

TRAIN_SCRIPT = """
import json, sys
from pathlib import Path
from fleet.profiles.spec import read_family
from fleet.profiles.spec import FamilySpec
from fleet.training import fit
from fleet.execution import Processes
from fleet.training.family import train_family

fit.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every step, so that a kill meets one
if __name__ == "__main__":
    spec = FamilySpec.from_dict(json.loads(Path(sys.argv[1]).read_text()))
    train_family(spec, run=Path(sys.argv[2]), executor=Processes(int(sys.argv[3])))
"""


def test_kill_nine_at_any_moment_and_the_rerun_gives_the_same_bits(
    family: Family, tmp_path: Path
) -> None:
    spec = family("a", "b", epochs=3)
    unbroken = train_family(spec, run=tmp_path / "unbroken", executor=Serial()).run
    profile, script = tmp_path / "spec.json", tmp_path / "train.py"
    profile.write_text(json.dumps(spec.to_dict()))
    script.write_text(TRAIN_SCRIPT)
    broken = RunDirectory(tmp_path / "broken")
    kills = 0
    for workers in ("2", "1"):
        process = subprocess.Popen(
            [sys.executable, str(script), str(profile), str(broken.root), workers],
            start_new_session=True,
        )
        seen = {path.stat().st_mtime_ns for path in broken.root.rglob("checkpoint*")}
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            fresh = {path.stat().st_mtime_ns for path in broken.root.rglob("checkpoint*")} - seen
            if fresh:  # a device has moved on
                break
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the workers too
            kills += 1
        process.wait()
    assert kills >= 1
    finished = train_family(spec, run=broken.root, executor=Serial()).run
    for name in ("a", "b"):
        assert finished.model(name).read_bytes() == unbroken.model(name).read_bytes()
    rubbish = [path for path in broken.root.rglob(".*.tmp") if path.parent.name in ("a", "b")]
    assert len(rubbish) <= 2 * kills  # a kill may leave a temporary file, never a half final one
