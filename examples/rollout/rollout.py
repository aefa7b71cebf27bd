"""A whole rollout on one machine: a server, a canary, a failing self-test, a revoked device.

    python examples/rollout/rollout.py            # about two minutes: trains three tiny devices
    python examples/rollout/rollout.py --quick    # half a minute: fewer images

Everything is a real command of ``fleet`` in a directory of its own; the server is on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"
DEVICES = ("cam-01", "cam-02", "cam-03")
PROFILE = """
version: 1
name: rollout
data:
  {{dataset: mnist, root: {data}, validation: 500, train_limit: {images}, test_limit: 500}}
control: false
defaults:
  model: {{width: 0.25, head: ordinal}}
  training: {{epochs: 2}}
devices:
  - {{name: cam-01, encoding: {{alpha: 4, beta: 16}}}}
  - {{name: cam-02, encoding: {{alpha: 5, beta: 15, order: [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]}}}}
  - {{name: cam-03, encoding: {{alpha: 6, beta: 14, order: [9, 1, 8, 0, 5, 7, 2, 6, 3, 4]}}}}
"""

FAULT = """
import onnxruntime
usual = onnxruntime.InferenceSession.run
def wrong(self, *arguments, **more):
    return [output + 1 for output in usual(self, *arguments, **more)]
onnxruntime.InferenceSession.run = wrong
"""


class Workplace:
    """One directory in which commands run; each is shown, with its exit code."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str, expect: int = 0, faulty: bool = False) -> str:
        """Run a command of fleet, and end the program if its exit code is another.

        Args:
            words: The command.
            expect: Its exit code.
            faulty: On a machine whose processor computes wrongly.
        """
        print(f"$ fleet {' '.join(words)}{'    # on a faulty processor' if faulty else ''}")
        command = [sys.executable, "-m", "fleet", *words]
        path = [str(self.root / "faulty")] if faulty else []
        path += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        for line in (done.stdout + done.stderr).splitlines():
            print(f"    {line}")
        if done.returncode != expect:
            raise SystemExit(f"exit code {done.returncode}, expected {expect}")
        return done.stdout

    def report(self, name: str) -> None:
        """Carry a device's report to the operator."""
        self.run("device", "report", "--home", f"homes/{name}", "--out", f"{name}.report.json")
        self.run("rollout", "receive", f"{name}.report.json")


def main() -> None:
    """Play the whole story."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer training images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Workplace(Path(directory))
        images = 600 if options.quick else 6000
        (place.root / "devices.yaml").write_text(PROFILE.format(data=DATA, images=images))
        prepare(place)
        roll_out(place)
    print("done: one canary, one failed self-test, one revoked device")


def prepare(place: Workplace) -> None:
    """Train, make keys, enrol every device."""
    place.run("train", "--profiles", "devices.yaml", "--run", "runs/one")
    place.run("keys", "init")
    for name in DEVICES:
        home = f"homes/{name}"
        place.run("device", "init", name, "--home", home, "--trust", "depot/root.json")
        place.run("enroll", f"{home}/device.json")


def roll_out(place: Workplace) -> None:
    """Two releases: the first reaches all, the second is stopped by a failing self-test."""
    url = serve(place.root / "depot" / "public")
    package(place, "2026.11.1")
    place.run("rollout", "start", "2026.11.1", "--bake", "0", "--waves", "canary,100%",
              "--canary", "cam-01")  # fmt: skip
    place.run("install", "--from", url, "--home", "homes/cam-02", expect=21)  # not its turn yet
    place.run("install", "--from", url, "--home", "homes/cam-01")
    place.report("cam-01")
    place.run("rollout", "advance", expect=1)  # on trial is no success
    place.run("commit", "--home", "homes/cam-01")
    place.report("cam-01")
    place.run("rollout", "advance")
    for name in ("cam-02", "cam-03"):
        place.run("install", "--from", url, "--home", f"homes/{name}")
        place.run("commit", "--home", f"homes/{name}")
        place.report(name)
    place.run("rollout", "advance")

    package(place, "2026.11.2")
    place.run("rollout", "start", "2026.11.2", "--bake", "0", "--waves", "canary,100%",
              "--canary", "cam-02", "--max-failures", "0")  # fmt: skip
    place.run("install", "--from", url, "--home", "homes/cam-02")
    (place.root / "faulty").mkdir()
    (place.root / "faulty" / "sitecustomize.py").write_text(FAULT)
    place.run("commit", "--home", "homes/cam-02", expect=50, faulty=True)  # it goes back
    place.run("device", "status", "--home", "homes/cam-02")
    place.report("cam-02")
    place.run("rollout", "status")
    place.run("rollout", "advance", expect=1)
    place.run("rollout", "cancel")

    place.run("rollout", "revoke", "cam-03")
    place.run("install", "--from", url, "--home", "homes/cam-03", expect=21)


def package(place: Workplace, release: str) -> None:
    """Seal a release and publish it; this demo makes no audit, and the manifests say so."""
    out = f"dist/{release}"
    place.run("package", "runs/one", "--release", release, "--depot", "depot", "--out", out,
              "--allow-unaudited")  # fmt: skip
    place.run("publish", out)


def serve(directory: Path) -> str:
    """Serve a directory on this machine, as any HTTP server would."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


if __name__ == "__main__":
    main()
