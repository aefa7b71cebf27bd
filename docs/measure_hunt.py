"""Hunt for an attack that breaks a certified image: our whole portfolio, then AutoAttack's parts.

    python -m docs.measure_hunt runs/RUN cam-01 --images 1000 --out results/robust/hunt.json

One broken image would disprove the bounds. AutoAttack needs the extra `crosscheck`.

Exit codes: 0 done; 1 a certified image was broken; 2 the run cannot be read, or
AutoAttack is absent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from docs.measuring import subject
from fleet.attacks import PseudoLogits, SampleKeys, attackable, exact_eps, quantise
from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.crosscheck.audit import installed
from fleet.audit.crosscheck.tools import TOOLS, Assignment, Tool
from fleet.bounds.certify import certificates
from fleet.data import to_unit
from fleet.errors import FleetError
from fleet.files import write_json
from fleet.provenance import environment

STEPS, QUERIES, BATCH = 100, 5000, 250
"""Of AutoAttack's standard version; images attacked at once."""


def main(arguments: list[str] | None = None) -> int:
    """Hunt and write; returns the exit code."""
    parser = argparse.ArgumentParser(description="Hunt for an attack on a certified image.")
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("device", help="a device of it that has bounds")
    parser.add_argument("--eps", type=float, default=0.1, help="largest change of a pixel")
    parser.add_argument("--images", type=int, default=1000, help="test images, the first ones")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    try:
        (tool,) = installed([tool for tool in TOOLS if tool.name == "autoattack"])
        _, member, sample = subject(
            options.run, options.device, split="test", images=options.images
        )
        images, labels = sample.images, sample.labels
        found = certificates(member.classifier, to_unit(images), labels, options.eps)
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    broken, tried = torch.zeros(len(labels), dtype=torch.bool), []
    for name, start, made in attacks(member, images, labels, options.eps, tool):
        part = slice(start, start + BATCH)
        with attackable(member.classifier), torch.no_grad():
            answers = member.classifier.decode(member.classifier(to_unit(made)))
        fallen = answers != labels[part]
        broken[part] |= fallen
        bad = int((fallen & found.stays[part]).sum())
        tried.append({"attack": name, "from": start, "evaded": int(fallen.sum()), "certified": bad})
        sys.stderr.write(
            f"{name} from image {start}: {int(fallen.sum())} evaded, {bad} certified\n"
        )
    result = {
        "device": member.name,
        "weights_sha256": member.weights_sha256,
        "eps": options.eps,
        "n": len(labels),
        "certified": int(found.stays.sum()),
        "evaded": int(broken.sum()),
        "certified_evaded": int((broken & found.stays).sum()),
        "attacks": tried,
        "steps": STEPS,
        "queries": QUERIES,
        "environment": environment(),
    }
    write_json(options.out, result)
    return 1 if result["certified_evaded"] else 0


def attacks(
    member: Member, images: Tensor, labels: Tensor, eps: float, tool: Tool
) -> Iterator[tuple[str, int, Tensor]]:
    """Every attack on every batch: its name, the batch's first row, its images of 8 bits."""
    classifier = member.classifier
    settings = TransferSettings(eps=(eps,), steps=STEPS, restarts=1, precision="fp32")
    for start in range(0, len(images), BATCH):
        clean, true = images[start : start + BATCH], labels[start : start + BATCH]
        keys = SampleKeys(0, member.name, torch.arange(start, start + len(clean)))
        for entry in settings.portfolio(classifier, eps):
            found = entry.attack(classifier, to_unit(clean), true, keys)
            for name, made in zip(entry.names, quantise(found, clean, eps), strict=True):
                yield name, start, made
        model = PseudoLogits(classifier).eval()
        task = Assignment(
            model, to_unit(clean), true, model.num_columns, exact_eps(eps), STEPS, 1, QUERIES, 0
        )
        for name, attack in tool.attacks.items():
            with attackable(model):
                made = attack(task).detach().nan_to_num(0.0)
            yield f"autoattack {name}", start, quantise(made.unsqueeze(0), clean, eps)[0]


if __name__ == "__main__":
    sys.exit(main())
