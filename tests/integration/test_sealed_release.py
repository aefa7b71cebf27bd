"""From a trained, audited run to a device that predicts: sealed, signed, and telling nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.bundle import read_bundle
from fleet.data.read import read_idx
from fleet.rollout.keys import load_identity

pytest.importorskip("onnxruntime", reason="devices run the edge engine")
pytest.importorskip("onnxscript", reason="packaging for devices exports a graph")

from PIL import Image

NAMES = ("door", "gate", "twin")
RunFleet = Callable[..., Any]


@pytest.fixture(scope="module")
def depot(workplace: Path, audited: dict[str, Any], call_fleet: RunFleet) -> Path:
    """The workplace's ``depot``: keys, three enrolled devices, and nothing published."""
    assert audited
    assert call_fleet("keys", "init", cwd=workplace).returncode == 0
    for name in NAMES:
        home = workplace / "homes" / name
        words = ("device", "init", name, "--home", home, "--trust", "depot/root.json")
        assert call_fleet(*words, cwd=workplace).returncode == 0
        if name != "twin":
            assert call_fleet("enroll", home / "device.json", cwd=workplace).returncode == 0
    return workplace / "depot"


@pytest.fixture(scope="module")
def oms_key(depot: Path) -> Path:
    path = depot.parent / "oms.pem"
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    path.chmod(0o600)
    return path


PACKAGE = ("package", "--depot", "depot", "--release", "r1", "--out", "dist")


@pytest.fixture(scope="module")
def dist(depot: Path, oms_key: Path, call_fleet: RunFleet) -> Path:
    """Two sealed and signed bundles of release r1."""
    only = ("--device", "door", "--device", "gate")
    done = call_fleet(*PACKAGE, *only, "--oms-key", oms_key, cwd=depot.parent)
    assert done.returncode == 0, done.stderr
    (depot.parent / "package.txt").write_text(done.stdout + done.stderr)
    return depot.parent / "dist"


def test_what_is_not_packaged(depot: Path, call_fleet: RunFleet) -> None:
    place = depot.parent
    words = ("package", "--depot", "depot", "--release", "r0", "--out", "nothing")
    for more, code, message in (
        ((), 2, "twin is not enrolled in depot"),
        (("--device", "door", "--max-transfer", "0.0001"), 1, "to door at eps 0.2 is above 0.0001"),
        (("--device", "door", "--oms-key", "depot/root.json"), 2, "can be read by others"),
    ):
        done = call_fleet(*words, *more, cwd=place)
        assert done.returncode == code
        assert message in done.stderr
    done = call_fleet(*words, "--device", "door", "--dry-run", cwd=place)
    assert done.returncode == 0
    assert "nothing is written" in done.stdout
    assert not (place / "nothing").exists()


def test_a_release_is_packaged_once(dist: Path, call_fleet: RunFleet) -> None:
    before = (dist / "door-r1.fleet").read_bytes()
    done = call_fleet(*PACKAGE, "--device", "door", cwd=dist.parent)
    assert done.returncode == 2
    assert "packaged already: door-r1.fleet" in done.stderr
    assert (dist / "door-r1.fleet").read_bytes() == before


def test_people_without_fleet_can_check_what_they_got(dist: Path) -> None:
    release = json.loads((dist / "release.json").read_text())
    assert [entry["device"] for entry in release["bundles"]] == ["door", "gate"]
    for entry in release["bundles"]:
        digest = hashlib.sha256((dist / entry["file"]).read_bytes()).hexdigest()
        assert entry["sha256"] == digest
        assert f"{digest}  {entry['file']}\n" in (dist / "SHA256SUMS").read_text()
        assert entry["counter"] == 1
        assert re.fullmatch(r"transfer 0\.\d+ at eps .*\(n \d+\)", entry["audit"])
        assert entry["certificate"] == "not certified"


def test_an_oms_signature_holds_and_names_the_file(dist: Path, oms_key: Path) -> None:
    """By the format's own rules; the upstream verifier accepts the same files."""
    key = serialization.load_pem_private_key(oms_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public, path = key.public_key(), dist / "door-r1.fleet"
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (dist.parent / "oms.pub").write_bytes(pem)
    signed = json.loads((dist / "door-r1.fleet.sig").read_text())
    hint = signed["verificationMaterial"]["publicKey"]["hint"]
    assert hint == hashlib.sha256(pem).hexdigest()
    envelope = signed["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    public.verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, encoded + b" ", ec.ECDSA(hashes.SHA256()))
    statement = json.loads(payload)
    (resource,) = statement["predicate"]["resources"]
    digest = hashlib.sha256(path.read_bytes()).digest()
    assert resource["digest"] == digest.hex()
    assert statement["subject"] == [
        {"name": path.name, "digest": {"sha256": hashlib.sha256(digest).hexdigest()}}
    ]


def test_the_upstream_verifier_accepts_the_signature(dist: Path) -> None:
    verifying = pytest.importorskip("model_signing.verifying", exc_type=ImportError)
    config = verifying.Config().use_elliptic_key_verifier(public_key=dist.parent / "oms.pub")
    config.verify(dist / "door-r1.fleet", dist / "door-r1.fleet.sig")
    with pytest.raises(ValueError, match="mismatch"):
        config.verify(dist / "gate-r1.fleet", dist / "door-r1.fleet.sig")


def test_is_it_mine_and_is_it_this_one(dist: Path, call_fleet: RunFleet) -> None:
    path, home = dist / "door-r1.fleet", dist.parent / "homes" / "door"
    mine = call_fleet("verify", path, "--device", "door", "--release", "r1")
    assert mine.returncode == 0
    lines = mine.stdout.splitlines()
    assert lines[0] == f"{path}: sealed, not opened"
    assert sum(line.startswith("  ok ") for line in lines) == 7
    assert "verified" not in mine.stdout
    assert "fleet predict" not in mine.stderr
    opened = call_fleet("verify", path, "--home", home)
    assert opened.stdout.startswith(f"{path}: verified\n")
    for words, found in {
        ("--device", "gate"): "door, not gate",
        ("--release", "x"): "r1, not x",
    }.items():
        done = call_fleet("verify", path, *words)
        assert done.returncode == 1
        assert found in done.stdout
        assert done.stdout.startswith(f"{path}: NOT VERIFIED")
    foreign = call_fleet("verify", path, "--home", dist.parent / "homes" / "gate")
    assert foreign.returncode == 1
    assert "does not open as 'door'" in foreign.stdout


@pytest.fixture(scope="module")
def committed(dist: Path, call_fleet: RunFleet) -> Path:
    """door's home, with r1 installed and committed."""
    place, home = dist.parent, dist.parent / "homes" / "door"
    begun = ("rollout", "start", "r1", "--waves", "100%", "--bake", "0")
    for words in (
        ("publish", "dist"),
        begun,
        ("install", "--home", home, "--from", (place / "depot" / "public").as_uri()),
        ("commit", "--home", home),
    ):
        done = call_fleet(*words, cwd=place)
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def pictures(committed: Path, mnist_root: Path) -> list[Path]:
    images = read_idx(mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz", (28, 28))
    place = committed.parent.parent / "pictures"
    place.mkdir()
    for number in range(4):
        Image.fromarray(images[number]).save(place / f"{number}.png")
    return sorted(place.iterdir())


def test_the_scalar_is_shown_only_if_asked_for(
    dist: Path, committed: Path, pictures: list[Path], call_fleet: RunFleet
) -> None:
    bundle, words = dist / "door-r1.fleet", ("--home", committed, "--format", "json")
    plain = call_fleet("predict", bundle, *pictures, *words)
    raw = call_fleet("predict", bundle, *pictures, *words, "--raw")
    encoding = read_bundle(bundle, key=load_identity(committed).seal_key).manifest.encoding
    assert encoding is not None
    assert "output" not in plain.stdout
    for hidden, shown in zip(
        json.loads(plain.stdout)["predictions"], json.loads(raw.stdout)["predictions"], strict=True
    ):
        assert {**hidden, "output": shown["output"]} == shown
        decoded = encoding.decode_array([shown["output"]])[0]
        assert shown["index"] == (None if decoded < 0 else decoded)
    csv = call_fleet(
        "predict", bundle, pictures[0], "--home", committed, "--format", "csv", "--raw"
    )
    assert csv.stdout.splitlines()[0] == "image,label,index,margin,output,error"
    closed = call_fleet("predict", bundle, pictures[0])
    assert closed.returncode == 2
    assert "`fleet device predict` there, or --home" in closed.stderr


def test_a_stream_of_pictures_ends_with_ctrl_c(
    committed: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """As a camera writes them: in parts, in place, and with strange files beside them."""
    home = ("--home", str(committed))
    # A shell's background job has SIGINT ignored, and whatever it starts inherits that.
    start = ["env", "--default-signal=INT", sys.executable, "-m", "fleet"]
    command = [*start, "device", "predict", *home, "--watch", str(tmp_path)]
    (tmp_path / "old.png").write_bytes(pictures[0].read_bytes())
    stream = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stream.stdout is not None
    assert stream.stderr is not None
    assert "Ctrl-C ends it" in stream.stderr.readline()
    data, path = pictures[1].read_bytes(), tmp_path / "camera.png"
    (tmp_path / ".hidden.png").write_bytes(data)
    (tmp_path / "notes.txt").write_bytes(data)
    with path.open("wb") as half:
        half.write(data[:100])
        half.flush()
        os.fsync(half.fileno())
        (tmp_path / "other.png").write_bytes(pictures[2].read_bytes())
        first = json.loads(stream.stdout.readline())
        assert Path(first["image"]).name == "other.png"
        half.write(data[100:])
    second = json.loads(stream.stdout.readline())
    assert Path(second["image"]).name == "camera.png"
    assert second["label"] is not None or second["margin"] < 0
    path.write_bytes(pictures[3].read_bytes())  # the next picture under the same name
    third = json.loads(stream.stdout.readline())
    assert Path(third["image"]).name == "camera.png"
    (tmp_path / "broken.png").write_bytes(data[:50])
    broken = json.loads(stream.stdout.readline())
    assert "cannot read the image" in broken["error"]
    stream.send_signal(signal.SIGINT)
    rest, said = stream.communicate(timeout=30)
    assert (rest, stream.returncode) == ("", 1)
    assert said.endswith("3 images decided, 1 could not be read\n")
    assert "Traceback" not in said


def test_nobody_reads_the_stream_any_more(
    committed: Path, pictures: list[Path], tmp_path: Path
) -> None:
    words = ["device", "predict", "--home", str(committed), "--watch", str(tmp_path)]
    stream = subprocess.Popen(
        [sys.executable, "-m", "fleet", *words, str(pictures[0])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert stream.stdout is not None
    stream.stdout.readline()
    stream.stdout.close()
    (tmp_path / "next.png").write_bytes(pictures[1].read_bytes())
    assert stream.wait(timeout=30) == 0
    assert stream.stderr is not None
    assert "Traceback" not in stream.stderr.read()
    stream.stderr.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name some images, or --watch a directory"),
        (("--watch", ".", "--format", "json"), "a stream is written as jsonl or csv"),
        (("--watch", "nowhere"), "cannot watch nowhere: no such directory"),
    ],
)
def test_streams_that_cannot_be(
    committed: Path, call_fleet: RunFleet, words: tuple[str, ...], message: str
) -> None:
    done = call_fleet("device", "predict", "--home", committed, *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", "").split())


def test_nothing_that_is_public_or_said_tells_a_secret(
    dist: Path, committed: Path, workplace: Path, run_fleet: RunFleet
) -> None:
    """Every public byte, every word of the commands, and tracebacks with FLEET_DEBUG=1."""
    (run,) = (workplace / "runs").iterdir()
    weights = (run / "devices" / "door" / "model.safetensors").read_bytes()
    result = json.loads((run / "devices" / "door" / "result.json").read_text())
    home = committed.parent / "gate"
    secrets = [weights[-64:], result["profile_digest"].encode(), result["weights_sha256"].encode()]
    secrets += [b'"alpha"', b'"beta"', b'"order"', b"4, 2, 7, 0", b"order=(", b"alpha="]
    for path in (*home.glob("*.key"), *(workplace / "depot" / "keys").glob("*.pem")):
        secrets.append(path.read_text().splitlines()[1].encode())
    public = [p for p in (workplace / "depot" / "public").rglob("*") if p.is_file()]
    files = [*public, *dist.iterdir(), workplace / "package.txt", workplace / "depot/log.jsonl"]
    shown = {str(path): path.read_bytes() for path in files}
    bundle = dist / "door-r1.fleet"
    for words in (
        ("verify", bundle, "--home", home),
        ("predict", bundle, "x.png", "--home", home),
        ("inspect", bundle),
        ("device", "status", "--home", committed),
    ):
        done = run_fleet(*words, FLEET_DEBUG="1")
        shown[" ".join(map(str, words))] = (done.stdout + done.stderr).encode()
    (home.parent / "door" / "state.json").read_bytes()
    for name, data in shown.items():
        for secret in secrets:
            assert secret not in data, (name, secret)
    assert len(public) >= 8
