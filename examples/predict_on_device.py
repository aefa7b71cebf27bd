"""Decide with a bundle, as the program on a device would: a class, or None, and a margin.

`load_bundle` makes every check of `fleet verify` first. Images are 8-bit arrays, not normalised:
the network does that itself. None is an answer that the program must be ready for. The margin says
how far a decision is from another one, in slot widths.

    fleet package --out bundles --release 1
    python examples/predict_on_device.py bundles/cam-01-1.fleet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fleet
from fleet.data.read import read_idx

MNIST = Path(__file__).resolve().parent / "data" / "MNIST" / "raw"


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict MNIST's first test images.")
    parser.add_argument("bundle", type=Path, help="a .fleet file")
    parser.add_argument("--count", type=int, default=10, help="images to decide about")
    options = parser.parse_args()
    images = read_idx(MNIST / "t10k-images-idx3-ubyte.gz", (28, 28))[: options.count]
    labels = read_idx(MNIST / "t10k-labels-idx1-ubyte.gz", ())[: options.count]

    device = fleet.load_bundle(options.bundle)
    predictions = device.predict(images)
    print(f"{device.manifest.device}, release {device.manifest.release}")
    for label, prediction in zip(labels, predictions, strict=True):
        decision = prediction.label or "None: ask a person"
        print(f"  a {label}: {decision}, margin {prediction.margin:+.3f}")
    correct = sum(p.index == label for p, label in zip(predictions, labels, strict=True))
    rejected = sum(p.label is None for p in predictions)
    print(f"{correct} of {len(labels)} correct, {rejected} rejected")


if __name__ == "__main__":
    main()
