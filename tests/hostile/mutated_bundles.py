"""Many mutated bundles against the reader: ``python -m tests.hostile.mutated_bundles``.

Each must be refused with a ``BundleError``, or read if no byte was changed; anything else ends the
program with its seed.
It writes what it did to ``results/rollout/fuzz.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import sys
import time
from pathlib import Path


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Damage a file in one to four ways: flips, cuts, copies, numbers, foreign bytes."""
    damaged = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        kind = generator.randrange(6)
        at = generator.randrange(max(1, len(damaged)))
        if kind == 0:
            damaged[at : at + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            del damaged[at : at + generator.randint(1, 600)]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + generator.randint(1, 600)]
        elif kind == 3:
            start = at // 512 * 512 + 124
            damaged[start : start + 12] = b"%011o\0" % generator.choice([0, 1, 511, 8**11 - 1])
        elif kind == 4:
            damaged[at : at + 8] = generator.choice(
                [b'{"a":NaN', b"\xff" * 8, b"[[[[[[[[", b"1e999999"]
            )
        else:
            damaged = damaged[:at]
    return bytes(damaged)


def main() -> None:
    """Run, and write the figures."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from fleet.bundle import archive
    from fleet.bundle.reader import examine
    from fleet.errors import BundleError
    from hostile.test_bundle_second import KEY, bundle
    from unit.bundle.bundle_samples import tiny_bundle

    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("results/rollout/fuzz.json"))
    options = parser.parse_args()
    samples = [tiny_bundle(), bundle(card=b"c", graph=b"g"), bundle(recipient=None, self_test=b"t")]
    read, slowest, begun = 0, 0.0, time.perf_counter()
    for seed in range(options.count):
        generator = random.Random(seed)
        data = mutate(samples[seed % 3], generator)
        start = time.perf_counter()
        try:
            examine(io.BytesIO(data), [], key=KEY, max_model_bytes=archive.MAX_MODEL_BYTES)
            if data != samples[seed % 3]:
                raise AssertionError("a changed bundle was accepted")
            read += 1
        except BundleError:
            pass
        except Exception:
            print(f"seed {seed}")  # noqa: T201
            raise
        slowest = max(slowest, time.perf_counter() - start)
    found = {
        "count": options.count,
        "accepted": read,
        "untyped_errors": 0,
        "slowest_seconds": round(slowest, 4),
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
